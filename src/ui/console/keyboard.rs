//! The keys that the guest holds down, and when the keyboard is let go.
//!
//! Keys are told by their place on the keyboard (evdev codes), so every layout works: the guest has its own. The release keys,
//! pressed together and released without another key between, let the keyboard go.

use std::collections::BTreeSet;

use lodge::input::Key;

/// What to do for a key of the person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Pass it on.
    Pass(Key, bool),
    /// Pass it on, then let the keyboard go.
    PassAndRelease(Key),
    /// Nothing: the guest does not know of it.
    Ignore,
}

/// The keyboard as the guest sees it.
#[derive(Debug, Default)]
pub struct Keyboard {
    held: BTreeSet<Key>,
    /// The release keys are down together and nothing else was pressed since.
    releasing: bool,
}

/// The key with a hardware key code of X11 or Wayland, which both count from 8.
pub fn key_of(hardware_code: u32) -> Option<Key> {
    u16::try_from(hardware_code.checked_sub(8)?).ok().filter(|&code| code > 0).map(Key)
}

impl Keyboard {
    /// A key went down, or repeats.
    pub fn press(&mut self, key: Key, release_keys: &[Key]) -> Reaction {
        self.held.insert(key);
        self.releasing =
            self.held.len() == release_keys.len() && release_keys.iter().all(|key| self.held.contains(key));
        Reaction::Pass(key, true)
    }

    /// A key went up.
    pub fn release(&mut self, key: Key) -> Reaction {
        if !self.held.remove(&key) {
            return Reaction::Ignore;
        }
        match std::mem::take(&mut self.releasing) {
            true => Reaction::PassAndRelease(key),
            false => Reaction::Pass(key, false),
        }
    }

    /// Lets go of everything; returns what was down.
    pub fn release_all(&mut self) -> Vec<Key> {
        self.releasing = false;
        std::mem::take(&mut self.held).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use lodge::input::keys::{LEFT_ALT, LEFT_CTRL, RIGHT_CTRL};

    use super::*;

    const A: Key = Key(30);
    const RELEASE: [Key; 2] = [LEFT_CTRL, LEFT_ALT];

    #[test]
    fn hardware_codes_count_from_eight() {
        assert_eq!(key_of(38), Some(A));
        assert_eq!(key_of(8), None);
        assert_eq!(key_of(3), None);
    }

    #[test]
    fn control_and_alt_alone_let_go() {
        let mut keyboard = Keyboard::default();
        keyboard.press(LEFT_CTRL, &RELEASE);
        keyboard.press(LEFT_ALT, &RELEASE);

        assert_eq!(keyboard.release(LEFT_ALT), Reaction::PassAndRelease(LEFT_ALT));
        assert_eq!(keyboard.release(LEFT_CTRL), Reaction::Pass(LEFT_CTRL, false));
    }

    #[test]
    fn control_and_alt_with_another_key_are_the_guests() {
        let mut keyboard = Keyboard::default();
        keyboard.press(LEFT_CTRL, &RELEASE);
        keyboard.press(LEFT_ALT, &RELEASE);
        keyboard.press(A, &RELEASE);

        assert_eq!(keyboard.release(A), Reaction::Pass(A, false));
        assert_eq!(keyboard.release(LEFT_ALT), Reaction::Pass(LEFT_ALT, false));
    }

    #[test]
    fn a_single_release_key_lets_go_when_it_is_pressed_alone() {
        let mut keyboard = Keyboard::default();
        keyboard.press(RIGHT_CTRL, &[RIGHT_CTRL]);
        keyboard.press(A, &[RIGHT_CTRL]);
        keyboard.release(A);
        assert_eq!(keyboard.release(RIGHT_CTRL), Reaction::Pass(RIGHT_CTRL, false));

        keyboard.press(RIGHT_CTRL, &[RIGHT_CTRL]);

        assert_eq!(keyboard.release(RIGHT_CTRL), Reaction::PassAndRelease(RIGHT_CTRL));
    }

    #[test]
    fn a_key_that_the_guest_never_got_is_not_released_there() {
        let mut keyboard = Keyboard::default();

        assert_eq!(keyboard.release(A), Reaction::Ignore);
    }

    #[test]
    fn letting_go_names_every_key_that_was_down() {
        let mut keyboard = Keyboard::default();
        keyboard.press(A, &RELEASE);
        keyboard.press(LEFT_CTRL, &RELEASE);

        assert_eq!(keyboard.release_all(), [LEFT_CTRL, A]);
        assert!(keyboard.release_all().is_empty());
    }
}
