//! The messages of RFB and their bytes: RFC 6143 section 7, and the extensions that we speak.
//!
//! Everything a peer chooses is checked here: a message that is cut off, of a kind we did not agree on, or longer than
//! anyone needs is an error, and never costs more memory than a message is worth.

use super::clipboard::ClipboardMessage;
use super::fence::Fence;
use super::pixel_format::{FormatError, PixelFormat};
use crate::{screen::Rect, system_error::words};
use std::io::{self, Read};

/// Viewers without [`ClipboardMessage`]s may paste this many bytes of text; what is longer is read and cut off.
pub const MAX_CUT_TEXT: u32 = 256 * 1024;
/// The types of the messages with a clipboard's text.
pub const CLIENT_CUT_TEXT: u8 = 6;
/// The server's.
pub const SERVER_CUT_TEXT: u8 = 3;
/// Only so many of the encodings that a viewer lists are looked at; there are about 40.
const MAX_ENCODINGS: usize = 256;

/// The bit of a pointer's first buttons that says that more follow.
const MORE_BUTTONS: u8 = 1 << 7;

/// The viewer's message about updates that it does not request.
const CONTINUOUS_UPDATES: u8 = 150;
/// The server's message that no more updates come unrequested. The first one says that they can be had.
pub const END_OF_CONTINUOUS_UPDATES: u8 = 150;

