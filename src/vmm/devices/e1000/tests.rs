use std::{
    os::unix::net::UnixDatagram,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use vm_memory::{Bytes, GuestAddress};

use super::{
    registers::{RECEIVE, TRANSMIT},
    *,
};
use crate::vmm::{
    interrupt::testing::FakeLine,
    limits::{Limit, Limits},
    net::{HEADER_SIZE, Offloads, checksum, testing::Wire},
    virtio::testing::wait_for,
};

const MAC: MacAddress = [0x52, 0x54, 0, 1, 2, 3];
const MEMORY: u64 = 4 << 20;
const ENTRIES: u64 = 16;
/// Where the tests have their rings and buffers.
const RECEIVE_RING: u64 = 0x1000;
const TRANSMIT_RING: u64 = 0x2000;
const RECEIVE_BUFFERS: u64 = 0x10_0000;
const TRANSMIT_BUFFERS: u64 = 0x20_0000;
const BUFFER: u64 = 2048;

const ICR: u64 = registers::ICR as u64;
const IMS: u64 = registers::IMS as u64;
/// A legacy descriptor's command: end of packet, insert the checksum, report.
const WHOLE: u8 = 0b1011;

/// A driver.
struct Bench {
    card: E1000,
    handle: NetHandle,
    line: Arc<FakeLine>,
    memory: Arc<GuestMemory>,
    wire: UnixDatagram,
    /// How many descriptors were ever given to the card.
    given: [u64; 2],
}

impl Bench {
    /// A card that runs and may use memory, without a driver.
    fn idle(offloads: Offloads) -> Self {
        let (wire, mut backend) = Wire::new();
        backend.offloads = offloads;
        let memory = Arc::new(GuestMemory::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap());
        let line = Arc::new(FakeLine::default());
        let (mut card, handle) = E1000::new("net0", MAC, Box::new(backend), memory.clone()).unwrap();
        card.connect_interrupt(line.clone());
        card.config_mut().write(4, &[7, 0]);
        card.config_written(4, 2);
        card.resume();
        Self { card, handle, line, memory, wire, given: [0; 2] }
    }

    /// One whose driver has set both rings up and given it buffers.
    fn started(offloads: Offloads) -> Self {
        let mut bench = Self::idle(offloads);
        for (ring, base) in [(RECEIVE, RECEIVE_RING), (TRANSMIT, TRANSMIT_RING)] {
            bench.set(ring.base_low(), base as u32);
            bench.set(ring.length(), ENTRIES as u32 * 16);
        }
        bench.set(registers::RCTL, 1 << 1 | 1 << 15);
        bench.set(registers::TCTL, 1 << 1 | 1 << 3);
        bench.write(IMS, 0x1_fedf);
        bench.give_buffers(ENTRIES - 1);
        bench
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.card.write(MEMORY_BAR, offset, &value.to_le_bytes());
    }

    fn set(&mut self, register: u32, value: u32) {
        self.write(register.into(), value);
    }

    fn get(&mut self, register: impl Into<u64>) -> u32 {
        let mut data = [0; 4];
        self.card.read(MEMORY_BAR, register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    fn give_buffers(&mut self, count: u64) {
        for _ in 0..count {
            let slot = self.given[0] % ENTRIES;
            let descriptor = u128::from(RECEIVE_BUFFERS + slot * BUFFER);
            self.memory.write_obj(descriptor.to_le_bytes(), GuestAddress(RECEIVE_RING + slot * 16)).unwrap();
            self.given[0] += 1;
        }
        let tail = self.given[0] % ENTRIES;
        self.set(RECEIVE.tail(), tail as u32);
    }

    /// Puts a descriptor into the transmit ring; [`Bench::go`] tells the card.
    fn put(&mut self, lower: u64, upper: u64) -> u64 {
        let place = TRANSMIT_RING + self.given[1] % ENTRIES * 16;
        self.memory.write_obj(lower, GuestAddress(place)).unwrap();
        self.memory.write_obj(upper, GuestAddress(place + 8)).unwrap();
        self.given[1] += 1;
        place
    }

    fn go(&mut self) {
        let tail = self.given[1] % ENTRIES;
        self.set(TRANSMIT.tail(), tail as u32);
    }

    /// Sends `content` as one legacy descriptor, whose status it waits for.
    fn send(&mut self, content: &[u8]) {
        self.memory.write_slice(content, GuestAddress(TRANSMIT_BUFFERS)).unwrap();
        let place = self.put(TRANSMIT_BUFFERS, content.len() as u64 | u64::from(WHOLE) << 24);
        self.go();
        let memory = self.memory.clone();
        wait_for("the descriptor", || memory.read_obj::<u8>(GuestAddress(place + 12)).unwrap() & 1 != 0);
    }

    /// The next frame on the wire, with its header.
    fn sent(&self) -> Vec<u8> {
        let mut bytes = vec![0; 70_000];
        let length = self.wire.recv(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    /// Has a frame come over the wire.
    fn come(&self, frame: &[u8]) {
        self.wire.send(&[&[0; HEADER_SIZE], frame].concat()).unwrap();
    }

    /// Waits for receive descriptor `index`; its upper half.
    fn received(&self, index: u64) -> [u8; 8] {
        let place = GuestAddress(RECEIVE_RING + index * 16 + 8);
        let upper = || self.memory.read_obj::<[u8; 8]>(place).unwrap();
        wait_for("the frame", || upper()[4] & 1 != 0);
        upper()
    }

    fn buffer(&self, index: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(RECEIVE_BUFFERS + index * BUFFER)).unwrap();
        bytes
    }
}

fn frame_to(destination: MacAddress, length: usize) -> Vec<u8> {
    [&destination[..], &[2; 6], &[0x88, 0xb5], &vec![9; length - 14]].concat()
}

#[test]
fn a_driver_finds_address_link_and_a_reset_by_both_ways_to_the_registers() {
    let mut bench = Bench::idle(Offloads::default());
    let read = |bench: &mut Bench| [registers::RAL, registers::RAH].map(|register| bench.get(register));
    let address = read(&mut bench);
    bench.set(registers::RAL, 0);
    bench.set(registers::IMS, 4);

    bench.card.write(PORTS_BAR, IO_ADDRESS, &registers::CTRL.to_le_bytes());
    bench.card.write(PORTS_BAR, IO_DATA, &registers::ctrl::RESET.to_le_bytes());

    assert_eq!(address, [0x0100_5452, 0x8000_0302]);
    assert_eq!(read(&mut bench), address);
    assert_eq!((bench.get(registers::IMS), bench.get(registers::STATUS)), (0, 0x283));
    assert_eq!(bench.get(registers::CTRL) & registers::ctrl::RESET, 0);
    let mut word = [0; 4];
    bench.card.read(PORTS_BAR, IO_DATA, &mut word);
    assert_eq!(u32::from_le_bytes(word), bench.get(registers::CTRL));
}

#[test]
fn a_frame_goes_out_padded_and_its_descriptor_comes_back_with_an_interrupt() {
    let mut bench = Bench::started(Offloads::default());

    bench.send(&frame_to([4; 6], 20));

    let frame = bench.sent();
    assert_eq!((frame.len(), &frame[..HEADER_SIZE]), (HEADER_SIZE + 60, &[0; HEADER_SIZE][..]));
    assert_eq!(frame[HEADER_SIZE..][..20], frame_to([4; 6], 20));
    let line = bench.line.clone();
    wait_for("the interrupt", || line.is_high());
    assert_eq!(bench.get(ICR) & 3, 3);
    assert!(!bench.line.is_high());
    assert_eq!(bench.get(TRANSMIT.head()), 1);
    wait_for("the counters", || bench.handle.statistics().sent_bytes.load(Ordering::Relaxed) == 60);
    wait_for("the registers", || bench.get(registers::counter::SENT_BYTES) == 64);
}

/// A packet of TCP over IPv4 with so much payload, its descriptors and what divides it.
fn send_long(bench: &mut Bench, payload: usize) {
    let mut headers = [0; 54];
    (headers[12], headers[14], headers[22], headers[23], headers[46]) = (8, 0x45, 64, 6, 0x50);
    headers[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let pseudo = checksum::add(checksum::sum(&headers[26..34]), 6);
    headers[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let content = [&headers[..], &vec![7; payload]].concat();
    bench.memory.write_slice(&content, GuestAddress(TRANSMIT_BUFFERS)).unwrap();
    // Context: IP header at 14, its checksum at 24 up to 33; TCP at 34, its checksum at 50; IPv4, TCP, to be divided.
    let context = u64::from_le_bytes([14, 24, 33, 0, 34, 50, 0, 0]);
    let sizes = payload as u64 | 0x27 << 24 | 54 << 40 | 1000 << 48;
    bench.put(context, sizes);
    let data = |length: u64, command: u64| length | 1 << 20 | command << 24 | 3 << 40;
    bench.put(TRANSMIT_BUFFERS, data(54, 0x24));
    bench.put(TRANSMIT_BUFFERS + 54, data(payload as u64, 0x2f));
    bench.go();
}

#[test]
fn a_long_packet_is_divided_by_the_card_or_left_to_a_back_end_that_can() {
    let mut bench = Bench::started(Offloads::default());
    send_long(&mut bench, 2500);
    let segments: Vec<_> = (0..3).map(|_| bench.sent()).collect();
    let mut able = Bench::started(Offloads { checksum: true, tso4: true, ..Offloads::default() });
    send_long(&mut able, 2500);
    let whole = able.sent();

    assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1066, 1066, 566]);
    for segment in segments {
        let right = checksum::Verdict { header: Some(true), content: Some(true) };
        assert_eq!(checksum::verify(&segment[HEADER_SIZE..]), right);
    }
    assert_eq!((whole.len(), &whole[..4]), (HEADER_SIZE + 2554, &[1, 1, 54, 0][..]));
    wait_for("the descriptors", || able.get(TRANSMIT.head()) == 3);
}

#[test]
fn a_frame_comes_into_as_many_buffers_as_it_fills_with_its_checksum() {
    let mut bench = Bench::started(Offloads::default());
    let size_256 = 3 << 16;
    bench.set(registers::RCTL, 1 << 1 | size_256);
    let frame = frame_to(MAC, 300);

    bench.come(&frame);

    let last = bench.received(1);
    assert_eq!(bench.received(0)[..5], [0, 1, 0, 0, 1], "256 bytes, not the end");
    assert_eq!(last[..5], [48, 0, 0, 0, 3]);
    assert_eq!([bench.buffer(0, 256), bench.buffer(1, 44)].concat(), frame);
    assert_eq!(bench.buffer(1, 48)[44..], crc32fast::hash(&frame).to_le_bytes());
    let line = bench.line.clone();
    wait_for("the interrupt", || line.is_high());
    assert_eq!(bench.get(ICR) & 0x80, 0x80);
    assert_eq!(bench.handle.statistics().received_bytes.load(Ordering::Relaxed), 300);
}

#[test]
fn only_frames_for_the_card_come_through_its_filters() {
    let mut bench = Bench::started(Offloads::default());
    let group = [0x01, 0, 0x5e, 0, 0, 0xfb];
    let come = |bench: &mut Bench, control: u32, destination| {
        bench.set(registers::RCTL, 1 << 1 | control);
        bench.come(&frame_to(destination, 60));
        // The next one follows it in any case.
        bench.come(&frame_to(MAC, 61));
        let mut count = 0;
        let last = loop {
            let index = bench.given[0] - (ENTRIES - 1) + count;
            count += 1;
            let upper = bench.received(index % ENTRIES);
            if upper[0] == 65 {
                break count;
            }
        };
        bench.give_buffers(count);
        last > 1
    };

    assert!(!come(&mut bench, 0, [2, 0, 0, 0, 0, 9]));
    assert!(come(&mut bench, 1 << 3, [2, 0, 0, 0, 0, 9]), "all of them");
    assert!(!come(&mut bench, 0, [0xff; 6]));
    assert!(come(&mut bench, 1 << 15, [0xff; 6]));
    assert!(!come(&mut bench, 0, group));
    assert!(come(&mut bench, 1 << 4, group), "all groups");
    // Bits 47 to 36 of the address: 0xfb0.
    bench.set(registers::MTA + (0xfb0 >> 5) * 4, 1 << (0xfb0 & 31));
    assert!(come(&mut bench, 0, group));
    assert!(!come(&mut bench, 3 << 12, group), "other bits are looked at");
}

#[test]
fn tags_are_taken_out_put_in_and_filtered() {
    let mut bench = Bench::started(Offloads::default());
    bench.set(registers::VET, 0x8100);
    bench.set(registers::CTRL, registers::ctrl::VLAN_MODE);
    bench.set(registers::RCTL, 1 << 1 | 1 << 18);
    bench.set(registers::VFTA, 1 << 5);
    let tagged = |vlan: u8| [&MAC[..], &[2; 6], &[0x81, 0, 0, vlan, 0x88, 0xb5], &[9; 60]].concat();

    bench.come(&tagged(6));
    bench.come(&tagged(5));
    let upper = bench.received(0);
    bench.memory.write_slice(&frame_to([4; 6], 60), GuestAddress(TRANSMIT_BUFFERS)).unwrap();
    bench.put(TRANSMIT_BUFFERS, 60 | 0x4b << 24 | 7 << 48);
    bench.go();

    assert_eq!((upper[4] & 8, upper[6], upper[0]), (8, 5, 78), "without its tag, with its checksum");
    assert_eq!(bench.buffer(0, 14), [&MAC[..], &[2; 6], &[0x88, 0xb5]].concat());
    assert_eq!(bench.sent()[HEADER_SIZE..][12..18], [0x81, 0, 0, 7, 0x88, 0xb5]);
}

#[test]
fn checksums_that_are_wrong_are_told() {
    let mut bench = Bench::started(Offloads::default());
    bench.set(registers::RXCSUM, 3 << 8);
    let packet = |sum: [u8; 2]| {
        let mut packet = frame_to(MAC, 60);
        packet[12..14].copy_from_slice(&[8, 0]);
        packet[14..34].copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet[34..42].copy_from_slice(&[0, 1, 0, 2, 0, 8, sum[0], sum[1]]);
        let header = !checksum::sum(&packet[14..34]);
        packet[24..26].copy_from_slice(&header.to_be_bytes());
        packet
    };

    bench.come(&packet([1, 1]));
    let mut other = packet([0, 0]);
    other[24] ^= 1;
    bench.come(&other);

    assert_eq!(bench.received(0)[4..6], [0x63, 0x20], "both were checked, the datagram's is wrong");
    assert_eq!(bench.received(1)[4..6], [0x43, 0x40], "there is none in the datagram, the header's is wrong");
}

#[test]
fn frames_wait_for_buffers_and_for_a_machine_that_runs() {
    let mut bench = Bench::started(Offloads::default());
    (0..ENTRIES + 3).for_each(|_| bench.come(&frame_to(MAC, 60)));
    bench.received(ENTRIES - 2);
    let head = bench.get(RECEIVE.head());

    bench.card.pause();
    bench.give_buffers(4);
    let paused = bench.get(RECEIVE.head());
    bench.card.resume();

    assert_eq!((head, paused), (ENTRIES as u32 - 1, ENTRIES as u32 - 1));
    wait_for("the others", || bench.get(RECEIVE.head()) == 3);
}

#[test]
fn the_driver_is_told_of_the_cable() {
    let mut bench = Bench::started(Offloads::default());

    bench.handle.set_link(false);

    let line = bench.line.clone();
    wait_for("the interrupt", || line.is_high());
    assert_eq!((bench.get(ICR), bench.get(registers::STATUS) & 2), (4, 0));
    bench.put(TRANSMIT_BUFFERS, 60 | u64::from(WHOLE) << 24);
    bench.go();
    bench.handle.set_link(true);
    assert_eq!(bench.sent().len(), HEADER_SIZE + 60);
}

#[test]
fn frames_beyond_the_limits_wait_in_both_directions_until_it_is_time() {
    let mut bench = Bench::started(Offloads::default());
    bench.handle.set_limits(Limits { reads: Limit::of(10), writes: Limit::of(10), ..Limits::default() });
    let begun = Instant::now();

    for _ in 0..6 {
        bench.come(&frame_to(MAC, 60));
        bench.put(TRANSMIT_BUFFERS, 60 | u64::from(WHOLE) << 24);
    }
    bench.go();
    (0..6).for_each(|_| drop(bench.sent()));
    bench.received(5);

    // Two at once, and the others a tenth of a second apart.
    assert!(begun.elapsed() > Duration::from_millis(350), "{:?}", begun.elapsed());
    bench.handle.set_limits(Limits { writes: Limit::of(1), ..Limits::default() });
    for _ in 0..9 {
        bench.put(TRANSMIT_BUFFERS, 60 | u64::from(WHOLE) << 24);
    }
    bench.go();
    bench.handle.set_limits(Limits::default());
    (0..9).for_each(|_| drop(bench.sent()));
}

#[test]
fn a_saved_card_goes_on_and_a_damaged_state_is_refused() {
    let mut bench = Bench::started(Offloads::default());
    bench.set(registers::RAL, 0x0101_0102);
    bench.card.pause();
    let state = bench.card.save().unwrap();
    let mut other = Bench::idle(Offloads::default());
    other.memory.write_slice(&[0; 16], GuestAddress(0)).unwrap();
    other.card.pause();

    other.card.restore(state.clone()).unwrap();
    assert_eq!(other.card.save().unwrap(), state);
    assert_eq!(other.handle.mac(), [2, 1, 1, 1, 2, 3]);
    for (path, value) in [("/core/interrupts/mask", u32::MAX), ("/core/eeprom/command", 0xffff)] {
        let mut damaged = state.clone();
        *damaged.pointer_mut(path).unwrap() = value.into();
        assert!(matches!(other.card.restore(damaged), Err(StateError::Damaged { .. })), "{path}");
        assert_eq!(other.handle.mac(), MAC, "it is as after a reset");
    }
    other.card.restore(state).unwrap();
    other.card.resume();
    other.given = bench.given;
    other.send(&frame_to([4; 6], 60));
    assert_eq!(other.sent().len(), HEADER_SIZE + 60);
}

#[test]
fn rings_that_cannot_be_leave_the_card_as_it_is() {
    let mut bench = Bench::started(Offloads::default());
    let check = |bench: &mut Bench| {
        assert_eq!(bench.get(registers::STATUS), 0x283);
        bench.come(&frame_to(MAC, 60));
    };
    for (register, value) in [
        (TRANSMIT.base_high(), u32::MAX),
        (TRANSMIT.length(), 0),
        (TRANSMIT.head(), 0xffff),
        (RECEIVE.base_high(), 7),
        (RECEIVE.length(), 0),
        (RECEIVE.head(), 0xffff),
    ] {
        let before = bench.get(register);
        bench.set(register, value);
        bench.put(TRANSMIT_BUFFERS, 60 | u64::from(WHOLE) << 24);
        bench.go();
        check(&mut bench);
        bench.set(register, before);
    }
    // A frame longer than any, whose end comes late.
    bench.set(TRANSMIT.head(), 0);
    bench.given[1] = 0;
    for _ in 0..3 {
        bench.put(TRANSMIT_BUFFERS, 0xffff | 0x08 << 24);
    }
    bench.go();
    check(&mut bench);
    bench.put(TRANSMIT_BUFFERS, 60 | u64::from(WHOLE) << 24);
    bench.go();
    wait_for("the frame to be dropped", || bench.handle.statistics().dropped_frames.load(Ordering::Relaxed) > 0);
}
