//! The names and numbers of keys: Linux's codes ([`Key`]), QEMU's `QKeyCode` names (QMP `send-key`), the numbers of
//! RFB's QEMU extended key event, PS/2 set 2 scan codes, X keysyms, and the strokes that type a text on the US layout.
//!
//! - <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`QKeyCode`)
//! - <https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#qemu-extended-key-event-message>
//! - keysyms, and the characters that they stand for: the `xkeysym` crate

mod table;

use super::Key;
use table::{QCODE_ALIASES, ROWS, Row, SPOKEN_ALIASES, XT_ALIASES};
use xkeysym::Keysym;

/// Left control.
pub const LEFT_CTRL: Key = Key(29);
/// Left shift.
pub const LEFT_SHIFT: Key = Key(42);
/// Right shift.
pub const RIGHT_SHIFT: Key = Key(54);
/// Left alt.
pub const LEFT_ALT: Key = Key(56);
/// Right control.
pub const RIGHT_CTRL: Key = Key(97);
/// Left meta (Super, Windows).
pub const LEFT_META: Key = Key(125);
/// Right meta.
pub const RIGHT_META: Key = Key(126);
/// Right alt (AltGr).
pub const RIGHT_ALT: Key = Key(100);
/// The keys that make others mean something else.
pub const MODIFIERS: [Key; 8] =
    [LEFT_SHIFT, RIGHT_SHIFT, LEFT_CTRL, RIGHT_CTRL, LEFT_ALT, RIGHT_ALT, LEFT_META, RIGHT_META];
/// Caps lock.
pub const CAPS_LOCK: Key = Key(58);
/// Return.
pub const ENTER: Key = Key(28);
/// Tab.
pub const TAB: Key = Key(15);

/// One press of a key, with or without shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stroke {
    /// Which key.
    pub key: Key,
    /// Whether shift is held meanwhile.
    pub shift: bool,
}

impl Stroke {
    /// The keys to hold, in the order in which they go down.
    pub fn keys(self) -> impl Iterator<Item = Key> {
        self.shift.then_some(LEFT_SHIFT).into_iter().chain([self.key])
    }
}

/// What a keysym stands for on the US layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// A key whose meaning does not depend on shift (Return, F1, Shift itself).
    Key(Key),
    /// A character, which needs shift exactly as the stroke says.
    Character(Stroke),
}

impl Meaning {
    /// The key to press.
    pub fn key(self) -> Key {
        match self {
            Self::Key(key) => key,
            Self::Character(stroke) => stroke.key,
        }
    }
}

/// A name that no key has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no key called '{0}'. keys have QEMU's names: a, f1, ret, spc, ctrl, alt, shift, delete, up, kp_enter, …"
)]
pub struct UnknownKey(pub String);

/// Every key there is, in the order of their codes.
pub fn all() -> impl Iterator<Item = Key> {
    ROWS.iter().map(|row| Key(row.code))
}

/// QEMU's name of a key.
pub fn qcode(key: Key) -> Option<&'static str> {
    row(key).map(|row| row.qcode)
}

/// The key with a name of QEMU's, in lower case as QEMU has them.
pub fn from_qcode(name: &str) -> Option<Key> {
    let name = alias(QCODE_ALIASES, name).unwrap_or(name);
    ROWS.iter().find(|row| row.qcode == name).map(|row| Key(row.code))
}

/// A key's number in RFB's QEMU extended key event and in QMP (`{"type": "number"}`): its set 1 scan code, with 0x80
/// added to those that a keyboard sends behind 0xE0.
pub fn xt(key: Key) -> Option<u8> {
    row(key).map(|row| row.xt)
}

/// The key with such a number (see [`xt`]).
pub fn from_xt(code: u8) -> Option<Key> {
    match XT_ALIASES.iter().find(|(alias, _)| *alias == code) {
        Some((_, name)) => from_qcode(name),
        None => ROWS.iter().find(|row| row.xt == code).map(|row| Key(row.code)),
    }
}

/// What a PS/2 keyboard sends in scan code set 2 when the key goes down: `[0x1C]`, `[0xE0, 0x75]`. `None` for keys that
/// such a keyboard does not have.
pub fn set2(key: Key) -> Option<&'static [u8]> {
    row(key).map(|row| row.set2).filter(|codes| !codes.is_empty())
}

/// What a PS/2 keyboard sends in scan code set 2 when the key goes up: 0xF0 before the last byte of each code, in
/// reverse order. Empty for the keys that tell only when they go down (Pause, Hangul, Hanja).
pub fn set2_release(key: Key) -> Option<Vec<u8>> {
    let make = set2(key)?;
    let tells_release = !matches!(make, [0xE1, ..] | [0xF1 | 0xF2]);
    // Print is two codes: each begins with 0xE0.
    let codes = make.split_inclusive(|byte| *byte != 0xE0).filter(|_| tells_release);
    Some(codes.rev().flat_map(release_of).collect())
}

