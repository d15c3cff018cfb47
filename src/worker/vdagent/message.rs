//! The messages of the vdagent protocol and their bytes, as spice-protocol's `spice/vd_agent.h` defines them: all numbers
//! are little-endian. <https://gitlab.freedesktop.org/spice/spice-protocol/-/blob/master/spice/vd_agent.h>

/// Of a chunk's header (`VDIChunkHeader`): the port and how much follows.
pub(super) const CHUNK_HEADER: usize = 8;
/// No chunk holds more (`VD_AGENT_MAX_DATA_SIZE`), in bytes.
pub(super) const MAX_CHUNK: usize = 2048;
/// What we send at once; QEMU does the same.
const CHUNK: usize = 1024;
/// Of a message's header (`VDAgentMessage`): protocol, type, a number that nobody uses, and how much follows.
pub(super) const HEADER: usize = 20;
/// The version of the protocol (`VD_AGENT_PROTOCOL`).
const PROTOCOL: u32 = 1;

/// The chunks between the agent and whoever has the clipboard (`VDP_CLIENT_PORT`).
pub(super) const CLIENT_PORT: u32 = 1;
/// Those between the agent and who has the mouse (`VDP_SERVER_PORT`).
pub(super) const SERVER_PORT: u32 = 2;

/// The kinds of messages (`VD_AGENT_…`).
pub(super) mod kind {
    /// Text, or something else that was asked for.
    pub const CLIPBOARD: u32 = 4;
    /// What the peer can.
    pub const ANNOUNCE_CAPABILITIES: u32 = 6;
    /// The peer has text.
    pub const CLIPBOARD_GRAB: u32 = 7;
    /// The peer wants text.
    pub const CLIPBOARD_REQUEST: u32 = 8;
    /// The peer has no text any more.
    pub const CLIPBOARD_RELEASE: u32 = 9;
    /// How long a text may be.
    pub const MAX_CLIPBOARD: u32 = 14;
}

/// What a clipboard has (`VD_AGENT_CLIPBOARD_…`).
mod data {
    pub const NONE: u32 = 0;
    pub const UTF8_TEXT: u32 = 1;
}

/// Which clipboard: the one for copying and pasting (`VD_AGENT_CLIPBOARD_SELECTION_CLIPBOARD`). X11's others are not shared.
const SELECTION: u8 = 0;

/// What a peer can: bits of the first word (`VD_AGENT_CAP_…`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capabilities(pub u32);

impl Capabilities {
    /// Text is sent when it is asked for.
    pub const BY_DEMAND: Self = Self(1 << 5);
    /// Messages say which clipboard.
    pub const SELECTION: Self = Self(1 << 6);
    /// The guest's lines end with CR LF.
    pub const CRLF: Self = Self(1 << 9);
    /// The agent can be told how long a text may be.
    pub const MAX_CLIPBOARD: Self = Self(1 << 10);
    /// A grab needs no release before it.
    pub const NO_RELEASE_ON_REGRAB: Self = Self(1 << 16);
    /// Grabs are numbered, so that of two that cross both sides know which one counts.
    pub const GRAB_SERIAL: Self = Self(1 << 17);
    /// What we can.
    pub const OURS: Self =
        Self(Self::BY_DEMAND.0 | Self::SELECTION.0 | Self::NO_RELEASE_ON_REGRAB.0 | Self::GRAB_SERIAL.0);

    /// Whether it has all of these.
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// The peer breaks the rules; what follows cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest's agent sends what is no message: {0}")]
pub(super) struct Malformed(pub &'static str);

/// What an agent says, as far as we listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// What it can.
    Capabilities {
        /// It wants to know what we can.
        asks: bool,
        /// The agent's.
        capabilities: Capabilities,
    },
    /// The guest's clipboard has something new.
    Grab {
        /// Its number, if grabs have some.
        serial: Option<u32>,
        /// It has text.
        text: bool,
    },
    /// The guest wants what we have.
    Request {
        /// As text.
        text: bool,
    },
    /// What we have asked for.
    Clipboard(Option<Vec<u8>>),
    /// The guest's clipboard has nothing any more.
    Release,
    /// Something else.
    Other,
}

/// Reads little-endian numbers from a message's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("a message that is too short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_le_bytes)
    }

    /// The numbers that are left.
    fn numbers(self) -> impl Iterator<Item = u32> + use<'a> {
        let (numbers, _) = self.0.as_chunks();
        numbers.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

