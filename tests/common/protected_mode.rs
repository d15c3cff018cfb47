//! Whether a guest can take interrupts in 32-bit protected mode, where iPXE waits for them. Where KVM's instruction emulator runs
//! all of ring 0 it cannot, whoever has made the virtual machine: the return from the interrupt fails.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use kvm_bindings::{kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// `_IOW(KVMIO, 0x86, struct kvm_interrupt)` of linux/kvm.h: queues the interrupt with this number.
const KVM_INTERRUPT: libc::c_ulong = 0x4004_ae86;
const VECTOR: u32 = 0x20;
const MEMORY: usize = 64 << 10;
// Where things are in the guest's memory.
const CODE: u64 = 0x1000;
const HANDLER: u64 = 0x2000;
const SEGMENTS: u64 = 0x3000;
const GATES: u64 = 0x4000;
const STACK: u64 = 0x8000;
/// The selectors of segments that reach everywhere.
const CODE_SELECTOR: u16 = 0x8;
const DATA_SELECTOR: u16 = 0x10;
/// sti; hlt; out 0x81, al
const WAIT: &[u8] = &[0xfb, 0xf4, 0xe6, 0x81];
/// out 0x80, al; iret
const HANDLE: &[u8] = &[0xe6, 0x80, 0xcf];

/// Has a guest of a few instructions wait for an interrupt, handle it and go on.
pub fn takes_interrupts(kvm: OwnedFd) -> bool {
    // SAFETY: the descriptor is one of /dev/kvm, and is not used by anybody else any more.
    let vm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) }.create_vm().unwrap();
    let memory = memory();
    let region = kvm_userspace_memory_region {
        memory_size: MEMORY as u64,
        userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
        ..Default::default()
    };
    // SAFETY: the memory outlives the virtual machine's only vCPU, which ends with this function.
    unsafe { vm.set_user_memory_region(region) }.unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    let mut registers = vcpu.get_sregs().unwrap();
    let segment = |selector, kind| kvm_segment {
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    registers.cs = segment(CODE_SELECTOR, 0xb);
    let data = segment(DATA_SELECTOR, 0x3);
    (registers.ds, registers.es, registers.fs, registers.gs, registers.ss) = (data, data, data, data, data);
    // Protected mode, no paging (Intel SDM, volume 3, 2.5).
    registers.cr0 = 0x11;
    (registers.gdt.base, registers.gdt.limit) = (SEGMENTS, 0x17);
    (registers.idt.base, registers.idt.limit) = (GATES, 0x7ff);
    vcpu.set_sregs(&registers).unwrap();
    let mut registers = vcpu.get_regs().unwrap();
    (registers.rip, registers.rsp, registers.rflags) = (CODE, STACK, 2);
    vcpu.set_regs(&registers).unwrap();

    let waits = matches!(vcpu.run().unwrap(), VcpuExit::Hlt);
    assert!(waits, "KVM runs no code in protected mode");
    // SAFETY: the call reads a struct kvm_interrupt, a number of 32 bits, which outlives it.
    let queued = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_INTERRUPT, &VECTOR) };
    assert_eq!(queued, 0, "{}", std::io::Error::last_os_error());
    let mut reaches = |port| matches!(vcpu.run(), Ok(VcpuExit::IoOut(reached, _)) if reached == port);
    reaches(0x80) && reaches(0x81)
}

/// The guest's memory: its code, its segments, and a gate for the interrupt (Intel SDM, volume 3, 3.4.5 and 6.11).
fn memory() -> GuestMemoryMmap {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
    memory.write_slice(WAIT, GuestAddress(CODE)).unwrap();
    memory.write_slice(HANDLE, GuestAddress(HANDLER)).unwrap();
    let segments: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    let gate = 0x0000_8e00_0000_0000 | u64::from(CODE_SELECTOR) << 16 | HANDLER;
    memory.write_slice(&segments.map(u64::to_le_bytes).concat(), GuestAddress(SEGMENTS)).unwrap();
    memory.write_slice(&gate.to_le_bytes(), GuestAddress(GATES + 8 * u64::from(VECTOR))).unwrap();
    memory
}
