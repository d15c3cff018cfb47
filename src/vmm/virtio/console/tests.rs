//! The console as a driver and as the host's programs see it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::Mutex,
};

use tempfile::TempDir;
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::vmm::{
    device::Device,
    virtio::testing::{Bench, EVENT_INDEX, GENEROUS, TestQueue, wait_for},
};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const TO_DRIVER: usize = 2;
const TO_DEVICE: usize = 3;
const NAMED_RECEIVE: usize = 4;
const NAMED_TRANSMIT: usize = 5;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl SerialOutput for Sink {
    fn write(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

impl Sink {
    fn wait_for(&self, text: &[u8]) {
        wait_for("output", || self.0.lock().unwrap().len() >= text.len());
        assert_eq!(*self.0.lock().unwrap(), text);
    }
}

struct Fixture {
    bench: Bench,
    queues: Vec<TestQueue>,
    sink: Sink,
    input: Arc<dyn SerialInput>,
    folder: TempDir,
}

fn console() -> (Console, Sink, TempDir) {
    let (sink, folder) = (Sink::default(), tempfile::tempdir().unwrap());
    let listener = UnixListener::bind(folder.path().join("agent")).unwrap();
    let named = vec![NamedPortConfig { name: "org.lodge.agent".to_owned(), host: listener.into() }];
    (Console::new("console0", Some(Box::new(sink.clone())), named).unwrap(), sink, folder)
}

fn fixture(features: u64) -> Fixture {
    let (console, sink, folder) = console();
    let input = console.input().unwrap();
    let (bench, queues) = Bench::started(console, features, 16);
    Fixture { bench, queues, sink, input, folder }
}

fn control(port: u32, event: u16, value: u16) -> Vec<u8> {
    [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat()
}

impl Fixture {
    /// Sends a control message and waits until the device has read it.
    fn tell(&mut self, port: u32, event: u16, value: u16) {
        let queue = &mut self.queues[TO_DEVICE];
        queue.send(&[&control(port, event, value)], &[]);
        self.bench.kick(TO_DEVICE as u16);
        queue.wait();
    }

    /// Waits for the device's next control message.
    fn told(&mut self) -> Vec<u8> {
        let queue = &mut self.queues[TO_DRIVER];
        let sent = queue.send(&[], &[64]);
        self.bench.kick(TO_DRIVER as u16);
        let (_, written) = queue.wait();
        sent.answer()[..written as usize].to_vec()
    }

    /// Brings up the named port as a driver does, opened by a program of the guest.
    fn open_named(&mut self) {
        self.tell(0, 0, 1);
        assert_eq!(self.told(), control(0, 1, 1));
        assert_eq!(self.told(), control(1, 1, 1));
        self.tell(1, 3, 1);
        assert_eq!(self.told(), [control(1, 7, 1), b"org.lodge.agent".to_vec()].concat());
        self.tell(1, 6, 1);
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("agent")).unwrap();
        stream.set_read_timeout(Some(GENEROUS)).unwrap();
        stream
    }
}

#[test]
fn a_driver_that_knows_one_port_has_a_terminal() {
    let mut fixture = fixture(0);

    fixture.queues[TRANSMIT].send(&[b"hello ", b"world"], &[]);
    fixture.bench.kick(1);
    fixture.queues[TRANSMIT].wait();
    fixture.sink.wait_for(b"hello world");
    assert_eq!(fixture.input.enqueue(b"typed"), 5);
    let first = fixture.queues[RECEIVE].send(&[], &[2]);
    let second = fixture.queues[RECEIVE].send(&[], &[1, 64]);
    fixture.bench.kick(0);

    assert_eq!(fixture.queues[RECEIVE].wait(), (first.head, 2));
    assert_eq!(fixture.queues[RECEIVE].wait(), (second.head, 3));
    assert_eq!((first.answer().as_slice(), &second.answer()[..3]), (&b"ty"[..], &b"ped"[..]));
}

#[test]
fn input_reaches_buffers_that_wait_for_it() {
    for features in [0, EVENT_INDEX] {
        let mut fixture = fixture(features);
        let sent = fixture.queues[RECEIVE].send(&[], &[64]);
        fixture.bench.kick(0);

        fixture.input.enqueue(b"x");
        assert_eq!(fixture.queues[RECEIVE].wait(), (sent.head, 1));
        fixture.input.enqueue(b"yz");
        let sent = fixture.queues[RECEIVE].send(&[], &[64]);
        fixture.bench.kick(0);

        assert_eq!(fixture.queues[RECEIVE].wait(), (sent.head, 2));
    }
}

#[test]
fn a_guest_that_does_not_read_fills_the_terminals_queue_and_room_is_announced() {
    let mut fixture = fixture(0);
    let everything = vec![b'a'; 100 * 1024];

    let taken = fixture.input.enqueue(&everything);
    assert_eq!(taken, 64 * 1024);
    assert!(fixture.input.room().read().is_err());
    for _ in 0..8 {
        fixture.queues[RECEIVE].send(&[], &[8192]);
        fixture.bench.kick(0);
        assert_eq!(fixture.queues[RECEIVE].wait().1, 8192);
    }

    assert_eq!(fixture.input.room().read().unwrap(), 1);
}

#[test]
fn ports_are_announced_named_and_opened() {
    let mut fixture = fixture(MULTIPORT);
    assert_eq!(fixture.bench.config(4, 4), 2);

    fixture.open_named();
    fixture.tell(0, 3, 1);

    assert_eq!(fixture.told(), control(0, 4, 1), "port 0 is a terminal");
    assert_eq!(fixture.told(), control(0, 6, 1), "that somebody watches");
    let _program = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));
}

