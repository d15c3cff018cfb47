//! A PS/2 keyboard behind the controller: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboards".
//!
//! It speaks scan code set 2, or set 1 when it is told to. Set 3 is refused, as by many real ones.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::input::{Key, keys};

/// Bytes of presses that wait for a guest that does not read. Releases have room of their own: a key must not stick.
const QUEUE: usize = 256;
const REPLIES: usize = 16;

const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const ECHO: u8 = 0xee;
const SELF_TEST_PASSED: u8 = 0xaa;
const RELEASE: u8 = 0xf0;

const SET_LEDS: u8 = 0xed;
const SCAN_CODE_SET: u8 = 0xf0;
const IDENTIFY: u8 = 0xf2;
const SET_TYPEMATIC: u8 = 0xf3;
const ENABLE: u8 = 0xf4;
const DISABLE: u8 = 0xf5;
const DEFAULTS: u8 = 0xf6;
const RESET: u8 = 0xff;

/// 10.9 characters a second after 500 ms.
const DEFAULT_TYPEMATIC: u8 = 0x2b;

/// Set 2 to set 1, as the controller's own program does it: the answers to the keyboard's commands go through it as well.
const TO_SET_1: [u8; 128] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, //
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, //
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, //
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, //
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, //
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, //
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, //
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
];

/// Turns set 2 into set 1, byte by byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translator {
    /// The prefix of a release has come; the next code carries it as its highest bit.
    release: bool,
}

impl Translator {
    /// The byte for the guest, or none after the prefix of a release.
    pub fn translate(&mut self, byte: u8) -> Option<u8> {
        if byte == RELEASE {
            self.release = true;
            return None;
        }
        let code = match byte {
            0x83 => 0x41,
            0x84 => 0x54,
            // Prefixes and answers are above the table and stay.
            _ => TO_SET_1.get(usize::from(byte)).copied().unwrap_or(byte),
        };
        Some(if std::mem::take(&mut self.release) { code | 0x80 } else { code })
    }
}

/// The keyboard. It is the same type that is saved, since all of it is volatile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    scanning: bool,
    set: u8,
    leds: u8,
    typematic: u8,
    /// The command whose argument comes next.
    argument_of: Option<u8>,
    replies: VecDeque<u8>,
    queue: VecDeque<u8>,
    /// The keys whose presses the guest was told of.
    down: BTreeSet<u16>,
    last_sent: u8,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self {
            scanning: true,
            set: 2,
            leds: 0,
            typematic: DEFAULT_TYPEMATIC,
            argument_of: None,
            replies: VecDeque::new(),
            queue: VecDeque::new(),
            down: BTreeSet::new(),
            last_sent: 0,
        }
    }
}

impl Keyboard {
    /// A person presses or releases a key. A press that the guest has no room for is dropped with its release.
    pub fn key(&mut self, key: Key, down: bool) {
        if !self.scanning {
            self.down.remove(&key.0);
        } else if down {
            let Some(codes) = keys::set2(key) else { return };
            if self.queue.len() + codes.len() <= QUEUE {
                self.down.insert(key.0);
                self.send(codes);
            }
        } else if self.down.remove(&key.0) {
            self.send(&keys::set2_release(key).unwrap_or_default());
        }
    }

