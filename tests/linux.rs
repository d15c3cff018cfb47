//! A Linux guest on the engine: the native test kernel (tests/guest/) with its root file system on a virtio disk.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use common::linux::{self, Linux};

#[test]
fn a_kernel_boots_by_pvh_to_its_user_space_and_powers_off() {
    let Some(guest) = Linux::start("uname -a; cat /proc/cmdline", |_| {}) else { return };

    let text = guest.run_to_end();

    assert!(text.contains("GUEST-UP") && text.contains("Linux (none)"), "{text}");
    linux::assert_clean(&text);
}