#[test]
fn a_program_and_the_guest_talk_through_a_named_port() {
    let mut fixture = fixture(MULTIPORT | EVENT_INDEX);
    fixture.open_named();
    let mut program = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));

    program.write_all(b"question").unwrap();
    let sent = fixture.queues[NAMED_RECEIVE].send(&[], &[3, 61]);
    fixture.bench.kick(NAMED_RECEIVE as u16);
    assert_eq!(fixture.queues[NAMED_RECEIVE].wait(), (sent.head, 8));
    assert_eq!(&sent.answer()[..8], b"question");
    fixture.queues[NAMED_TRANSMIT].send(&[b"ans", b"wer"], &[]);
    fixture.bench.kick(NAMED_TRANSMIT as u16);
    let mut answer = [0; 6];
    program.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");

    drop(program);
    assert_eq!(fixture.told(), control(1, 6, 0), "the driver learns that it has gone");
    let mut again = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));
    again.write_all(b"!").unwrap();
    fixture.queues[NAMED_RECEIVE].send(&[], &[1]);
    fixture.bench.kick(NAMED_RECEIVE as u16);
    assert_eq!(fixture.queues[NAMED_RECEIVE].wait().1, 1);
}

#[test]
fn what_a_program_sends_waits_until_one_in_the_guest_listens() {
    let mut fixture = fixture(MULTIPORT);
    fixture.open_named();
    fixture.tell(1, 6, 0);
    let mut program = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));
    program.write_all(b"early").unwrap();
    let sent = fixture.queues[NAMED_RECEIVE].send(&[], &[64]);
    fixture.bench.kick(NAMED_RECEIVE as u16);
    fixture.tell(1, 3, 1);
    assert!(fixture.queues[NAMED_RECEIVE].take_used().is_none());

    fixture.tell(1, 6, 1);

    assert_eq!(fixture.queues[NAMED_RECEIVE].wait(), (sent.head, 5));
}

#[test]
fn a_program_that_does_not_read_holds_the_guest_back_and_gets_everything() {
    let mut fixture = fixture(MULTIPORT);
    fixture.open_named();
    let mut program = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));
    let data: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();

    let chunks: Vec<&[u8]> = data.chunks(1 << 18).collect();
    let mut outstanding = 0;
    for chunk in &chunks {
        fixture.queues[NAMED_TRANSMIT].send(&[chunk], &[]);
        outstanding += 1;
    }
    fixture.bench.kick(NAMED_TRANSMIT as u16);
    // Stopping in the middle of a chain must neither lose nor repeat a byte.
    fixture.bench.pci.pause();
    while fixture.queues[NAMED_TRANSMIT].take_used().is_some() {
        outstanding -= 1;
    }
    assert!(outstanding > 0, "a socket does not hold a mebibyte");
    fixture.bench.pci.resume();
    let mut received = vec![0; data.len()];
    program.read_exact(&mut received).unwrap();

    assert!(received == data);
    for _ in 0..outstanding {
        fixture.queues[NAMED_TRANSMIT].wait();
    }
}

