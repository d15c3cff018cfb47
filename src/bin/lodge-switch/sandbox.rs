//! Shuts a switch in: it takes apart what guests send. What is left to it are the sockets that it has, and those that come over
//! them.

#![forbid(unsafe_code)]

use lodge::worker::sandbox::{Condition, Policy, SandboxError, enter_as};

const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_getsockopt,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    // Waiting.
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
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
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONBIO),
    (libc::SYS_mmap, 2, libc::PROT_EXEC as u64, 0),
    (libc::SYS_mprotect, 2, libc::PROT_EXEC as u64, 0),
];

/// Shuts this process in.
pub fn enter() -> Result<(), SandboxError> {
    enter_as(&Policy { calls: CALLS.to_vec(), conditions: CONDITIONS.to_vec(), ..Policy::default() })
}
