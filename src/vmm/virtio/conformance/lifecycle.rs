//! Reset, pause, save and restore.

use serde_json::Value;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::vmm::{
    device::{Device, StateError},
    virtio::testing::wait_for,
};

/// A saved state without what goes on over resets.
fn comparable(mut state: Value) -> Value {
    state["interrupt"]["generation"] = Value::Null;
    state
}

/// The same device in another process, whose memory is a copy of this one's.
fn restored(running: &Running, state: &Value) -> Result<Running, StateError> {
    let mut other = running.candidate.plugged();
    other.bench.pci.pause();
    other.bench.memory.write_slice(&running.bench.contents(), GuestAddress(0)).unwrap();
    other.bench.pci.restore(state.clone()).map(|()| other)
}

#[test]
fn a_reset_in_mid_flight_ends_everything_and_the_device_can_be_initialised_again() {
    for candidate in &CANDIDATES {
        let mut running = candidate.started(EVENT_INDEX);
        running.bench.enable_msix();
        for round in 0..10 {
            for _ in 0..4 {
                running.send_request();
            }
            running.let_host_act();
            (0..running.queues.len()).for_each(|queue| running.bench.kick(queue as u16));

            running.reset();
            let before = running.bench.contents();
            (0..running.queues.len()).for_each(|queue| running.bench.kick(queue as u16));
            running.settle();
            assert!(running.bench.contents() == before, "{}: memory was written after the reset", candidate.name);

            running.start(if round % 2 == 0 { 0 } else { EVENT_INDEX });
            running.serve();
        }
    }
}

#[test]
fn a_reset_makes_a_fresh_device_however_often_it_comes() {
    for candidate in &CANDIDATES {
        let mut fresh = candidate.plugged();
        fresh.bench.pci.pause();
        let fresh = comparable(fresh.bench.pci.save().unwrap());
        let mut running = candidate.started(GENERAL);
        running.bench.enable_msix();
        running.serve();
        for offset in 0..candidate.config {
            running.bench.write_config(offset, 4, 0x55);
        }
        running.bench.pci.pause();

        for _ in 0..2 {
            running.bench.pci.reset();
            let after = comparable(running.bench.pci.save().unwrap());
            assert_eq!(after.to_string(), fresh.to_string(), "{}", candidate.name);
        }
        running.bench.pci.resume();
        running.start(0);
        running.serve();
    }
}

#[test]
fn a_restored_device_is_equal_to_the_byte_and_serves_what_waits() {
    for candidate in &CANDIDATES {
        let mut running = candidate.started(EVENT_INDEX);
        running.bench.enable_msix();
        running.serve();
        running.bench.pci.pause();
        let head = running.send_request();
        let state = running.bench.pci.save().unwrap();

        let mut other = restored(&running, &state).unwrap();
        let again = other.bench.pci.save().unwrap();
        other.bench.pci.resume();

        assert_eq!(again.to_string(), state.to_string(), "{}", candidate.name);
        // The driver goes on where it was, in the copy of its memory.
        let queue = usize::from(candidate.request.queue);
        let index = GuestAddress(running.queues[queue].used + 2);
        let used = || other.bench.memory.load::<u16>(index, std::sync::atomic::Ordering::Acquire).unwrap();
        wait_for("the request that waited", || used() == 2);
        let entry = GuestAddress(running.queues[queue].used + 4 + 8);
        assert_eq!(other.bench.memory.read_obj::<u32>(entry).unwrap(), u32::from(head), "{}", candidate.name);
    }
}

#[test]
fn a_device_that_waits_for_a_reset_is_restored_as_such() {
    for candidate in &CANDIDATES {
        let mut running = candidate.started(0);
        let queue = candidate.request.queue;
        running.queues[usize::from(queue)].make_available(999);
        running.bench.kick(queue);
        running.bench.wait_failed();
        running.bench.pci.pause();
        let state = running.bench.pci.save().unwrap();

        let mut other = restored(&running, &state).unwrap();
        other.bench.pci.resume();

        assert_eq!(other.bench.status() & 0x40, 0x40, "{}", candidate.name);
        other.reset();
        other.start(0);
        other.serve();
    }
}

#[test]
fn a_damaged_state_is_refused_or_does_no_harm() {
    for candidate in &CANDIDATES {
        let mut running = candidate.started(EVENT_INDEX);
        running.let_host_act();
        running.serve();
        running.bench.pci.pause();
        let good = running.bench.pci.save().unwrap();
        let mut fresh = candidate.plugged();
        fresh.bench.pci.pause();
        let fresh = comparable(fresh.bench.pci.save().unwrap());

        for path in leaves(&good, String::new()) {
            let what = format!("{}: {path}", candidate.name);
            for (value, of_another_type) in [
                (Value::from("nonsense"), !good.pointer(&path).is_some_and(Value::is_string)),
                (Value::from(vec![Value::Null]), true),
                (Value::from(u64::MAX), false),
                (Value::from(0xffff), false),
                (Value::from(0), false),
            ] {
                let mut state = good.clone();
                *state.pointer_mut(&path).unwrap() = value.clone();

                let mut other = candidate.plugged();
                other.bench.pci.pause();
                let outcome = other.bench.pci.restore(state);

                assert!(outcome.is_err() || !of_another_type, "{what} = {value} was accepted");
                if outcome.is_err() {
                    let after = comparable(other.bench.pci.save().unwrap());
                    assert!(after == fresh, "{what} = {value}: it is not as after a reset");
                }
                other.bench.pci.resume();
                other.settle();
                other.reset();
                other.start(0);
                other.serve();
            }
        }
    }
}

/// The paths of all values in `state` that are no lists or objects, but of bytes only the first few.
fn leaves(state: &Value, path: String) -> Vec<String> {
    const FEW: usize = 4;
    match state {
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| leaves(value, format!("{path}/{key}"))).collect()
        }
        Value::Array(items) => {
            let few = items.iter().take(FEW).enumerate();
            few.flat_map(|(index, value)| leaves(value, format!("{path}/{index}"))).collect()
        }
        // What is nothing may be anything else.
        Value::Null => Vec::new(),
        _ => vec![path],
    }
}

#[test]
fn each_queue_can_be_reset_alone_and_taken_up_again() {
    for candidate in &CANDIDATES {
        let count = candidate.started(0).queues.len() as u16;
        for index in 0..count {
            let mut running = candidate.started(RING_RESET);
            running.let_host_act();
            running.serve();
            running.bench.write_common(0x16, 2, index.into());

            running.bench.write_common(0x3a, 2, 1);
            assert_eq!((running.bench.common(0x3a, 2), running.bench.common(0x1c, 2)), (0, 0), "{}", candidate.name);
            running.bench.kick(index);
            running.settle();
            running.queues[usize::from(index)] = running.bench.set_up_queue(index, SIZE);

            assert_eq!(running.bench.status(), 15, "{}: queue {index}", candidate.name);
            running.serve();
        }
    }
}

#[test]
fn a_pause_loses_nothing_and_touches_nothing() {
    for candidate in &CANDIDATES {
        let mut running = candidate.started(EVENT_INDEX);
        for _ in 0..5 {
            running.bench.pci.pause();
            running.bench.pci.pause();
            let head = running.send_request();
            running.bench.kick(candidate.request.queue);
            let before = running.bench.contents();
            assert!(running.bench.contents() == before, "{}", candidate.name);

            running.bench.pci.resume();
            running.bench.pci.resume();
            running.wait_served(head);
        }
    }
}