/// The X keysym of a key on the US layout.
pub fn keysym(key: Key, shift: bool) -> Option<u32> {
    let row = row(key)?;
    match row.types {
        Some((plain, shifted)) => Some(Keysym::from_char(if shift { shifted } else { plain }).raw()),
        None => row.keysyms.first().copied(),
    }
}

/// What an X keysym stands for on the US layout. Keysyms of characters that the layout lacks stand for nothing.
pub fn from_keysym(keysym: u32) -> Option<Meaning> {
    if let Some(row) = ROWS.iter().find(|row| row.keysyms.contains(&keysym)) {
        return Some(Meaning::Key(Key(row.code)));
    }
    let character = Keysym::new(keysym).key_char().filter(|character| !character.is_control())?;
    stroke(character).map(Meaning::Character)
}

/// The strokes that type a text on the US layout, each the keys that go down together, and the characters that it lacks.
pub fn us_strokes(text: &str) -> (Vec<Vec<Key>>, Vec<char>) {
    strokes(text, |character| Some(vec![stroke(character)?.keys().collect()]))
}

/// The strokes that type a text where `of_character` knows those of a character, and the characters that it does not know: each
/// once, in the order in which they come. A line's end is one Return, however it is written.
pub fn strokes(text: &str, of_character: impl Fn(char) -> Option<Vec<Vec<Key>>>) -> (Vec<Vec<Key>>, Vec<char>) {
    let (mut strokes, mut lacking) = (Vec::new(), Vec::new());
    for character in text.replace("\r\n", "\n").chars() {
        let found = match character {
            '\n' | '\r' => Some(vec![vec![ENTER]]),
            '\t' => Some(vec![vec![TAB]]),
            _ => of_character(character),
        };
        match found {
            Some(found) => strokes.extend(found),
            None if !lacking.contains(&character) => lacking.push(character),
            None => {}
        }
    }
    (strokes, lacking)
}

/// The keys of a combination as people write it, `ctrl-alt-delete` or `Ctrl+Alt+F1`, in the order in which they go
/// down. Names are QEMU's, or common others (`enter`, `space`, `win`, …).
pub fn parse_combination(text: &str) -> Result<Vec<Key>, UnknownKey> {
    text.split(['-', '+']).map(from_spoken_name).collect()
}

/// A key by what a person calls it.
fn from_spoken_name(name: &str) -> Result<Key, UnknownKey> {
    let lower = name.trim().to_ascii_lowercase();
    let name_here = alias(SPOKEN_ALIASES, &lower).unwrap_or(&lower);
    from_qcode(name_here).ok_or_else(|| UnknownKey(name.to_owned()))
}

/// The stroke that types a character on the US layout.
fn stroke(character: char) -> Option<Stroke> {
    ROWS.iter().find_map(|row| {
        let (plain, shifted) = row.types?;
        (plain == character || shifted == character).then_some(Stroke { key: Key(row.code), shift: plain != character })
    })
}

fn row(key: Key) -> Option<&'static Row> {
    let index = ROWS.binary_search_by_key(&key.0, |row| row.code).ok()?;
    ROWS.get(index)
}

fn alias(aliases: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    aliases.iter().find(|(alias, _)| *alias == name).map(|(_, name)| *name)
}

