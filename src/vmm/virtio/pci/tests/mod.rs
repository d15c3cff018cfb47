//! The transport as a driver sees it, over a device that sends back what it is sent.

mod hostile;
mod lifecycle;

use std::io;

use vmm_sys_util::epoll::EventSet;

use super::*;
use crate::vmm::virtio::{
    device::DeviceType,
    queue::QueueError,
    testing::{Bench, EVENT_INDEX, MEMORY, NEXT, TestQueue, WRITE, wait_for},
    worker::{Engine, Handler, Io},
};

const FEATURE: u64 = 1 << 5;
const RING_RESET: u64 = 1 << 40;

/// Copies what it can read into what it can write.
struct Echo {
    /// Its host's side can make it announce a change of its configuration.
    poke: EventFd,
}

impl Handler for Echo {
    fn started(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        io.add_source(&self.poke, 0, EventSet::IN)?;
        Ok(())
    }

    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(queue) else { return Ok(()) };
        queue.serve_all(memory, |chain| {
            let mut bytes = vec![0; chain.readable.len()];
            chain.readable.read(&mut bytes)?;
            chain.writable.write(&bytes)?;
            Ok(bytes.len())
        })
    }

    fn ready(&mut self, _source: u16, _events: EventSet, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        self.poke.read()?;
        io.interrupt.configuration_changed();
        Ok(())
    }
}

struct EchoDevice {
    engine: Engine<Echo>,
    written: u64,
    refuses: bool,
}

impl EchoDevice {
    fn new() -> (Self, EventFd) {
        let poke = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let echo = Echo { poke: poke.try_clone().unwrap() };
        (Self { engine: Engine::new("echo", echo), written: 0, refuses: false }, poke)
    }
}

impl VirtioDevice for EchoDevice {
    fn label(&self) -> &str {
        "echo"
    }
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }
    fn queue_sizes(&self) -> &[u16] {
        &[16, 8]
    }
    fn features(&self) -> u64 {
        FEATURE
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        crate::vmm::virtio::device::read_config_bytes(&self.written.to_le_bytes(), offset, data);
    }
    fn write_config(&mut self, _offset: u64, data: &[u8]) {
        self.written = data.first().copied().unwrap_or_default().into();
    }
    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        match self.refuses {
            true => Err(io::ErrorKind::OutOfMemory.into()),
            false => self.engine.start(activation),
        }
    }
    fn deactivate(&mut self) -> Queues {
        self.engine.stop()
    }
    fn reset(&mut self) {
        self.written = 0;
    }
    fn save(&self) -> Result<Value, StateError> {
        Ok(self.written.into())
    }
    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.written = state.as_u64().ok_or(StateError::damaged("echo", "no number"))?;
        Ok(())
    }
}

fn started(features: u64) -> (Bench, Vec<TestQueue>) {
    Bench::started(EchoDevice::new().0, features, 16)
}

fn echoes(bench: &mut Bench, queue: &mut TestQueue, text: &[u8]) {
    let sent = queue.send(&[text], &[text.len() as u32]);
    bench.kick(queue.index);
    assert_eq!(queue.wait(), (sent.head, text.len() as u32));
    assert_eq!(sent.answer(), text);
}

#[test]
fn the_function_is_a_modern_device_with_all_its_capabilities() {
    let mut bench = Bench::new(EchoDevice::new().0);

    assert_eq!(bench.pci.config().u32(0), 0x1042_1af4);
    assert_eq!(bench.pci.config().u32(8), 0x0100_0001, "class and revision 1");
    assert!(bench.find_capability(0x11, |_| true).is_some());
    for (kind, bar, offset) in [(1, 0, 0), (2, 0, 0x3000), (3, 0, 0x1000), (4, 0, 0x2000), (5, 0, 0)] {
        let found = bench.find_capability(0x09, |bytes| {
            bytes[3] == kind && bytes[4] == bar && bytes[8..12] == u32::to_le_bytes(offset)
        });
        assert!(found.is_some(), "structure {kind}");
    }
}