/// What may be wrong with a peer's messages.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The connection failed or ended, perhaps within a message.
    #[error("the connection ended: {}", words(.0))]
    Io(#[from] io::Error),
    /// The peer's first line is not `RFB xxx.yyy`.
    #[error("the peer does not speak RFB. connect a VNC viewer to a VNC server")]
    NotRfb,
    /// The peer chose a security type that was not offered, or offers none that we know.
    #[error("no common security type. offered: {0:?}")]
    Security(Vec<u8>),
    /// The server refused the connection and said why.
    #[error("the server refuses the connection: {0}")]
    Refused(String),
    /// The peer asked for pixels that don't exist.
    #[error(transparent)]
    PixelFormat(#[from] FormatError),
    /// A message of a type that nobody agreed on; its length is unknown, so nothing after it can be read.
    #[error("a message of unknown type {0}")]
    UnknownMessage(u8),
    /// A message that contradicts itself or the screen.
    #[error("a malformed message: {0}")]
    Malformed(&'static str),
}

/// The kind of a rectangle in an update, or a pseudo-encoding by which a viewer says what it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding(pub i32);

impl Encoding {
    /// Pixels as they are (RFC 6143 section 7.7.1).
    pub const RAW: Self = Self(0);
    /// Pixels that the viewer has elsewhere (7.7.2).
    pub const COPY_RECT: Self = Self(1);
    /// Rectangles with palettes, compressed, or as JPEG.
    pub const TIGHT: Self = Self(7);
    /// Tiles with palettes and runs, compressed (7.7.6).
    pub const ZRLE: Self = Self(16);
    /// How much a photograph may lose: level 0 (most) of 0 to 9.
    pub const QUALITY_LEVEL_0: Self = Self(-32);
    /// The screen's new size (7.8.2).
    pub const DESKTOP_SIZE: Self = Self(-223);
    /// The pointer is elsewhere now, and nobody at this viewer has moved it.
    pub const POINTER_POSITION: Self = Self(-232);
    /// The same, as VMware and TigerVNC call it.
    pub const VMWARE_POINTER_POSITION: Self = Self(0x574D_5666);
    /// How the pointer looks, in pixels of the viewer's format and a mask (7.8.1).
    pub const CURSOR: Self = Self(-239);
    /// The update ends here, whatever its header said.
    pub const LAST_RECT: Self = Self(-224);
    /// How hard to compress: level 0 of 0 to 9.
    pub const COMPRESSION_LEVEL_0: Self = Self(-256);
    /// The viewer can send movement instead of positions.
    pub const QEMU_POINTER_MOTION_CHANGE: Self = Self(-257);
    /// The viewer can send scan codes.
    pub const QEMU_EXTENDED_KEY_EVENT: Self = Self(-258);
    /// The desktop's new name.
    pub const DESKTOP_NAME: Self = Self(-307);
    /// The viewer's pointer has side buttons: [`ClientMessage::Pointer`] can be a byte longer.
    pub const EXTENDED_MOUSE_BUTTONS: Self = Self(-316);
    /// The peer answers marks in the stream of messages: [`Fence`].
    pub const FENCE: Self = Self(-312);
    /// The viewer can take updates that it has not requested.
    pub const CONTINUOUS_UPDATES: Self = Self(-313);
    /// How the pointer looks, with how opaque each pixel is.
    pub const CURSOR_WITH_ALPHA: Self = Self(-314);
    /// The screen's pixels are in memory that comes with this: [`memory`](super::memory), an extension of ours.
    pub const SHARED_MEMORY: Self = Self(0x4C4F_4447);
    /// Pixels that are in that memory.
    pub const IN_MEMORY: Self = Self(0x4C4F_4448);
    /// The screen's new size and who asked for it.
    pub const EXTENDED_DESKTOP_SIZE: Self = Self(-308);
    /// The peer understands [`ClipboardMessage`]s.
    pub const EXTENDED_CLIPBOARD: Self = Self(0xC0A1_E5CE_u32 as i32);
    /// The viewer is to have no part in the guest's clipboard: an extension of ours, by which the gate says so.
    pub const NO_CLIPBOARD: Self = Self(0x4C4F_4449);

    /// The level, 0 to 9, when this is one of the compression levels.
    pub fn compression_level(self) -> Option<u32> {
        self.level(Self::COMPRESSION_LEVEL_0)
    }

    /// The level, 0 to 9, when this is one of the levels of quality.
    pub fn quality_level(self) -> Option<u32> {
        self.level(Self::QUALITY_LEVEL_0)
    }

    fn level(self, lowest: Self) -> Option<u32> {
        u32::try_from(self.0.wrapping_sub(lowest.0)).ok().filter(|level| *level <= 9)
    }
}

/// The protocol versions that differ in how a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The server decides the security type.
    V3_3,
    /// The viewer chooses; no result follows when there is nothing to check.
    V3_7,
    /// The result always follows, with a reason when it is bad.
    V3_8,
}

impl Version {
    /// The line that names a version.
    pub fn line(self) -> &'static [u8; 12] {
        match self {
            Self::V3_3 => b"RFB 003.003\n",
            Self::V3_7 => b"RFB 003.007\n",
            Self::V3_8 => b"RFB 003.008\n",
        }
    }

    /// Reads such a line. Versions that were never published count as 3.3 (RFC 6143 section 7.1.1), later ones as 3.8.
    pub fn parse(line: &[u8; 12]) -> Result<Self, ProtocolError> {
        let [b'R', b'F', b'B', b' ', major @ .., b'.', _, _, _, b'\n'] = line else {
            return Err(ProtocolError::NotRfb);
        };
        let [.., m1, m2, m3, _] = line;
        let (major, minor) = (decimal(major), decimal(&[*m1, *m2, *m3]));
        match (major.ok_or(ProtocolError::NotRfb)?, minor.ok_or(ProtocolError::NotRfb)?) {
            (0..=2, _) | (3, 0..=6) => Ok(Self::V3_3),
            (3, 7) => Ok(Self::V3_7),
            _ => Ok(Self::V3_8),
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Security types (RFC 6143 section 7.2).
pub mod security {
    /// The connection failed; a reason follows.
    pub const INVALID: u8 = 0;
    /// Nothing to check.
    pub const NONE: u8 = 1;
    /// A challenge is encrypted with a password (RFC 6143 section 7.2.2).
    pub const VNC_AUTHENTICATION: u8 = 2;
    /// TLS, and inside of it one of its own types: VeNCrypt.
    pub const VENCRYPT: u8 = 19;
}

/// A rectangle on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireRect {
    /// Left edge.
    pub x: u16,
    /// Top edge.
    pub y: u16,
    /// Width, may be 0.
    pub width: u16,
    /// Height, may be 0.
    pub height: u16,
}

/// What a viewer says (RFC 6143 section 7.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// The pixels it wants.
    SetPixelFormat(PixelFormat),
    /// What it understands, the best first.
    SetEncodings(Vec<Encoding>),
    /// It wants a rectangle: what has changed in it, or everything.
    UpdateRequest {
        /// Only what has changed.
        incremental: bool,
        /// Where.
        area: WireRect,
    },
    /// A key by its X keysym.
    Key {
        /// Down or up.
        down: bool,
        /// The keysym.
        keysym: u32,
    },
    /// A key by its scan code (QEMU extended key event).
    ExtendedKey {
        /// Down or up.
        down: bool,
        /// The keysym, 0 when the viewer knows none.
        keysym: u32,
        /// The number that [`from_xt`](crate::input::keys::from_xt) understands.
        code: u32,
    },
    /// The pointer's state.
    Pointer {
        /// Bit 0 left, 1 middle, 2 right, 3 to 6 the wheel up, down, left, right, 7 and 8 the side buttons back and forward.
        buttons: u16,
        /// Place from the left, or movement plus 0x7FFF.
        x: u16,
        /// Place from the top, or movement plus 0x7FFF.
        y: u16,
    },
    /// Text for the guest's clipboard, Latin-1.
    CutText(Vec<u8>),
    /// The same, for viewers that can more.
    Clipboard(ClipboardMessage),
    /// It wants the screen to have another size.
    SetDesktopSize {
        /// In pixels.
        width: u16,
        /// In pixels.
        height: u16,
    },
    /// A mark in the stream of messages, or the answer to one.
    Fence(Fence),
    /// It wants every change from now on, or no longer.
    ContinuousUpdates {
        /// From now on.
        enable: bool,
        /// Where.
        area: WireRect,
    },
}

impl ClientMessage {
    /// Reads one message; blocks until it is whole.
    pub fn read(reader: &mut impl Read) -> Result<Self, ProtocolError> {
        Self::read_from(reader, false)
    }

    /// Reads one message of a viewer that has side buttons or not ([`Encoding::EXTENDED_MOUSE_BUTTONS`]).
    pub fn read_from(reader: &mut impl Read, extended_buttons: bool) -> Result<Self, ProtocolError> {
        let [kind] = take(reader)?;
        match kind {
            0 => {
                let [_, _, _, format @ ..] = take::<19>(reader)?;
                Ok(Self::SetPixelFormat(PixelFormat::parse(&format)?))
            }
            2 => {
                let [_, high, low] = take(reader)?;
                read_encodings(reader, u16::from_be_bytes([high, low])).map(Self::SetEncodings)
            }
            3 => {
                let [incremental] = take(reader)?;
                let [x, y, width, height] = take_u16s(reader)?;
                Ok(Self::UpdateRequest { incremental: incremental != 0, area: WireRect { x, y, width, height } })
            }
            4 => {
                let [down, _, _, keysym @ ..] = take::<7>(reader)?;
                Ok(Self::Key { down: down != 0, keysym: u32::from_be_bytes(keysym) })
            }
            5 => {
                let [buttons] = take(reader)?;
                let [x, y] = take_u16s(reader)?;
                let [more] = if extended_buttons && buttons & MORE_BUTTONS != 0 { take(reader)? } else { [0] };
                Ok(Self::Pointer { buttons: u16::from(buttons & !MORE_BUTTONS) | u16::from(more) << 7, x, y })
            }
            CLIENT_CUT_TEXT => {
                let [_, _, _, length @ ..] = take::<7>(reader)?;
                match i32::from_be_bytes(length) {
                    length @ ..0 => read_clipboard(reader, length).map(Self::Clipboard),
                    length => read_cut_text(reader, length.unsigned_abs()).map(Self::CutText),
                }
            }
            CONTINUOUS_UPDATES => {
                let [enable] = take(reader)?;
                let [x, y, width, height] = take_u16s(reader)?;
                Ok(Self::ContinuousUpdates { enable: enable != 0, area: WireRect { x, y, width, height } })
            }
            Fence::MESSAGE => {
                let (flags, length) = Fence::parse_header(take(reader)?)?;
                let mut payload = vec![0; length];
                reader.read_exact(&mut payload)?;
                Ok(Self::Fence(Fence { flags, payload }))
            }
            251 => {
                let [_, w1, w2, h1, h2, screens, _] = take(reader)?;
                skip(reader, u64::from(screens) * 16)?;
                Ok(Self::SetDesktopSize { width: u16::from_be_bytes([w1, w2]), height: u16::from_be_bytes([h1, h2]) })
            }
            255 => {
                let [0, d1, d2, s1, s2, s3, s4, c1, c2, c3, c4] = take(reader)? else {
                    return Err(ProtocolError::UnknownMessage(kind));
                };
                Ok(Self::ExtendedKey {
                    down: [d1, d2] != [0, 0],
                    keysym: u32::from_be_bytes([s1, s2, s3, s4]),
                    code: u32::from_be_bytes([c1, c2, c3, c4]),
                })
            }
            _ => Err(ProtocolError::UnknownMessage(kind)),
        }
    }

    /// Appends the message's bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::SetPixelFormat(format) => {
                out.extend_from_slice(&[0, 0, 0, 0]);
                out.extend_from_slice(&format.to_bytes());
            }
            Self::SetEncodings(encodings) => {
                let count = u16::try_from(encodings.len()).unwrap_or(u16::MAX);
                out.extend_from_slice(&[2, 0]);
                out.extend_from_slice(&count.to_be_bytes());
                for encoding in encodings.iter().take(usize::from(count)) {
                    out.extend_from_slice(&encoding.0.to_be_bytes());
                }
            }
            Self::UpdateRequest { incremental, area } => {
                out.extend_from_slice(&[3, u8::from(*incremental)]);
                area.write(out);
            }
            Self::Key { down, keysym } => {
                out.extend_from_slice(&[4, u8::from(*down), 0, 0]);
                out.extend_from_slice(&keysym.to_be_bytes());
            }
            Self::ExtendedKey { down, keysym, code } => {
                out.extend_from_slice(&[255, 0, 0, u8::from(*down)]);
                out.extend_from_slice(&keysym.to_be_bytes());
                out.extend_from_slice(&code.to_be_bytes());
            }
            Self::Pointer { buttons, x, y } => {
                let [more, few] = (buttons << 1).to_be_bytes();
                out.extend_from_slice(&[5, few >> 1 | if more == 0 { 0 } else { MORE_BUTTONS }]);
                out.extend_from_slice(&x.to_be_bytes());
                out.extend_from_slice(&y.to_be_bytes());
                out.extend((more != 0).then_some(more));
            }
            Self::CutText(text) => {
                out.extend_from_slice(&[CLIENT_CUT_TEXT, 0, 0, 0]);
                write_string(text, out);
            }
            Self::Clipboard(message) => message.write(CLIENT_CUT_TEXT, out),
            Self::SetDesktopSize { width, height } => {
                out.extend_from_slice(&[251, 0]);
                out.extend_from_slice(&width.to_be_bytes());
                out.extend_from_slice(&height.to_be_bytes());
                out.extend_from_slice(&[1, 0]);
                write_screen(*width, *height, out);
            }
            Self::Fence(fence) => fence.write(out),
            Self::ContinuousUpdates { enable, area } => {
                out.extend_from_slice(&[CONTINUOUS_UPDATES, u8::from(*enable)]);
                area.write(out);
            }
        }
    }
}

