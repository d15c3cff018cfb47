//! A driver for tests: it does to a device, register by register, what an operating system's does, and whatever a hostile one
//! might. No KVM, no privileges.
//!
//! ```ignore
//! let (mut bench, mut queues) = Bench::started(device, features, 16);
//! let sent = queues[0].send(&bench, &[b"header"], &[512]);
//! bench.kick(0);
//! let (head, written) = queues[0].wait();
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress};

use super::{device::VirtioDevice, pci::VirtioPci};
use crate::vmm::{
    device::Device,
    interrupt::testing::{FakeInterrupts, FakeLine},
    memory::GuestMemory,
    pci::PciFunction,
};

/// Bytes of the guest's memory.
pub const MEMORY: u64 = 4 << 20;
/// How long a test waits for what must come.
pub const GENEROUS: Duration = Duration::from_secs(60);

pub const NEXT: u16 = VRING_DESC_F_NEXT as u16;
pub const WRITE: u16 = VRING_DESC_F_WRITE as u16;
pub const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

const VERSION_1: u64 = 1 << 32;
/// Event index, the feature that most drivers accept.
pub const EVENT_INDEX: u64 = 1 << 29;

/// Waits until `condition` holds, or panics with `what`.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + GENEROUS;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::yield_now();
    }
}

/// Memory for a device's queue alone, without a transport.
pub fn memory() -> Arc<GuestMemory> {
    Arc::new(GuestMemory::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap())
}

/// A device behind its transport, in a machine that runs.
pub struct Bench {
    pub pci: VirtioPci,
    pub memory: Arc<GuestMemory>,
    pub interrupts: Arc<FakeInterrupts>,
    pub line: Arc<FakeLine>,
    next_free: Arc<AtomicU64>,
}

impl Bench {
    /// Plugs the device in. Nothing is negotiated yet.
    pub fn new(device: impl VirtioDevice + 'static) -> Self {
        Self::with_memory(Box::new(device), memory())
    }

    /// As [`Bench::new`], for a device that has been told of the guest's memory.
    pub fn with_memory(device: Box<dyn VirtioDevice>, memory: Arc<GuestMemory>) -> Self {
        let (interrupts, line) = (Arc::new(FakeInterrupts::default()), Arc::new(FakeLine::default()));
        let mut pci = VirtioPci::new(device, memory.clone(), interrupts.clone(), interrupts.clone()).unwrap();
        pci.connect_interrupt(line.clone());
        pci.resume();
        Self { pci, memory, interrupts, line, next_free: Arc::new(AtomicU64::new(0x1000)) }
    }

    /// A device whose driver has accepted `features` of its own and set up all queues with `size` descriptors (or fewer).
    pub fn started(device: impl VirtioDevice + 'static, features: u64, size: u16) -> (Self, Vec<TestQueue>) {
        let mut bench = Self::new(device);
        let queues = bench.start(features, size);
        (bench, queues)
    }

    /// Negotiates, sets up all queues and says DRIVER_OK.
    pub fn start(&mut self, features: u64, size: u16) -> Vec<TestQueue> {
        self.negotiate(features);
        let queues = (0..self.common(0x12, 2) as u16).map(|index| self.set_up_queue(index, size)).collect();
        self.write_common(0x14, 1, 15);
        queues
    }

    /// All of the guest's memory.
    pub fn contents(&self) -> Vec<u8> {
        let mut contents = vec![0; MEMORY as usize];
        self.memory.read_slice(&mut contents, GuestAddress(0)).unwrap();
        contents
    }

    /// A register of the common configuration.
    pub fn common(&mut self, offset: u64, width: usize) -> u64 {
        self.read(offset, width)
    }

    pub fn write_common(&mut self, offset: u64, width: usize, value: u64) {
        self.write(offset, width, value);
    }

    /// Bytes of the device's configuration.
    pub fn config(&mut self, offset: u64, width: usize) -> u64 {
        self.read(0x2000 + offset, width)
    }

