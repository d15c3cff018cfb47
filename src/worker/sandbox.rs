//! Shuts the worker in, before its guest runs: what a guest can do to the host through a bug of ours is bounded by this.
//!
//! - No new privileges (`PR_SET_NO_NEW_PRIVS`), no core dumps (they would hold the guest's memory).
//! - Landlock, as far as the kernel has it: no file can be opened, made or removed by name, no TCP port used, no process
//!   outside signalled and no abstract socket outside reached.
//! - seccomp: only the system calls of [`ALWAYS`] and [`CONDITIONS`]; any other fails with EPERM. There is no way to open
//!   a file, make a socket, start a program or make memory executable.
//!
//! All threads are made afterwards and inherit it. What the worker needs by then is open: see
//! [`launch`](super::launch). A device that needs a call which is not in the lists gets EPERM:
//! `strace -f -e status=failed -p PID` shows which.
//!
//! - <https://docs.kernel.org/userspace-api/seccomp_filter.html>
//! - <https://docs.kernel.org/userspace-api/landlock.html>

#![cfg_attr(not(test), forbid(unsafe_code))]

use std::{collections::BTreeMap, path::PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// The newest Landlock whose restrictions are asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;

/// Calls that are allowed whatever their arguments.
const ALWAYS: &[libc::c_long] = &[
    // Open files.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fcntl,
    libc::SYS_flock,
    // By rings that were made before, for nothing but transfers.
    libc::SYS_io_uring_enter,
    libc::SYS_dup,
    libc::SYS_close,
    // Connections that were listened for before.
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Waiting, and waking others.
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // Memory; that which is executable is in CONDITIONS.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_memfd_create,
    // Threads and signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Facts.
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    // Refused by the other filter.
    libc::SYS_clone3,
    libc::SYS_statx,
];

/// Requests of linux/if_tun.h.
const TUNSETOFFLOAD: u64 = 0x4004_54d0;
const TUNSETVNETHDRSZ: u64 = 0x4004_54d8;

/// A call that is allowed when one argument (its number), masked, is equal to a value.
pub type Condition = (libc::c_long, u8, u64, u64);

/// Conditions of the worker's. A call may be there several times.
const CONDITIONS: &[Condition] = &[
    // KVM's controls.
    (libc::SYS_ioctl, 1, 0xff00, 0xae00),
    // A block device's: its size, discard, write zeroes.
    (libc::SYS_ioctl, 1, 0xff00, 0x1200),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONBIO),
    // A TAP interface's: what may be left open in packets, and the size of the header before them.
    (libc::SYS_ioctl, 1, u32::MAX as u64, TUNSETOFFLOAD),
    (libc::SYS_ioctl, 1, u32::MAX as u64, TUNSETVNETHDRSZ),
    // The two ends of a stream that goes to a program which listens on the host for its guest.
    (libc::SYS_socketpair, 0, u32::MAX as u64, libc::AF_UNIX as u64),
    // No executable memory.
    (libc::SYS_mmap, 2, libc::PROT_EXEC as u64, 0),
    (libc::SYS_mprotect, 2, libc::PROT_EXEC as u64, 0),
    // A new thread, not a new process.
    (libc::SYS_clone, 0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64),
    // A thread says where it runs itself, not where others do.
    (libc::SYS_sched_setaffinity, 0, u32::MAX as u64, 0),
    (libc::SYS_prctl, 0, u32::MAX as u64, libc::PR_SET_NAME as u64),
    // To ask for a limit (a thread its stack's), not to set it.
    (libc::SYS_prlimit64, 2, u64::MAX, 0),
    // What fstat(2) is in some releases of the C library.
    (libc::SYS_newfstatat, 3, u32::MAX as u64, libc::AT_EMPTY_PATH as u64),
];

/// Calls of [`ALWAYS`] that every companion of a worker needs: a program that carries what the guest sends, as `lodge-nat`.
const COMPANIONS: &[libc::c_long] = &[
    // Open files and connections.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_getsockopt,
    // Waiting.
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    // Memory; that which is executable is in COMPANION_CONDITIONS.
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

/// The conditions under which companions make calls.
const COMPANION_CONDITIONS: &[Condition] = &[
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONBIO),
    (libc::SYS_mmap, 2, libc::PROT_EXEC as u64, 0),
    (libc::SYS_mprotect, 2, libc::PROT_EXEC as u64, 0),
];

/// Calls that are said not to exist. They take their arguments from memory, where a filter cannot look; the C library and
/// Rust's then use their predecessors.
const MISSING: &[libc::c_long] = &[libc::SYS_clone3, libc::SYS_statx];