/// A code with 0xF0 before its last byte.
fn release_of(make: &[u8]) -> Vec<u8> {
    let (last, prefix) = make.split_last().map_or((None, &[][..]), |(last, prefix)| (Some(*last), prefix));
    prefix.iter().copied().chain([0xF0]).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The names of QEMU 7.2's `query-qmp-schema`, without `unmapped`.
    const QEMU_NAMES: &str = "shift shift_r alt alt_r ctrl ctrl_r menu esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab \
        q w e r t y u i o p bracket_left bracket_right ret a s d f g h j k l semicolon apostrophe grave_accent backslash \
        z x c v b n m comma dot slash asterisk spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock \
        kp_divide kp_multiply kp_subtract kp_add kp_enter kp_decimal sysrq kp_0 kp_1 kp_2 kp_3 kp_4 kp_5 kp_6 kp_7 kp_8 \
        kp_9 less f11 f12 print home pgup pgdn end left up down right insert delete stop again props undo front copy \
        open paste find cut lf help meta_l meta_r compose pause ro hiragana henkan yen muhenkan katakanahiragana \
        kp_comma kp_equals power sleep wake audionext audioprev audiostop audioplay audiomute volumeup volumedown \
        mediaselect mail calculator computer ac_home ac_back ac_forward ac_refresh ac_bookmarks lang1 lang2";

    #[test]
    fn every_name_of_qemu_is_a_key() {
        let unknown: Vec<_> = QEMU_NAMES.split_whitespace().filter(|name| from_qcode(name).is_none()).collect();

        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn rows_are_ordered_and_no_number_is_used_twice() {
        let codes: Vec<_> = ROWS.iter().map(|row| row.code).collect();
        let numbers: HashSet<_> = ROWS.iter().map(|row| row.xt).collect();
        let scan_codes: HashSet<_> = all().filter_map(set2).collect();

        assert!(codes.is_sorted_by(|a, b| a < b));
        assert_eq!(numbers.len(), ROWS.len());
        assert_eq!(scan_codes.len(), all().filter(|key| set2(*key).is_some()).count());
    }

    #[test]
    fn names_and_numbers_lead_back_to_their_key() {
        for key in all() {
            assert_eq!(qcode(key).and_then(from_qcode), Some(key));
            assert_eq!(xt(key).and_then(from_xt), Some(key));
            for shift in [false, true] {
                if let Some(keysym) = keysym(key, shift) {
                    assert_eq!(from_keysym(keysym).map(Meaning::key), Some(key), "{keysym:#x}");
                }
            }
        }
    }

    #[test]
    fn aliases_name_keys() {
        for (_, name) in QCODE_ALIASES.iter().chain(SPOKEN_ALIASES) {
            assert!(from_qcode(name).is_some(), "{name}");
        }
        assert_eq!(from_xt(0xB7), from_qcode("print"));
    }

    #[test]
    fn codes_are_those_of_a_pc_keyboard() {
        let up = from_qcode("up").unwrap();
        let a = from_qcode("a").unwrap();

        assert_eq!((up, xt(up), set2(up)), (Key(103), Some(0xC8), Some(&[0xE0, 0x75][..])));
        assert_eq!((a, xt(a), set2(a)), (Key(30), Some(0x1E), Some(&[0x1C][..])));
    }

    #[test]
    fn a_release_has_f0_before_each_code() {
        let release = |name| set2_release(from_qcode(name).unwrap()).unwrap();

        assert_eq!(release("a"), [0xF0, 0x1C]);
        assert_eq!(release("up"), [0xE0, 0xF0, 0x75]);
        assert_eq!(release("print"), [0xE0, 0xF0, 0x7C, 0xE0, 0xF0, 0x12]);
        assert_eq!(release("pause"), [0u8; 0]);
        assert_eq!(release("lang1"), [0u8; 0]);
    }

    #[test]
    fn a_keysym_says_which_shift_its_character_needs() {
        let one = from_qcode("1").unwrap();

        assert_eq!(from_keysym(u32::from(b'!')), Some(Meaning::Character(Stroke { key: one, shift: true })));
        assert_eq!(from_keysym(u32::from(b'1')), Some(Meaning::Character(Stroke { key: one, shift: false })));
        assert_eq!(from_keysym(0x0100_0021), Some(Meaning::Character(Stroke { key: one, shift: true })));
        assert_eq!(from_keysym(0xFF0D), Some(Meaning::Key(ENTER)));
        assert_eq!(from_keysym(0xFFE1), Some(Meaning::Key(LEFT_SHIFT)));
        assert_eq!(from_keysym(0xE4), None);
        assert_eq!(from_keysym(u32::MAX), None);
    }

    #[test]
    fn every_printable_ascii_character_can_be_typed() {
        let text: String = (' '..='~').collect();

        let (strokes, lacking) = us_strokes(&text);

        assert_eq!((strokes.len(), lacking), (text.len(), vec![]));
        assert_eq!(strokes.iter().collect::<HashSet<_>>().len(), text.len());
    }

    #[test]
    fn text_becomes_strokes_and_line_ends_become_return() {
        let a = from_qcode("a").unwrap();

        let (strokes, lacking) = us_strokes("aA\r\n\n\t");

        assert_eq!(strokes, [vec![a], vec![LEFT_SHIFT, a], vec![ENTER], vec![ENTER], vec![TAB]]);
        assert_eq!(lacking, ['\0'; 0]);
    }

    #[test]
    fn all_characters_that_the_layout_lacks_are_named_once() {
        assert_eq!(us_strokes("für").1, ['ü']);
        assert_eq!(us_strokes("a\u{7}").1, ['\u{7}']);
        assert_eq!(us_strokes("für wen, ü? €").1, ['ü', '€']);
        assert_eq!(us_strokes("a\r\n\tb").1, ['\0'; 0]);
    }

    #[test]
    fn combinations_are_read_as_people_write_them() {
        let delete = from_qcode("delete").unwrap();

        assert_eq!(parse_combination("ctrl-alt-delete"), Ok(vec![LEFT_CTRL, LEFT_ALT, delete]));
        assert_eq!(parse_combination("Control+Alt+DEL"), Ok(vec![LEFT_CTRL, LEFT_ALT, delete]));
        assert_eq!(parse_combination("Ctrl-Alt-F1"), Ok(vec![LEFT_CTRL, LEFT_ALT, from_qcode("f1").unwrap()]));
        assert_eq!(parse_combination("ctrl-hyper"), Err(UnknownKey("hyper".into())));
        assert_eq!(parse_combination(""), Err(UnknownKey(String::new())));
    }
}
