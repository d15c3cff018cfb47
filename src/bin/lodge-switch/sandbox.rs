//! Shuts a switch in: it takes apart what guests send. What is left to it are the sockets that it has, and those that come over
//! them.

#![forbid(unsafe_code)]

use lodge::worker::sandbox::{Policy, SandboxError, enter_as};

/// The lock of the network, and who it is that has come.
const CALLS: &[libc::c_long] = &[libc::SYS_flock, libc::SYS_getuid, libc::SYS_geteuid];

/// Shuts this process in.
pub fn enter() -> Result<(), SandboxError> {
    enter_as(&Policy::of_companion(CALLS, &[]))
}
