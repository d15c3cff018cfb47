//! A channel: the registers that two drives share, and who works for them (ATA/ATAPI-6, section 7).

#![forbid(unsafe_code)]

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use serde_json::Value;

use super::{DriveConfig, UNITS, protocol::Protocol, state::ChannelState, worker};
use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    interrupt::Interrupt,
    memory::GuestMemory,
};

/// The region of the command block.
pub const COMMAND: usize = 0;
/// Ports of [`COMMAND`].
pub const COMMAND_PORTS: u64 = 8;
/// The region of the control block: alternate status and device control.
pub const CONTROL: usize = 1;
/// Ports of [`CONTROL`].
pub const CONTROL_PORTS: u64 = 1;
/// The region of the channel's half of the bus master.
pub const BUS_MASTER: usize = 2;

const STATE_VERSION: u32 = 1;

/// A channel.
pub struct Channel {
    label: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the vCPUs and the I/O thread have in common.
pub struct Shared {
    memory: Arc<GuestMemory>,
    core: Mutex<Protocol>,
    /// There is work, or the I/O thread has done some.
    changed: Condvar,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Protocol> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, core: MutexGuard<'a, Protocol>) -> MutexGuard<'a, Protocol> {
        self.changed.wait(core).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until then at the latest.
    pub(super) fn wait_until<'a>(&self, core: MutexGuard<'a, Protocol>, time: Instant) -> MutexGuard<'a, Protocol> {
        let left = time.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(core, left).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn tell(&self) {
        self.changed.notify_all();
    }

    pub(super) fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Lets go of the registers, and wakes the I/O thread if there is something for it to do.
    fn release(&self, core: MutexGuard<'_, Protocol>) {
        let has_work = core.has_work();
        drop(core);
        if has_work {
            self.tell();
        }
    }

    /// Waits for the part that the I/O thread is at.
    fn settle<'a>(&self, mut core: MutexGuard<'a, Protocol>) -> MutexGuard<'a, Protocol> {
        while core.is_in_flight() {
            core = self.wait(core);
        }
        core
    }
}

impl Channel {
    /// The channel `label` with the drives `units`, and its I/O thread. `interrupt` is the channel's ISA line.
    pub fn new(
        label: &str,
        units: [Option<DriveConfig>; UNITS],
        interrupt: Interrupt,
        memory: Arc<GuestMemory>,
    ) -> io::Result<Self> {
        let core = Mutex::new(Protocol::new(units, interrupt));
        let shared = Arc::new(Shared { memory, core, changed: Condvar::new() });
        let its = shared.clone();
        let thread = thread::Builder::new().name(label.to_owned()).spawn(move || worker::run(&its))?;
        Ok(Self { label: label.to_owned(), shared, thread: Some(thread) })
    }

    /// Whether the bus master may read and write memory.
    pub fn set_bus_master(&mut self, enabled: bool) {
        let mut core = self.shared.lock();
        core.set_bus_master(enabled);
        self.shared.release(core);
    }

    fn reset_with(&mut self, hard: bool) {
        let mut core = self.shared.lock();
        core.forget();
        let mut core = self.shared.settle(core);
        core.reset(hard);
    }
}

impl Device for Channel {
    fn label(&self) -> &str {
        &self.label
    }

    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        let mut core = self.shared.lock();
        match (region, offset) {
            (COMMAND, 0) => core.read_data(data),
            (COMMAND, _) => {
                data.fill(0xff);
                (offset..).zip(data).for_each(|(offset, byte)| *byte = core.read_register(offset));
            }
            (CONTROL, 0) => {
                data.fill(0xff);
                data.iter_mut().take(1).for_each(|byte| *byte = core.status());
            }
            (BUS_MASTER, _) => core.read_bus_master(offset, data),
            _ => data.fill(0xff),
        }
        self.shared.release(core);
    }

    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        let mut core = self.shared.lock();
        match (region, offset) {
            (COMMAND, 0) => core.write_data(data),
            (COMMAND, _) => {
                for (offset, &byte) in (offset..COMMAND_PORTS).zip(data) {
                    if core.interrupts_work(offset, byte) {
                        core.forget();
                        core = self.shared.settle(core);
                    }
                    core.write_register(offset, byte);
                }
            }
            (CONTROL, 0) => {
                if let Some(&byte) = data.first() {
                    if core.begins_reset(byte) {
                        core.forget();
                        core = self.shared.settle(core);
                    }
                    core.write_control(byte);
                }
            }
            (BUS_MASTER, _) => {
                core.write_bus_master(offset, data);
                // What moves memory stands still when the guest is told that it does.
                while core.moves_memory_unasked() {
                    core = self.shared.wait(core);
                }
            }
            _ => {}
        }
        self.shared.release(core);
    }

    fn read_items(&mut self, region: usize, offset: u64, size: usize, data: &mut [u8]) {
        if (region, offset) == (COMMAND, 0) {
            let mut core = self.shared.lock();
            core.read_data(data);
            return self.shared.release(core);
        }
        data.chunks_exact_mut(size.max(1)).for_each(|item| self.read(region, offset, item));
    }

    fn write_items(&mut self, region: usize, offset: u64, size: usize, data: &[u8]) {
        if (region, offset) == (COMMAND, 0) {
            let mut core = self.shared.lock();
            core.write_data(data);
            return self.shared.release(core);
        }
        data.chunks_exact(size.max(1)).for_each(|item| self.write(region, offset, item));
    }

    fn reset(&mut self) {
        self.reset_with(true);
    }

    fn pause(&mut self) {
        let mut core = self.shared.lock();
        core.pause(true);
        drop(self.shared.settle(core));
    }

    fn resume(&mut self) {
        let mut core = self.shared.lock();
        core.pause(false);
        self.shared.release(core);
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(&self.label, STATE_VERSION, self.shared.lock().save())
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: ChannelState = restore_state(&self.label, STATE_VERSION, state)?;
        let restored = self.shared.lock().restore(state);
        restored.map_err(|reason| {
            self.reset();
            StateError::damaged(&self.label, reason)
        })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.shared.tell();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(device = self.label, "the I/O thread has failed");
        }
    }
}
