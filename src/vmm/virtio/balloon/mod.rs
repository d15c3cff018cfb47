//! virtio-balloon (virtio 1.2, section 5.5): takes memory from the guest and gives it back, tells how the guest uses what it
//! has, and lets the host have back the pages that the guest reports as free.
//!
//! All optional queues are offered together. Drivers number the queues by what they have negotiated, without gaps, and the
//! specification by what there can be; when everything is offered both come to the same.

#![forbid(unsafe_code)]

mod memory_statistics;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vm_memory::{GuestAddress, GuestMemory as _, Permissions};
use vmm_sys_util::{epoll::EventSet, eventfd::EventFd};

pub use self::memory_statistics::MemoryStatistics;
use super::{
    device::{Activation, DeviceType, VirtioDevice, read_config_bytes},
    queue::{Chain, QueueError, Queues},
    worker::{Engine, Handler, Io},
};
use crate::vmm::{
    device::{StateError, restore_state, save_state},
    memory::{self, GuestMemory},
};

const STATE_VERSION: u32 = 1;

/// The unit of the balloon, whatever the guest's page size, in bytes.
pub const PAGE: u64 = 4096;

const QUEUE_SIZES: [u16; 5] = [128; 5];

/// Feature bits (section 5.5.3).
const STATISTICS: u64 = 1 << 1;
const DEFLATE_ON_OOM: u64 = 1 << 2;
const FREE_PAGE_HINT: u64 = 1 << 3;
const PAGE_POISON: u64 = 1 << 4;
const PAGE_REPORTING: u64 = 1 << 5;

/// Offsets of what the driver writes to the configuration: how large the balloon is, and what it fills free pages with.
const CONFIG_ACTUAL: u64 = 4;
const CONFIG_POISON: u64 = 12;

/// Pages of one request; Linux sends 256.
const MAX_PAGES: usize = 4096;

/// The host's side has changed the size that it wants, or asks for statistics.
const WAKE: u16 = 0;

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Inflate,
    Deflate,
    Statistics,
    FreePageHint,
    PageReporting,
}

/// The roles of the queues under these features, in the order of their numbers.
fn roles(features: u64) -> impl Iterator<Item = Role> {
    [
        (Role::Inflate, true),
        (Role::Deflate, true),
        (Role::Statistics, features & STATISTICS != 0),
        (Role::FreePageHint, features & FREE_PAGE_HINT != 0),
        (Role::PageReporting, features & PAGE_REPORTING != 0),
    ]
    .into_iter()
    .filter_map(|(role, there)| there.then_some(role))
}

/// The number of the queue for statistics, if there is one.
fn statistics_queue(features: u64) -> Option<u16> {
    (0..).zip(roles(features)).find_map(|(index, role)| (role == Role::Statistics).then_some(index))
}

/// What the device's thread, the driver's registers and the host's side share.
struct Shared {
    /// Pages that the host wants in the balloon.
    target: AtomicU32,
    /// Pages that the driver says are in it.
    actual: AtomicU32,
    /// What the driver fills free pages with.
    poison: AtomicU32,
    statistics: Mutex<Statistics>,
    wake: EventFd,
    /// A driver has taken the device over, and nothing has reset it since.
    has_driver: AtomicBool,
    /// The driver takes pages back from the balloon when the guest needs them.
    deflates: AtomicBool,
    /// Who is told that `actual` has changed.
    observer: OnceLock<Observer>,
    /// The observer was told and has not looked yet.
    told: AtomicBool,
}

/// Is told that the balloon has another size; called from the thread of a vCPU.
type Observer = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Statistics {
    last: Option<MemoryStatistics>,
    /// The host's side wants newer ones.
    wanted: bool,
}

impl Shared {
    fn statistics(&self) -> MutexGuard<'_, Statistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver says how large the balloon is.
    fn set_actual(&self, pages: u32) {
        if self.actual.swap(pages, Ordering::AcqRel) != pages
            && let Some(observer) = self.observer.get()
            && !self.told.swap(true, Ordering::AcqRel)
        {
            observer();
        }
    }

    fn wake(&self) {
        // The counter cannot overflow: the thread reads it at once, or finds it when it begins.
        let _ = self.wake.write(1);
    }
}

/// The balloon's face to the host.
#[derive(Clone)]
pub struct BalloonHandle(Arc<Shared>);

impl BalloonHandle {
    /// Asks the guest to give up `bytes` of its memory (rounded down to whole pages); it does so as it can.
    pub fn set_target(&self, bytes: u64) {
        self.0.target.store(u32::try_from(bytes / PAGE).unwrap_or(u32::MAX), Ordering::Release);
        self.0.wake();
    }

    /// What the guest was asked to give up, in bytes.
    pub fn target(&self) -> u64 {
        u64::from(self.0.target.load(Ordering::Acquire)) * PAGE
    }

