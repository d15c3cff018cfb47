//! How a connection begins, on the viewer's side (RFC 6143 sections 7.1 to 7.3).

use super::ClientError;
use crate::rfb::protocol::{ProtocolError, Version, security};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Names and reasons are no longer.
const MAX_TEXT: u32 = 4096;

/// What the server has said in the handshake.
pub(super) struct Welcome {
    /// The screen's width in pixels.
    pub width: u16,
    /// The screen's height in pixels.
    pub height: u16,
    /// The desktop's name.
    pub name: String,
}

/// Agrees with a server on a version and on security, and hears of its screen.
pub(super) async fn greet(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    shared: bool,
) -> Result<Welcome, ClientError> {
    let version = Version::parse(&take(reader).await?)?;
    writer.write_all(version.line()).await.map_err(ProtocolError::Io)?;
    agree_on_security(version, reader, writer).await?;
    writer.write_all(&[u8::from(shared)]).await.map_err(ProtocolError::Io)?;
    let [w1, w2, h1, h2, ..] = take::<20>(reader).await?;
    let name = read_text(reader).await?;
    Ok(Welcome { width: u16::from_be_bytes([w1, w2]), height: u16::from_be_bytes([h1, h2]), name })
}

async fn agree_on_security(
    version: Version,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ClientError> {
    if version == Version::V3_3 {
        // The server has chosen; the types of that time fit into a byte.
        let [_, _, _, chosen] = take(reader).await?;
        return match chosen {
            security::NONE => Ok(()),
            security::INVALID => Err(ProtocolError::Refused(read_text(reader).await?).into()),
            _ => Err(ProtocolError::Security(vec![chosen]).into()),
        };
    }
    let [count] = take(reader).await?;
    let mut offered = vec![0; usize::from(count)];
    reader.read_exact(&mut offered).await.map_err(ProtocolError::Io)?;
    if offered.is_empty() {
        return Err(ProtocolError::Refused(read_text(reader).await?).into());
    }
    if !offered.contains(&security::NONE) {
        return Err(ProtocolError::Security(offered).into());
    }
    writer.write_all(&[security::NONE]).await.map_err(ProtocolError::Io)?;
    if version == Version::V3_8 && take(reader).await? != [0; 4] {
        return Err(ProtocolError::Refused(read_text(reader).await?).into());
    }
    Ok(())
}

/// Reads so many bytes.
pub(super) async fn take<const N: usize>(reader: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], ProtocolError> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Reads a name or a reason behind its length.
pub(super) async fn read_text(reader: &mut (impl AsyncRead + Unpin)) -> Result<String, ProtocolError> {
    let length = u32::from_be_bytes(take(reader).await?);
    if length > MAX_TEXT {
        return Err(ProtocolError::Malformed("a name or a reason of more than 4 KiB"));
    }
    let mut text = vec![0; length as usize];
    reader.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
