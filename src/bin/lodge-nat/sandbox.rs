//! Shuts the translator in when libslirp does the work: it takes apart what a guest sends. `passt` does the same for itself.
//!
//! What is left to it: sockets of the Internet, reading the files about names of hosts, and the folder that a guest may read by
//! TFTP. The folder of `/etc/resolv.conf` can
//! be read, not that file alone: it is another one when the host has come into another network.

use std::path::{Path, PathBuf};

use lodge::worker::sandbox::{Policy, SandboxError, enter_as};

const CALLS: &[libc::c_long] = &[
    // Open files and sockets.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // The files about names of hosts: Landlock says which those are.
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_stat,
    libc::SYS_newfstatat,
    // Waiting.
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
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
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getrandom,
    // Refused by the other filter.
    libc::SYS_clone3,
    libc::SYS_statx,
];

const CONDITIONS: &[lodge::worker::sandbox::Condition] = &[
    (libc::SYS_socket, 0, u32::MAX as u64, libc::AF_INET as u64),
    (libc::SYS_socket, 0, u32::MAX as u64, libc::AF_INET6 as u64),
    // The two ends of a stream.
    (libc::SYS_socketpair, 0, u32::MAX as u64, libc::AF_UNIX as u64),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONBIO),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONREAD),
    (libc::SYS_mmap, 2, libc::PROT_EXEC as u64, 0),
    (libc::SYS_mprotect, 2, libc::PROT_EXEC as u64, 0),
    (libc::SYS_prlimit64, 2, u64::MAX, 0),
];

/// Shuts this process in, but for reading from `served`.
pub fn enter(served: Option<&Path>) -> Result<(), SandboxError> {
    let mut readable = vec![PathBuf::from("/etc/hosts"), PathBuf::from("/etc/resolv.conf")];
    let resolved = Path::new("/etc/resolv.conf").canonicalize().ok();
    readable.extend(served.map(PathBuf::from));
    readable.extend(resolved.as_deref().and_then(Path::parent).map(PathBuf::from));
    enter_as(&Policy { calls: CALLS.to_vec(), conditions: CONDITIONS.to_vec(), readable, network: true })
}
