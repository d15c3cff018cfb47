//! A stock Linux kernel of tests/guest/stock/ on the engine. It runs slowly where KVM has no VT-x or AMD-V, and has no user space
//! there.

use std::{fs::File, path::PathBuf};

use lodge::vmm::{
    boot::linux::LinuxBoot,
    machine::{Boot, MachineConfig},
};

use super::{
    kvm, linux,
    machine::{TestMachine, machine},
};

/// What a command line begins with. The emulator that runs the kernel where KVM has no VT-x or AMD-V lacks these features, and takes
/// longer for some steps than the kernel's watchdog allows (tests/guest/README.md).
pub const COMMAND_LINE: &str = "console=ttyS0 panic=-1 noxsave clearcpuid=xsave,smap,popcnt,cx16,erms,fsrm \
                                rcupdate.rcu_cpu_stall_suppress=1";

/// What it needs, in bytes. More takes longer to begin with.
pub const MEMORY: u64 = 128 << 20;

/// A file of the stock kernel's: `vmlinux`, for PVH, or `bzImage`. `None`, which it says, where it has not been built.
pub fn kernel(name: &str) -> Option<PathBuf> {
    let path = linux::cache().join("stock-kernel").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: tests/run.sh builds it", path.display());
    eprintln!("skipped: the stock kernel is not built. Run: bash tests/run.sh");
    None
}

/// A running machine that has begun with the kernel's file `name` and with this command line, changed by `change`. `None`, which it says, where
/// KVM or the kernel is missing.
pub fn start(name: &str, command_line: &str, change: impl FnOnce(&mut MachineConfig)) -> Option<TestMachine> {
    let (kvm, kernel) = (kvm::open()?, kernel(name)?);
    let kernel = File::open(kernel).unwrap();
    let boot = LinuxBoot { kernel, initrd: None, command_line: command_line.to_owned() };
    let mut guest = machine(kvm, |config| {
        config.memory = MEMORY;
        config.boot = Boot::Linux(boot);
        change(config);
    });
    guest.machine.resume().unwrap();
    Some(guest)
}
