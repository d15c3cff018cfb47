//! Reset, pause, save and restore.

use super::*;

#[test]
fn a_reset_in_mid_flight_forgets_everything_and_can_be_repeated() {
    let (mut bench, mut queues) = started(0);
    bench.enable_msix();
    for _ in 0..10 {
        queues[0].send(&[b"x"], &[1]);
    }
    bench.kick(0);

    bench.write_common(0x14, 1, 0);
    let used = queues[0].used_index();
    bench.write_common(0x14, 1, 0);
    bench.kick(0);
    bench.pci.pause();

    assert_eq!(bench.status(), 0);
    assert_eq!(queues[0].used_index(), used, "nothing is touched after the reset");
    bench.write_common(0x16, 2, 0);
    assert_eq!((bench.common(0x1c, 2), bench.common(0x20, 8), bench.common(0x1a, 2)), (0, 0, 0xffff));
}

#[test]
fn a_paused_device_touches_nothing_and_loses_no_kick() {
    let (mut bench, mut queues) = started(0);
    bench.pci.pause();
    bench.pci.pause();
    queues[0].send(&[b"later"], &[5]);
    bench.kick(0);
    assert_eq!(queues[0].used_index(), 0);

    bench.pci.resume();
    bench.pci.resume();

    queues[0].wait();
}

#[test]
fn a_running_device_cannot_be_saved() {
    let (bench, _) = started(0);

    assert!(matches!(bench.pci.save(), Err(StateError::Unsupported { .. })));
}

#[test]
fn a_restored_device_is_equal_and_goes_on_in_its_queues() {
    let (mut bench, mut queues) = started(EVENT_INDEX);
    bench.enable_msix();
    bench.write_config(0, 1, 7);
    echoes(&mut bench, &mut queues[0], b"before");
    bench.pci.pause();
    queues[0].send(&[b"while it was away"], &[17]);
    let state = bench.pci.save().unwrap();

    let mut other = Bench::new(EchoDevice::new().0);
    other.pci.pause();
    let mut contents = vec![0; MEMORY as usize];
    use vm_memory::{Bytes, GuestAddress};
    bench.memory.read_slice(&mut contents, GuestAddress(0)).unwrap();
    other.memory.write_slice(&contents, GuestAddress(0)).unwrap();
    other.pci.restore(state.clone()).unwrap();
    let again = other.pci.save().unwrap();
    other.pci.resume();

    assert_eq!(again, state);
    let used = |bench: &Bench| {
        bench.memory.load::<u16>(GuestAddress(queues[0].used + 2), std::sync::atomic::Ordering::Acquire)
    };
    wait_for("the chain", || used(&other).unwrap() == 2);
    assert_eq!(other.config(0, 1), 7);
}

#[test]
fn a_damaged_state_is_refused_and_leaves_a_fresh_device() {
    let mut fresh = Bench::new(EchoDevice::new().0);
    fresh.pci.pause();
    let fresh = fresh.pci.save().unwrap();
    let (mut bench, _) = started(0);
    bench.pci.pause();
    let good = bench.pci.save().unwrap();
    for (path, value) in [
        ("/version", Value::from(9)),
        ("/common/status", 0x44.into()),
        ("/common/driver_features", 0.into()),
        ("/common/driver_features", u64::MAX.into()),
        ("/common/queues/0/setup/size", 32.into()),
        ("/common/queues/0/setup/size", 3.into()),
        ("/common/queues/0/setup/used", u64::MAX.into()),
        ("/common/queues/1/enabled", false.into()),
        ("/common/queues", Value::Array(vec![])),
        ("/positions", Value::Array(vec![])),
        ("/positions/0/0", 9.into()),
        ("/interrupt/vectors/0", 77.into()),
        ("/interrupt/isr", 0x80.into()),
        ("/msix/entries", Value::Array(vec![])),
        ("/config/bytes/0", 0.into()),
        ("/device", "no number".into()),
    ] {
        let mut state = good.clone();
        *state.pointer_mut(path).unwrap_or_else(|| panic!("{path} is not in the state")) = value;

        assert!(bench.pci.restore(state).is_err(), "{path}");
        let mut after = bench.pci.save().unwrap();
        // The generation goes on over resets.
        after["interrupt"]["generation"] = fresh["interrupt"]["generation"].clone();
        assert_eq!(after, fresh, "{path}");
    }
}

#[test]
fn a_reset_of_the_machine_is_idempotent_and_complete() {
    let (mut bench, _) = started(FEATURE);
    bench.enable_msix();
    bench.pci.pause();

    bench.pci.reset();
    let once = bench.pci.save().unwrap();
    bench.pci.reset();

    assert_eq!(bench.pci.save().unwrap(), once);
    let fresh = Bench::new(EchoDevice::new().0);
    assert_eq!(once, fresh.pci.save().unwrap());
}