    pub fn write_config(&mut self, offset: u64, width: usize, value: u64) {
        self.write(0x2000 + offset, width, value);
    }

    /// The ISR register; reading it clears it.
    pub fn isr(&mut self) -> u8 {
        self.read(0x1000, 1) as u8
    }

    pub fn status(&mut self) -> u8 {
        self.common(0x14, 1) as u8
    }

    /// The features that the device offers.
    pub fn offered(&mut self) -> u64 {
        self.write_common(0, 4, 0);
        let low = self.common(4, 4);
        self.write_common(0, 4, 1);
        low | self.common(4, 4) << 32
    }

    /// Accepts VERSION_1 and `features`, up to FEATURES_OK.
    pub fn negotiate(&mut self, features: u64) {
        let features = features | VERSION_1;
        self.write_common(0x14, 1, 1);
        self.write_common(0x14, 1, 3);
        self.write_common(0x08, 4, 0);
        self.write_common(0x0c, 4, features & 0xffff_ffff);
        self.write_common(0x08, 4, 1);
        self.write_common(0x0c, 4, features >> 32);
        self.write_common(0x14, 1, 11);
        assert_eq!(self.status(), 11, "the features were not accepted");
    }

    /// Sets up and enables queue `index`, its MSI-X vector being `index + 1`.
    pub fn set_up_queue(&mut self, index: u16, size: u16) -> TestQueue {
        self.write_common(0x16, 2, index.into());
        let size = size.min(self.common(0x18, 2) as u16);
        let queue = TestQueue::new(index, size, self.memory.clone(), self.next_free.clone());
        self.connect(&queue);
        queue
    }

    fn connect(&mut self, queue: &TestQueue) {
        self.write_common(0x16, 2, queue.index.into());
        self.write_common(0x18, 2, queue.size.into());
        self.write_common(0x1a, 2, u64::from(queue.index) + 1);
        self.write_common(0x20, 8, queue.descriptors);
        self.write_common(0x28, 8, queue.available);
        self.write_common(0x30, 8, queue.used);
        self.write_common(0x1c, 2, 1);
    }

    /// Sets a queue up where it was before, as after a reset.
    pub fn set_up_again(&mut self, before: &TestQueue) -> TestQueue {
        let queue = before.again();
        self.connect(&queue);
        queue
    }

    /// Switches MSI-X on with every vector unmasked.
    pub fn enable_msix(&mut self) {
        let capability = self.find_capability(0x11, |_| true).unwrap();
        self.write_pci(capability + 2, &0x8000u16.to_le_bytes());
        for vector in 0..self.common(0x12, 2) + 1 {
            self.pci.write(2, vector * 16, &(0xfee0_0000u64 + vector).to_le_bytes());
            self.pci.write(2, vector * 16 + 12, &0u32.to_le_bytes());
        }
        self.write_common(0x10, 2, 0);
    }

    /// How often MSI-X vector `vector` has been delivered since the last look. They are allocated in the order of unmasking.
    pub fn delivered(&self, vector: usize) -> u64 {
        use crate::vmm::interrupt::MsiVector;
        self.interrupts.vectors.lock().unwrap()[vector].event().read().unwrap_or(0)
    }

    /// The offset of the first capability `id` for which `matches` holds.
    pub fn find_capability(&mut self, id: u8, matches: impl Fn(&[u8]) -> bool) -> Option<u16> {
        let mut at = u16::from(self.pci.config().u8(0x34));
        while at != 0 {
            let mut bytes = [0; 20];
            self.pci.config().read(at, &mut bytes);
            if bytes[0] == id && matches(&bytes) {
                return Some(at);
            }
            at = bytes[1].into();
        }
        None
    }

    /// Writes to the configuration space as the bus does.
    pub fn write_pci(&mut self, offset: u16, data: &[u8]) {
        self.pci.config_mut().write(offset, data);
        self.pci.config_written(offset, data.len() as u8);
    }

    pub fn read_pci(&mut self, offset: u16, data: &mut [u8]) {
        self.pci.config_reading(offset, data.len() as u8);
        self.pci.config().read(offset, data);
    }