#[test]
fn what_the_guest_writes_to_nobody_goes_nowhere() {
    let mut fixture = fixture(MULTIPORT);
    fixture.open_named();

    let sent = fixture.queues[NAMED_TRANSMIT].send(&[b"anybody there?"], &[]);
    fixture.bench.kick(NAMED_TRANSMIT as u16);

    assert_eq!(fixture.queues[NAMED_TRANSMIT].wait(), (sent.head, 0));
}

#[test]
fn one_program_at_a_time() {
    let mut fixture = fixture(MULTIPORT);
    fixture.open_named();
    let first = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));

    let mut second = fixture.connect();
    second.write_all(b"next").unwrap();
    drop(first);

    assert_eq!(fixture.told(), control(1, 6, 0));
    assert_eq!(fixture.told(), control(1, 6, 1));
    fixture.queues[NAMED_RECEIVE].send(&[], &[64]);
    fixture.bench.kick(NAMED_RECEIVE as u16);
    assert_eq!(fixture.queues[NAMED_RECEIVE].wait().1, 4);
}

#[test]
fn nonsense_on_the_control_queue_is_let_go() {
    let mut fixture = fixture(MULTIPORT);
    for message in
        [vec![], vec![1, 2, 3], control(77, 3, 1), control(u32::MAX, 6, 1), control(0, 99, 9), control(0, 0, 0)]
    {
        fixture.queues[TO_DEVICE].send(&[&message], &[]);
        fixture.bench.kick(TO_DEVICE as u16);
        fixture.queues[TO_DEVICE].wait();
    }

    fixture.open_named();
}

#[test]
fn a_driver_that_takes_no_messages_does_not_make_them_pile_up() {
    let mut fixture = fixture(MULTIPORT);

    for _ in 0..2000 {
        fixture.tell(0, 0, 1);
    }
    fixture.bench.pci.pause();

    let state = fixture.bench.pci.save().unwrap();
    let waiting = state.pointer("/device/control/waiting").unwrap().as_array().unwrap().len();
    assert_eq!(waiting, 512);
}

#[test]
fn a_reset_forgets_the_driver_but_not_the_program() {
    let mut fixture = fixture(MULTIPORT);
    fixture.open_named();
    let _program = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));

    fixture.bench.write_common(0x14, 1, 0);
    fixture.bench.negotiate(MULTIPORT);
    fixture.queues = (0..6).map(|index| fixture.bench.set_up_queue(index, 16)).collect();
    fixture.bench.write_common(0x14, 1, 15);
    fixture.open_named();

    assert_eq!(fixture.told(), control(1, 6, 1));
}

#[test]
fn a_restored_console_is_equal_and_keeps_what_was_typed() {
    let mut fixture = fixture(MULTIPORT);
    fixture.open_named();
    fixture.tell(0, 3, 1);
    fixture.bench.pci.pause();
    fixture.input.enqueue(b"typed in the meantime");
    let state = fixture.bench.pci.save().unwrap();

    fixture.bench.pci.restore(state.clone()).unwrap();
    let again = fixture.bench.pci.save().unwrap();
    fixture.bench.pci.resume();

    assert_eq!(again, state);
    assert_eq!(fixture.told(), control(0, 4, 1));
    fixture.queues[RECEIVE].send(&[], &[64]);
    fixture.bench.kick(0);
    assert_eq!(fixture.queues[RECEIVE].wait().1, 21);
}

#[test]
fn the_driver_learns_that_a_program_did_not_come_along() {
    let mut fixture = fixture(MULTIPORT);
    fixture.open_named();
    let _program = fixture.connect();
    assert_eq!(fixture.told(), control(1, 6, 1));
    fixture.bench.pci.pause();
    let state = fixture.bench.pci.save().unwrap();

    let (mut other, _sink, _folder) = console();
    other.restore(state["device"].clone()).unwrap();

    let waiting = serde_json::to_value(&other.engine.handler().unwrap().control).unwrap();
    assert_eq!(waiting["waiting"], serde_json::json!([control(1, 6, 0)]));
}

#[test]
fn a_damaged_state_is_refused() {
    let (mut console, _sink, _folder) = console();
    let good = console.save().unwrap();
    for (path, value) in [
        ("/version", Value::from(2)),
        ("/ports", Value::Array(vec![])),
        ("/ports/0/sent", (-1).into()),
        ("/terminal", serde_json::json!(vec![0; 65 * 1024])),
        ("/control/waiting", serde_json::json!(vec![[0]; 513])),
    ] {
        let mut state = good.clone();
        *state.pointer_mut(path).unwrap() = value;

        assert!(console.restore(state).is_err(), "{path}");
    }
}

