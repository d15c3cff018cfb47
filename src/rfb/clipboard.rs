//! The extended clipboard: text in any script, by demand. Both sides' messages look the same, inside of ClientCutText and
//! ServerCutText with a length below 0.
//!
//! <https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#extended-clipboard-pseudo-encoding>

use super::protocol::ProtocolError;
use crate::clipboard::{MAX_TEXT, with_carriage_returns, with_line_feeds};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use std::io::{Read, Write};

/// No message is longer, in bytes: a text that zlib could not make smaller.
const MAX_MESSAGE: usize = MAX_TEXT + MAX_TEXT / 512 + 64 * 1024;

/// The formats of what a clipboard has; we know one.
const TEXT: u32 = 1;
const FORMATS: u32 = 0xFFFF;
/// What a message is about.
const CAPS: u32 = 1 << 24;
const REQUEST: u32 = 1 << 25;
const PEEK: u32 = 1 << 26;
const NOTIFY: u32 = 1 << 27;
const PROVIDE: u32 = 1 << 28;

/// A message about a clipboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClipboardMessage {
    /// The sender speaks this extension. It wants no text that it has not requested.
    Capabilities,
    /// It wants the other side's text.
    Request,
    /// It wants to know whether there is one.
    Peek,
    /// It has another text, or none any more.
    Notify {
        /// There is one.
        text: bool,
    },
    /// Its text, compressed: [`compress`].
    Provide(Vec<u8>),
    /// Something about formats that we don't know.
    Other,
}

impl ClipboardMessage {
    /// The length of a message of which the length field says this, which is below 0.
    pub fn length(field: i32) -> Result<usize, ProtocolError> {
        let length = usize::try_from(field.unsigned_abs()).unwrap_or(usize::MAX);
        match length {
            4..=MAX_MESSAGE => Ok(length),
            _ => Err(ProtocolError::Malformed("a message about clipboards that is empty or longer than any text")),
        }
    }

    /// Reads what follows the length field.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        let (flags, content) =
            body.split_first_chunk().ok_or(ProtocolError::Malformed("an empty message about clipboards"))?;
        let flags = u32::from_be_bytes(*flags);
        let (about, text) = (flags & !FORMATS, flags & TEXT != 0);
        Ok(match about {
            // It lists all that the sender can, and how much it wants unasked.
            _ if about & CAPS != 0 => Self::Capabilities,
            REQUEST if text => Self::Request,
            PEEK => Self::Peek,
            NOTIFY => Self::Notify { text },
            PROVIDE if text => Self::Provide(content.to_vec()),
            _ => Self::Other,
        })
    }

    /// Appends the message behind a message type: ClientCutText's or ServerCutText's.
    pub fn write(&self, message_type: u8, out: &mut Vec<u8>) {
        let (flags, content): (u32, &[u8]) = match self {
            // Of text that is sent unasked: 0 bytes.
            Self::Capabilities => (CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | TEXT, &[0; 4]),
            Self::Request => (REQUEST | TEXT, &[]),
            Self::Peek => (PEEK, &[]),
            Self::Notify { text } => (NOTIFY | if *text { TEXT } else { 0 }, &[]),
            Self::Provide(compressed) => (PROVIDE | TEXT, compressed),
            Self::Other => return,
        };
        let length = i32::try_from(content.len() + 4).unwrap_or(i32::MAX);
        out.extend_from_slice(&[message_type, 0, 0, 0]);
        out.extend_from_slice(&(-length).to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(content);
    }
}

/// A text as it is provided: its length, its lines as Windows ends them, a zero; all of it compressed.
pub fn compress(text: &str) -> Vec<u8> {
    let text = with_carriage_returns(text);
    let length = u32::try_from(text.len() + 1).unwrap_or(u32::MAX);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    let parts = [&length.to_be_bytes()[..], text.as_bytes(), &[0]];
    let written = parts.into_iter().try_for_each(|part| zlib.write_all(part));
    // A vector takes everything.
    written.and_then(|()| zlib.finish()).unwrap_or_default()
}

/// The text of which that was made; `None` when it is none, or longer than any.
pub fn decompress(compressed: &[u8]) -> Option<String> {
    let mut zlib = ZlibDecoder::new(compressed);
    let mut length = [0; 4];
    zlib.read_exact(&mut length).ok()?;
    // Its lines may be all it has, and grow.
    let length = u64::from(u32::from_be_bytes(length)).min(2 * MAX_TEXT as u64 + 1);
    let mut bytes = Vec::new();
    zlib.take(length).read_to_end(&mut bytes).ok()?;
    let is_whole = bytes.len() as u64 == length;
    Some(with_line_feeds(&bytes)).filter(|text| is_whole && text.len() <= MAX_TEXT)
}

/// A text for who does not speak this extension; characters beyond Latin-1 become question marks.
pub fn to_latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
}

/// The text of who does not.
pub fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(message: &ClipboardMessage) -> ClipboardMessage {
        let mut bytes = Vec::new();
        message.write(3, &mut bytes);
        let length = ClipboardMessage::length(i32::from_be_bytes(bytes[4..8].try_into().unwrap())).unwrap();
        assert_eq!((&bytes[..4], bytes.len()), (&[3, 0, 0, 0][..], 8 + length));
        ClipboardMessage::parse(&bytes[8..]).unwrap()
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for message in [
            ClipboardMessage::Capabilities,
            ClipboardMessage::Request,
            ClipboardMessage::Peek,
            ClipboardMessage::Notify { text: true },
            ClipboardMessage::Notify { text: false },
            ClipboardMessage::Provide(compress("text")),
        ] {
            assert_eq!(parsed(&message), message);
        }
    }

    #[test]
    fn formats_and_lengths_that_nobody_knows_are_nothing_or_refused() {
        for flags in [REQUEST | 2, PROVIDE | 4, 1, REQUEST | PROVIDE | TEXT, 1 << 31] {
            assert_eq!(ClipboardMessage::parse(&flags.to_be_bytes()).unwrap(), ClipboardMessage::Other, "{flags:x}");
        }
        for length in [-1, -3, i32::MIN, -(MAX_MESSAGE as i32) - 1] {
            assert!(ClipboardMessage::length(length).is_err(), "{length}");
        }
        assert!(ClipboardMessage::parse(&[1, 2, 3]).is_err());
    }

    #[test]
    fn a_text_survives_the_way() {
        let lines = "\n".repeat(MAX_TEXT);
        for text in ["", "one\ntwo\n", "Grüße, 世界 🦀", &lines] {
            assert_eq!(decompress(&compress(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_cut_off_too_long_or_no_zlib_is_no_text() {
        let compressed = compress("a text that is long enough to be cut off");
        for length in 0..compressed.len() - 6 {
            assert_eq!(decompress(&compressed[..length]), None, "cut at {length}");
        }
        assert_eq!(decompress(&compress(&"x".repeat(MAX_TEXT + 1))), None);
        assert_eq!(decompress(&compress(&"x".repeat(3 * MAX_TEXT))), None);
        assert_eq!(decompress(b"no zlib at all"), None);
    }
}