impl From<WireRect> for Rect {
    fn from(wire: WireRect) -> Self {
        let [x, y, width, height] = [wire.x, wire.y, wire.width, wire.height].map(u32::from);
        Self { x, y, width, height }
    }
}

impl WireRect {
    /// Appends the rectangle's eight bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        for value in [self.x, self.y, self.width, self.height] {
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    /// Appends the header of a rectangle in an update (RFC 6143 section 7.6.1).
    pub fn write_header(self, encoding: Encoding, out: &mut Vec<u8>) {
        self.write(out);
        out.extend_from_slice(&encoding.0.to_be_bytes());
    }

    /// Reads such a header.
    pub fn parse_header(bytes: &[u8; 12]) -> (Self, Encoding) {
        let [x1, x2, y1, y2, w1, w2, h1, h2, encoding @ ..] = *bytes;
        let rect = Self {
            x: u16::from_be_bytes([x1, x2]),
            y: u16::from_be_bytes([y1, y2]),
            width: u16::from_be_bytes([w1, w2]),
            height: u16::from_be_bytes([h1, h2]),
        };
        (rect, Encoding(i32::from_be_bytes(encoding)))
    }
}

/// Appends the header of an update of `count` rectangles; 0xFFFF when [`Encoding::LAST_RECT`] will end it.
pub fn write_update_header(count: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&count.to_be_bytes());
}

