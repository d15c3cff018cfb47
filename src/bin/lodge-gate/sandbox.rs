//! Shuts a gate in: strangers talk to it. What is left to it are its port, and the socket of the screen.

#![forbid(unsafe_code)]

use lodge::worker::sandbox::{Condition, Policy, SandboxError, enter_as};

const CALLS: &[libc::c_long] = &[
    libc::SYS_writev,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Waiting.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_sched_yield,
];

const CONDITIONS: &[Condition] = &[(libc::SYS_socket, 0, u32::MAX as u64, libc::AF_UNIX as u64)];

/// Shuts this process in.
pub fn enter() -> Result<(), SandboxError> {
    enter_as(&Policy::of_companion(CALLS, CONDITIONS))
}
