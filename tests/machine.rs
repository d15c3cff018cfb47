//! The machine's states: held and let go, reset by every way, ended, and stopped where KVM cannot go on. The guests are a few
//! instructions in place of the BIOS.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::time::Instant;

use common::{
    code::{COUNT_BOOTS, HALT, bios, print},
    kvm,
    machine::{PATIENCE, TestMachine, firmware, machine},
};
use lodge::vmm::machine::{MachineError, MachineEvent, MachineState, ResetCause, ShutdownCause};

/// A machine whose BIOS is `code`.
fn guest(code: &[&[u8]]) -> Option<TestMachine> {
    Some(machine(kvm::open()?, |config| firmware(config).bios = bios(code)))
}

/// A guest that resets itself by `way` boots anew, and `way` is told.
fn resets_itself(way: &[u8], cause: ResetCause) {
    // What follows the reset must not be reached.
    let Some(mut guest) = guest(&[COUNT_BOOTS, way, &print("not reset"), HALT]) else { return };

    guest.machine.resume().unwrap();
    let event = guest.event();
    assert!(matches!(event, MachineEvent::Reset { cause: told } if told == cause), "{event:?}");
    guest.machine.reset().unwrap();
    guest.serial.wait_for("2", 1);

    assert_eq!(guest.serial.text(), "12");
    assert_eq!(guest.machine.state(), MachineState::Running);
    assert!(guest.is_calm());
}

#[test]
fn port_92_resets() {
    // mov al, 1; out 0x92, al
    resets_itself(&[0xb0, 0x01, 0xe6, 0x92], ResetCause::SystemControlPort);
}

#[test]
fn the_reset_control_register_resets() {
    // mov dx, 0xcf9; mov al, 6; out dx, al
    resets_itself(&[0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee], ResetCause::ResetControl);
}

#[test]
fn the_keyboard_controller_resets() {
    // mov al, 0xfe; out 0x64, al
    resets_itself(&[0xb0, 0xfe, 0xe6, 0x64], ResetCause::KeyboardController);
}

#[test]
fn a_triple_fault_resets() {
    let code = [
        0x2e, 0x0f, 0x01, 0x1e, 0x00, 0x80, // lidt [cs:0x8000]: zeroes
        0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, // mov eax, cr0; or al, 1; mov cr0, eax
        0x8e, 0xd8, // mov ds, ax: no such segment, and no handler for that
    ];
    resets_itself(&code, ResetCause::TripleFault);
}

#[test]
fn two_ways_at_once_are_one_reset() {
    // mov al, 6; mov dx, 0xcf9; out dx, al; mov al, 0xfe; out 0x64, al
    resets_itself(&[0xb0, 0x06, 0xba, 0xf9, 0x0c, 0xee, 0xb0, 0xfe, 0xe6, 0x64], ResetCause::ResetControl);
}

#[test]
fn a_guest_that_enters_s5_is_off() {
    let code = [
        0xba, 0xf8, 0x0c, 0x66, 0xb8, 0x40, 0x0b, 0x00, 0x80, // mov dx, 0xcf8; mov eax, 0x80000b40: PM base
        0x66, 0xef, 0xb2, 0xfc, // out dx, eax; mov dl, 0xfc
        0x66, 0xb8, 0x01, 0x06, 0x00, 0x00, 0x66, 0xef, // mov eax, 0x601; out dx, eax
        0xb2, 0xf8, 0x66, 0xb8, 0x80, 0x0b, 0x00, 0x80, // mov dl, 0xf8; mov eax, 0x80000b80: PM enable
        0x66, 0xef, 0xb2, 0xfc, 0xb0, 0x01, 0xee, // out dx, eax; mov dl, 0xfc; mov al, 1; out dx, al
        0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax
    ];
    let Some(mut guest) = guest(&[&code, &print("not off"), HALT]) else { return };

    guest.machine.resume().unwrap();

    assert!(matches!(guest.event(), MachineEvent::Shutdown { cause: ShutdownCause::Acpi }));
    guest.machine.pause().unwrap();
    assert_eq!(guest.serial.text(), "");
}

/// A guest that prints dots for ever.
fn dots() -> Option<TestMachine> {
    let mut guest = guest(&[&print("."), &[0xee, 0xeb, 0xfd]])?; // out dx, al; jmp $-1
    guest.machine.resume().unwrap();
    guest.serial.wait_for(".", 10);
    Some(guest)
}

#[test]
fn a_held_guest_stands_still_and_goes_on_when_let_go() {
    let Some(mut guest) = dots() else { return };

    guest.machine.pause().unwrap();
    let (held, registers) = (guest.serial.text().len(), guest.machine.registers(0).unwrap());
    let (later, registers_later) = (guest.serial.text().len(), guest.machine.registers(0).unwrap());
    guest.machine.pause().unwrap();
    let state = guest.machine.state();
    guest.machine.resume().unwrap();
    guest.machine.resume().unwrap();
    guest.serial.wait_for(".", held + 10);

    assert_eq!((held, registers), (later, registers_later));
    assert_eq!((state, guest.machine.state()), (MachineState::Paused, MachineState::Running));
}

