//! What the worker uses of the host: CPU time and memory. Nothing is opened here later than at the start, since the
//! sandbox forbids it then.

use std::{fs::File, os::unix::fs::FileExt};

use rustix::time::{ClockId, clock_gettime};

/// A page of the host, in bytes; the engine runs on x86-64 only.
const PAGE: u64 = 4096;

/// Asks the kernel for the figures.
#[derive(Debug, Default)]
pub struct Usage {
    /// `/proc/self/statm`.
    statm: Option<File>,
}

impl Usage {
    /// Opens what has to be open before the sandbox closes.
    pub fn open() -> Self {
        // The clocks' first use looks for the kernel's vDSO in /proc/self/auxv.
        let _ = monotonic_time();
        Self { statm: File::open("/proc/self/statm").ok() }
    }

    /// What the worker keeps in the host's memory, in bytes; 0 when it is not known.
    pub fn resident(&self) -> u64 {
        let mut text = [0; 128];
        let length = self.statm.as_ref().and_then(|statm| statm.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = text.get(..length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default();
        // proc(5): size, resident, shared, …, in pages.
        let pages: u64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages.saturating_mul(PAGE)
    }
}

/// What all threads of the worker have used of the host's CPUs, in nanoseconds.
pub fn process_cpu_time() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// This moment on the host's monotonic clock, in nanoseconds.
pub fn monotonic_time() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// What one thread of the worker has used of the host's CPUs, in nanoseconds; 0 when there is no such thread.
pub fn thread_cpu_time(thread_id: i32) -> u64 {
    // A thread's CPU clock (linux/posix-timers.h, CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED): the complement of the thread's
    // number above three bits of kind. pthread_getcpuclockid makes the same, but wants a pthread_t.
    let clock = (!thread_id << 3) | 6;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to write to. A number that is no clock's gives an error.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    if result == 0 { seconds_and_nanoseconds(time.tv_sec, time.tv_nsec) } else { 0 }
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    seconds_and_nanoseconds(time.tv_sec, time.tv_nsec)
}

fn seconds_and_nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(nanoseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_has_used_time_and_no_more_than_the_process() {
        let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let start = thread_cpu_time(thread_id);
        let mut sum = 0u64;
        while thread_cpu_time(thread_id) - start < 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }

        assert!(process_cpu_time() >= thread_cpu_time(thread_id) - start);
    }

    #[test]
    fn a_thread_that_is_not_there_has_used_nothing() {
        assert_eq!(thread_cpu_time(0x3fff_fff0), 0);
    }

    #[test]
    fn the_process_is_in_memory() {
        assert!(Usage::open().resident() > 100_000);
    }
}