#[test]
fn general_features_are_offered_with_the_devices_own() {
    let mut bench = Bench::new(EchoDevice::new().0);

    assert_eq!(bench.offered(), FEATURE | 1 << 28 | 1 << 29 | 1 << 32 | 1 << 40);
    bench.write_common(0, 4, 2);
    assert_eq!(bench.common(4, 4), 0);
}

#[test]
fn features_that_were_not_offered_are_not_accepted() {
    for (select, features) in [(0, 1 << 6), (1, 0), (2, 1)] {
        let mut bench = Bench::new(EchoDevice::new().0);
        bench.write_common(0x14, 1, 3);
        bench.write_common(0x08, 4, 1);
        bench.write_common(0x0c, 4, 1);
        bench.write_common(0x08, 4, select);
        bench.write_common(0x0c, 4, features);

        bench.write_common(0x14, 1, 11);
        assert_eq!(bench.status(), 3, "FEATURES_OK must read back as not set");
        bench.write_common(0x14, 1, 15);

        assert_eq!(bench.status(), 3, "nor does DRIVER_OK take effect");
    }
}

#[test]
fn features_are_fixed_once_accepted() {
    let mut bench = Bench::new(EchoDevice::new().0);
    bench.negotiate(FEATURE);

    bench.write_common(0x08, 4, 0);
    bench.write_common(0x0c, 4, 0xffff_ffff);

    assert_eq!(bench.common(0x0c, 4), FEATURE);
}

#[test]
fn a_queues_registers_read_back_until_it_is_enabled() {
    let mut bench = Bench::new(EchoDevice::new().0);
    bench.negotiate(0);
    bench.write_common(0x16, 2, 1);
    assert_eq!((bench.common(0x18, 2), bench.common(0x1e, 2)), (8, 1));

    bench.write_common(0x18, 2, 4);
    bench.write_common(0x20, 4, 0x1000);
    bench.write_common(0x24, 4, 0x1);
    bench.write_common(0x28, 8, 0x2000);
    bench.write_common(0x1c, 2, 1);
    bench.write_common(0x18, 2, 8);
    bench.write_common(0x28, 8, 0x3000);
    bench.write_common(0x1c, 2, 0);

    assert_eq!(bench.common(0x18, 2), 4);
    assert_eq!(bench.common(0x20, 8), 0x1_0000_1000);
    assert_eq!(bench.common(0x28, 8), 0x2000);
    assert_eq!(bench.common(0x1c, 2), 1);
}

#[test]
fn a_queue_that_does_not_exist_has_size_0_and_takes_nothing() {
    let mut bench = Bench::new(EchoDevice::new().0);
    bench.negotiate(0);
    for queue in [2, 100, 0xffff] {
        bench.write_common(0x16, 2, queue);
        bench.write_common(0x18, 2, 4);
        bench.write_common(0x1a, 2, 1);
        bench.write_common(0x1c, 2, 1);

        assert_eq!(bench.common(0x18, 2), 0);
        assert_eq!(bench.common(0x1c, 2), 0);
    }
    bench.kick(0x7ff);
}

#[test]
fn chains_go_through_and_the_line_tells_of_them() {
    let (mut bench, mut queues) = started(0);

    echoes(&mut bench, &mut queues[0], b"hello");
    wait_for("the interrupt", || bench.line.is_high());

    assert_eq!(bench.isr(), 1);
    assert!(!bench.line.is_high(), "reading the ISR lowers the line");
    assert_eq!(bench.isr(), 0);
    echoes(&mut bench, &mut queues[1], b"and again");
}

#[test]
fn a_driver_that_wants_no_interrupts_gets_none() {
    let (mut bench, mut queues) = started(0);
    queues[0].set_flags(1);

    echoes(&mut bench, &mut queues[0], b"quiet");
    bench.pci.pause();

    assert_eq!(bench.line.edges(), 0);
}

