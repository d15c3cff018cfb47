//! A Linux guest finds on Lodge what it finds on QEMU: its log and what it tells of its devices are the same, but for
//! differences that have a reason.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use common::{kvm, linux};

#[test]
fn linux_finds_what_it_finds_on_qemu_but_for_what_has_a_reason() {
    if kvm::open().is_none() || linux::native().is_none() {
        return;
    }
    if Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "the package qemu-system-x86 is missing");
        eprintln!("skipped: there is no QEMU. Run: bash resources/setup.sh");
        return;
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_lodgectl")).parent().unwrap();

    let mut compare = Command::new("tests/guest/compare_logs.py");
    compare.args(["--graphics", "virtio", "--programs"]).arg(programs).env("LODGE_TEST_CACHE", linux::cache());

    let said = linux::succeed(&mut compare);
    assert!(said.contains("0 lines differ without a reason"), "{said}");
}
