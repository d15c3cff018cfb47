//! What is to be sent to one QMP client.
//!
//! Responses and events go through one queue to the one thread that writes to the socket. The driver only ever puts events
//! in, and never waits: when a client does not read, its events are dropped and counted, and it is told how many were lost
//! (`x-lodge-events-lost`) as soon as there is room. A client's next command waits for room ([`Outbox::begin`]), which holds
//! up nobody else; its response then always finds a place.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::{Map, Value};

use crate::qmp::{codec, message::Event};

/// How many messages may wait.
pub const CAPACITY: usize = 256;

/// The queue; see the module.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Arc<[u8]>>,
    lost_events: u64,
    /// A command is being carried out, its response is to come.
    busy: bool,
    /// Nothing more comes in but that response; what is there may still go out.
    closed: bool,
    /// Nothing more goes out.
    ended: bool,
}

impl Outbox {
    /// Waits for room for a response, and announces it. Returns false when nothing more can be sent: then the command must
    /// not be carried out.
    pub fn begin(&self) -> bool {
        let mut state = self.lock();
        while state.messages.len() >= CAPACITY && !state.closed && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.busy = !state.closed && !state.ended;
        state.busy
    }

    /// Puts the announced response in.
    pub fn respond(&self, message: Vec<u8>) {
        let mut state = self.lock();
        if std::mem::take(&mut state.busy) && !state.ended {
            state.messages.push_back(message.into());
        }
        self.changed.notify_all();
    }

    /// Puts an event in, or drops it when there is no room. Never waits.
    pub fn offer(&self, event: &Arc<[u8]>) {
        let mut state = self.lock();
        if state.closed || state.ended {
            return;
        }
        if state.lost_events > 0
            && state.messages.len() + 1 < CAPACITY
            && let Some(notice) = state.take_notice()
        {
            state.messages.push_back(notice);
        }
        if state.lost_events > 0 || state.messages.len() >= CAPACITY {
            state.lost_events = state.lost_events.saturating_add(1);
            return;
        }
        state.messages.push_back(Arc::clone(event));
        self.changed.notify_all();
    }

    /// The next message to write, waiting for one; `None` when there is nothing more to come.
    pub fn take(&self) -> Option<Arc<[u8]>> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            let next = state.messages.pop_front().or_else(|| state.take_notice());
            if next.is_some() {
                self.changed.notify_all();
                return next;
            }
            if state.closed && !state.busy {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing more in. What waits may still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The writer has ended.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the writer has ended, or the deadline.
    pub fn wait_for_end(&self, deadline: Instant) {
        let mut state = self.lock();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The event that tells how many others were lost, if any were.
    fn take_notice(&mut self) -> Option<Arc<[u8]>> {
        let lost = std::mem::take(&mut self.lost_events);
        (lost > 0).then(|| {
            let data = Map::from_iter([("count".to_owned(), Value::from(lost))]);
            codec::encode(&Event::now("x-lodge-events-lost", data)).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    fn text(message: Option<Arc<[u8]>>) -> String {
        String::from_utf8(message.expect("a message").to_vec()).unwrap()
    }

    #[test]
    fn messages_come_out_in_order_and_end_after_the_close() {
        let outbox = Outbox::default();
        outbox.offer(&Arc::from(*b"event"));
        assert!(outbox.begin());
        outbox.respond(b"response".to_vec());

        outbox.close();

        assert_eq!(text(outbox.take()), "event");
        assert_eq!(text(outbox.take()), "response");
        assert_eq!(outbox.take(), None);
    }

    #[test]
    fn a_response_that_was_announced_before_the_close_still_goes_out() {
        let outbox = Outbox::default();
        assert!(outbox.begin());
        outbox.close();

        outbox.respond(b"response".to_vec());

        assert_eq!(text(outbox.take()), "response");
        assert_eq!(outbox.take(), None);
        assert!(!outbox.begin());
    }

    #[test]
    fn events_that_find_no_room_are_counted_and_the_count_is_told_in_their_place() {
        let outbox = Outbox::default();
        let event: Arc<[u8]> = Arc::from(*b"event");
        (0..CAPACITY + 5).for_each(|_| outbox.offer(&event));

        (0..CAPACITY).for_each(|_| assert_eq!(text(outbox.take()), "event"));
        outbox.offer(&event);

        assert!(text(outbox.take()).contains("\"data\":{\"count\":5}"));
        assert_eq!(text(outbox.take()), "event");
    }

    #[test]
    fn the_count_is_told_even_when_no_event_follows() {
        let outbox = Outbox::default();
        (0..CAPACITY + 1).for_each(|_| outbox.offer(&Arc::from(*b"event")));

        (0..CAPACITY).for_each(|_| drop(outbox.take()));

        assert!(text(outbox.take()).contains("\"count\":1"));
    }

    #[test]
    fn a_command_waits_for_room() {
        let outbox = Arc::new(Outbox::default());
        (0..CAPACITY).for_each(|_| outbox.offer(&Arc::from(*b"event")));
        let client = thread::spawn({
            let outbox = Arc::clone(&outbox);
            move || {
                let begun = outbox.begin();
                outbox.respond(b"response".to_vec());
                begun
            }
        });

        let taken: Vec<String> = (0..=CAPACITY).map(|_| text(outbox.take())).collect();

        assert!(client.join().unwrap());
        assert_eq!(taken.last().unwrap(), "response");
    }

    #[test]
    fn a_command_gives_up_when_the_writer_ends() {
        let outbox = Arc::new(Outbox::default());
        (0..CAPACITY).for_each(|_| outbox.offer(&Arc::from(*b"event")));
        let client = thread::spawn({
            let outbox = Arc::clone(&outbox);
            move || outbox.begin()
        });

        outbox.end();

        assert!(!client.join().unwrap());
    }

    #[test]
    fn waiting_for_a_writer_that_hangs_has_an_end() {
        let outbox = Outbox::default();

        outbox.wait_for_end(Instant::now() + Duration::from_millis(10));
    }
}
