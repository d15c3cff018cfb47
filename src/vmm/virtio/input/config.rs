//! What an input device tells about itself (virtio 1.2, section 5.8.5): its name, what kinds of events it makes, and the range
//! of its axes. The driver selects a question and reads the answer.

#![forbid(unsafe_code)]

use super::{
    Kind,
    event::{
        ABS_X, ABS_Y, ABSOLUTE_MAX, EV_ABS, EV_KEY, EV_LED, EV_REL, EV_REP, KEYBOARD_LEDS, REL_HWHEEL, REL_WHEEL,
        pointer_buttons,
    },
};
use crate::input::keys;

const SELECT_NAME: u8 = 0x01;
const SELECT_SERIAL: u8 = 0x02;
const SELECT_IDS: u8 = 0x03;
const SELECT_PROPERTIES: u8 = 0x10;
const SELECT_EVENTS: u8 = 0x11;
const SELECT_ABSOLUTE: u8 = 0x12;

/// `BUS_VIRTUAL` of linux/input.h.
const BUS_VIRTUAL: u16 = 0x06;
const VENDOR: u16 = 0x1af4;
const VERSION: u16 = 1;

/// Bytes of an answer at most.
const ANSWER_MAX: usize = 128;
/// Bytes before the answer: the two selectors, the size and five reserved ones.
const ANSWER_OFFSET: usize = 8;

/// The configuration structure with the question that the driver has selected.
#[derive(Debug, Clone)]
pub struct InputConfig {
    kind: Kind,
    select: u8,
    subselect: u8,
}

impl InputConfig {
    /// Nothing is selected yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, select: 0, subselect: 0 }
    }

    /// The selectors: the volatile part.
    pub fn selected(&self) -> (u8, u8) {
        (self.select, self.subselect)
    }

    /// Selects a question.
    pub fn select(&mut self, select: u8, subselect: u8) {
        (self.select, self.subselect) = (select, subselect);
    }

    /// The driver writes: only the selectors take anything.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (offset, &byte) in (offset..).zip(data) {
            match offset {
                0 => self.select = byte,
                1 => self.subselect = byte,
                _ => {}
            }
        }
    }

    /// The structure as the driver reads it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut answer = self.answer();
        answer.truncate(ANSWER_MAX);
        let mut bytes = vec![self.select, self.subselect, answer.len() as u8];
        bytes.resize(ANSWER_OFFSET, 0);
        bytes.extend(answer);
        bytes.resize(ANSWER_OFFSET + ANSWER_MAX, 0);
        bytes
    }

    fn answer(&self) -> Vec<u8> {
        match (self.select, self.subselect) {
            (SELECT_NAME, 0) => self.kind.name().into(),
            (SELECT_SERIAL, 0) => self.kind.label().into(),
            (SELECT_IDS, 0) => {
                [BUS_VIRTUAL, VENDOR, self.kind as u16, VERSION].iter().flat_map(|id| id.to_le_bytes()).collect()
            }
            (SELECT_PROPERTIES, 0) => Vec::new(),
            (SELECT_EVENTS, kind) => bitmap(self.events(kind.into())),
            (SELECT_ABSOLUTE, axis) => self.axis(axis.into()),
            _ => Vec::new(),
        }
    }

    /// The codes of the events of type `event`.
    fn events(&self, event: u16) -> Vec<u16> {
        match (self.kind, event) {
            (Kind::Keyboard, EV_KEY) => keys::all().map(|key| key.0).collect(),
            (Kind::Keyboard, EV_LED) => KEYBOARD_LEDS.into(),
            // The host repeats no keys: the guest does, at its own rate.
            (Kind::Keyboard, EV_REP) => vec![0, 1],
            (Kind::Tablet, EV_KEY) => pointer_buttons().collect(),
            (Kind::Tablet, EV_ABS) => vec![ABS_X, ABS_Y],
            (Kind::Tablet, EV_REL) => vec![REL_WHEEL, REL_HWHEEL],
            _ => Vec::new(),
        }
    }

    /// Least and greatest value, then fuzz, flat and resolution.
    fn axis(&self, axis: u16) -> Vec<u8> {
        match (self.kind, axis) {
            (Kind::Tablet, ABS_X | ABS_Y) => {
                [0, ABSOLUTE_MAX, 0, 0, 0].iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// One bit a code, without empty bytes at the end.
fn bitmap(codes: Vec<u16>) -> Vec<u8> {
    let mut bits = Vec::new();
    for code in codes {
        let byte = usize::from(code / 8);
        if bits.len() <= byte {
            bits.resize(byte + 1, 0u8);
        }
        bits[byte] |= 1 << (code % 8);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: Kind, select: u8, subselect: u8) -> Vec<u8> {
        let mut config = InputConfig::new(kind);
        config.write(0, &[select, subselect]);
        let bytes = config.bytes();
        bytes[ANSWER_OFFSET..][..usize::from(bytes[2])].to_vec()
    }

    fn has(bits: &[u8], code: u16) -> bool {
        bits.get(usize::from(code / 8)).is_some_and(|byte| byte & 1 << (code % 8) != 0)
    }

    #[test]
    fn a_keyboard_has_keys_and_leds_but_no_axes() {
        let keys = ask(Kind::Keyboard, SELECT_EVENTS, EV_KEY as u8);

        assert!(has(&keys, 30) && has(&keys, 28) && !has(&keys, 0x110));
        assert!(!ask(Kind::Keyboard, SELECT_EVENTS, EV_LED as u8).is_empty());
        assert!(ask(Kind::Keyboard, SELECT_EVENTS, EV_ABS as u8).is_empty());
        assert!(ask(Kind::Keyboard, SELECT_ABSOLUTE, 0).is_empty());
    }

    #[test]
    fn a_tablet_has_buttons_wheels_and_two_axes_with_their_range() {
        assert!(has(&ask(Kind::Tablet, SELECT_EVENTS, EV_KEY as u8), 0x110));
        assert!(has(&ask(Kind::Tablet, SELECT_EVENTS, EV_REL as u8), REL_WHEEL));
        let axis = ask(Kind::Tablet, SELECT_ABSOLUTE, ABS_Y as u8);
        assert_eq!((axis.len(), &axis[4..8]), (20, &32767u32.to_le_bytes()[..]));
    }

    #[test]
    fn unknown_questions_have_empty_answers_whatever_the_selectors() {
        for (select, subselect) in (0..=255u8).flat_map(|select| [0, 7, 255].map(|subselect| (select, subselect))) {
            let mut config = InputConfig::new(Kind::Tablet);
            config.write(0, &[select, subselect, 0xff, 0xff]);

            assert_eq!(config.bytes().len(), ANSWER_OFFSET + ANSWER_MAX);
        }
        assert!(ask(Kind::Tablet, 0x55, 0).is_empty());
    }
}
