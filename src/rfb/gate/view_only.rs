//! Viewers that only look: what they do with keys, pointer and clipboard, and sizes that they wish, goes no further. Nor do they
//! get what is in the guest's clipboard.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{GateError, Stream};
use crate::rfb::protocol::{ClientMessage, Encoding, MAX_CUT_TEXT, ProtocolError};

/// A message that is longer is never whole: no viewer needs it.
const LONGEST: usize = MAX_CUT_TEXT as usize + 1024;

/// Relays a viewer that was let in until one of the two ends.
pub(super) async fn relay(viewer: Box<dyn Stream>, screen: impl Stream) -> Result<(), GateError> {
    let (mut from_viewer, mut to_viewer) = tokio::io::split(viewer);
    let (mut from_screen, mut to_screen) = tokio::io::split(screen);
    tokio::select! {
        ended = tokio::io::copy(&mut from_screen, &mut to_viewer) => Ok(ended.map(drop)?),
        ended = sift(&mut from_viewer, &mut to_screen) => ended,
    }
}

/// Passes on what changes nothing for the guest.
async fn sift(viewer: &mut (impl AsyncRead + Unpin), screen: &mut (impl AsyncWrite + Unpin)) -> Result<(), GateError> {
    // That others may look, too, whatever it says: a viewer that may do nothing sends nobody away.
    viewer.read_u8().await?;
    screen.write_u8(1).await?;
    let mut bytes = Vec::new();
    loop {
        while let Some((message, length)) = next(&bytes)? {
            match message {
                ClientMessage::SetEncodings(list) => screen.write_all(&without_clipboard(list)).await?,
                message if is_harmless(&message) => screen.write_all(&bytes[..length]).await?,
                _ => {}
            }
            bytes.drain(..length);
        }
        if bytes.len() > LONGEST {
            return Err(ProtocolError::Malformed("a message that is too long for a viewer that only looks").into());
        }
        if viewer.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

/// The first message and its length in bytes, if all of it is there.
fn next(bytes: &[u8]) -> Result<Option<(ClientMessage, usize)>, ProtocolError> {
    let mut rest = bytes;
    match ClientMessage::read(&mut rest) {
        Ok(message) => Ok(Some((message, bytes.len() - rest.len()))),
        Err(ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// A viewer's message about what it understands, with the remark that clipboards are nothing for it.
fn without_clipboard(list: Vec<Encoding>) -> Vec<u8> {
    let list = list.into_iter().filter(|encoding| *encoding != Encoding::EXTENDED_CLIPBOARD);
    let mut bytes = Vec::new();
    ClientMessage::SetEncodings(std::iter::once(Encoding::NO_CLIPBOARD).chain(list).collect()).write(&mut bytes);
    bytes
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