#[test]
fn a_guest_is_never_held_in_the_middle_of_an_instruction() {
    // mov dx, 0x1f9; again: xor ax, ax; in al, dx; jmp again
    let Some(mut guest) = guest(&[&[0xba, 0xf9, 0x01, 0x31, 0xc0, 0xec, 0xeb, 0xfb]]) else { return };
    const READ: u64 = 5;

    for _ in 0..100 {
        guest.machine.resume().unwrap();
        guest.machine.pause().unwrap();

        let registers = guest.machine.registers(0).unwrap();
        match registers.rip {
            READ => assert_eq!(registers.general[0], 0, "the port was not read yet"),
            rip if rip == READ + 1 => assert_eq!(registers.general[0], 0xff, "the port was read"),
            _ => {}
        }
    }
}

#[test]
fn a_running_guest_tells_its_registers() {
    let Some(guest) = dots() else { return };

    let registers = guest.machine.registers(0).unwrap();

    assert_eq!((registers.cs.selector, registers.general[2]), (0xf000, 0x3f8));
    assert!(matches!(guest.machine.registers(1), Err(MachineError::NoSuchVcpu(1))));
    assert!(registers.to_string().contains("CS f000 @f0000"), "{registers}");
}

#[test]
fn a_reset_from_outside_boots_anew_and_leaves_a_held_guest_held() {
    let Some(mut guest) = guest(&[COUNT_BOOTS, HALT]) else { return };
    guest.machine.resume().unwrap();
    guest.serial.wait_for("1", 1);

    guest.machine.pause().unwrap();
    guest.machine.reset().unwrap();
    let held = (guest.machine.state(), guest.machine.registers(0).unwrap().rip, guest.serial.text());
    guest.machine.resume().unwrap();
    guest.serial.wait_for("2", 1);
    guest.machine.reset().unwrap();
    guest.serial.wait_for("3", 1);

    assert_eq!(held, (MachineState::Paused, 0xfff0, "1".to_owned()));
    assert!(guest.is_calm());
}

#[test]
fn a_reset_brings_back_the_bios_that_the_guest_has_overwritten() {
    // Overwrites its own first byte in RAM: mov byte [cs:0], 0xf4
    let overwrite = [0x2e, 0xc6, 0x06, 0x00, 0x00, 0xf4];
    let Some(mut guest) = guest(&[COUNT_BOOTS, &overwrite, &print("overwritten"), HALT]) else { return };
    guest.machine.resume().unwrap();
    guest.serial.wait_for("overwritten", 1);

    guest.machine.reset().unwrap();

    guest.serial.wait_for("2", 1);
}

#[test]
fn an_instruction_that_kvm_cannot_emulate_holds_the_guest_and_is_reported() {
    // mov ax, 0xb800; mov ds, ax; popcnt ax, [0]: video memory is emulated, and the emulator has no popcnt
    let popcnt = [0xf3, 0x0f, 0xb8, 0x06, 0x00, 0x00];
    let Some(mut guest) = guest(&[COUNT_BOOTS, &[0xb8, 0x00, 0xb8, 0x8e, 0xd8], &popcnt, HALT]) else { return };
    guest.machine.resume().unwrap();

    let event = guest.event();
    guest.machine.pause().unwrap();

    let MachineEvent::InternalError(report) = event else { panic!("{event:?}") };
    let rip = (COUNT_BOOTS.len() + 5) as u64;
    assert_eq!((report.vcpu, report.suberror, report.rip), (0, Some(1), rip));
    assert!(report.bytes.starts_with(&popcnt), "{report}");
    assert_eq!(report.registers, guest.machine.registers(0).ok());
    assert_eq!(guest.machine.state(), MachineState::InternalError);
    assert!(matches!(guest.machine.resume(), Err(MachineError::NeedsReset)));

    guest.machine.reset().unwrap();
    assert_eq!(guest.machine.state(), MachineState::Paused);
    guest.machine.resume().unwrap();
    guest.serial.wait_for("2", 1);
}

#[test]
fn a_running_machine_that_is_dropped_ends_its_threads() {
    let Some(guest) = dots() else { return };
    let thread = format!("/proc/self/task/{}", guest.machine.vcpus()[0].thread_id);
    assert!(std::fs::exists(&thread).unwrap());

    drop(guest.machine);

    // The kernel lets go those who wait for a thread's end before it takes the thread off its list.
    let deadline = Instant::now() + PATIENCE;
    while std::fs::exists(&thread).unwrap() {
        assert!(Instant::now() < deadline, "the vCPU's thread is still there");
        std::thread::yield_now();
    }
}

#[test]
fn what_no_machine_can_have_is_refused() {
    let Some(_) = kvm::open() else { return };
    let refused = |change: fn(&mut lodge::vmm::machine::MachineConfig)| {
        let kvm = kvm::open().unwrap();
        common::machine::try_machine(kvm, change).err().map(|error| error.to_string()).unwrap_or_default()
    };

    assert!(refused(|config| config.memory = 0).contains("0 bytes of memory"));
    assert!(refused(|config| config.memory = (1 << 20) + 1).contains("whole MiB"));
    assert!(refused(|config| config.vcpus = 0).contains("0 vCPUs"));
    assert!(refused(|config| config.vcpus = 1000).contains("1000 vCPUs"));
    assert!(refused(|config| config.video_memory = 3 << 20).contains("video memory"));
    assert!(refused(|config| firmware(config).bios = tempfile::tempfile().unwrap()).contains("seabios"));
}
