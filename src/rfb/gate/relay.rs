//! Passing on what a viewer that was let in and its screen say to each other, except for what is not for viewers of a network.
//!
//! - None finds its pixels in memory: what it would need for that comes by a Unix socket only (see
//!   [`memory`](crate::rfb::memory)), and it would see nothing.
//! - Of viewers that only look, what they do with keys, pointer and clipboard, and sizes that they wish, goes no further. Nor do
//!   they get what is in the guest's clipboard.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{GateError, Stream};
use crate::{
    clipboard::MAX_TEXT,
    rfb::protocol::{CLIENT_CUT_TEXT, ClientMessage, Encoding, ProtocolError},
};

/// A message of more bytes is waited for no longer: it would be a clipboard's, with more text than is taken.
const LONGEST: usize = MAX_TEXT + MAX_TEXT / 8;

/// Relays a viewer that was let in, perhaps only to look, until one of the two ends.
pub(super) async fn relay(viewer: Box<dyn Stream>, screen: impl Stream, view_only: bool) -> Result<(), GateError> {
    let (mut from_viewer, mut to_viewer) = tokio::io::split(viewer);
    let (mut from_screen, mut to_screen) = tokio::io::split(screen);
    tokio::select! {
        ended = tokio::io::copy(&mut from_screen, &mut to_viewer) => Ok(ended.map(drop)?),
        ended = sift(&mut from_viewer, &mut to_screen, view_only) => ended,
    }
}

/// Passes on what the screen may hear.
async fn sift(
    viewer: &mut (impl AsyncRead + Unpin),
    screen: &mut (impl AsyncWrite + Unpin),
    view_only: bool,
) -> Result<(), GateError> {
    let shared = viewer.read_u8().await?;
    // That others may look, too, whatever it says: a viewer that may do nothing sends nobody away.
    screen.write_u8(if view_only { 1 } else { shared }).await?;
    let (mut bytes, mut passed) = (Vec::new(), Vec::new());
    loop {
        let mut whole = 0;
        while let Some((message, length)) = next(&bytes[whole..])? {
            match message {
                ClientMessage::SetEncodings(list) => allowed(list, view_only).write(&mut passed),
                message if view_only && !is_harmless(&message) => {}
                _ => passed.extend_from_slice(&bytes[whole..whole + length]),
            }
            whole += length;
        }
        bytes.drain(..whole);
        screen.write_all(&passed).await?;
        passed.clear();
        if bytes.len() > LONGEST {
            return Err(ProtocolError::Malformed("a message that is too long for a viewer on a network").into());
        }
        if viewer.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

/// What of that which a viewer understands the screen may hear; with a remark when clipboards are nothing for it.
fn allowed(list: Vec<Encoding>, view_only: bool) -> ClientMessage {
    let is_refused = |encoding: &Encoding| match *encoding {
        Encoding::SHARED_MEMORY | Encoding::IN_MEMORY => true,
        // Its messages would have to be read in another way.
        Encoding::EXTENDED_MOUSE_BUTTONS => true,
        Encoding::EXTENDED_CLIPBOARD => view_only,
        _ => false,
    };
    let remark = view_only.then_some(Encoding::NO_CLIPBOARD);
    let rest = list.into_iter().filter(|encoding| !is_refused(encoding));
    ClientMessage::SetEncodings(remark.into_iter().chain(rest).collect())
}

/// The first message and its length in bytes, if all of it is there.
fn next(bytes: &[u8]) -> Result<Option<(ClientMessage, usize)>, ProtocolError> {
    if is_part_of_text(bytes) {
        return Ok(None);
    }
    let mut rest = bytes;
    match ClientMessage::read(&mut rest) {
        Ok(message) => Ok(Some((message, bytes.len() - rest.len()))),
        Err(ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a text, which may be long, is not whole yet.
fn is_part_of_text(bytes: &[u8]) -> bool {
    let [CLIENT_CUT_TEXT, _, _, _, rest @ ..] = bytes else { return false };
    // A length below 0 is that of other content.
    rest.split_first_chunk()
        .is_some_and(|(length, text)| (text.len() as u64) < i32::from_be_bytes(*length).unsigned_abs().into())
}

fn is_harmless(message: &ClientMessage) -> bool {
    match message {
        ClientMessage::SetPixelFormat(_)
        | ClientMessage::SetEncodings(_)
        | ClientMessage::UpdateRequest { .. }
        | ClientMessage::Fence(_)
        | ClientMessage::ContinuousUpdates { .. } => true,
        ClientMessage::Key { .. }
        | ClientMessage::ExtendedKey { .. }
        | ClientMessage::Pointer { .. }
        | ClientMessage::CutText(_)
        | ClientMessage::Clipboard(_)
        | ClientMessage::SetDesktopSize { .. } => false,
    }
}
