//! The keys that type a text on the layout of the desktop's keyboard. A guest usually has it, too, since keys are told to it by their
//! place.

use std::{collections::HashMap, ops::RangeInclusive};

use glib::NormalizeMode;
use gtk::{gdk, glib, prelude::*};
use lodge::input::{
    Key,
    keys::{self, LEFT_SHIFT, RIGHT_ALT},
};

use super::keyboard::hardware_code;

/// Keys that are held together.
pub type Stroke = Vec<Key>;

const SPACE: Key = Key(57);
/// The keys that type characters, but for those of the keypad.
const TYPING: [RangeInclusive<u16>; 8] = [2..=13, 16..=27, 30..=41, 43..=53, 57..=57, 86..=86, 89..=89, 124..=124];
/// What is held for the first, second, third and fourth character of a key (the levels of the X Keyboard Extension).
const LEVELS: [&[Key]; 4] = [&[], &[LEFT_SHIFT], &[RIGHT_ALT], &[LEFT_SHIFT, RIGHT_ALT]];

/// A dead key: the mark that it puts on the next character, and what it types together with the space bar.
struct Dead {
    key: gdk::Key,
    mark: char,
    alone: &'static [char],
}

const DEAD: [Dead; 12] = [
    Dead { key: gdk::Key::dead_grave, mark: '\u{300}', alone: &['`'] },
    Dead { key: gdk::Key::dead_acute, mark: '\u{301}', alone: &['´', '\''] },
    Dead { key: gdk::Key::dead_circumflex, mark: '\u{302}', alone: &['^'] },
    Dead { key: gdk::Key::dead_tilde, mark: '\u{303}', alone: &['~'] },
    Dead { key: gdk::Key::dead_macron, mark: '\u{304}', alone: &['¯'] },
    Dead { key: gdk::Key::dead_breve, mark: '\u{306}', alone: &['˘'] },
    Dead { key: gdk::Key::dead_abovedot, mark: '\u{307}', alone: &['˙'] },
    Dead { key: gdk::Key::dead_diaeresis, mark: '\u{308}', alone: &['¨', '"'] },
    Dead { key: gdk::Key::dead_abovering, mark: '\u{30a}', alone: &['°'] },
    Dead { key: gdk::Key::dead_caron, mark: '\u{30c}', alone: &['ˇ'] },
    Dead { key: gdk::Key::dead_cedilla, mark: '\u{327}', alone: &['¸'] },
    Dead { key: gdk::Key::dead_ogonek, mark: '\u{328}', alone: &['˛'] },
];

/// The layout of the desktop's keyboard.
#[derive(Debug, Default)]
pub struct Layout {
    characters: HashMap<char, Stroke>,
    /// The dead keys, by their marks.
    marks: HashMap<char, Stroke>,
}

impl Layout {
    /// Of several that the keyboard has, the one with this number: [`gdk::KeyEvent::layout`].
    pub fn of_display(display: &gdk::Display, number: u32) -> Self {
        let of_key = |key: Key| {
            let entries = display.map_keycode(hardware_code(key)).unwrap_or_default();
            entries.into_iter().map(move |(place, means)| (key, place.group(), place.level(), means))
        };
        let all: Vec<_> = TYPING.into_iter().flatten().map(Key).flat_map(of_key).collect();
        let groups = all.iter().map(|(_, group, ..)| *group).max().unwrap_or(0);
        let wanted = i32::try_from(number).unwrap_or(0).min(groups);
        Self::of(
            all.into_iter().filter(|(_, group, ..)| *group == wanted).map(|(key, _, level, means)| (key, level, means)),
        )
    }

    /// The one whose keys mean this, each at its level.
    fn of(meanings: impl Iterator<Item = (Key, i32, gdk::Key)>) -> Self {
        let mut meanings: Vec<_> = meanings.collect();
        // Of several ways to a character the one with the fewest keys.
        meanings.sort_by_key(|(_, level, _)| *level);
        let mut layout = Self::default();
        for (key, level, means) in meanings {
            let Some(held) = usize::try_from(level).ok().and_then(|level| LEVELS.get(level)) else { continue };
            let stroke: Stroke = held.iter().copied().chain([key]).collect();
            if let Some(dead) = DEAD.iter().find(|dead| dead.key == means) {
                layout.marks.entry(dead.mark).or_insert(stroke);
            } else if let Some(character) = means.to_unicode().filter(|character| !character.is_control()) {
                layout.characters.entry(character).or_insert(stroke);
            }
        }
        layout
    }

    /// The strokes that type a text, and the characters that it lacks: see [`keys::strokes`].
    pub fn strokes(&self, text: &str) -> (Vec<Stroke>, Vec<char>) {
        keys::strokes(text, |character| self.strokes_of(character))
    }

    fn strokes_of(&self, character: char) -> Option<Vec<Stroke>> {
        if let Some(stroke) = self.characters.get(&character) {
            return Some(vec![stroke.clone()]);
        }
        let alone = DEAD.iter().filter(|dead| dead.alone.contains(&character));
        if let Some(dead) = alone.filter_map(|dead| self.marks.get(&dead.mark)).next() {
            return Some(vec![dead.clone(), vec![SPACE]]);
        }
        let parts: Vec<char> = glib::normalize(character.to_string(), NormalizeMode::Default).chars().collect();
        let [base, mark] = parts.as_slice() else { return None };
        Some(vec![self.marks.get(mark)?.clone(), self.characters.get(base)?.clone()])
    }
}

#[cfg(test)]
mod tests {
    use lodge::input::keys::{ENTER, TAB};

    use super::*;

    const E: Key = Key(18);
    const Y: Key = Key(21);
    const DEAD_KEY: Key = Key(13);

    fn german() -> Layout {
        let meanings = [
            (E, 0, gdk::Key::e),
            (E, 1, gdk::Key::E),
            (E, 2, gdk::Key::EuroSign),
            (E, 4, gdk::Key::f),
            (Y, 0, gdk::Key::z),
            (Y, 2, gdk::Key::e),
            (DEAD_KEY, 0, gdk::Key::dead_acute),
            (DEAD_KEY, 1, gdk::Key::dead_grave),
        ];
        Layout::of(meanings.into_iter())
    }

    #[test]
    fn characters_are_typed_where_the_layout_has_them() {
        let (strokes, lacking) = german().strokes("zeE€\r\n\t");

        let expected = [vec![Y], vec![E], vec![LEFT_SHIFT, E], vec![RIGHT_ALT, E], vec![ENTER], vec![TAB]];
        assert_eq!((strokes, lacking), (expected.to_vec(), vec![]));
    }

    #[test]
    fn dead_keys_come_before_the_letter_or_the_space_bar() {
        let (strokes, lacking) = german().strokes("éÈ`");

        let grave = vec![LEFT_SHIFT, DEAD_KEY];
        let expected = [vec![DEAD_KEY], vec![E], grave.clone(), vec![LEFT_SHIFT, E], grave, vec![SPACE]];
        assert_eq!((strokes, lacking), (expected.to_vec(), vec![]));
    }

    #[test]
    fn what_a_layout_lacks_is_named_once() {
        assert_eq!(german().strokes("fêf\u{7}z"), (vec![vec![Y]], vec!['f', 'ê', '\u{7}']));
    }
}