/// Appends the server's part of the initialisation (RFC 6143 section 7.3.2).
pub fn write_server_init(width: u16, height: u16, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&width.to_be_bytes());
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&PixelFormat::NATIVE.to_bytes());
    write_string(name.as_bytes(), out);
}

/// Appends a text behind its length.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(text.iter().take(usize::try_from(length).unwrap_or(usize::MAX)));
}

/// Appends the one screen of a desktop as ExtendedDesktopSize and SetDesktopSize list it.
pub fn write_screen(width: u16, height: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
    WireRect { x: 0, y: 0, width, height }.write(out);
    out.extend_from_slice(&[0; 4]);
}

/// Reads so many bytes.
pub fn take<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], ProtocolError> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_u16s<const N: usize>(reader: &mut impl Read) -> Result<[u16; N], ProtocolError> {
    let mut values = [0; N];
    for value in &mut values {
        *value = u16::from_be_bytes(take(reader)?);
    }
    Ok(values)
}

fn read_encodings(reader: &mut impl Read, count: u16) -> Result<Vec<Encoding>, ProtocolError> {
    let kept = usize::from(count).min(MAX_ENCODINGS);
    let mut encodings = Vec::with_capacity(kept);
    for _ in 0..kept {
        encodings.push(Encoding(i32::from_be_bytes(take(reader)?)));
    }
    skip(reader, 4 * (u64::from(count) - kept as u64))?;
    Ok(encodings)
}

fn read_cut_text(reader: &mut impl Read, length: u32) -> Result<Vec<u8>, ProtocolError> {
    let kept = length.min(MAX_CUT_TEXT);
    let text = read_growing(reader, kept as usize)?;
    skip(reader, u64::from(length - kept))?;
    Ok(text)
}

fn read_clipboard(reader: &mut impl Read, length: i32) -> Result<ClipboardMessage, ProtocolError> {
    ClipboardMessage::parse(&read_growing(reader, ClipboardMessage::length(length)?)?)
}

/// Reads so many bytes, into memory that grows as they come.
fn read_growing(reader: &mut impl Read, length: usize) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = Vec::new();
    reader.by_ref().take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}

fn skip(reader: &mut impl Read, count: u64) -> Result<(), ProtocolError> {
    let skipped = io::copy(&mut reader.by_ref().take(count), &mut io::sink())?;
    if skipped == count { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}

#[cfg(test)]
mod tests;
