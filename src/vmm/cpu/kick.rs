//! Calling a vCPU's thread out of the guest.
//!
//! A signal makes KVM_RUN return. But it may arrive just before the thread enters KVM_RUN, and would be lost; so its handler,
//! which runs in that very thread, sets `immediate_exit`, and the next KVM_RUN returns at once.

use std::{
    cell::Cell,
    io,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::null_mut,
    sync::OnceLock,
    thread::JoinHandle,
};

use libc::{c_int, c_void, siginfo_t};
use vmm_sys_util::{
    errno,
    signal::{Killable, SIGRTMIN, SignalHandler, register_signal_handler, unblock_signal},
};

use super::run_area::RunArea;

thread_local! {
    /// The `immediate_exit` flag of this thread's vCPU. Plain data without a destructor, so that a signal handler may read it.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(null_mut()) };
}

extern "C" fn on_kick(_signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: a Kickable sets the pointer to a live run area's flag and clears it before that goes.
        unsafe { flag.write_volatile(1) };
    }
}

/// Installs the handler, once in the process. Must be done before the first kick.
pub fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), errno::Error>> = OnceLock::new();
    let handler: SignalHandler = on_kick;
    INSTALLED.get_or_init(|| register_signal_handler(SIGRTMIN(), handler)).map_err(Into::into)
}

/// A run area whose vCPU is kicked when the thread that made this is.
pub struct Kickable {
    area: RunArea,
    /// It belongs to its thread.
    not_send: PhantomData<*mut ()>,
}

impl Kickable {
    /// Lets kicks of this thread reach the vCPU of `area`.
    pub fn new(area: RunArea) -> io::Result<Self> {
        unblock_signal(SIGRTMIN()).map_err(|error| io::Error::other(format!("{error:?}")))?;
        IMMEDIATE_EXIT.set(area.immediate_exit());
        Ok(Self { area, not_send: PhantomData })
    }
}

impl Deref for Kickable {
    type Target = RunArea;

    fn deref(&self) -> &RunArea {
        &self.area
    }
}

impl DerefMut for Kickable {
    fn deref_mut(&mut self) -> &mut RunArea {
        &mut self.area
    }
}

impl Drop for Kickable {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(null_mut());
    }
}

/// Kicks a vCPU's thread. Harmless when it has ended.
pub fn kick<T>(thread: &JoinHandle<T>) {
    if let Err(error) = thread.kill(SIGRTMIN()) {
        tracing::error!(%error, "a vCPU's thread could not be signalled");
    }
}