impl Message {
    /// Reads the body of a message from an agent that can what `agreed` says.
    pub fn parse(kind: u32, body: &[u8], agreed: Capabilities) -> Result<Self, Malformed> {
        let mut body = Body(body);
        if kind == kind::ANNOUNCE_CAPABILITIES {
            let asks = body.number()? != 0;
            return Ok(Self::Capabilities { asks, capabilities: Capabilities(body.numbers().next().unwrap_or(0)) });
        }
        let of_clipboard =
            [kind::CLIPBOARD, kind::CLIPBOARD_GRAB, kind::CLIPBOARD_REQUEST, kind::CLIPBOARD_RELEASE].contains(&kind);
        if !of_clipboard {
            return Ok(Self::Other);
        }
        if agreed.has(Capabilities::SELECTION) {
            let [selection, ..] = body.take::<4>()?;
            if selection != SELECTION {
                return Ok(Self::Other);
            }
        }
        Ok(match kind {
            kind::CLIPBOARD_GRAB => {
                let serial = agreed.has(Capabilities::GRAB_SERIAL).then(|| body.number()).transpose()?;
                Self::Grab { serial, text: body.numbers().any(|kind| kind == data::UTF8_TEXT) }
            }
            kind::CLIPBOARD_REQUEST => Self::Request { text: body.number()? == data::UTF8_TEXT },
            kind::CLIPBOARD => {
                let is_text = body.number()? == data::UTF8_TEXT;
                Self::Clipboard(is_text.then(|| body.0.to_vec()))
            }
            _ => Self::Release,
        })
    }
}

/// The bytes of a message, in chunks.
fn message(kind: u32, body: &[&[u8]]) -> Vec<u8> {
    let size: usize = body.iter().map(|part| part.len()).sum();
    let length = u32::try_from(size).unwrap_or(u32::MAX);
    let header =
        [&PROTOCOL.to_le_bytes()[..], &kind.to_le_bytes(), &0u64.to_le_bytes(), &length.to_le_bytes()].concat();
    let mut left = HEADER + size;
    let mut out = Vec::with_capacity(left + left.div_ceil(CHUNK) * CHUNK_HEADER);
    let mut room = 0;
    for mut part in std::iter::once(&header[..]).chain(body.iter().copied()) {
        while !part.is_empty() {
            if room == 0 {
                room = left.min(CHUNK);
                out.extend_from_slice(&CLIENT_PORT.to_le_bytes());
                out.extend_from_slice(&(room as u32).to_le_bytes());
            }
            let (now, rest) = part.split_at(part.len().min(room));
            out.extend_from_slice(now);
            (room, left, part) = (room - now.len(), left - now.len(), rest);
        }
    }
    out
}

/// What we can, and whether the agent is to say what it can.
pub(super) fn capabilities(ask: bool) -> Vec<u8> {
    message(kind::ANNOUNCE_CAPABILITIES, &[&u32::from(ask).to_le_bytes(), &Capabilities::OURS.0.to_le_bytes()])
}

/// How long a text of the guest's may be, in bytes.
pub(super) fn max_clipboard(bytes: usize) -> Vec<u8> {
    message(kind::MAX_CLIPBOARD, &[&i32::try_from(bytes).unwrap_or(i32::MAX).to_le_bytes()])
}

/// The messages about a clipboard, to an agent that can what `agreed` says.
pub(super) struct Clipboard {
    pub agreed: Capabilities,
}

impl Clipboard {
    /// We have text; `serial` numbers this.
    pub fn grab(&self, serial: u32) -> Vec<u8> {
        let serial = serial.to_le_bytes();
        let serial = if self.agreed.has(Capabilities::GRAB_SERIAL) { &serial[..] } else { &[] };
        self.message(kind::CLIPBOARD_GRAB, &[serial, &data::UTF8_TEXT.to_le_bytes()])
    }

    /// We have no text any more.
    pub fn release(&self) -> Vec<u8> {
        self.message(kind::CLIPBOARD_RELEASE, &[])
    }

    /// We want text.
    pub fn request(&self) -> Vec<u8> {
        self.message(kind::CLIPBOARD_REQUEST, &[&data::UTF8_TEXT.to_le_bytes()])
    }

    /// The text that the guest wants.
    pub fn text(&self, text: Option<&str>) -> Vec<u8> {
        let kind = if text.is_some() { data::UTF8_TEXT } else { data::NONE };
        self.message(kind::CLIPBOARD, &[&kind.to_le_bytes(), text.unwrap_or_default().as_bytes()])
    }

    fn message(&self, kind: u32, body: &[&[u8]]) -> Vec<u8> {
        let selection = [SELECTION, 0, 0, 0];
        let selection = if self.agreed.has(Capabilities::SELECTION) { &selection[..] } else { &[] };
        let parts: Vec<&[u8]> = std::iter::once(selection).chain(body.iter().copied()).collect();
        message(kind, &parts)
    }
}
