//! The gate of tests that need KVM.

use std::{fs::File, os::fd::OwnedFd};

/// An open `/dev/kvm`. Where there is none the test is skipped, which it says; in CI that is a failure.
pub fn open() -> Option<OwnedFd> {
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(file) => Some(file.into()),
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("/dev/kvm cannot be opened: {error}"),
        Err(error) => {
            println!("skipped: /dev/kvm cannot be opened: {error}");
            None
        }
    }
}
