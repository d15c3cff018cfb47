//! The clipboard that a guest and the people who look at it share: who has text, who wants it, and how it gets there.
//!
//! Text goes by demand only. Each side says that it has some, or no longer; the other asks when somebody pastes. The guest's
//! side is an agent in the guest, behind [`GuestClipboard`]; the host's are the viewers, behind [`HostClipboard`]. Neither
//! waits for the other.

#![forbid(unsafe_code)]

use std::{
    borrow::Cow,
    sync::{Arc, Weak},
};

/// The longest text, in bytes; what is longer is not shared.
pub const MAX_TEXT: usize = 16 << 20;

/// The guest's side.
pub trait GuestClipboard: Send + Sync {
    /// Has the other side told of what happens here; also of what the guest has already.
    fn connect(&self, host: Weak<dyn HostClipboard>);

    /// The host's side has another text (`true`), or none any more.
    fn offer(&self, offered: bool);

    /// Wants the guest's text, which is [provided](HostClipboard::provide) later. `false`: the guest has none.
    fn request(&self) -> bool;

    /// The text that the guest has [requested](HostClipboard::request); `None` when there is none after all.
    fn provide(&self, text: Option<&str>);
}

/// The host's side. None of its methods is called while one of [`GuestClipboard`] runs in the same thread.
pub trait HostClipboard: Send + Sync {
    /// The guest has another text (`true`), or none any more.
    fn offer(&self, offered: bool);

    /// A program of the guest wants the text that was offered.
    fn request(&self);

    /// The text that was wanted of the guest; `None` when there is none after all.
    fn provide(&self, text: Option<Arc<str>>);
}

/// The text with lines that end as Unix ends them, up to the first zero byte, which no program pastes.
pub fn with_line_feeds(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    if text.contains('\r') { text.replace("\r\n", "\n") } else { text.into_owned() }
}

/// The text with lines that end as Windows ends them.
pub fn with_carriage_returns(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return text.into();
    }
    let mut converted = String::with_capacity(text.len() + text.len() / 32);
    let mut before = '\0';
    for character in text.chars() {
        if character == '\n' && before != '\r' {
            converted.push('\r');
        }
        converted.push(character);
        before = character;
    }
    converted.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_each_side_ends_them() {
        assert_eq!(with_line_feeds(b"one\r\ntwo\nthree\r\0\0"), "one\ntwo\nthree\r");
        assert_eq!(with_carriage_returns("one\ntwo\r\nthree\r"), "one\r\ntwo\r\nthree\r");
        assert_eq!(with_carriage_returns("plain"), "plain");
    }

    #[test]
    fn what_is_no_text_becomes_some() {
        assert_eq!(with_line_feeds(b"a\xFFb\0c"), "a\u{FFFD}b");
    }
}
