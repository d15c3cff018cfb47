//! Fences: marks in the stream of messages, which the peer answers when it has come to them. Both sides send the same
//! message: <https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#serverfence>.

use super::protocol::ProtocolError;

/// A mark, or the answer to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fence {
    /// What it means, of the constants here.
    pub flags: u32,
    /// Up to 64 bytes, which come back in the answer.
    pub payload: Vec<u8>,
}

impl Fence {
    /// The message's type.
    pub const MESSAGE: u8 = 248;
    /// The answer comes after what was before the mark has taken effect.
    pub const BLOCK_BEFORE: u32 = 1;
    /// Nothing after the mark takes effect before the answer.
    pub const BLOCK_AFTER: u32 = 1 << 1;
    /// The next message takes effect with the answer: for nothing before it, for all that comes after.
    pub const SYNC_NEXT: u32 = 1 << 2;
    /// It is to be answered.
    pub const REQUEST: u32 = 1 << 31;
    /// What we understand.
    const KNOWN: u32 = Self::BLOCK_BEFORE | Self::BLOCK_AFTER | Self::SYNC_NEXT;
    /// The largest payload, in bytes.
    const MAX_PAYLOAD: u8 = 64;

    /// Reads what follows the message's type: the flags and the payload's length in bytes.
    pub fn parse_header(bytes: [u8; 8]) -> Result<(u32, usize), ProtocolError> {
        let [_, _, _, flags @ .., length] = bytes;
        if length > Self::MAX_PAYLOAD {
            return Err(ProtocolError::Malformed("a fence of more than 64 bytes"));
        }
        Ok((u32::from_be_bytes(flags), length.into()))
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let payload = &self.payload[..self.payload.len().min(Self::MAX_PAYLOAD.into())];
        out.extend_from_slice(&[Self::MESSAGE, 0, 0, 0]);
        out.extend_from_slice(&self.flags.to_be_bytes());
        out.push(payload.len() as u8);
        out.extend_from_slice(payload);
    }

    /// Whether it is to be answered.
    pub fn is_request(&self) -> bool {
        self.flags & Self::REQUEST != 0
    }

    /// The answer to it.
    pub fn answer(self) -> Self {
        Self { flags: self.flags & Self::KNOWN, ..self }
    }
}
