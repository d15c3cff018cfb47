//! The keys that the guest holds down, and when the keyboard is let go.
//!
//! Keys are told by their place on the keyboard (evdev codes), so every layout works: the guest has its own. The release keys,
//! pressed together and released without another key between, let the keyboard go.
//!
//! For people who press one key after the other ("sticky keys") the desktop holds a modifier down whose key is up. The guest sees its
//! key down for as long as the next one is.

use std::collections::BTreeSet;

use gtk::gdk::ModifierType;
use lodge::input::{
    Key,
    keys::{LEFT_ALT, LEFT_CTRL, LEFT_META, LEFT_SHIFT, MODIFIERS},
};

/// The modifiers that the desktop may hold down, with the keys that the guest sees for them.
const STICKY: [(ModifierType, Key); 4] = [
    (ModifierType::SHIFT_MASK, LEFT_SHIFT),
    (ModifierType::CONTROL_MASK, LEFT_CTRL),
    (ModifierType::ALT_MASK, LEFT_ALT),
    (ModifierType::SUPER_MASK, LEFT_META),
];

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
    /// Modifiers that are down for the guest only.
    sticky: Vec<Key>,
    /// The release keys are down together and nothing else was pressed since.
    releasing: bool,
}

/// The key with a hardware key code of X11 or Wayland, which both count from 8.
pub fn key_of(hardware_code: u32) -> Option<Key> {
    u16::try_from(hardware_code.checked_sub(8)?).ok().filter(|&code| code > 0).map(Key)
}

/// The hardware key code of a key: the way back.
pub fn hardware_code(key: Key) -> u32 {
    u32::from(key.0) + 8
}

impl Keyboard {
    /// A key is going down while the desktop has these modifiers down: returns those that the guest has to see let go, and those
    /// that it has to see pressed before.
    pub fn stick(&mut self, key: Key, modifiers: ModifierType) -> (Vec<Key>, Vec<Key>) {
        if self.held.contains(&key) || MODIFIERS.contains(&key) {
            return (Vec::new(), Vec::new());
        }
        // What is down with a key held is that key's doing, whatever the layout makes of it.
        let held = !self.held.is_empty();
        let down: Vec<Key> =
            STICKY.iter().filter(|(modifier, _)| !held && modifiers.contains(*modifier)).map(|(_, key)| *key).collect();
        (std::mem::replace(&mut self.sticky, down.clone()), down)
    }

    /// A key went up: returns the modifiers that the guest has to see let go after it.
    pub fn unstick(&mut self) -> Vec<Key> {
        if self.held.is_empty() { std::mem::take(&mut self.sticky) } else { Vec::new() }
    }

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
        std::mem::take(&mut self.held).into_iter().chain(std::mem::take(&mut self.sticky)).collect()
    }
}

#[cfg(test)]
mod tests {
    use lodge::input::keys::RIGHT_CTRL;

    use super::*;

    const A: Key = Key(30);
    const B: Key = Key(48);
    const RELEASE: [Key; 2] = [LEFT_CTRL, LEFT_ALT];

    #[test]
    fn hardware_codes_count_from_eight() {
        assert_eq!(key_of(38), Some(A));
        assert_eq!(hardware_code(A), 38);
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
    fn a_modifier_that_the_desktop_holds_down_is_down_for_the_next_key() {
        let mut keyboard = Keyboard::default();
        let modifiers = ModifierType::CONTROL_MASK | ModifierType::SHIFT_MASK | ModifierType::LOCK_MASK;

        assert_eq!(keyboard.stick(A, modifiers), (vec![], vec![LEFT_SHIFT, LEFT_CTRL]));
        keyboard.press(A, &RELEASE);
        assert_eq!(keyboard.stick(A, modifiers), (vec![], vec![]), "it repeats");
        keyboard.release(A);
        assert_eq!(keyboard.unstick(), [LEFT_SHIFT, LEFT_CTRL]);
        assert!(keyboard.unstick().is_empty());
        assert_eq!(keyboard.stick(A, ModifierType::empty()), (vec![], vec![]));
    }

    #[test]
    fn a_key_that_is_pressed_before_the_last_one_is_up_has_no_modifiers_of_its() {
        let mut keyboard = Keyboard::default();
        keyboard.stick(A, ModifierType::SHIFT_MASK);
        keyboard.press(A, &RELEASE);

        assert_eq!(keyboard.stick(B, ModifierType::empty()), (vec![LEFT_SHIFT], vec![]));
        keyboard.press(B, &RELEASE);
        keyboard.release(A);

        assert!(keyboard.unstick().is_empty());
    }

    #[test]
    fn a_modifier_whose_key_is_down_is_that_keys_whatever_the_layout_makes_of_it() {
        let mut keyboard = Keyboard::default();
        // The layout has swapped them.
        keyboard.press(LEFT_ALT, &RELEASE);

        assert_eq!(keyboard.stick(A, ModifierType::SUPER_MASK), (vec![], vec![]));
        assert_eq!(keyboard.stick(LEFT_CTRL, ModifierType::SUPER_MASK), (vec![], vec![]));
    }

    #[test]
    fn letting_go_lets_go_of_what_the_desktop_holds_down_too() {
        let mut keyboard = Keyboard::default();
        keyboard.stick(A, ModifierType::ALT_MASK);
        keyboard.press(A, &RELEASE);

        assert_eq!(keyboard.release_all(), [A, LEFT_ALT]);
        assert!(keyboard.unstick().is_empty());
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
