use std::{
    os::unix::net::UnixDatagram,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::*;
use crate::vmm::{
    limits::{Limit, Limits},
    net::{HEADER_SIZE, testing::Wire},
    virtio::testing::{Bench, EVENT_INDEX, TestQueue, wait_for},
};

const MAC: MacAddress = [0x52, 0x54, 0, 1, 2, 3];

struct Card {
    bench: Bench,
    queues: Vec<TestQueue>,
    handle: NetHandle,
    wire: UnixDatagram,
    accepted: Arc<Mutex<Offloads>>,
}

fn card(features: &[u32], size: u16) -> Card {
    let (wire, backend) = Wire::new();
    let accepted = backend.accepted.clone();
    let config = NetConfig { id: "net0".into(), mac: MAC, backends: vec![Box::new(backend)] };
    let (device, handle) = VirtioNet::new(config).unwrap();
    let features = features.iter().fold(EVENT_INDEX, |all, bit| all | 1 << bit);
    let (bench, queues) = Bench::started(device, features, size);
    Card { bench, queues, handle, wire, accepted }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&[0; HEADER_SIZE], payload].concat()
}

#[test]
fn a_frame_goes_out_as_the_driver_made_it() {
    let mut card = card(&[], 16);
    let sent = card.queues[1].send(&[&[7; HEADER_SIZE], b"hello"], &[]);

    card.bench.kick(1);

    assert_eq!(card.queues[1].wait(), (sent.head, 0));
    let mut bytes = [0; 64];
    let length = card.wire.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], [&[7; HEADER_SIZE][..], b"hello"].concat());
    assert_eq!(card.handle.statistics().sent_bytes.load(Ordering::Relaxed), 5);
}

#[test]
fn a_frame_comes_in_with_the_number_of_buffers_it_fills() {
    let mut card = card(&[VIRTIO_NET_F_MRG_RXBUF], 16);
    let buffers: Vec<_> = (0..16).map(|_| card.queues[0].send(&[], &[1024])).collect();
    card.bench.kick(0);

    card.wire.send(&frame(&[9; 1500])).unwrap();

    assert_eq!(card.queues[0].wait(), (buffers[0].head, 1024));
    assert_eq!(card.queues[0].wait(), (buffers[1].head, 1500 + HEADER_SIZE as u32 - 1024));
    assert_eq!(buffers[0].answer()[10..13], [2, 0, 9]);
    assert_eq!(buffers[1].answer()[..3], [9, 9, 9]);
    card.wire.send(&frame(&[8; 60])).unwrap();
    assert_eq!(card.queues[0].wait(), (buffers[2].head, 60 + HEADER_SIZE as u32));
}

#[test]
fn buffers_that_are_too_few_for_a_frame_wait_for_more() {
    use crate::vmm::device::Device;
    let mut card = card(&[VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_GUEST_TSO4], 64);
    let first = card.queues[0].send(&[], &[32]);
    card.bench.kick(0);
    card.wire.send(&frame(&[9; 1500])).unwrap();
    // The card does not turn in circles: it can be stopped.
    card.bench.pci.pause();
    card.bench.pci.resume();

    (0..40).for_each(|_| drop(card.queues[0].send(&[], &[2048])));
    card.bench.kick(0);

    assert_eq!(card.queues[0].wait(), (first.head, 32));
    assert_eq!(card.queues[0].wait().1, 1500 + HEADER_SIZE as u32 - 32);
}

#[test]
fn frames_wait_for_buffers_and_then_come() {
    let mut card = card(&[], 16);
    card.wire.send(&frame(b"first")).unwrap();
    card.wire.send(&frame(b"second")).unwrap();

    let buffers: Vec<_> = (0..2).map(|_| card.queues[0].send(&[], &[2048])).collect();
    card.bench.kick(0);

    assert_eq!(card.queues[0].wait(), (buffers[0].head, HEADER_SIZE as u32 + 5));
    assert_eq!(card.queues[0].wait(), (buffers[1].head, HEADER_SIZE as u32 + 6));
    assert_eq!(&buffers[1].answer()[HEADER_SIZE..][..6], b"second");
}