    /// What it has given up, in bytes.
    pub fn actual(&self) -> u64 {
        u64::from(self.0.actual.load(Ordering::Acquire)) * PAGE
    }

    /// Has `observer` called when the balloon has another size, from the thread of a vCPU or of whoever resets the machine; the
    /// next time only after [`BalloonHandle::actual_after_change`]. A guest that plays with its balloon keeps nobody busy.
    /// There is one observer; a second one is never called.
    pub fn observe(&self, observer: impl Fn() + Send + Sync + 'static) {
        // The first one stays.
        let _ = self.0.observer.set(Box::new(observer));
    }

    /// [`BalloonHandle::actual`]; from now on the observer is called again.
    pub fn actual_after_change(&self) -> u64 {
        self.0.told.store(false, Ordering::Release);
        self.actual()
    }

    /// Whether the guest has a driver for it; without one it gives up nothing.
    pub fn has_driver(&self) -> bool {
        self.0.has_driver.load(Ordering::Acquire)
    }

    /// Whether the guest counts what is in the balloon as its own in [`MemoryStatistics::total`]: drivers do that when they can take
    /// it back by themselves.
    pub fn is_in_total(&self) -> bool {
        self.0.deflates.load(Ordering::Acquire)
    }

    /// Asks the guest for new statistics.
    pub fn request_statistics(&self) {
        self.0.statistics().wanted = true;
        self.0.wake();
    }

    /// The last statistics that the guest has sent.
    pub fn statistics(&self) -> Option<MemoryStatistics> {
        self.0.statistics().last.clone()
    }
}

/// The balloon.
pub struct Balloon {
    label: String,
    shared: Arc<Shared>,
    engine: Engine<Worker>,
}

#[derive(Serialize, Deserialize)]
struct State {
    target: u32,
    actual: u32,
    poison: u32,
    /// The chain of the statistics queue that waits to be asked for.
    held: Option<u16>,
}

impl Balloon {
    /// A balloon that is named `label`, empty.
    pub fn new(label: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            target: AtomicU32::new(0),
            actual: AtomicU32::new(0),
            poison: AtomicU32::new(0),
            statistics: Mutex::default(),
            wake: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            has_driver: AtomicBool::new(false),
            deflates: AtomicBool::new(false),
            observer: OnceLock::new(),
            told: AtomicBool::new(false),
        });
        let worker = Worker { shared: shared.clone(), told: 0, held: None };
        Ok(Self { label: label.to_owned(), shared, engine: Engine::new(label, worker) })
    }

    /// The host's side.
    pub fn handle(&self) -> BalloonHandle {
        BalloonHandle(self.shared.clone())
    }
}

impl VirtioDevice for Balloon {
    fn label(&self) -> &str {
        &self.label
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Balloon
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        STATISTICS | DEFLATE_ON_OOM | FREE_PAGE_HINT | PAGE_POISON | PAGE_REPORTING
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 16];
        config[..4].copy_from_slice(&self.shared.target.load(Ordering::Acquire).to_le_bytes());
        config[4..8].copy_from_slice(&self.shared.actual.load(Ordering::Acquire).to_le_bytes());
        // The third word is the command for free page hints; 0 is to stop, and they were never asked for.
        config[12..].copy_from_slice(&self.shared.poison.load(Ordering::Acquire).to_le_bytes());
        read_config_bytes(&config, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else { return };
        match offset {
            CONFIG_ACTUAL => self.shared.set_actual(value),
            CONFIG_POISON => self.shared.poison.store(value, Ordering::Release),
            _ => {}
        }
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.shared.deflates.store(activation.features & DEFLATE_ON_OOM != 0, Ordering::Release);
        self.shared.has_driver.store(true, Ordering::Release);
        self.engine.start(activation)
    }

    fn deactivate(&mut self) -> Queues {
        self.engine.stop()
    }

    /// The guest starts anew with all of its memory; what the host wants stays.
    fn reset(&mut self) {
        self.shared.has_driver.store(false, Ordering::Release);
        self.shared.set_actual(0);
        self.shared.poison.store(0, Ordering::Release);
        *self.shared.statistics() = Statistics::default();
        if let Some(worker) = self.engine.handler_mut() {
            worker.held = None;
        }
    }

    fn save(&self) -> Result<Value, StateError> {
        let state = State {
            target: self.shared.target.load(Ordering::Acquire),
            actual: self.shared.actual.load(Ordering::Acquire),
            poison: self.shared.poison.load(Ordering::Acquire),
            held: self.engine.handler().and_then(|worker| worker.held),
        };
        save_state(&self.label, STATE_VERSION, state)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        let state: State = restore_state(&self.label, STATE_VERSION, state)?;
        self.shared.target.store(state.target, Ordering::Release);
        self.shared.actual.store(state.actual, Ordering::Release);
        self.shared.poison.store(state.poison, Ordering::Release);
        if let Some(worker) = self.engine.handler_mut() {
            worker.held = state.held;
        }
        Ok(())
    }
}

