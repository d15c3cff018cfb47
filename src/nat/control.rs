//! The worker's requests to a card's translator: one JSON document a message, each answered by one.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Forward, State};

/// The longest message, in bytes.
const LIMIT: usize = 64 << 10;
/// How long a translator may take to answer: a new start of `passt` is quick.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with the answer, so that one that was given up is not taken for another's.
    pub number: u64,
    /// What is asked for.
    pub task: Task,
}

/// What a translator can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Only to tell its state.
    Query,
    /// To forward another port.
    Add(Forward),
    /// No longer to forward one; what it leads to does not matter.
    Remove(Forward),
}

/// The answer: the state afterwards, or what else there is to say, or why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T = State> {
    /// The request's number; 0 when none was made.
    pub number: u64,
    /// What came of it.
    pub result: Result<T, String>,
}

/// The worker's end of the control socket.
#[derive(Debug)]
pub struct Control(Mutex<Line>);

#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    last: u64,
}

impl Control {
    /// Asks over this SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(Mutex::new(Line { socket, last: 0 }))
    }

    /// Has something done; takes as long as the translator does, at most some seconds.
    pub fn ask(&self, task: Task) -> Result<State, String> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.last += 1;
        let request = Request { number: line.last, task };
        let answered = write_message(&line.socket, &request).and_then(|()| {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let reply: Reply = read_message(&line.socket, Some(deadline))?;
                if reply.number == request.number {
                    return Ok(reply.result);
                }
            }
        });
        answered.unwrap_or_else(|error| {
            Err(format!("what carries the card's frames does not answer ({error}). Stop the guest and start it again"))
        })
    }
}

/// Sends one message.
pub fn write_message(socket: &impl AsFd, message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut nothing = SendAncillaryBuffer::new(&mut []);
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut nothing, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Reads one message; waits for it until the deadline, for ever without one.
pub fn read_message<T: DeserializeOwned>(socket: &impl AsFd, deadline: Option<Instant>) -> io::Result<T> {
    let mut space: [MaybeUninit<u8>; 0] = [];
    let mut bytes = vec![0; LIMIT];
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let buffers = &mut [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(socket, buffers, &mut RecvAncillaryBuffer::new(&mut space), RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(bytes.get(..message.bytes).unwrap_or_default())?)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::nat::Carrier;

    fn line() -> (Control, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        (Control::new(ours), theirs)
    }

    #[test]
    fn an_answer_to_an_earlier_request_is_passed_over() {
        let (control, translator) = line();
        let state = State::new(Carrier::Slirp);
        let reply = |number, result| write_message(&translator, &Reply { number, result }).unwrap();
        reply(0, Err("late".to_owned()));
        reply(1, Ok(state.clone()));

        assert_eq!(control.ask(Task::Query), Ok(state));
        assert_eq!(read_message::<Request>(&translator, None).unwrap(), Request { number: 1, task: Task::Query });
    }

    #[test]
    fn a_translator_that_has_gone_is_said_to_have() {
        let (control, translator) = line();
        drop(translator);

        assert!(control.ask(Task::Query).unwrap_err().contains("start it again"));
    }
}
