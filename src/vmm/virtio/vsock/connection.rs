//! One stream between a port of the guest and a program on the host: credit, buffering and the way it ends (virtio 1.2,
//! section 5.10.6.3 and following). It knows neither queues nor epoll: bytes go in and out, and what is to be told to the
//! guest is asked for with [`Connection::next_control`].

use std::{
    collections::VecDeque,
    io::{self, Write},
    num::Wrapping,
    os::unix::net::UnixStream,
};

use vm_memory::{ReadVolatile, VolatileMemoryError};

use super::packet::{Header, NO_RECEIVE, NO_SEND, Operation};
use crate::vmm::memory::GuestSlice;

/// What the guest may send before the host's program has taken it, in bytes.
pub const BUFFER_SIZE: u32 = 256 * 1024;
/// The guest is told of room once this much has been taken, in bytes.
const CREDIT_STEP: u32 = BUFFER_SIZE / 4;

/// The two ports of a connection: the guest's and the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// The guest's.
    pub guest: u32,
    /// The host's.
    pub host: u32,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The host has asked, the guest has not answered.
    Requested,
    /// Data flows.
    Open,
    /// Over; the guest is still to be told by a reset.
    Broken,
    /// Over, and the guest knows.
    Gone,
}

/// A connection.
pub struct Connection {
    ports: Ports,
    stream: UnixStream,
    phase: Phase,
    control: VecDeque<(Operation, u32)>,
    /// From the guest, not yet taken by the host's program.
    outgoing: VecDeque<u8>,
    /// Bytes taken by the host's program.
    forwarded: Wrapping<u32>,
    /// The value of `forwarded` that the guest knows.
    told: Wrapping<u32>,
    /// Bytes sent to the guest.
    sent: Wrapping<u32>,
    guest_buffer: u32,
    guest_forwarded: Wrapping<u32>,
    /// The host's program has sent its last byte.
    host_finished: bool,
    /// The guest has sent its last byte.
    guest_finished: bool,
    /// The guest wants no more bytes.
    guest_deaf: bool,
}

impl Connection {
    fn new(ports: Ports, stream: UnixStream, phase: Phase, first: Operation) -> Self {
        Self {
            ports,
            stream,
            phase,
            control: VecDeque::from([(first, 0)]),
            outgoing: VecDeque::new(),
            forwarded: Wrapping(0),
            told: Wrapping(0),
            sent: Wrapping(0),
            guest_buffer: 0,
            guest_forwarded: Wrapping(0),
            host_finished: false,
            guest_finished: false,
            guest_deaf: false,
        }
    }

    /// The host's program at `stream` (non-blocking) wants to reach the guest's port.
    pub fn from_host(ports: Ports, stream: UnixStream) -> Self {
        Self::new(ports, stream, Phase::Requested, Operation::Request)
    }

    /// The guest wants to reach the host's program at `stream` (non-blocking); `request` is its packet.
    pub fn from_guest(ports: Ports, stream: UnixStream, request: &Header) -> Self {
        let mut connection = Self::new(ports, stream, Phase::Open, Operation::Response);
        connection.take_credit(request);
        connection
    }