/// What the balloon does on its thread.
struct Worker {
    shared: Arc<Shared>,
    /// The target that the driver was told of last.
    told: u32,
    /// The head of the statistics queue's chain. The driver gives one, which comes back when new statistics are wanted.
    held: Option<u16>,
}

impl Worker {
    /// Takes the pages that the driver has put into the balloon.
    fn inflate(chain: &mut Chain<'_>, memory: &GuestMemory) -> Result<usize, QueueError> {
        let mut pages = Vec::with_capacity(256);
        while !chain.readable.is_empty() && pages.len() < MAX_PAGES {
            pages.push(chain.readable.read_object::<u32>()?);
        }
        // In order they make ranges, and a range is one call.
        pages.sort_unstable();
        for range in pages.chunk_by(|&page, &next| page.checked_add(1) == Some(next)) {
            let Some(&first) = range.first() else { continue };
            let pieces = memory.get_slices(
                GuestAddress(u64::from(first) * PAGE),
                range.len() * PAGE as usize,
                Permissions::Write,
            );
            // What is not RAM was never the guest's to give, which is its own affair.
            for piece in pieces.into_iter().flatten().flatten() {
                memory::give_back(memory, &piece)?;
            }
        }
        Ok(0)
    }

    /// Takes the pages that the driver reports as free, for as long as it does not use them.
    fn take_reported(&self, features: u64, chain: &Chain<'_>, memory: &GuestMemory) -> Result<usize, QueueError> {
        // Given back they read as zeroes. A driver that fills free pages with something else would find them spoilt.
        let poisoned = features & PAGE_POISON != 0 && self.shared.poison.load(Ordering::Acquire) != 0;
        if !poisoned {
            chain.writable.slices().iter().try_for_each(|piece| memory::give_back(memory, piece).map(drop))?;
        }
        Ok(0)
    }

    /// Reads statistics and keeps their chain back until newer ones are wanted.
    fn statistics(&mut self, index: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(index) else { return Ok(()) };
        for _ in 0..queue.size() {
            let Some(mut chain) = queue.pop(memory)? else { break };
            let sent = MemoryStatistics::read(&mut chain.readable);
            // The first chain may be empty: there is just something to answer with.
            if !sent.is_empty() {
                self.shared.statistics().last = Some(sent);
            }
            if let Some(surplus) = self.held.replace(chain.head()) {
                queue.complete(memory, surplus, 0)?;
            }
        }
        queue.announce(memory)?;
        if queue.want_kicks(memory)? {
            // What has come meanwhile, or was too much for one turn, is taken on the next one.
            self.shared.wake();
        }
        self.ask_for_statistics(io)
    }

    /// Gives the driver its chain back, if newer statistics are wanted: that is how it is asked for them.
    fn ask_for_statistics(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = statistics_queue(io.features).and_then(|index| io.queue(index)) else { return Ok(()) };
        if self.held.is_some() && std::mem::take(&mut self.shared.statistics().wanted) {
            if let Some(head) = self.held.take() {
                queue.complete(memory, head, 0)?;
            }
            queue.announce(memory)?;
        }
        Ok(())
    }

    fn tell_target(&mut self, io: &mut Io<'_, '_>) {
        let target = self.shared.target.load(Ordering::Acquire);
        if std::mem::replace(&mut self.told, target) != target {
            io.interrupt.configuration_changed();
        }
    }
}

impl Handler for Worker {
    fn started(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        // Without its queue, because the driver has reset it, the chain is no longer here to be given back.
        if statistics_queue(io.features).and_then(|index| io.queue(index)).is_none() {
            self.held = None;
        }
        io.add_source(&self.shared.wake, WAKE, EventSet::IN)?;
        Ok(())
    }

    fn kicked(&mut self, index: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let (memory, features) = (io.memory, io.features);
        let Some(role) = roles(features).nth(index.into()) else { return Ok(()) };
        if role == Role::Statistics {
            return self.statistics(index, io);
        }
        let Some(queue) = io.queue(index) else { return Ok(()) };
        queue.serve_all(memory, |chain| match role {
            Role::Inflate => Self::inflate(chain, memory),
            Role::PageReporting => self.take_reported(features, chain, memory),
            // Pages come back by being touched. Hints are for a migration, which has not asked for any.
            Role::Deflate | Role::FreePageHint | Role::Statistics => Ok(0),
        })
    }

    fn ready(&mut self, _source: u16, _events: EventSet, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        // Somebody else may have read it: there is nothing to be done about that.
        let _ = self.shared.wake.read();
        self.tell_target(io);
        match statistics_queue(io.features) {
            Some(index) => self.statistics(index, io),
            None => Ok(()),
        }
    }
}