    /// Rings the doorbell of queue `index`.
    pub fn kick(&mut self, index: u16) {
        self.write(0x3000 + 4 * u64::from(index), 2, index.into());
    }

    /// Waits until the device asks for a reset.
    pub fn wait_failed(&mut self) {
        wait_for("DEVICE_NEEDS_RESET", || self.status() & 0x40 != 0);
    }

    fn read(&mut self, offset: u64, width: usize) -> u64 {
        let mut data = [0; 8];
        self.pci.read(0, offset, &mut data[..width]);
        u64::from_le_bytes(data)
    }

    fn write(&mut self, offset: u64, width: usize, value: u64) {
        self.pci.write(0, offset, &value.to_le_bytes()[..width]);
    }
}

/// The driver's side of a split queue.
pub struct TestQueue {
    pub index: u16,
    pub size: u16,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
    memory: Arc<GuestMemory>,
    next_free: Arc<AtomicU64>,
    next_descriptor: u16,
    made_available: u16,
    seen_used: u16,
}

/// A chain that was made available.
pub struct Sent {
    pub head: u16,
    /// Where its buffers to write are, with their lengths.
    pub writable: Vec<(u64, u32)>,
    memory: Arc<GuestMemory>,
}

impl Sent {
    /// Everything in the buffers to write.
    pub fn answer(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(address, length) in &self.writable {
            let mut part = vec![0; length as usize];
            self.memory.read_slice(&mut part, GuestAddress(address)).unwrap();
            bytes.extend(part);
        }
        bytes
    }
}

impl TestQueue {
    /// A queue with memory of its own.
    pub fn new(index: u16, size: u16, memory: Arc<GuestMemory>, next_free: Arc<AtomicU64>) -> Self {
        let mut queue = Self {
            index,
            size,
            descriptors: 0,
            available: 0,
            used: 0,
            memory,
            next_free,
            next_descriptor: 0,
            made_available: 0,
            seen_used: 0,
        };
        queue.descriptors = queue.allocate(u64::from(size) * 16);
        queue.available = queue.allocate(u64::from(size) * 2 + 6);
        queue.used = queue.allocate(u64::from(size) * 8 + 6);
        // Where another driver's rings were before.
        queue.clear();
        queue
    }

    /// A queue in the same place of which nothing was used yet.
    fn again(&self) -> Self {
        let (memory, next_free) = (self.memory.clone(), self.next_free.clone());
        let queue = Self { next_descriptor: 0, made_available: 0, seen_used: 0, memory, next_free, ..*self };
        queue.clear();
        queue
    }

    fn clear(&self) {
        let end = self.used_ring().end;
        self.write_bytes(self.descriptors, &vec![0; (end - self.descriptors) as usize]);
    }

    /// `length` bytes of zeroed guest memory, aligned to 16. The device may use them until the test ends.
    pub fn allocate(&self, length: u64) -> u64 {
        let at = self.next_free.fetch_add(length.next_multiple_of(16), Ordering::SeqCst);
        assert!(at + length <= MEMORY, "the test's memory is used up");
        at
    }

    /// Makes a chain available: buffers with these contents to read, then buffers of these lengths to write.
    pub fn send(&mut self, readable: &[&[u8]], writable: &[u32]) -> Sent {
        let mut buffers = Vec::new();
        for bytes in readable {
            let at = self.allocate(bytes.len() as u64);
            self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
            buffers.push((at, bytes.len() as u32, 0));
        }
        let writable: Vec<(u64, u32)> = writable.iter().map(|&length| (self.allocate(length.into()), length)).collect();
        buffers.extend(writable.iter().map(|&(at, length)| (at, length, WRITE)));
        let head = self.send_raw(&buffers);
        Sent { head, writable, memory: self.memory.clone() }
    }

