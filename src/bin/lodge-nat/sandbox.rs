//! Shuts the translator in when libslirp does the work: it takes apart what a guest sends. `passt` does the same for itself.
//!
//! What is left to it: sockets of the Internet, reading the files about names of hosts, and the folder that a guest may read by
//! TFTP. The folder of `/etc/resolv.conf` can be read, not that file alone: it is another one when the host has come into another
//! network.

use std::path::{Path, PathBuf};

use lodge::worker::sandbox::{Condition, Policy, SandboxError, enter_as};

const CALLS: &[libc::c_long] = &[
    // Open files and sockets.
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_dup,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // The files about names of hosts: Landlock says which those are.
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_stat,
    libc::SYS_newfstatat,
    // Waiting.
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // Refused by the other filter.
    libc::SYS_clone3,
    libc::SYS_statx,
];

const CONDITIONS: &[Condition] = &[
    (libc::SYS_socket, 0, u32::MAX as u64, libc::AF_INET as u64),
    (libc::SYS_socket, 0, u32::MAX as u64, libc::AF_INET6 as u64),
    // The two ends of a stream.
    (libc::SYS_socketpair, 0, u32::MAX as u64, libc::AF_UNIX as u64),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONREAD),
    (libc::SYS_prlimit64, 2, u64::MAX, 0),
];

/// Shuts this process in, but for reading from `served`.
pub fn enter(served: Option<&Path>) -> Result<(), SandboxError> {
    let mut readable = vec![PathBuf::from("/etc/hosts"), PathBuf::from("/etc/resolv.conf")];
    let resolved = Path::new("/etc/resolv.conf").canonicalize().ok();
    readable.extend(served.map(PathBuf::from));
    readable.extend(resolved.as_deref().and_then(Path::parent).map(PathBuf::from));
    enter_as(&Policy { readable, network: true, ..Policy::of_companion(CALLS, CONDITIONS) })
}