#[test]
fn a_console_without_a_terminal_has_no_port_0() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("agent")).unwrap();
    let named = vec![NamedPortConfig { name: "only".to_owned(), host: listener.into() }];
    let console = Console::new("console0", None, named).unwrap();
    assert!(console.input().is_none());
    let (bench, queues) = Bench::started(console, MULTIPORT, 16);
    let input = Terminal::new(Box::new(Sink::default())).unwrap().input();
    let mut fixture = Fixture { bench, queues, sink: Sink::default(), input, folder };

    fixture.tell(0, 0, 1);
    assert_eq!(fixture.told(), control(1, 1, 1));
    fixture.tell(0, 3, 1);
    fixture.queues[TRANSMIT].send(&[b"x"], &[]);
    fixture.bench.kick(1);
    fixture.bench.pci.pause();

    assert!(fixture.queues[TO_DRIVER].take_used().is_none());
}

/// A part of this process that says in capitals what it hears, while it is open.
struct Echo {
    news: EventFd,
    said: Mutex<Vec<u8>>,
    open: Mutex<Vec<bool>>,
}

impl PortProgram for Echo {
    fn news(&self) -> &EventFd {
        &self.news
    }

    fn is_open(&self) -> bool {
        !self.said.lock().unwrap().ends_with(b"END")
    }

    fn guest_opened(&self, open: bool) {
        self.open.lock().unwrap().push(open);
        self.said.lock().unwrap().clear();
    }

    fn restored(&self, open: bool) {
        self.guest_opened(open);
    }

    fn receive(&self, bytes: &[u8]) {
        self.said.lock().unwrap().extend(bytes.to_ascii_uppercase());
        self.news.write(1).unwrap();
    }

    fn has_output(&self) -> bool {
        !self.said.lock().unwrap().is_empty()
    }

    fn take_output(&self, buffer: &mut [u8]) -> usize {
        let mut said = self.said.lock().unwrap();
        let count = said.len().min(buffer.len());
        buffer[..count].copy_from_slice(&said[..count]);
        said.drain(..count);
        count
    }
}

#[test]
fn a_port_may_belong_to_this_process() {
    let news = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let echo = Arc::new(Echo { news, said: Mutex::default(), open: Mutex::default() });
    let host = PortHost::Program(Arc::clone(&echo) as _);
    let named = vec![NamedPortConfig { name: "org.lodge.agent".to_owned(), host }];
    let (sink, folder) = (Sink::default(), tempfile::tempdir().unwrap());
    let console = Console::new("console0", Some(Box::new(sink.clone())), named).unwrap();
    let input = console.input().unwrap();
    let (bench, queues) = Bench::started(console, MULTIPORT, 16);
    let mut fixture = Fixture { bench, queues, sink, input, folder };

    fixture.open_named();
    assert_eq!(fixture.told(), control(1, 6, 1), "it is there from the beginning");
    let [first, second] = [3, 64].map(|room| fixture.queues[NAMED_RECEIVE].send(&[], &[room]));
    fixture.queues[NAMED_TRANSMIT].send(&[b"he", b"llo"], &[]);
    fixture.bench.kick(NAMED_TRANSMIT as u16);
    assert_eq!((fixture.queues[NAMED_RECEIVE].wait().1, fixture.queues[NAMED_RECEIVE].wait().1), (3, 2));
    assert_eq!((first.answer().as_slice(), &second.answer()[..2]), (&b"HEL"[..], &b"LO"[..]));

    fixture.queues[NAMED_TRANSMIT].send(&[b"end"], &[]);
    fixture.bench.kick(NAMED_TRANSMIT as u16);
    assert_eq!(fixture.told(), control(1, 6, 0), "it has closed its side");
    fixture.tell(1, 6, 0);
    assert_eq!(fixture.told(), control(1, 6, 1), "and opens it when the guest has closed its own");
    assert_eq!(*echo.open.lock().unwrap(), [true, false]);
}

#[test]
fn too_many_ports_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("agent")).unwrap();
    let named = (0..=MAX_NAMED_PORTS)
        .map(|index| NamedPortConfig { name: index.to_string(), host: listener.try_clone().unwrap().into() });

    assert!(Console::new("console0", None, named.collect()).is_err());
}
