//! One viewer's keyboard: which keys it holds, and what its keysyms mean on the guest's US layout.
//!
//! Viewers that know scan codes send those, and the guest's own layout applies. Others send characters: then the key that
//! types the character on a US layout is pressed, with shift put right for that moment if the viewer's shift is not what
//! the character needs there.

use crate::input::keys::{self, CAPS_LOCK, LEFT_SHIFT, Meaning, RIGHT_SHIFT};
use crate::input::{InputEvent, Key};

/// The state of a viewer's keyboard.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    held: Vec<Key>,
    caps_lock: bool,
}

impl Keyboard {
    /// A key by scan code; where the code means nothing, by keysym.
    pub(super) fn extended(&mut self, down: bool, keysym: u32, code: u32, events: &mut Vec<InputEvent>) {
        match u8::try_from(code).ok().and_then(keys::from_xt) {
            Some(key) => self.press(key, down, events),
            None => self.keysym(down, keysym, events),
        }
    }

    /// A key by keysym.
    pub(super) fn keysym(&mut self, down: bool, keysym: u32, events: &mut Vec<InputEvent>) {
        let Some(meaning) = keys::from_keysym(keysym) else { return };
        let Meaning::Character(stroke) = meaning else { return self.press(meaning.key(), down, events) };
        let letter = char::from_u32(keysym).is_some_and(|character| character.is_ascii_alphabetic());
        // With caps lock on, shift types the small letters.
        let needs_shift = stroke.shift != (letter && self.caps_lock);
        let shifts: Vec<Key> =
            self.held.iter().copied().filter(|key| [LEFT_SHIFT, RIGHT_SHIFT].contains(key)).collect();
        if !down || needs_shift != shifts.is_empty() {
            return self.press(stroke.key, down, events);
        }
        let (shifts, for_a_moment) = if needs_shift { (vec![LEFT_SHIFT], true) } else { (shifts, false) };
        events.extend(shifts.iter().map(|key| InputEvent::Key { key: *key, down: for_a_moment }));
        self.press(stroke.key, true, events);
        events.extend(shifts.iter().map(|key| InputEvent::Key { key: *key, down: !for_a_moment }));
    }

    /// Lets go of everything: the viewer has gone.
    pub(super) fn release_all(&mut self, events: &mut Vec<InputEvent>) {
        events.extend(self.held.drain(..).rev().map(|key| InputEvent::Key { key, down: false }));
    }

    fn press(&mut self, key: Key, down: bool, events: &mut Vec<InputEvent>) {
        let place = self.held.iter().position(|held| *held == key);
        match (down, place) {
            (true, None) => {
                self.held.push(key);
                self.caps_lock ^= key == CAPS_LOCK;
            }
            // The viewer's keyboard repeats.
            (true, Some(_)) => {}
            (false, Some(place)) => drop(self.held.remove(place)),
            // It was pressed before the viewer came, or outside its window.
            (false, None) => return,
        }
        events.push(InputEvent::Key { key, down });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::keys::from_qcode;

    fn typed(keysyms: &[(bool, u32)]) -> String {
        let (mut keyboard, mut events) = (Keyboard::default(), Vec::new());
        for (down, keysym) in keysyms {
            keyboard.keysym(*down, *keysym, &mut events);
        }
        described(&events)
    }

    fn described(events: &[InputEvent]) -> String {
        let describe = |event: &InputEvent| match event {
            InputEvent::Key { key, down } => format!("{}{}", if *down { '+' } else { '-' }, keys::qcode(*key).unwrap()),
            other => panic!("{other:?}"),
        };
        events.iter().map(describe).collect::<Vec<_>>().join(" ")
    }

    const SHIFT: u32 = 0xFFE1;
    const CAPS: u32 = 0xFFE5;

    fn symbol(character: char) -> u32 {
        character.into()
    }

    #[test]
    fn characters_that_need_no_help_are_their_keys() {
        assert_eq!(typed(&[(true, symbol('a')), (false, symbol('a'))]), "+a -a");
        assert_eq!(typed(&[(true, SHIFT), (true, symbol('A')), (false, symbol('A'))]), "+shift +a -a");
    }

    #[test]
    fn shift_is_put_right_for_a_moment() {
        assert_eq!(typed(&[(true, symbol('A')), (false, symbol('A'))]), "+shift +a -shift -a");
        assert_eq!(typed(&[(true, SHIFT), (true, symbol('1'))]), "+shift -shift +1 +shift");
    }

    #[test]
    fn caps_lock_changes_letters_and_nothing_else() {
        let caps = [(true, CAPS), (false, CAPS)];

        assert_eq!(typed(&[&caps[..], &[(true, symbol('A'))]].concat()), "+caps_lock -caps_lock +a");
        assert_eq!(typed(&[&caps[..], &[(true, symbol('a'))]].concat()), "+caps_lock -caps_lock +shift +a -shift");
        assert_eq!(typed(&[&caps[..], &[(true, symbol('1'))]].concat()), "+caps_lock -caps_lock +1");
    }

    #[test]
    fn a_key_goes_up_whatever_its_character_is_by_then() {
        let strokes = [(true, SHIFT), (true, symbol('!')), (false, SHIFT), (false, symbol('1'))];

        assert_eq!(typed(&strokes), "+shift +1 -shift -1");
    }

    #[test]
    fn a_key_that_repeats_is_pressed_again_and_released_once() {
        let strokes = [(true, symbol('a')), (true, symbol('a')), (false, symbol('a')), (false, symbol('a'))];

        assert_eq!(typed(&strokes), "+a +a -a");
    }

    #[test]
    fn scan_codes_go_before_keysyms() {
        let (mut keyboard, mut events) = (Keyboard::default(), Vec::new());

        keyboard.extended(true, symbol('q'), 0x1E, &mut events);
        keyboard.extended(true, symbol('b'), 0, &mut events);
        keyboard.extended(true, 0, u32::MAX, &mut events);

        assert_eq!(described(&events), "+a +b");
    }

    #[test]
    fn nothing_is_held_when_the_viewer_goes() {
        let (mut keyboard, mut events) = (Keyboard::default(), Vec::new());
        for name in ["ctrl", "alt", "delete"] {
            keyboard.press(from_qcode(name).unwrap(), true, &mut events);
        }
        events.clear();

        keyboard.release_all(&mut events);
        keyboard.release_all(&mut events);

        assert_eq!(described(&events), "-delete -alt -ctrl");
    }

    #[test]
    fn keysyms_without_a_key_do_nothing() {
        assert_eq!(typed(&[(true, 0), (true, 0xE4), (true, u32::MAX), (false, u32::MAX)]), "");
    }
}
