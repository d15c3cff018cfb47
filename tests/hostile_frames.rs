//! Frames of a hostile guest, as its card hands them to those that carry them: a TAP interface, whose offloads the kernel checks, and
//! `lodge-nat` with passt and with libslirp. None of them ends by that for long, and the guest that comes to its senses finds its network.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;
#[path = "../src/vmm/net/hostile/frames.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod frames;

use std::{
    fs::File,
    io::{Seek, Write},
    os::fd::OwnedFd,
    process::{Child, Command},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use common::{namespace, wire::ip};
use frames::Choices;
use lodge::{
    nat::{Backend, BootServer, LAUNCH_FD, LAUNCH_VERSION, Launch, Reply, USUAL_MTU, read_message},
    vmm::{
        memory::GuestSlice,
        net::{FRAME_MAX, HEADER_SIZE, NetBackend, Offloads, Sent, finishing::Finishing, stream::Stream, tap::Tap},
    },
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends so many frames of chance, or as many as `LODGE_FUZZ_ROUNDS` says, and takes what comes back.
fn attack(backend: &mut dyn NetBackend, usual: u32) {
    let mut random = fastrand::Rng::with_seed(3);
    let rounds = std::env::var("LODGE_FUZZ_ROUNDS").map_or(usual, |text| text.parse().expect("a number"));
    for _ in 0..rounds {
        let input: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(120).collect();
        send(backend, frames::frame(&mut Choices::new(&input)), None);
    }
}

/// Sends one frame, once there is room for it, and takes what comes back; says whether `address` was in an answer.
fn send(backend: &mut dyn NetBackend, mut frame: Vec<u8>, address: Option<[u8; 4]>) -> bool {
    let mut is_answered = false;
    let deadline = Instant::now() + PATIENCE;
    while backend.send(&[GuestSlice::from(frame.as_mut_slice())]).expect("the back end is there") == Sent::Full {
        is_answered |= drain(backend, address);
        backend.flush().unwrap();
        assert!(Instant::now() < deadline, "there is no room any more");
    }
    is_answered | drain(backend, address)
}

/// Takes what has come, and says whether there was an answer to the question for `address`.
fn drain(backend: &mut dyn NetBackend, address: Option<[u8; 4]>) -> bool {
    let mut bytes = vec![0; FRAME_MAX];
    let mut is_answered = false;
    while let Some(length) = backend.receive(&[GuestSlice::from(bytes.as_mut_slice())]).unwrap() {
        let frame = bytes.get(HEADER_SIZE..length).unwrap_or_default();
        let is_answer = frame.get(12..22) == Some(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        is_answered |= is_answer && address.is_some_and(|address| frame.get(28..32) == Some(&address));
    }
    is_answered
}

/// Asks by ARP who has this address, until somebody answers.
fn find(backend: &mut dyn NetBackend, own: [u8; 4], address: [u8; 4]) {
    let question = [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC, &own, &[0; 6], &address, &[0; 18]];
    let frame = [&[0; HEADER_SIZE][..], &question.concat()].concat();
    let deadline = Instant::now() + PATIENCE;
    while !send(backend, frame.clone(), Some(address)) {
        assert!(Instant::now() < deadline, "nobody has {address:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn no_frame_and_no_lie_about_offloads_harms_a_tap_interface_or_its_bridge() {
    namespace::run(|| {
        let mut queues = namespace::tap(1, &[]);
        ip("link add br0 type bridge", &[]);
        ip("address add 10.77.0.1/24 dev br0", &[]);
        ip("link set br0 up", &[]);
        ip("link set tap0 master br0", &[]);
        let mut tap = Tap::new(queues.remove(0)).unwrap();
        tap.accept(Offloads { checksum: true, tso4: true, tso6: true, ecn: true }).unwrap();

        attack(&mut tap, 20_000);

        find(&mut tap, [10, 77, 0, 2], [10, 77, 0, 1]);
    });
}

/// A `lodge-nat`, and what the worker has of it.
struct Translator {
    child: Child,
    _control: OwnedFd,
}

impl Translator {
    fn start(backend: Backend) -> (Self, Stream) {
        let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let ((feed, its_feed), (control, its_control), (ready, its_ready)) = (pair(), pair(), pair());
        let [feed_fd, control_fd, ready_fd] = [1, 2, 3].map(|number| LAUNCH_FD + number);
        let launch = Launch {
            version: LAUNCH_VERSION,
            guest: "hostile".to_owned(),
            card: "net0".to_owned(),
            mac: MAC,
            mtu: USUAL_MTU,
            backend,
            forwards: Vec::new(),
            boot: BootServer::default(),
            feed: feed_fd,
            control: control_fd,
            ready: ready_fd,
        };
        let mut description: File = tempfile::tempfile().unwrap();
        description.write_all(&serde_json::to_vec(&launch).unwrap()).unwrap();
        description.rewind().unwrap();
        let descriptors = [description.into(), its_feed, its_control, its_ready];
        let mappings = descriptors.into_iter().zip(LAUNCH_FD..);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lodge-nat"));
        command.fd_mappings(mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect()).unwrap();
        let child = command.spawn().unwrap();
        // With its sockets' ends: only it has them now.
        drop(command);
        let reply: Reply = read_message(&ready, Some(Instant::now() + PATIENCE)).unwrap();
        reply.result.unwrap();
        (Self { child, _control: control }, Stream::new(feed, USUAL_MTU).unwrap())
    }

    /// Asserts that it has not ended, and ends it.
    fn end(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it has ended");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn no_frame_harms_libslirp_for_long() {
    namespace::run(|| {
        let (translator, stream) = Translator::start(Backend::Slirp);
        // As a card has it that was switched to it: lies about offloads are told from work that is left to the card.
        let mut backend = Finishing::new(Box::new(stream));

        // Enough for libslirp 4.7 to die once or twice.
        attack(&mut backend, 6000);

        find(&mut backend, [10, 0, 2, 15], [10, 0, 2, 2]);
        translator.end();
    });
}

#[test]
fn no_frame_harms_passt_for_long() {
    namespace::run(|| {
        ip("link add eth0 type veth peer name wire0", &[]);
        ip("link set wire0 up", &[]);
        ip("link set eth0 up", &[]);
        ip("address add 10.79.0.2/24 dev eth0", &[]);
        ip("route add default via 10.79.0.1", &[]);
        let (translator, mut stream) = Translator::start(Backend::Passt);

        attack(&mut stream, 20_000);

        find(&mut stream, [10, 79, 0, 2], [10, 79, 0, 1]);
        translator.end();
    });
}
