use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
};

use vm_memory::ByteValued;

use super::{
    packet::{HOST_CID, Operation, STREAM},
    *,
};
use crate::vmm::virtio::testing::{Bench, EVENT_INDEX, Sent, TestQueue};

const CID: u32 = 5;

struct Guest {
    bench: Bench,
    queues: Vec<TestQueue>,
    buffers: std::collections::VecDeque<Sent>,
    socket: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Guest {
    /// A guest whose driver has given 16 buffers.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("vsock.sock");
        let device = VirtioVsock::new(CID, UnixListener::bind(&socket).unwrap()).unwrap();
        let (mut bench, mut queues) = Bench::started(device, EVENT_INDEX, 64);
        let buffers = (0..16).map(|_| queues[0].send(&[], &[HEADER_SIZE as u32, 4096])).collect();
        bench.kick(0);
        Self { bench, queues, buffers, socket, _folder: folder }
    }

    fn send(&mut self, operation: Operation, ports: (u32, u32), data: &[u8]) {
        let header = Header {
            source_cid: u64::from(CID).into(),
            destination_cid: HOST_CID.into(),
            source_port: ports.0.into(),
            destination_port: ports.1.into(),
            length: (data.len() as u32).into(),
            kind: STREAM.into(),
            operation: (operation as u16).into(),
            buffer_size: 65536.into(),
            ..Default::default()
        };
        self.send_raw(header, data);
    }

    fn send_raw(&mut self, header: Header, data: &[u8]) {
        let parts: &[&[u8]] = if data.is_empty() { &[header.as_slice()] } else { &[header.as_slice(), data] };
        self.queues[1].send(parts, &[]);
        self.bench.kick(1);
    }

    /// The next packet that the guest gets.
    fn receive(&mut self) -> (Operation, Header, Vec<u8>) {
        let (head, length) = self.queues[0].wait();
        let sent = self.buffers.pop_front().unwrap();
        assert_eq!(head, sent.head);
        let answer = sent.answer();
        let header = *Header::from_slice(&answer[..HEADER_SIZE]).unwrap();
        let operation = Operation::from_number(header.operation.to_native()).unwrap();
        (operation, header, answer[HEADER_SIZE..length as usize].to_vec())
    }
}

#[test]
fn a_program_on_the_host_talks_to_a_port_of_the_guest() {
    let mut guest = Guest::new();
    let mut program = UnixStream::connect(&guest.socket).unwrap();
    program.write_all(b"CONNECT 1234\n").unwrap();
    let (operation, request, _) = guest.receive();
    assert_eq!((operation, request.destination_port.to_native()), (Operation::Request, 1234));
    let host = request.source_port.to_native();

    guest.send(Operation::Response, (1234, host), &[]);
    let mut line = vec![0; format!("OK {host}\n").len()];
    program.read_exact(&mut line).unwrap();
    program.write_all(b"ping").unwrap();
    let (operation, _, data) = guest.receive();
    guest.send(Operation::Data, (1234, host), b"pong");

    let mut answer = [0; 4];
    program.read_exact(&mut answer).unwrap();
    assert_eq!((operation, data.as_slice(), &answer), (Operation::Data, &b"ping"[..], b"pong"));
}

#[test]
fn the_guest_reaches_a_program_that_listens_and_is_refused_elsewhere() {
    let mut guest = Guest::new();
    let mut program = UnixStream::connect(&guest.socket).unwrap();
    program.write_all(b"LISTEN 80\n").unwrap();
    let mut line = [0; 6];
    program.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"OK 80\n");

    guest.send(Operation::Request, (4000, 80), &[]);
    assert_eq!(guest.receive().0, Operation::Response);
    guest.send(Operation::Request, (4001, 81), &[]);

    assert_eq!(guest.receive().0, Operation::Reset);
}

#[test]
fn packets_of_no_connection_are_answered_by_a_reset_but_resets_are_not() {
    let mut guest = Guest::new();

    guest.send(Operation::Reset, (1, 2), &[]);
    guest.send(Operation::Data, (3, 4), b"who?");

    let (operation, header, _) = guest.receive();
    assert_eq!((operation, header.destination_port.to_native()), (Operation::Reset, 3));
}

#[test]
fn a_packet_that_claims_more_data_than_it_has_stops_the_device() {
    let mut guest = Guest::new();
    let header = Header { length: 100.into(), ..Default::default() };

    guest.send_raw(header, b"short");

    guest.bench.wait_failed();
}

#[test]
fn a_guest_that_takes_no_answers_has_to_wait_with_its_packets() {
    let mut guest = Guest::new();
    for port in 0..16 + 64 {
        guest.send(Operation::Data, (port, 9), b"?");
        // The test's queue is small: every packet that is taken is given back before the next.
        if port < 16 + 64 - 1 {
            guest.queues[1].wait();
        }
    }
    guest.queues[1].wait();
    guest.send(Operation::Data, (99, 9), b"?");
    for _ in 0..16 {
        guest.receive();
    }

    let more: Vec<_> = (0..40).map(|_| guest.queues[0].send(&[], &[HEADER_SIZE as u32])).collect();
    guest.bench.kick(0);

    for sent in &more {
        assert_eq!(guest.queues[0].wait().0, sent.head);
    }
    guest.queues[1].wait();
}

#[test]
fn an_address_with_a_meaning_of_its_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();

    assert!(VirtioVsock::new(2, listener).is_err());
}