#[test]
fn the_interrupt_disable_bit_keeps_the_line_low() {
    let (mut bench, mut queues) = started(0);
    bench.write_pci(4, &0x0400u16.to_le_bytes());
    echoes(&mut bench, &mut queues[0], b"x");
    bench.pci.pause();
    let mut status = [0; 2];
    bench.read_pci(6, &mut status);

    let low = !bench.line.is_high();
    bench.write_pci(4, &0u16.to_le_bytes());

    assert!(low && bench.line.is_high());
    assert_eq!(status[0] & 8, 8, "the status register shows it");
}

#[test]
fn with_msix_each_queue_has_its_vector_and_the_line_stays_low() {
    let (mut bench, mut queues) = started(0);
    bench.enable_msix();

    echoes(&mut bench, &mut queues[1], b"second");
    bench.pci.pause();

    assert_eq!([0, 1, 2].map(|vector| bench.delivered(vector)), [0, 0, 1]);
    assert_eq!(bench.line.edges(), 0);
    assert_eq!(bench.isr(), 0);
}

#[test]
fn a_vector_that_does_not_exist_reads_back_as_none() {
    let (mut bench, mut queues) = started(0);
    bench.enable_msix();
    bench.write_common(0x16, 2, 0);

    bench.write_common(0x1a, 2, 3);
    bench.write_common(0x10, 2, 0x8000);

    assert_eq!((bench.common(0x1a, 2), bench.common(0x10, 2)), (0xffff, 0xffff));
    echoes(&mut bench, &mut queues[0], b"nobody is told");
}

#[test]
fn with_the_event_index_the_driver_is_told_when_it_asked_to_be() {
    let (mut bench, mut queues) = started(EVENT_INDEX);
    bench.enable_msix();
    queues[0].set_used_event(2);

    echoes(&mut bench, &mut queues[0], b"1");
    echoes(&mut bench, &mut queues[0], b"2");
    bench.pci.pause();
    let early = bench.delivered(1);
    bench.pci.resume();
    echoes(&mut bench, &mut queues[0], b"3");
    wait_for("the interrupt", || bench.delivered(1) == 1);

    assert_eq!(early, 0);
}

#[test]
fn several_chains_are_one_interrupt() {
    let (mut bench, mut queues) = started(0);
    bench.enable_msix();
    bench.pci.pause();
    for _ in 0..5 {
        queues[0].send(&[b"x"], &[1]);
    }

    bench.pci.resume();
    for _ in 0..5 {
        queues[0].wait();
    }
    bench.pci.pause();

    assert_eq!(bench.delivered(1), 1);
}

#[test]
fn indirect_chains_go_through_and_may_be_longer_than_the_queue() {
    let (mut bench, mut queues) = started(1 << 28);
    let (from, to) = (queues[0].allocate(4), queues[0].allocate(4));
    use vm_memory::{Bytes, GuestAddress};
    bench.memory.write_slice(b"abcd", GuestAddress(from)).unwrap();

    let mut buffers = vec![(from, 2, 0), (from + 2, 2, 0)];
    buffers.extend((0..4).map(|step| (to + step, 1, WRITE)));
    buffers.extend([(to, 0, WRITE); 14]);
    let head = queues[0].send_indirect(&buffers);
    bench.kick(0);

    assert_eq!(queues[0].wait(), (head, 4));
    let mut answer = [0; 4];
    bench.memory.read_slice(&mut answer, GuestAddress(to)).unwrap();
    assert_eq!(&answer, b"abcd");
}

#[test]
fn a_size_beyond_the_largest_is_refused() {
    let mut bench = Bench::new(EchoDevice::new().0);
    bench.write_common(0x16, 2, 0);

    bench.write_common(0x18, 2, 32);

    assert_eq!(bench.common(0x18, 2), 16);
}

#[test]
fn a_device_that_cannot_start_asks_for_a_reset() {
    let (mut device, _) = EchoDevice::new();
    device.refuses = true;

    let (mut bench, _) = Bench::started(device, 0, 16);

    assert_eq!(bench.status() & 0x40, 0x40);
}

