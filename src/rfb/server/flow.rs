//! Fences and continuous updates of one viewer: answers to its fences, and how many updates are on their way to it.
//!
//! A viewer that wants every change does not ask for each. After each update it gets a fence instead, and while it has not
//! answered [`MAX_UPDATES`] of them it gets no more: however slow it is, it is never behind by more than these.

use super::order::Encodings;
use crate::rfb::fence::Fence;
use crate::rfb::protocol::{END_OF_CONTINUOUS_UPDATES, ProtocolError};
use crate::screen::Rect;

/// So many updates may be on their way: one that is drawn, one that comes meanwhile.
const MAX_UPDATES: u32 = 2;
/// More bytes of answers than this wait only for a viewer that asks and never listens.
const MAX_MESSAGES: usize = 64 * 1024;

/// The state of it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Messages that wait to be written.
    messages: Vec<u8>,
    /// A fence whose answer goes with the effect of the next message.
    held: Option<Fence>,
    /// The viewer knows that fences are understood, and answers them.
    fences: bool,
    /// The viewer knows that it can have every change.
    continuous: bool,
    /// Where it wants every change.
    area: Option<Rect>,
    /// Updates that were followed by a fence, and those of them that were answered. They wrap.
    sent: u32,
    answered: u32,
}

impl Flow {
    /// Tells a viewer what it can have, once.
    pub(super) fn agree(&mut self, encodings: &Encodings) {
        if encodings.fences && !std::mem::replace(&mut self.fences, true) {
            Fence { flags: Fence::REQUEST, payload: Vec::new() }.write(&mut self.messages);
        }
        if encodings.continuous_updates && !std::mem::replace(&mut self.continuous, true) {
            self.messages.push(END_OF_CONTINUOUS_UPDATES);
        }
    }

    /// The viewer wants every change in an area, or none any more.
    pub(super) fn switch(&mut self, area: Option<Rect>) {
        self.area = area.filter(|_| self.continuous);
        if area.is_none() {
            self.messages.push(END_OF_CONTINUOUS_UPDATES);
        }
    }

    /// Whether the viewer wants every change.
    pub(super) fn is_on(&self) -> bool {
        self.area.is_some()
    }

    /// Where the viewer wants every change, unless it has enough to do.
    pub(super) fn area(&self) -> Option<Rect> {
        self.area.filter(|_| self.sent.wrapping_sub(self.answered) < MAX_UPDATES)
    }

    /// An update was sent; returns the fence that follows it.
    pub(super) fn sent_update(&mut self) -> Option<Fence> {
        self.area?;
        self.sent = self.sent.wrapping_add(1);
        let flags = Fence::REQUEST | Fence::BLOCK_BEFORE;
        Some(Fence { flags, payload: self.sent.to_be_bytes().to_vec() })
    }

    /// A fence has come, or an answer.
    pub(super) fn fence(&mut self, fence: Fence) -> Result<(), ProtocolError> {
        self.release();
        if !fence.is_request() {
            self.answer(&fence);
        } else if fence.flags & Fence::SYNC_NEXT != 0 {
            self.held = Some(fence);
        } else {
            fence.answer().write(&mut self.messages);
        }
        match self.messages.len() {
            0..=MAX_MESSAGES => Ok(()),
            _ => Err(ProtocolError::Malformed("more fences than the viewer takes answers")),
        }
    }

    fn answer(&mut self, fence: &Fence) {
        if let Ok(number) = fence.payload.as_slice().try_into().map(u32::from_be_bytes)
            && number.wrapping_sub(self.answered) <= self.sent.wrapping_sub(self.answered)
        {
            self.answered = number;
        }
    }

    /// Whether an answer waits for the next message.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The message after a fence takes effect.
    pub(super) fn release(&mut self) {
        if let Some(fence) = self.held.take() {
            fence.answer().write(&mut self.messages);
        }
    }

    /// Whether something waits to be written.
    pub(super) fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Takes what waits to be written.
    pub(super) fn take_messages(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfb::protocol::Encoding;

    const AREA: Rect = Rect { x: 0, y: 0, width: 1, height: 1 };

    fn flowing() -> Flow {
        let mut flow = Flow::default();
        flow.agree(&Encodings::new(&[Encoding::CONTINUOUS_UPDATES, Encoding::FENCE]));
        flow.switch(Some(AREA));
        flow.take_messages();
        flow
    }

    #[test]
    fn viewers_hear_once_what_they_can_have() {
        let mut flow = Flow::default();
        let said = |flow: &mut Flow, encodings: &[Encoding]| {
            flow.agree(&Encodings::new(encodings));
            flow.take_messages()
        };

        assert_eq!(said(&mut flow, &[Encoding::CONTINUOUS_UPDATES]), [0u8; 0], "without fences it would be flooded");
        assert_eq!(said(&mut flow, &[Encoding::FENCE]), [248, 0, 0, 0, 0x80, 0, 0, 0, 0]);
        assert_eq!(said(&mut flow, &[Encoding::FENCE, Encoding::CONTINUOUS_UPDATES]), [150]);
        assert_eq!(said(&mut flow, &[Encoding::FENCE, Encoding::CONTINUOUS_UPDATES]), [0u8; 0]);
    }

    #[test]
    fn nothing_flows_to_a_viewer_that_answers_no_fences() {
        let mut flow = Flow::default();

        flow.switch(Some(AREA));

        assert!(!flow.is_on() && flow.sent_update().is_none());
    }

    #[test]
    fn only_answers_to_what_was_sent_count() {
        let mut flow = flowing();
        let fences: Vec<Fence> = (0..2).filter_map(|_| flow.sent_update()).collect();
        let answer = |number: u32| Fence { flags: 0, payload: number.to_be_bytes().to_vec() };

        for wrong in [answer(3), answer(u32::MAX), Fence { flags: 0, payload: vec![1; 3] }] {
            flow.fence(wrong).unwrap();
            assert_eq!(flow.area(), None);
        }
        flow.fence(fences[1].clone().answer()).unwrap();
        flow.sent_update();
        assert_eq!(flow.area(), Some(AREA));
        flow.fence(fences[0].clone().answer()).unwrap();
        flow.sent_update();
        assert_eq!(flow.area(), None, "an old answer makes no room");
    }

    #[test]
    fn the_end_is_told() {
        let mut flow = flowing();

        flow.switch(None);

        assert_eq!((flow.is_on(), flow.take_messages()), (false, vec![END_OF_CONTINUOUS_UPDATES]));
    }

    #[test]
    fn a_viewer_that_asks_and_never_listens_is_left() {
        let mut flow = flowing();
        let fence = Fence { flags: Fence::REQUEST, payload: vec![0; 64] };

        assert!((0..10_000).any(|_| flow.fence(fence.clone()).is_err()));
    }
}