    /// The host program's end.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Gone && self.outgoing.is_empty()
    }

    /// Whether bytes of the host's program could be passed on now.
    pub fn wants_input(&self) -> bool {
        self.phase == Phase::Open && !self.host_finished && !self.guest_deaf && self.credit() > 0
    }

    /// Whether bytes wait for the host's program.
    pub fn wants_output(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// How many bytes the guest has room for.
    pub fn credit(&self) -> u32 {
        let in_flight = (self.sent - self.guest_forwarded).0;
        self.guest_buffer.saturating_sub(in_flight)
    }

    /// Takes a packet of the guest with its data.
    pub fn receive(&mut self, header: &Header, data: &[u8]) {
        self.take_credit(header);
        match (Operation::from_number(header.operation.to_native()), self.phase) {
            (Some(Operation::Response), Phase::Requested) => {
                self.phase = Phase::Open;
                let host = self.ports.host;
                self.tell_host(format_args!("OK {host}\n"));
            }
            (Some(Operation::Data), Phase::Open) if !self.guest_finished => self.take_data(data),
            (Some(Operation::Shutdown), Phase::Open) => self.shut_down(header.flags.to_native()),
            (Some(Operation::CreditUpdate), Phase::Open) => {}
            (Some(Operation::CreditRequest), Phase::Open) => self.update_credit(),
            (Some(Operation::Reset), _) | (_, Phase::Gone) => self.end(Phase::Gone),
            _ => self.end(Phase::Broken),
        }
    }

    /// Reads from the host's program straight into `slices`, as far as credit reaches; returns the bytes read, or `None` when
    /// nothing waits.
    pub fn read_into(&mut self, slices: &[GuestSlice<'_>]) -> Option<u32> {
        let mut room = self.credit() as usize;
        let mut total = 0;
        for slice in slices {
            let part = slice.len().min(room);
            if part == 0 {
                break;
            }
            let Ok(mut part) = slice.subslice(0, part) else { break };
            match self.stream.read_volatile(&mut part) {
                Ok(0) => {
                    self.host_finished();
                    break;
                }
                Ok(length) => {
                    total += length;
                    room -= length;
                    if length < part.len() {
                        break;
                    }
                }
                Err(VolatileMemoryError::IOError(error)) if is_temporary(&error) => break,
                Err(_) => {
                    self.end(Phase::Broken);
                    break;
                }
            }
        }
        let total = total as u32;
        self.sent += total;
        (total > 0).then_some(total)
    }

    /// Passes on to the host's program what it has room for.
    pub fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(self.outgoing.as_slices().0) {
                Ok(0) => return self.end(Phase::Broken),
                Ok(length) => {
                    self.outgoing.drain(..length);
                    self.forwarded += length as u32;
                }
                Err(error) if is_temporary(&error) => break,
                Err(_) => {
                    self.outgoing.clear();
                    return self.end(Phase::Broken);
                }
            }
        }
        if self.guest_finished && self.outgoing.is_empty() {
            // The program sees the end; when it has gone already there is nobody to see it.
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
        if (self.forwarded - self.told).0 >= CREDIT_STEP && self.phase == Phase::Open {
            self.update_credit();
        }
    }

    /// The host's program has hung up.
    pub fn hang_up(&mut self) {
        self.end(Phase::Broken);
    }

    /// The next packet without data that the guest is to get.
    pub fn next_control(&mut self) -> Option<Header> {
        if self.phase == Phase::Broken {
            self.phase = Phase::Gone;
            self.control.clear();
            return Some(self.header(Operation::Reset, 0, 0));
        }
        let (operation, flags) = self.control.pop_front()?;
        Some(self.header(operation, flags, 0))
    }

    /// Whether [`Connection::next_control`] has something.
    pub fn has_control(&self) -> bool {
        self.phase == Phase::Broken || !self.control.is_empty()
    }

    /// The header of a packet to the guest with `length` bytes of data. The guest's address is filled in by the device.
    pub fn header(&mut self, operation: Operation, flags: u32, length: u32) -> Header {
        self.told = self.forwarded;
        Header {
            source_cid: super::packet::HOST_CID.into(),
            source_port: self.ports.host.into(),
            destination_port: self.ports.guest.into(),
            length: length.into(),
            kind: super::packet::STREAM.into(),
            operation: (operation as u16).into(),
            flags: flags.into(),
            buffer_size: BUFFER_SIZE.into(),
            forwarded: self.forwarded.0.into(),
            ..Default::default()
        }
    }

    fn take_credit(&mut self, header: &Header) {
        self.guest_buffer = header.buffer_size.to_native();
        self.guest_forwarded = Wrapping(header.forwarded.to_native());
    }

    /// One update is enough, however often it is asked for.
    fn update_credit(&mut self) {
        let update = (Operation::CreditUpdate, 0);
        if !self.control.contains(&update) {
            self.control.push_back(update);
        }
    }

    fn take_data(&mut self, data: &[u8]) {
        if self.outgoing.len() + data.len() > BUFFER_SIZE as usize {
            // More than it was allowed.
            return self.end(Phase::Broken);
        }
        self.outgoing.extend(data);
        self.flush();
    }

    fn shut_down(&mut self, flags: u32) {
        self.guest_finished |= flags & NO_SEND != 0;
        self.guest_deaf |= flags & NO_RECEIVE != 0;
        self.flush();
        if self.guest_finished && self.guest_deaf {
            self.end(Phase::Broken);
        }
    }

    fn host_finished(&mut self) {
        if !std::mem::replace(&mut self.host_finished, true) {
            self.control.push_back((Operation::Shutdown, NO_SEND));
        }
    }

    fn end(&mut self, phase: Phase) {
        if self.phase != Phase::Gone {
            self.phase = phase;
        }
        if self.outgoing.is_empty() {
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn tell_host(&mut self, text: std::fmt::Arguments<'_>) {
        let failed = self.stream.write_fmt(text).is_err();
        if failed {
            self.end(Phase::Broken);
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use vm_memory::VolatileSlice;

    use super::*;

    const PORTS: Ports = Ports { guest: 1000, host: 2000 };

    fn packet(operation: Operation) -> Header {
        Header { operation: (operation as u16).into(), buffer_size: 4096.into(), ..Default::default() }
    }

    /// An open connection from the guest, and the host program's end.
    fn open() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut connection = Connection::from_guest(PORTS, ours, &packet(Operation::Request));
        assert_eq!(operation_of(&mut connection), Some(Operation::Response));
        (connection, theirs)
    }

    fn operation_of(connection: &mut Connection) -> Option<Operation> {
        connection.next_control().and_then(|header| Operation::from_number(header.operation.to_native()))
    }

    fn read(connection: &mut Connection, room: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; room];
        let length = connection.read_into(&[VolatileSlice::from(bytes.as_mut_slice())])?;
        bytes.truncate(length as usize);
        Some(bytes)
    }

    #[test]
    fn bytes_pass_in_both_directions() {
        let (mut connection, mut program) = open();

        connection.receive(&packet(Operation::Data), b"from the guest");
        program.write_all(b"from the host").unwrap();

        let mut received = [0; 14];
        program.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"from the guest");
        assert_eq!(read(&mut connection, 100).unwrap(), b"from the host");
    }

    #[test]
    fn no_more_is_sent_than_the_guest_has_room_for_until_it_tells_of_more() {
        let (mut connection, mut program) = open();
        program.write_all(&[1; 5000]).unwrap();

        assert_eq!(read(&mut connection, 8192).unwrap().len(), 4096);
        assert!(!connection.wants_input());
        let more = Header { forwarded: 4000.into(), ..packet(Operation::CreditUpdate) };
        connection.receive(&more, &[]);

        assert_eq!(read(&mut connection, 8192).unwrap().len(), 904);
    }

    #[test]
    fn a_guest_that_sends_more_than_its_credit_is_cut_off() {
        let (mut connection, program) = open();

        for _ in 0..100 {
            connection.receive(&packet(Operation::Data), &[0; 64 * 1024]);
        }

        assert_eq!(operation_of(&mut connection), Some(Operation::Reset));
        drop(program);
    }

    #[test]
    fn the_host_programs_end_is_told_and_what_the_guest_sends_still_arrives() {
        let (mut connection, mut program) = open();
        program.shutdown(std::net::Shutdown::Write).unwrap();

        assert_eq!(read(&mut connection, 10), None);
        assert_eq!(operation_of(&mut connection), Some(Operation::Shutdown));
        connection.receive(&packet(Operation::Data), b"late");
        let end = Header { flags: (NO_SEND | NO_RECEIVE).into(), ..packet(Operation::Shutdown) };
        connection.receive(&end, &[]);

        let mut rest = String::new();
        program.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "late");
        assert_eq!(operation_of(&mut connection), Some(Operation::Reset));
        assert!(connection.is_over());
    }

    #[test]
    fn a_host_program_is_told_when_the_guest_has_accepted() {
        let (ours, mut program) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut connection = Connection::from_host(PORTS, ours);
        assert_eq!(operation_of(&mut connection), Some(Operation::Request));

        connection.receive(&packet(Operation::Response), &[]);

        let mut line = [0; 8];
        program.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"OK 2000\n");
    }

    #[test]
    fn packets_that_make_no_sense_end_the_connection() {
        for operation in [Operation::Request, Operation::Response] {
            let (mut connection, _program) = open();

            connection.receive(&packet(operation), &[]);

            assert_eq!(operation_of(&mut connection), Some(Operation::Reset));
        }
    }

    #[test]
    fn the_guest_is_told_of_room_again_after_a_while() {
        let (mut connection, mut program) = open();

        for _ in 0..16 {
            connection.receive(&packet(Operation::Data), &[0; 8192]);
            program.read_exact(&mut [0; 8192]).unwrap();
        }

        let update = connection.next_control().expect("an update");
        assert_eq!(update.operation.to_native(), Operation::CreditUpdate as u16);
        assert!(update.forwarded.to_native() >= CREDIT_STEP);
    }
}
