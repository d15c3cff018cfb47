//! `/dev/kvm`: opening it, and what to do when that fails.

#![forbid(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
};

use super::root::Root;

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
            format!("/dev/kvm cannot be opened: {error}"),
            "Look at \"lodgectl host check\" and at the kernel's log (\"dmesg\")".to_owned(),
        ),
    }
}
