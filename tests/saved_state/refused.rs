//! States that are restored where they do not belong, were not saved to their end, or mean harm.

use std::{fs::File, io::Seek};

use lodge::vmm::{
    machine::MachineConfig,
    snapshot::{
        Progress, SnapshotError,
        container::{Kind, Writer},
    },
};
use serde_json::Value;

use super::{documents, restore, save};
use crate::common::{
    card,
    code::{HALT, bios, print},
    kvm,
    machine::{TestMachine, firmware, machine},
};

/// A guest that prints a dot for ever.
fn dots() -> Option<TestMachine> {
    let mut guest = machine(kvm::open()?, |config| {
        firmware(config).bios = bios(&[&print("."), &[0xee, 0xeb, 0xfd]]); // out dx, al; jmp $-1
    });
    guest.machine.resume().unwrap();
    guest.serial.wait_for(".", 10);
    Some(guest)
}

/// A machine like that one, which has not begun.
fn silent(change: impl FnOnce(&mut MachineConfig)) -> TestMachine {
    machine(kvm::open().unwrap(), |config| {
        firmware(config).bios = bios(&[HALT]);
        change(config);
    })
}

#[test]
fn a_state_is_restored_only_where_it_belongs() {
    let Some(mut guest) = dots() else { return };
    let state = save(&mut guest.machine);
    let refused = |change: fn(&mut MachineConfig)| {
        (&state).rewind().unwrap();
        silent(change).machine.restore(&mut &state).unwrap_err().to_string()
    };

    assert!(refused(|config| config.memory *= 2).contains("the memory was 32 MiB and is 64 MiB"));
    assert!(refused(|config| config.vcpus = 2).contains("the number of vCPUs was 1 and is 2"));
    assert!(refused(|config| config.peripherals.entropy = true).contains("the device rng0 is new"));
    assert!(refused(|config| config.disks = vec![card::disk()]).contains("is new"));
    assert!(refused(|config| config.uuid = uuid::Uuid::nil()).contains("the guest with the UUID"));
    let mut same = silent(|_| ());
    restore(&mut same.machine, &state);
    same.machine.resume().unwrap();
    same.serial.wait_for(".", 10);
    // A reset leads to this machine's own beginning.
    same.machine.reset().unwrap();
    guest.machine.resume().unwrap();
    guest.serial.wait_for(".", 20);
}

#[test]
fn a_cancelled_or_failed_saving_leaves_the_guest_as_it_is() {
    let Some(mut guest) = dots() else { return };
    let progress = Progress::default();
    progress.cancel();

    let cancelled = guest.machine.save(true).unwrap().write(&mut Vec::new(), &progress);
    let failed = guest.machine.save(true).unwrap().write(&mut File::open("/dev/null").unwrap(), &Progress::default());
    let seen = guest.serial.text().len();
    guest.machine.resume().unwrap();

    assert!(matches!(cancelled, Err(SnapshotError::Cancelled)));
    assert!(matches!(failed, Err(SnapshotError::Write(_))));
    guest.serial.wait_for(".", seen + 10);
}

/// A stream with these documents, and without memory.
fn stream(machine: &Value, state: &Value) -> Vec<u8> {
    let (mut bytes, progress) = (Vec::new(), Progress::default());
    let mut writer = Writer::new(&mut bytes, &progress).unwrap();
    writer.document(Kind::Machine, machine).unwrap();
    writer.document(Kind::Devices, state).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The paths of all values in `value` that are no lists or objects.
fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| leaves(value, format!("{path}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, format!("{path}/{index}"), found));
        }
        _ => found.push(path),
    }
}

#[test]
fn a_state_that_means_harm_is_refused_or_does_none() {
    const TRIES: usize = 150;
    let Some(mut guest) = dots() else { return };
    let (head, state) = documents(&save(&mut guest.machine));
    drop(guest);
    let mut paths = Vec::new();
    leaves(&state, String::new(), &mut paths);
    let mut random = fastrand::Rng::with_seed(4);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..TRIES {
        let mut damaged = state.clone();
        // Every part as often as another, however long it is.
        let part = random.choice(["/devices", "/chips", "/vcpus", "/clock"]).unwrap();
        let path = random.choice(paths.iter().filter(|path| path.starts_with(part)).collect::<Vec<_>>()).unwrap();
        let value = [Value::Null, Value::from(u64::MAX), Value::from(random.u8(..)), Value::from("x"), Value::from(-1)];
        *damaged.pointer_mut(path).unwrap() = random.choice(value).unwrap();
        let mut target = silent(|_| ());

        match target.machine.restore(&mut &stream(&head, &damaged)[..]) {
            Err(_) => refused += 1,
            Ok(_) => {
                taken += 1;
                target.machine.resume().unwrap();
                target.machine.pause().unwrap();
            }
        }
    }
    println!("{refused} states were refused, {taken} taken");
    assert!(refused > TRIES / 4, "{refused} states were refused, {taken} taken");
}
