//! Shuts a gate in: strangers talk to it. What is left to it are its port, and the socket of the screen.

#![forbid(unsafe_code)]

use lodge::worker::sandbox::{Condition, Policy, SandboxError, enter_as};

const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Waiting.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Memory; that which is executable is in CONDITIONS.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Signals, and the end.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getrandom,
];

const CONDITIONS: &[Condition] = &[
    (libc::SYS_socket, 0, u32::MAX as u64, libc::AF_UNIX as u64),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONBIO),
    (libc::SYS_mmap, 2, libc::PROT_EXEC as u64, 0),
    (libc::SYS_mprotect, 2, libc::PROT_EXEC as u64, 0),
];

/// Shuts this process in.
pub fn enter() -> Result<(), SandboxError> {
    enter_as(&Policy { calls: CALLS.to_vec(), conditions: CONDITIONS.to_vec(), ..Policy::default() })
}