/// Why the worker could not be shut in.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel's filter of system calls.
    #[error("the filter of system calls could not be set up: {0}. the host's kernel needs CONFIG_SECCOMP_FILTER")]
    Seccomp(#[from] seccompiler::Error),
    /// Landlock.
    #[error("Landlock could not be set up: {0}")]
    Landlock(#[from] RulesetError),
    /// The limit of core dumps.
    #[error("core dumps could not be switched off: {0}")]
    CoreDumps(#[from] rustix::io::Errno),
}

/// What is left to a process that is shut in.
#[derive(Debug, Default)]
pub struct Policy {
    /// System calls that are allowed whatever their arguments.
    pub calls: Vec<libc::c_long>,
    /// Those that are allowed under conditions.
    pub conditions: Vec<Condition>,
    /// Folders and files that can be read.
    pub readable: Vec<PathBuf>,
    /// Whether TCP ports can be used.
    pub network: bool,
}

impl Policy {
    /// That of a companion of a worker, which needs these beyond what every companion does.
    pub fn of_companion(calls: &[libc::c_long], conditions: &[Condition]) -> Self {
        Self {
            calls: [COMPANIONS, calls].concat(),
            conditions: [COMPANION_CONDITIONS, conditions].concat(),
            ..Self::default()
        }
    }
}

/// Shuts the calling thread in as a worker, and with it all that it makes. For good.
pub fn enter() -> Result<(), SandboxError> {
    enter_as(&Policy { calls: ALWAYS.to_vec(), conditions: CONDITIONS.to_vec(), ..Policy::default() })
}

/// Shuts the calling thread in, and with it all that it makes. For good.
pub fn enter_as(policy: &Policy) -> Result<(), SandboxError> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    match enter_landlock(policy)? {
        RulesetStatus::FullyEnforced => {}
        RulesetStatus::PartiallyEnforced => {
            tracing::info!("this kernel has an older Landlock: it enforces what it has")
        }
        RulesetStatus::NotEnforced => tracing::info!("this kernel has no Landlock; the filter of system calls remains"),
    }
    for filter in filters(policy)? {
        seccompiler::apply_filter(&filter)?;
    }
    Ok(())
}

fn enter_landlock(policy: &Policy) -> Result<RulesetStatus, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(LANDLOCK))?;
    if !policy.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(LANDLOCK))?;
    }
    // Of what is handled only that is allowed for which there is a rule.
    let mut ruleset = ruleset.scope(Scope::from_all(LANDLOCK))?.create()?;
    // What is not there cannot be read.
    for path in policy.readable.iter().filter_map(|path| PathFd::new(path).ok()) {
        ruleset = ruleset.add_rule(PathBeneath::new(path, AccessFs::ReadFile))?;
    }
    // This sets PR_SET_NO_NEW_PRIVS too, whether the kernel has Landlock or not.
    Ok(ruleset.restrict_self()?.ruleset)
}

/// The two filters. Where they differ the stricter one counts, which is the one that allows less.
fn filters(policy: &Policy) -> Result<[BpfProgram; 2], seccompiler::Error> {
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = policy.calls.iter().map(|&call| (call, Vec::new())).collect();
    for &(call, argument, mask, value) in &policy.conditions {
        allowed.entry(call).or_default().push(rule(argument, mask, value)?);
    }
    // Signals go to this process only.
    let process = rustix::process::getpid().as_raw_nonzero().get();
    allowed.insert(libc::SYS_tgkill, vec![rule(0, u32::MAX.into(), u64::from(process.unsigned_abs()))?]);

    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let allow = SeccompFilter::new(allowed, refuse, SeccompAction::Allow, TargetArch::x86_64)?;
    let missing = MISSING.iter().map(|&call| (call, Vec::new())).collect();
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let deny = SeccompFilter::new(missing, SeccompAction::Allow, no_such_call, TargetArch::x86_64)?;
    Ok([deny.try_into()?, allow.try_into()?])
}

fn rule(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::Error> {
    let operator = SeccompCmpOp::MaskedEq(mask);
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{self, Read, Seek, Write},
        net::TcpListener,
        os::unix::net::{UnixDatagram, UnixStream},
        process::Command,
        thread,
    };

    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

    use super::*;

    /// Runs `inside` in a thread that is shut in; the others are not.
    fn shut_in<T: Send + 'static>(inside: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(|| {
            enter().unwrap();
            inside()
        });
        thread.join().unwrap()
    }

    fn refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn no_file_can_be_opened_by_name() {
        assert!(shut_in(|| refused(File::open("/etc/hostname")) && refused(File::create("/tmp/escaped"))));
    }

    #[test]
    fn no_program_can_be_started_and_no_process_made() {
        assert!(shut_in(|| refused(Command::new("/bin/true").spawn())));
    }

    #[test]
    fn no_socket_can_be_made() {
        assert!(shut_in(|| refused(UnixDatagram::unbound()) && refused(TcpListener::bind("127.0.0.1:0"))));
        assert!(shut_in(|| refused(UnixStream::connect("/run/dbus/system_bus_socket"))));
    }

    #[test]
    fn no_memory_can_be_made_executable() {
        let errors = shut_in(|| {
            // SAFETY: new memory, at a place of the kernel's choice.
            let made = unsafe {
                mmap_anonymous(std::ptr::null_mut(), 4096, ProtFlags::READ | ProtFlags::EXEC, MapFlags::PRIVATE)
            };
            made.err()
        });

        assert_eq!(errors, Some(rustix::io::Errno::PERM));
    }

    #[test]
    fn no_other_process_can_be_signalled() {
        let parent = rustix::process::getppid().unwrap();

        assert!(shut_in(move || rustix::process::test_kill_process(parent)).is_err());
    }

    #[test]
    fn landlock_alone_refuses_files_and_ports_where_the_kernel_has_it() {
        let refusals = thread::spawn(|| {
            let status = enter_landlock(&Policy::default()).unwrap();
            let refusals = [refused(File::open("/etc/hostname")), refused(TcpListener::bind("127.0.0.1:0"))];
            (status, refusals)
        });

        let (status, [file, port]) = refusals.join().unwrap();

        assert!(status == RulesetStatus::NotEnforced || file);
        assert!(status != RulesetStatus::FullyEnforced || port);
    }

    #[test]
    fn what_is_open_can_be_used_and_threads_can_be_made() {
        let mut file = tempfile::tempfile().unwrap();

        let (content, length, child) = shut_in(move || {
            file.write_all(b"still here").unwrap();
            file.rewind().unwrap();
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            let child = thread::Builder::new().name("child".to_owned()).stack_size(64 << 10);
            let child = child.spawn(|| refused(File::open("/etc/hostname"))).unwrap().join().unwrap();
            (content, file.metadata().unwrap().len(), child)
        });

        assert_eq!((content.as_str(), length), ("still here", 10));
        assert!(child, "a thread made afterwards is shut in too");
    }
}