#[test]
fn one_queue_can_be_reset_and_taken_up_again() {
    let (mut bench, mut queues) = started(RING_RESET);
    echoes(&mut bench, &mut queues[0], b"before");

    bench.write_common(0x16, 2, 0);
    bench.write_common(0x3a, 2, 1);
    assert_eq!((bench.common(0x3a, 2), bench.common(0x1c, 2), bench.common(0x18, 2)), (0, 0, 16));
    echoes(&mut bench, &mut queues[1], b"the other one goes on");
    let mut again = bench.set_up_queue(0, 4);

    echoes(&mut bench, &mut again, b"after");
}

#[test]
fn without_the_feature_a_queue_cannot_be_reset_alone() {
    let (mut bench, mut queues) = started(0);
    bench.write_common(0x16, 2, 0);

    bench.write_common(0x3a, 2, 1);

    assert_eq!(bench.common(0x1c, 2), 1);
    echoes(&mut bench, &mut queues[0], b"unharmed");
}

#[test]
fn a_change_of_the_configuration_has_a_generation_and_an_interrupt() {
    let (device, poke) = EchoDevice::new();
    let (mut bench, _) = Bench::started(device, 0, 16);
    let before = bench.common(0x15, 1);

    poke.write(1).unwrap();
    wait_for("the interrupt", || bench.line.is_high());

    assert_eq!(bench.isr(), 2);
    assert_eq!(bench.common(0x15, 1), before + 1);
}

#[test]
fn the_devices_configuration_is_read_and_written() {
    let (mut bench, _) = started(0);

    bench.write_config(0, 1, 0x5a);

    assert_eq!(bench.config(0, 4), 0x5a);
    assert_eq!(bench.config(7, 8), 0);
    assert_eq!(bench.config(0xff8, 8), 0);
}

#[test]
fn every_register_can_be_reached_through_the_configuration_space() {
    let mut bench = Bench::new(EchoDevice::new().0);
    let window = bench.find_capability(0x09, |bytes| bytes[3] == 5).unwrap();
    let aim = |bench: &mut Bench, offset: u32, length: u32| {
        bench.write_pci(window + 4, &[0]);
        bench.write_pci(window + 8, &offset.to_le_bytes());
        bench.write_pci(window + 12, &length.to_le_bytes());
    };

    aim(&mut bench, 0x14, 1);
    bench.write_pci(window + 16, &[3, 0, 0, 0]);
    aim(&mut bench, 0x12, 2);
    let mut queues = [0; 4];
    bench.read_pci(window + 16, &mut queues);
    for length in [0, 3, 5, u32::MAX] {
        aim(&mut bench, u32::MAX, length);
        bench.write_pci(window + 16, &[0xff; 4]);
        bench.read_pci(window + 16, &mut [0; 4]);
    }

    assert_eq!(bench.status(), 3);
    assert_eq!(queues, [2, 0, 0, 0]);
}

#[test]
fn doorbells_follow_the_bar() {
    let mut bench = Bench::new(EchoDevice::new().0);

    bench.pci.bar_mapped(0, Some(0xfe00_0000));
    let first = bench.interrupts.doorbells.lock().unwrap().clone();
    bench.pci.bar_mapped(0, Some(0xfd00_0000));
    let moved = bench.interrupts.doorbells.lock().unwrap().clone();
    bench.pci.bar_mapped(2, Some(0xfc00_0000));
    let Bench { pci, interrupts, .. } = bench;
    drop(pci);

    assert_eq!(first, [0xfe00_3000, 0xfe00_3004]);
    assert_eq!(moved, [0xfd00_3000, 0xfd00_3004]);
    assert!(interrupts.doorbells.lock().unwrap().is_empty());
}

#[test]
fn accesses_of_any_offset_and_width_are_harmless() {
    let (mut bench, _) = started(0);
    for region in [0, 1, 2, 3, 9] {
        for offset in [0, 0x3e, 0x3f, 0x40, 0x21, 0xfff, 0x1001, 0x2fff, 0x3fff, 0x4000, u64::MAX] {
            for width in [0, 1, 2, 4, 8] {
                let mut data = [0x11; 8];
                bench.pci.read(region, offset, &mut data[..width]);
                if offset != 0x14 {
                    bench.pci.write(region, offset, &data[..width]);
                }
            }
        }
    }
    bench.pci.pause();
}
