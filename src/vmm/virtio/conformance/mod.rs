//! What every virtio device has to stand, whatever it is: one table of devices, and the same checks over all of them.
//!
//! - [`negotiation`]: features, the status and the registers;
//! - [`queues`]: requests that are served, and drivers that break the rules of the rings;
//! - [`lifecycle`]: reset, pause, save and restore.
//!
//! A device is added to [`CANDIDATES`] when it is added to the machine.

mod lifecycle;
mod negotiation;
mod queues;

use std::{
    io::Write,
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    sync::Arc,
};

use tempfile::TempDir;

use super::{
    balloon::Balloon,
    block::Block,
    console::{Console, NamedPortConfig},
    device::VirtioDevice,
    entropy::Entropy,
    gpu::VirtioGpu,
    input::{Kind, VirtioInput},
    net::{NetConfig, VirtioNet},
    testing::{Bench, TestQueue},
    vsock::VirtioVsock,
};
use crate::{
    input::{InputEvent, Key},
    vmm::{
        block::{self as disks, Format, Image},
        devices::serial::SerialOutput,
        memory::GuestMemory,
        net::testing::Wire,
    },
};

/// The features that the transport adds to a device's own: indirect descriptors, event index, VERSION_1, RING_RESET.
const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
const EVENT_INDEX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;
const RING_RESET: u64 = 1 << 40;
const GENERAL: u64 = INDIRECT_DESCRIPTORS | EVENT_INDEX | VERSION_1 | RING_RESET;

/// Descriptors of each queue in the tests.
const SIZE: u16 = 16;

/// A device that is put to the tests.
struct Candidate {
    name: &'static str,
    /// Its number (virtio 1.2, section 5).
    number: u16,
    /// Bytes of its configuration.
    config: u64,
    /// Queues that it does not look at when the host's side has something to tell.
    unread: &'static [u16],
    /// A request that it serves at once.
    request: Request,
    make: fn(&Arc<GuestMemory>) -> Subject,
}

/// A request and its outcome.
struct Request {
    queue: u16,
    readable: &'static [u8],
    writable: &'static [u32],
    written: u32,
}

/// What the host's side of a device does to make it busy.
type Host = Box<dyn FnMut(&mut Running)>;

/// A device with the host's side of it.
struct Subject {
    device: Box<dyn VirtioDevice>,
    host: Host,
}

/// Makes the host's side have something for the guest, so that the device wants the guest's buffers.
fn nothing(_: &mut Running) {}

const CANDIDATES: [Candidate; 9] = [
    Candidate {
        name: "net",
        number: 1,
        config: 10,
        unread: &[],
        request: Request { queue: 1, readable: &[0; 72], writable: &[], written: 0 },
        make: net,
    },
    Candidate {
        name: "block",
        number: 2,
        config: 60,
        unread: &[],
        // The first sector, its bytes and the outcome.
        request: Request { queue: 1, readable: &[0; 16], writable: &[512, 1], written: 513 },
        make: block,
    },
    Candidate {
        name: "console",
        number: 3,
        config: 12,
        unread: &[],
        request: Request { queue: 1, readable: b"hello", writable: &[], written: 0 },
        make: console,
    },
    Candidate {
        name: "entropy",
        number: 4,
        config: 0,
        unread: &[],
        request: Request { queue: 0, readable: &[], writable: &[20, 12], written: 32 },
        make: |_| Subject { device: Box::new(Entropy::new("virtio-rng0")), host: Box::new(nothing) },
    },
    Candidate {
        name: "balloon",
        number: 5,
        config: 16,
        unread: &[],
        // Page 1000 comes back.
        request: Request { queue: 1, readable: &[0xe8, 3, 0, 0], writable: &[], written: 0 },
        make: |_| Subject { device: Box::new(Balloon::new("balloon0").unwrap()), host: Box::new(nothing) },
    },
    Candidate {
        name: "gpu",
        number: 16,
        config: 16,
        unread: &[],
        // VIRTIO_GPU_CMD_GET_DISPLAY_INFO.
        request: Request {
            queue: 0,
            readable: &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            writable: &[408],
            written: 408,
        },
        make: |memory| Subject { device: Box::new(VirtioGpu::new("gpu0", memory.clone()).0), host: Box::new(nothing) },
    },
    Candidate {
        name: "keyboard",
        number: 18,
        config: 136,
        unread: &[],
        request: Request { queue: 1, readable: &[0; 8], writable: &[], written: 0 },
        make: |_| input(Kind::Keyboard),
    },
    Candidate {
        name: "tablet",
        number: 18,
        config: 136,
        unread: &[],
        request: Request { queue: 1, readable: &[0; 8], writable: &[], written: 0 },
        make: |_| input(Kind::Tablet),
    },
    Candidate {
        name: "vsock",
        number: 19,
        config: 8,
        // Buffers for events that never come.
        unread: &[2],
        request: Request { queue: 1, readable: &[0; 44], writable: &[], written: 0 },
        make: vsock,
    },
];

fn net(_: &Arc<GuestMemory>) -> Subject {
    let (wires, backends): (Vec<UnixDatagram>, Vec<_>) = (0..2).map(|_| Wire::new()).unzip();
    let backends = backends.into_iter().map(|backend| Box::new(backend) as _).collect();
    let config = NetConfig { id: "net0".into(), mac: [0x52, 0x54, 0, 1, 2, 3], backends };
    let (device, _) = VirtioNet::new(config).unwrap();
    let host = move |_: &mut Running| {
        for wire in &wires {
            wire.send(&[0; 72]).unwrap();
        }
    };
    Subject { device: Box::new(device), host: Box::new(host) }
}

