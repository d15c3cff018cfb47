//! `/dev/kvm`: opening it, and what to do when that fails.

#![forbid(unsafe_code)]

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io,
    os::unix::ffi::OsStringExt,
};

use kvm_ioctls::{Cap, Kvm};

use super::{Finding, Root};
use crate::system_error::words;

/// The only version of the interface that there has ever been since it became stable (Linux 2.6.22).
const VERSION: i32 = 12;

/// What the engine cannot do without, and what it is called.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::UserMemory, "user memory"),
    (Cap::ReadonlyMem, "read-only memory"),
    (Cap::Irqchip, "interrupt controllers"),
    (Cap::Pit2, "the timer"),
    (Cap::SignalMsi, "message-signalled interrupts"),
    (Cap::Irqfd, "irqfd"),
    (Cap::Ioeventfd, "ioeventfd"),
    (Cap::ImmediateExit, "immediate exit"),
];

/// Opens `/dev/kvm`.
pub fn open(root: &Root) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(root.path("/dev/kvm"))
}

/// What is said when `/dev/kvm` cannot be opened, and how to mend it.
pub fn refused(error: &io::Error) -> (String, String) {
    match error.kind() {
        io::ErrorKind::NotFound => (
            "/dev/kvm is not there".to_owned(),
            "Switch on virtualization (VT-x, AMD-V or SVM) in the firmware setup of this computer and load the kernel \
             module kvm_intel or kvm_amd; \"lodgectl host check\" says more"
                .to_owned(),
        ),
        io::ErrorKind::PermissionDenied => (
            "you may not open /dev/kvm".to_owned(),
            "Add yourself to the group kvm (\"sudo usermod -aG kvm $USER\") and log in again".to_owned(),
        ),
        _ => (
            format!("/dev/kvm cannot be opened: {}", words(error)),
            "Look at \"lodgectl host check\" and at the kernel's log (\"dmesg\")".to_owned(),
        ),
    }
}

/// Whether `/dev/kvm` is there and may be opened.
pub(super) fn device(root: &Root) -> Finding {
    let (id, name) = ("kvm-device", "/dev/kvm");
    match open(root) {
        Ok(_) => Finding::fine(id, name, "present, and you may open it"),
        Err(error) => {
            let (what, mend) = refused(&error);
            Finding::missing(id, name, what, mend)
        }
    }
}

/// Whether the kernel's KVM speaks the interface that Lodge knows, and has what the engine needs.
pub(super) fn api(root: &Root) -> Finding {
    let (id, name) = ("kvm-api", "KVM's interface");
    let upgrade = "Install a kernel of version 5.4 or later";
    let Some(kvm) = interface(root) else {
        return Finding::missing(id, name, "unknown: /dev/kvm cannot be opened", "Mend /dev/kvm first");
    };
    match kvm.get_api_version() {
        VERSION => {}
        // No other device answers this.
        ..0 => return Finding::missing(id, name, "/dev/kvm is another device", "Load KVM's modules"),
        version => return Finding::missing(id, name, format!("version {version} instead of {VERSION}"), upgrade),
    }
    let lacking: Vec<_> =
        NEEDED.iter().filter(|(capability, _)| !kvm.check_extension(*capability)).map(|(_, what)| *what).collect();
    if !lacking.is_empty() {
        return Finding::missing(id, name, format!("it lacks {}", lacking.join(", ")), upgrade);
    }
    Finding::fine(id, name, format!("version {VERSION}, up to {} vCPUs a guest", kvm.get_max_vcpus()))
}

/// KVM's interface, if it can be opened.
pub(super) fn interface(root: &Root) -> Option<Kvm> {
    let path = CString::new(root.path("/dev/kvm").into_os_string().into_vec()).ok()?;
    Kvm::new_with_path(path).ok()
}