#[test]
fn with_the_link_down_frames_go_nowhere_and_the_driver_is_told() {
    let mut card = card(&[VIRTIO_NET_F_STATUS], 16);
    let generation = card.bench.common(0x15, 1);

    card.handle.set_link(false);
    let sent = card.queues[1].send(&[&frame(b"lost")], &[]);
    card.bench.kick(1);

    assert_eq!(card.queues[1].wait(), (sent.head, 0));
    assert_eq!(card.bench.config(6, 2), 0);
    assert_ne!(card.bench.common(0x15, 1), generation);
    card.wire.set_nonblocking(true).unwrap();
    assert!(card.wire.recv(&mut [0; 64]).is_err());
    card.handle.set_link(true);
    card.queues[1].send(&[&frame(b"back")], &[]);
    card.bench.kick(1);
    wait_for("the frame", || card.wire.recv(&mut [0; 64]).is_ok());
}

#[test]
fn the_driver_sets_its_address_and_offloads_by_commands() {
    let bits = [VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4];
    let mut card = card(&[&bits[..], &[VIRTIO_NET_F_CTRL_GUEST_OFFLOADS]].concat(), 16);
    let both = Offloads { checksum: true, tso4: true, ..Default::default() };
    wait_for("the negotiated offloads", || *card.accepted.lock().unwrap() == both);

    let mac = card.queues[2].send(&[&[1, 1], &[2, 0, 0, 0, 0, 9]], &[1]);
    let offloads = card.queues[2].send(&[&[5, 0], &(1u64 << VIRTIO_NET_F_GUEST_CSUM).to_le_bytes()], &[1]);
    let unknown = card.queues[2].send(&[&[200, 0]], &[1]);
    card.bench.kick(2);

    for (sent, answer) in [(mac, 0), (offloads, 0), (unknown, 1)] {
        assert_eq!(card.queues[2].wait(), (sent.head, 1));
        assert_eq!(sent.answer(), [answer]);
    }
    assert_eq!(card.handle.mac(), [2, 0, 0, 0, 0, 9]);
    assert_eq!(*card.accepted.lock().unwrap(), Offloads { checksum: true, ..Default::default() });
}

#[test]
fn frames_of_impossible_lengths_are_dropped_and_the_card_goes_on() {
    let mut card = card(&[], 64);
    for length in [0, 1, HEADER_SIZE - 1] {
        let sent = card.queues[1].send(&[&vec![0; length.max(1)][..length.max(1)]], &[]);
        card.bench.kick(1);
        assert_eq!(card.queues[1].wait().0, sent.head);
    }
    let page = vec![0; 64 * 1024];
    let sent = card.queues[1].send(&[&page, &page], &[]);
    card.bench.kick(1);
    assert_eq!(card.queues[1].wait().0, sent.head);

    card.queues[1].send(&[&frame(b"fine")], &[]);
    card.bench.kick(1);

    let mut bytes = [0; 64];
    assert_eq!(card.wire.recv(&mut bytes).unwrap(), HEADER_SIZE + 4);
    assert_eq!(card.handle.statistics().dropped_frames.load(Ordering::Relaxed), 4);
}