    /// Makes a chain of descriptors (address, length, flags) available; NEXT is set where one follows.
    pub fn send_raw(&mut self, buffers: &[(u64, u32, u16)]) -> u16 {
        let head = self.next_descriptor % self.size;
        for (step, &(address, length, flags)) in buffers.iter().enumerate() {
            let more = step + 1 < buffers.len();
            let index = (self.next_descriptor + step as u16) % self.size;
            let next = (index + 1) % self.size;
            self.write_descriptor(index, address, length, flags | if more { NEXT } else { 0 }, next);
        }
        self.next_descriptor = (self.next_descriptor + buffers.len() as u16) % self.size;
        self.make_available(head);
        head
    }

    /// As [`TestQueue::send_raw`], through a table of indirect descriptors.
    pub fn send_indirect(&mut self, buffers: &[(u64, u32, u16)]) -> u16 {
        let table = self.allocate(buffers.len() as u64 * 16);
        for (step, &(address, length, flags)) in buffers.iter().enumerate() {
            let more = if step + 1 < buffers.len() { NEXT } else { 0 };
            let bytes = descriptor(address, length, flags | more, step as u16 + 1);
            self.memory.write_slice(&bytes, GuestAddress(table + 16 * step as u64)).unwrap();
        }
        self.send_raw(&[(table, buffers.len() as u32 * 16, INDIRECT)])
    }

    pub fn write_descriptor(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let bytes = descriptor(address, length, flags, next);
        self.memory.write_slice(&bytes, GuestAddress(self.descriptors + 16 * u64::from(index))).unwrap();
    }

    /// Puts the chain that begins at descriptor `head` into the available ring.
    pub fn make_available(&mut self, head: u16) {
        let slot = self.available + 4 + 2 * u64::from(self.made_available % self.size);
        self.memory.write_obj(head, GuestAddress(slot)).unwrap();
        self.made_available = self.made_available.wrapping_add(1);
        self.set_available_index(self.made_available);
    }

    /// How many chains were made available, as the ring counts.
    pub fn made_available(&self) -> u16 {
        self.made_available
    }

    /// Where the device keeps what it has used.
    pub fn used_ring(&self) -> std::ops::Range<u64> {
        self.used..self.used + 8 * u64::from(self.size) + 6
    }

    /// Where the driver keeps its descriptors and its available ring.
    pub fn driver_rings(&self) -> std::ops::Range<u64> {
        self.descriptors..self.used
    }

    /// Writes to the guest's memory.
    pub fn write_bytes(&self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub fn set_available_index(&self, index: u16) {
        self.memory.store(index, GuestAddress(self.available + 2), Ordering::Release).unwrap();
    }

    /// The available ring's flags: 1 asks for no interrupts.
    pub fn set_flags(&self, flags: u16) {
        self.memory.store(flags, GuestAddress(self.available), Ordering::Release).unwrap();
    }

    /// With the event index: interrupt when the used index passes this.
    pub fn set_used_event(&self, index: u16) {
        let at = self.available + 4 + 2 * u64::from(self.size);
        self.memory.store(index, GuestAddress(at), Ordering::Release).unwrap();
    }

    /// With the event index: the device wants a kick when the available index passes this.
    pub fn kick_event(&self) -> u16 {
        self.memory.load(GuestAddress(self.used_ring().end - 2), Ordering::Acquire).unwrap()
    }

    pub fn used_index(&self) -> u16 {
        self.memory.load(GuestAddress(self.used + 2), Ordering::Acquire).unwrap()
    }

    /// The next chain that the device has given back: its head and how much was written to it.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if self.seen_used == self.used_index() {
            return None;
        }
        let at = self.used + 4 + 8 * u64::from(self.seen_used % self.size);
        self.seen_used = self.seen_used.wrapping_add(1);
        let head: u32 = self.memory.read_obj(GuestAddress(at)).unwrap();
        Some((head as u16, self.memory.read_obj(GuestAddress(at + 4)).unwrap()))
    }

    /// Waits for the next chain that the device gives back.
    pub fn wait(&mut self) -> (u16, u32) {
        let mut used = None;
        wait_for("a used buffer", || {
            used = self.take_used();
            used.is_some()
        });
        used.unwrap()
    }
}

fn descriptor(address: u64, length: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}
