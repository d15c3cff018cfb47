use std::{net::Shutdown, os::unix::net::UnixListener, path::PathBuf, time::Duration};

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// A port's input that takes only so much until it is emptied.
struct FakePort {
    taken: Mutex<Vec<u8>>,
    capacity: usize,
    room: EventFd,
}

impl FakePort {
    fn new(capacity: usize) -> Arc<Self> {
        let room = EventFd::new(EFD_NONBLOCK).unwrap();
        Arc::new(Self { taken: Mutex::default(), capacity, room })
    }

    /// Reads as a guest does, until it has so many bytes.
    fn read(&self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        let mut all = Vec::new();
        while all.len() < count {
            assert!(Instant::now() < deadline, "only {} bytes of {count} have come", all.len());
            all.append(&mut self.taken.lock().unwrap());
            self.room.write(1).unwrap();
            thread::yield_now();
        }
        all
    }
}

impl SerialInput for FakePort {
    fn enqueue(&self, bytes: &[u8]) -> usize {
        let mut taken = self.taken.lock().unwrap();
        let count = bytes.len().min(self.capacity - taken.len());
        taken.extend(&bytes[..count]);
        count
    }

    fn room(&self) -> &EventFd {
        &self.room
    }
}

struct Fixture {
    output: Output,
    server: SerialServer,
    port: Arc<FakePort>,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("serial.sock");
        let unstarted = Unstarted::new(UnixListener::bind(&socket).unwrap().into()).unwrap();
        let output = unstarted.output();
        let port = FakePort::new(100);
        let server = unstarted.start(Arc::clone(&port) as Arc<dyn SerialInput>).unwrap();
        Self { output, server, port, socket, _folder: folder }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }
}

fn read(stream: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn who_comes_late_gets_what_was_said_before_and_what_comes() {
    let mut fixture = Fixture::new();
    fixture.output.write(b"before ");

    let mut first = fixture.connect();
    assert_eq!(read(&mut first, 7), b"before ");
    fixture.output.write(b"after");
    let mut second = fixture.connect();

    assert_eq!(read(&mut first, 5), b"after");
    assert_eq!(read(&mut second, 12), b"before after");
}

#[test]
fn a_client_that_never_reads_holds_up_neither_the_guest_nor_the_others() {
    let mut fixture = Fixture::new();
    let _hung = fixture.connect();
    let mut other = fixture.connect();
    let line = [b'x'; 1 << 16];

    for _ in 0..64 {
        fixture.output.write(&line);
        assert_eq!(read(&mut other, line.len()), line);
    }
}

#[test]
fn a_client_that_is_too_slow_is_told_what_it_has_missed() {
    let mut fixture = Fixture::new();
    let said = 8 << 20;

    (0..said / 4096).for_each(|_| fixture.output.write(&[b'x'; 4096]));
    fixture.output.write(b"the end");
    let mut late = fixture.connect();
    let mut text = String::new();
    while !text.ends_with("the end") {
        let mut bytes = [0; 1 << 16];
        let length = late.read(&mut bytes).unwrap();
        assert!(length > 0, "the connection has ended");
        text += str::from_utf8(&bytes[..length]).unwrap();
    }

    let (_, note) = text.split_once("\r\n[").unwrap();
    let missing: usize = note.split(' ').next().unwrap().parse().unwrap();
    let kept = text.len() - format!("\r\n[{missing} bytes are missing here]\r\n").len();
    assert_eq!(kept + missing, said + "the end".len());
}

#[test]
fn what_clients_send_reaches_the_guest_and_waits_while_it_does_not_read() {
    let fixture = Fixture::new();
    let mut client = fixture.connect();
    let sent: Vec<u8> = (0..50_000u32).map(|at| (at % 251) as u8).collect();
    let writer = thread::spawn({
        let sent = sent.clone();
        move || {
            client.write_all(&sent).unwrap();
            client
        }
    });

    let got = fixture.port.read(sent.len());

    assert!(got == sent);
    drop(writer.join().unwrap());
}

#[test]
fn what_a_client_sent_before_it_went_still_reaches_the_guest() {
    let fixture = Fixture::new();
    let mut client = fixture.connect();

    client.write_all(b"reboot\r").unwrap();
    drop(client);

    assert_eq!(fixture.port.read(7), b"reboot\r");
}

#[test]
fn a_client_that_sends_nothing_more_goes_on_reading() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.shutdown(Shutdown::Write).unwrap();
    fixture.output.write(b"a");
    assert_eq!(read(&mut client, 1), b"a");

    fixture.output.write(b"b");

    assert_eq!(read(&mut client, 1), b"b");
}

#[test]
fn the_end_waits_for_clients_only_until_the_deadline() {
    let mut fixture = Fixture::new();
    let mut hung = fixture.connect();
    fixture.output.write(b"x");
    assert_eq!(read(&mut hung, 1), b"x");
    fixture.output.write(&[b'x'; 4 << 20]);

    fixture.server.drain(Instant::now() + Duration::from_millis(50));

    let mut rest = Vec::new();
    hung.read_to_end(&mut rest).unwrap();
    assert!(rest.len() < 4 << 20);
}

#[test]
fn clients_beyond_the_limit_are_turned_away() {
    let mut fixture = Fixture::new();
    fixture.output.write(b"x");
    let mut clients: Vec<UnixStream> = (0..CLIENTS).map(|_| fixture.connect()).collect();
    clients.iter_mut().for_each(|client| drop(read(client, 1)));

    let mut one_more = fixture.connect();

    assert_eq!(one_more.read(&mut [0]).unwrap(), 0);
}
