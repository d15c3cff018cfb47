//! Puts an agent's messages together, however its bytes come. What nobody wants takes no memory.

use super::message::{CHUNK_HEADER, CLIENT_PORT, HEADER, MAX_CHUNK, Malformed, SERVER_PORT, kind};
use crate::clipboard::MAX_TEXT;

/// No message but a text is longer, in bytes.
const MAX_SMALL: usize = 1024;
/// What comes before a text in its message: which clipboard, and what it is.
const TEXT_HEADER: usize = 8;

/// A message as it has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// What it is about.
    pub kind: u32,
    /// What it says; `None` when that was too long, or not wanted.
    pub body: Option<Vec<u8>>,
}

/// What has come of a message, and of the chunk that it is in.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    chunk_header: Vec<u8>,
    /// How much of the chunk has not come.
    chunk_left: usize,
    /// It is not for us.
    ignored: bool,
    header: Vec<u8>,
    message: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    raw: Raw,
    left: usize,
}

impl Incoming {
    /// Takes from the front of `bytes` up to the end of the next message, which is returned, or all of them. A text has a body
    /// only if one `is_wanted`.
    pub fn take(&mut self, bytes: &mut &[u8], is_wanted: bool) -> Result<Option<Raw>, Malformed> {
        while !bytes.is_empty() {
            if self.chunk_left == 0 {
                self.take_chunk_header(bytes)?;
                continue;
            }
            let mut chunk = bytes.get(..bytes.len().min(self.chunk_left)).unwrap_or_default();
            let before = chunk.len();
            let complete = if self.ignored {
                chunk = &[];
                None
            } else {
                self.take_message(&mut chunk, is_wanted)?
            };
            let taken = before - chunk.len();
            self.chunk_left -= taken;
            *bytes = bytes.get(taken..).unwrap_or_default();
            if complete.is_some() {
                return Ok(complete);
            }
        }
        Ok(None)
    }

    fn take_chunk_header(&mut self, bytes: &mut &[u8]) -> Result<(), Malformed> {
        let Some([port, size]) = complete::<CHUNK_HEADER, 2>(&mut self.chunk_header, bytes) else { return Ok(()) };
        self.ignored = match port {
            CLIENT_PORT => false,
            SERVER_PORT => true,
            _ => return Err(Malformed("a chunk to nobody")),
        };
        self.chunk_left =
            usize::try_from(size).ok().filter(|size| *size <= MAX_CHUNK).ok_or(Malformed("a large chunk"))?;
        Ok(())
    }

    fn take_message(&mut self, bytes: &mut &[u8], is_wanted: bool) -> Result<Option<Raw>, Malformed> {
        if self.message.is_none() {
            let Some(words) = complete::<HEADER, 5>(&mut self.header, bytes) else { return Ok(None) };
            self.message = Some(begin(words, is_wanted)?);
        }
        let Some(Partial { raw, left }) = &mut self.message else { return Ok(None) };
        let (now, rest) = bytes.split_at(bytes.len().min(*left));
        if let Some(body) = &mut raw.body {
            body.extend_from_slice(now);
        }
        (*left, *bytes) = (*left - now.len(), rest);
        let is_complete = *left == 0;
        Ok(self.message.take_if(|_| is_complete).map(|message| message.raw))
    }
}

/// Begins a message with this header.
fn begin([protocol, kind, _, _, size]: [u32; 5], is_wanted: bool) -> Result<Partial, Malformed> {
    if protocol != 1 {
        return Err(Malformed("a message of another version"));
    }
    let left = usize::try_from(size).unwrap_or(usize::MAX);
    let (limit, wanted) = match kind {
        kind::CLIPBOARD => (MAX_TEXT + TEXT_HEADER, is_wanted),
        _ => (MAX_SMALL, true),
    };
    Ok(Partial { raw: Raw { kind, body: (wanted && left <= limit).then(Vec::new) }, left })
}

/// Fills a header of `LENGTH` bytes from the front of `bytes`. When it is whole its numbers are returned and it is empty again.
fn complete<const LENGTH: usize, const WORDS: usize>(header: &mut Vec<u8>, bytes: &mut &[u8]) -> Option<[u32; WORDS]> {
    let (now, rest) = bytes.split_at(bytes.len().min(LENGTH - header.len()));
    header.extend_from_slice(now);
    *bytes = rest;
    if header.len() < LENGTH {
        return None;
    }
    let (words, _) = header.as_chunks();
    let words = std::array::from_fn(|index| words.get(index).map_or(0, |word| u32::from_le_bytes(*word)));
    header.clear();
    Some(words)
}