    /// The next byte for the controller: answers come before keys.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.queue.pop_front())?;
        if byte != RESEND {
            self.last_sent = byte;
        }
        Some(byte)
    }

    /// The guest sends a byte to the keyboard.
    pub fn receive(&mut self, byte: u8) {
        match (self.argument_of.take(), byte) {
            (Some(SET_LEDS), 0..0x80) => {
                self.leds = byte & 0b111;
                self.reply(&[ACKNOWLEDGE]);
            }
            (Some(SET_TYPEMATIC), 0..0x80) => {
                self.typematic = byte;
                self.reply(&[ACKNOWLEDGE]);
            }
            (Some(SCAN_CODE_SET), 0) => self.reply(&[ACKNOWLEDGE, self.set]),
            (Some(SCAN_CODE_SET), 1 | 2) => {
                self.set = byte;
                self.queue.clear();
                self.reply(&[ACKNOWLEDGE]);
            }
            (Some(SCAN_CODE_SET), 0..0x80) => self.reply(&[RESEND]),
            // Anything that is no argument is a new command.
            (_, SET_LEDS | SET_TYPEMATIC | SCAN_CODE_SET) => {
                self.argument_of = Some(byte);
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, ECHO) => self.reply(&[ECHO]),
            (_, IDENTIFY) => self.reply(&[ACKNOWLEDGE, 0xab, 0x83]),
            (_, ENABLE) => {
                self.queue.clear();
                self.scanning = true;
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, DISABLE | DEFAULTS) => {
                self.defaults();
                self.scanning = byte == DEFAULTS;
                self.reply(&[ACKNOWLEDGE]);
            }
            // How single keys behave in set 3, which is not there: agreed to, as keyboards do.
            (_, 0xf7..=0xfa) => self.reply(&[ACKNOWLEDGE]),
            (_, RESEND) => self.reply(&[self.last_sent]),
            (_, RESET) => {
                *self = Self::default();
                self.reply(&[ACKNOWLEDGE, SELF_TEST_PASSED]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    /// Whether the state can be that of a keyboard: it may come from a file.
    pub fn is_sound(&self) -> bool {
        matches!(self.set, 1 | 2)
            && self.replies.len() <= REPLIES
            && self.down.len() <= keys::all().count()
            // Each key that is down may have added its release.
            && self.queue.len() <= QUEUE + 8 * keys::all().count()
    }

    fn defaults(&mut self) {
        self.queue.clear();
        self.typematic = DEFAULT_TYPEMATIC;
        self.set = 2;
    }

    fn send(&mut self, codes: &[u8]) {
        if self.set == 1 {
            let mut translator = Translator::default();
            self.queue.extend(codes.iter().filter_map(|&byte| translator.translate(byte)));
        } else {
            self.queue.extend(codes);
        }
    }

    fn reply(&mut self, bytes: &[u8]) {
        if self.replies.len() + bytes.len() <= REPLIES {
            self.replies.extend(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key(30);
    const UP: Key = Key(103);
    const PAUSE: Key = Key(119);

    fn drain(keyboard: &mut Keyboard) -> Vec<u8> {
        std::iter::from_fn(|| keyboard.take()).collect()
    }

    fn ask(keyboard: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|&byte| keyboard.receive(byte));
        drain(keyboard)
    }

    #[test]
    fn keys_make_and_break_in_set_2() {
        let mut keyboard = Keyboard::default();

        keyboard.key(A, true);
        keyboard.key(A, false);
        keyboard.key(UP, true);
        keyboard.key(UP, false);

        assert_eq!(drain(&mut keyboard), [0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75]);
    }

    #[test]
    fn the_translator_agrees_with_the_table_of_keys() {
        for key in keys::all() {
            let (Some(codes), Some(xt)) = (keys::set2(key), keys::xt(key)) else { continue };
            // Pause and Print are several codes; Hangul and Hanja are the same in both sets.
            if key == PAUSE || codes.len() > 2 || matches!(codes, [0xf1 | 0xf2]) {
                continue;
            }
            let mut translator = Translator::default();

            let set1: Vec<u8> = codes.iter().filter_map(|&byte| translator.translate(byte)).collect();

            assert_eq!(set1.last(), Some(&(xt & 0x7f)), "{key:?}");
        }
    }

    #[test]
    fn the_translator_marks_releases() {
        let mut translator = Translator::default();

        let set1: Vec<u8> =
            [0xe0, 0xf0, 0x75, 0x1c, 0xfa].into_iter().filter_map(|byte| translator.translate(byte)).collect();

        assert_eq!(set1, [0xe0, 0xc8, 0x1e, 0xfa]);
    }

    #[test]
    fn set_1_is_spoken_when_asked_for_and_told_when_asked() {
        let mut keyboard = Keyboard::default();
        assert_eq!(ask(&mut keyboard, &[0xf0, 0]), [0xfa, 0xfa, 2]);

        assert_eq!(ask(&mut keyboard, &[0xf0, 1]), [0xfa, 0xfa]);
        keyboard.key(A, true);
        keyboard.key(A, false);

        assert_eq!(drain(&mut keyboard), [0x1e, 0x9e]);
        assert_eq!(ask(&mut keyboard, &[0xf0, 3]), [0xfa, 0xfe]);
        assert_eq!(ask(&mut keyboard, &[0xf0, 0]), [0xfa, 0xfa, 1]);
    }

    #[test]
    fn commands_are_answered_before_keys() {
        let mut keyboard = Keyboard::default();
        keyboard.key(A, true);

        assert_eq!(ask(&mut keyboard, &[0xed, 7]), [0xfa, 0xfa, 0x1c]);
        assert_eq!(ask(&mut keyboard, &[0xf3, 0x20]), [0xfa, 0xfa]);
        assert_eq!(ask(&mut keyboard, &[0xee]), [0xee]);
        assert_eq!(ask(&mut keyboard, &[0xf2]), [0xfa, 0xab, 0x83]);
        assert_eq!(ask(&mut keyboard, &[0xfe]), [0x83]);
        assert_eq!(ask(&mut keyboard, &[0x42]), [0xfe]);
        assert_eq!(keyboard.leds, 7);
        assert_eq!(keyboard.typematic, 0x20);
    }

    #[test]
    fn a_command_in_place_of_an_argument_is_obeyed() {
        let mut keyboard = Keyboard::default();

        assert_eq!(ask(&mut keyboard, &[0xed, 0xff]), [0xfa, 0xaa]);
    }

    #[test]
    fn a_disabled_keyboard_says_nothing_until_enabled() {
        let mut keyboard = Keyboard::default();
        assert_eq!(ask(&mut keyboard, &[0xf5]), [0xfa]);

        keyboard.key(A, true);
        let silent = drain(&mut keyboard);
        let enabled = ask(&mut keyboard, &[0xf4]);
        keyboard.key(A, false);

        assert!(silent.is_empty());
        assert_eq!(enabled, [0xfa]);
        assert!(drain(&mut keyboard).is_empty(), "its press was never told");
    }

    #[test]
    fn a_full_queue_drops_presses_and_keeps_releases() {
        let mut keyboard = Keyboard::default();
        keyboard.key(UP, true);
        for _ in 0..1000 {
            keyboard.key(A, true);
        }

        keyboard.key(Key(31), true);
        keyboard.key(Key(31), false);
        keyboard.key(UP, false);
        let bytes = drain(&mut keyboard);

        assert_eq!(bytes.len(), QUEUE + 3);
        assert!(bytes.ends_with(&[0xe0, 0xf0, 0x75]));
        assert!(!bytes.contains(&0x1b), "half a key was told");
    }

    #[test]
    fn unread_answers_are_bounded() {
        let mut keyboard = Keyboard::default();

        assert!(ask(&mut keyboard, &[0xf2; 1000]).len() <= REPLIES);
        assert!(keyboard.is_sound());
    }
}