#[test]
fn frames_beyond_the_limits_wait_in_both_directions_until_it_is_time() {
    let mut card = card(&[], 64);
    let ten = Limits { reads: Limit::of(10), writes: Limit::of(10), ..Limits::default() };
    card.handle.set_limits(ten);
    let begun = Instant::now();
    let sent: Vec<_> = (0..6).map(|_| card.queues[1].send(&[&frame(b"out")], &[])).collect();
    let buffers: Vec<_> = (0..6).map(|_| card.queues[0].send(&[], &[2048])).collect();
    for _ in 0..6 {
        card.wire.send(&frame(b"in")).unwrap();
    }
    (0..2).for_each(|queue| card.bench.kick(queue));

    sent.iter().for_each(|one| assert_eq!(card.queues[1].wait().0, one.head));
    buffers.iter().for_each(|one| assert_eq!(card.queues[0].wait().0, one.head));

    // Two at once, and the others a tenth of a second apart.
    assert!(begun.elapsed() > Duration::from_millis(350), "{:?}", begun.elapsed());
    card.handle.set_limits(Limits { writes: Limit::of(1), ..Limits::default() });
    (0..20).for_each(|_| drop(card.queues[1].send(&[&frame(b"out")], &[])));
    card.bench.kick(1);
    card.handle.set_limits(Limits::default());
    for _ in 0..20 {
        card.queues[1].wait();
    }
}

#[test]
fn a_receive_buffer_without_room_for_the_header_stops_the_card() {
    let mut card = card(&[VIRTIO_NET_F_MRG_RXBUF], 4);
    for _ in 0..4 {
        card.queues[0].send(&[], &[4]);
    }
    card.bench.kick(0);

    card.wire.send(&frame(b"x")).unwrap();

    card.bench.wait_failed();
}

#[test]
fn a_reset_brings_the_address_back_and_frames_flow_again() {
    let mut card = card(&[VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_CTRL_MAC_ADDR], 16);
    card.queues[2].send(&[&[1, 1], &[2, 0, 0, 0, 0, 9]], &[1]);
    card.bench.kick(2);
    card.queues[2].wait();

    card.bench.write_common(0x14, 1, 0);

    assert_eq!(card.handle.mac(), MAC);
    card.bench.negotiate(EVENT_INDEX);
    let mut queue = card.bench.set_up_queue(1, 16);
    card.bench.write_common(0x14, 1, 15);
    queue.send(&[&frame(b"again")], &[]);
    card.bench.kick(1);
    assert_eq!(card.wire.recv(&mut [0; 64]).unwrap(), HEADER_SIZE + 5);
}

#[test]
fn a_full_back_end_leaves_frames_in_the_queue_until_it_has_room() {
    use crate::vmm::net::stream::{self, Stream};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::{io::Read, os::unix::net::UnixStream};
    let (feed, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (mut program, stream) = UnixStream::pair().unwrap();
    stream::hand_over(&feed, &stream).unwrap();
    drop(stream);
    let backends: Vec<Box<dyn NetBackend>> = vec![Box::new(Stream::new(theirs, 65_520).unwrap())];
    let (device, handle) = VirtioNet::new(NetConfig { id: "net0".into(), mac: MAC, backends }).unwrap();
    let (mut bench, mut queues) = Bench::started(device, EVENT_INDEX | 1 << VIRTIO_NET_F_MTU, 64);
    assert_eq!(bench.config(10, 2), 65_520);
    let content = vec![3; 30_000];
    let sent: Vec<_> = (0..60).map(|_| queues[1].send(&[&frame(&content)], &[])).collect();

    bench.kick(1);
    let frames = || handle.statistics().sent_frames.load(Ordering::Relaxed);
    wait_for("the first frame", || frames() > 0);
    let mut taken = 0;
    wait_for("the stream to be full", || std::mem::replace(&mut taken, frames()) == frames() && taken > 0);

    assert!(taken < 60, "60 frames do not fit");
    let mut bytes = vec![0; content.len() + 4];
    for one in sent {
        program.read_exact(&mut bytes).unwrap();
        assert!(bytes[..4] == 30_000u32.to_be_bytes() && bytes[4..] == content[..]);
        assert_eq!(queues[1].wait(), (one.head, 0));
    }
    assert_eq!(frames(), 60);
    assert_eq!(handle.statistics().dropped_frames.load(Ordering::Relaxed), 0);
}