fn block(_: &Arc<GuestMemory>) -> Subject {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let disk = disks::open(Image { file, format: Format::Raw }, false, vec![]).unwrap();
    Subject { device: Box::new(Block::new("virtio-blk0", disk, "serial", 2)), host: Box::new(nothing) }
}

struct Discard;

impl SerialOutput for Discard {
    fn write(&mut self, _bytes: &[u8]) {}
}

/// A terminal and a named port.
fn console(_: &Arc<GuestMemory>) -> Subject {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let named = vec![NamedPortConfig { name: "org.lodge.agent".to_owned(), host: listener.into() }];
    let device = Console::new("console0", Some(Box::new(Discard)), named).unwrap();
    let terminal = device.input().unwrap();
    let mut programs = Vec::new();
    let host = move |running: &mut Running| {
        let _ = &folder;
        terminal.enqueue(b"typed");
        let mut program = UnixStream::connect(&path).unwrap();
        program.write_all(b"said").unwrap();
        programs.push(program);
        // The driver is ready, so is its port 1, and a program in the guest has opened it.
        for message in [[0, 0, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 3, 0, 1, 0], [1, 0, 0, 0, 6, 0, 1, 0]] {
            running.queues[3].send(&[&message], &[]);
            running.bench.kick(3);
            running.queues[3].wait();
        }
    };
    Subject { device: Box::new(device), host: Box::new(host) }
}

fn input(kind: Kind) -> Subject {
    let (device, sink) = VirtioInput::new(kind).unwrap();
    let host = move |_: &mut Running| {
        use crate::input::InputSink;
        sink.send(&[
            InputEvent::Key { key: Key(30), down: true },
            InputEvent::Button { button: crate::input::Button::Left, down: true },
        ]);
    };
    Subject { device: Box::new(device), host: Box::new(host) }
}

fn vsock(_: &Arc<GuestMemory>) -> Subject {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("vsock.sock");
    let device = VirtioVsock::new(5, UnixListener::bind(&path).unwrap()).unwrap();
    let mut programs = Vec::new();
    let host = move |_: &mut Running| {
        let _ = &folder;
        let mut program = UnixStream::connect(&path).unwrap();
        program.write_all(b"CONNECT 1024\n").unwrap();
        programs.push(program);
    };
    Subject { device: Box::new(device), host: Box::new(host) }
}

/// A candidate whose driver is ready.
struct Running {
    candidate: &'static Candidate,
    bench: Bench,
    queues: Vec<TestQueue>,
    /// Taken while the host's side acts.
    host: Option<Host>,
}

impl Candidate {
    /// The device as it is before there is a driver.
    fn plugged(&'static self) -> Running {
        let memory = super::testing::memory();
        let Subject { device, host } = (self.make)(&memory);
        Running { candidate: self, bench: Bench::with_memory(device, memory), queues: Vec::new(), host: Some(host) }
    }

    /// The device with a driver that has accepted its own features and `general` ones.
    fn started(&'static self, general: u64) -> Running {
        let mut running = self.plugged();
        running.start(general);
        running
    }
}

impl Running {
    /// Initialises the device as a driver does after a reset.
    fn start(&mut self, general: u64) {
        let own = self.bench.offered() & !GENERAL;
        self.queues = self.bench.start(own | general, SIZE);
        assert_eq!(self.bench.status(), 15, "{}", self.candidate.name);
    }

    fn reset(&mut self) {
        self.bench.write_common(0x14, 1, 0);
        assert_eq!(self.bench.status(), 0, "{}", self.candidate.name);
    }

    /// Lets the host's side have something for the guest.
    fn let_host_act(&mut self) {
        if let Some(mut host) = self.host.take() {
            host(self);
            self.host = Some(host);
        }
    }

    /// Makes the candidate's request available, without a kick, and returns its head.
    fn send_request(&mut self) -> u16 {
        let Request { queue, readable, writable, .. } = self.candidate.request;
        let readable: &[&[u8]] = if readable.is_empty() { &[] } else { &[readable] };
        self.queues[usize::from(queue)].send(readable, writable).head
    }

    /// Has the candidate's request served.
    fn serve(&mut self) {
        let head = self.send_request();
        self.bench.kick(self.candidate.request.queue);
        self.wait_served(head);
    }

    fn wait_served(&mut self, head: u16) {
        let Request { queue, written, .. } = self.candidate.request;
        assert_eq!(self.queues[usize::from(queue)].wait(), (head, written), "{}", self.candidate.name);
    }

    /// Waits until whatever goes on has ended.
    fn settle(&mut self) {
        use crate::vmm::device::Device;
        self.bench.pci.pause();
        self.bench.pci.resume();
    }

    /// Checks that the device has changed nothing since `before` but its own rings and `given`.
    fn assert_untouched(&self, before: &[u8], given: &[std::ops::Range<u64>], what: &str) {
        let after = self.bench.contents();
        let rings = self.queues.iter().map(TestQueue::used_ring);
        let mut expected = before.to_vec();
        for range in rings.chain(given.iter().cloned()) {
            let range = range.start.min(after.len() as u64) as usize..range.end.min(after.len() as u64) as usize;
            expected[range.clone()].copy_from_slice(&after[range]);
        }
        // All at once first: byte by byte is slow.
        if expected != after {
            let touched = expected.iter().zip(&after).position(|(expected, after)| expected != after);
            panic!("{}: {what}: address {touched:x?} was written", self.candidate.name);
        }
    }
}
