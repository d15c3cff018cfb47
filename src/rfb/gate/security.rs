//! How a viewer is let in (RFC 6143 sections 7.1 and 7.2): with a password, inside of TLS or not.
//!
//! TLS comes with VeNCrypt, version 0.2: the viewer chooses a subtype, both speak TLS from then on, and what the subtype asks
//! for follows inside. See the community's specification, "VeNCrypt":
//! <https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#vencrypt>

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{GateError, Lock, Stream};
use crate::rfb::protocol::{ProtocolError, Version, security, write_string};

/// VeNCrypt's version.
const VENCRYPT: [u8; 2] = [0, 2];
/// TLS with a certificate, and nothing is asked inside of it.
const X509_NONE: u32 = 260;
/// TLS with a certificate, and VNC authentication inside of it.
const X509_VNC: u32 = 261;

/// Lets a viewer in: the connection to go on with, on which it says next whether it shares the screen.
pub(super) async fn admit(
    mut viewer: Box<dyn Stream>,
    tls: Option<&TlsAcceptor>,
    lock: Option<Lock<'_>>,
) -> Result<Box<dyn Stream>, GateError> {
    viewer.write_all(Version::V3_8.line()).await?;
    let mut line = [0; 12];
    viewer.read_exact(&mut line).await?;
    let version = Version::parse(&line)?;
    if let Err(refusal) = lock.as_ref().map_or(Ok(()), Lock::check) {
        return turn_away(&mut *viewer, version, refusal).await;
    }
    let kind = match (tls, &lock) {
        (Some(_), _) => security::VENCRYPT,
        (None, Some(_)) => security::VNC_AUTHENTICATION,
        (None, None) => security::NONE,
    };
    if version > Version::V3_3 {
        viewer.write_all(&[1, kind]).await?;
        let chosen = viewer.read_u8().await?;
        if chosen != kind {
            return Err(ProtocolError::Security(vec![chosen]).into());
        }
    } else if tls.is_some() {
        return turn_away(&mut *viewer, version, GateError::TooOld).await;
    } else {
        viewer.write_u32(kind.into()).await?;
    }
    if let Some(tls) = tls {
        let subtype = if lock.is_some() { X509_VNC } else { X509_NONE };
        agree_on(subtype, &mut *viewer).await?;
        viewer = Box::new(tls.accept(viewer).await?);
    }
    let known = match &lock {
        Some(lock) => lock.ask(&mut *viewer).await,
        None => Ok(()),
    };
    // Where nothing is asked, only the newest version is told how it ended.
    let told = match lock.is_some() || version == Version::V3_8 {
        true => tell(&mut *viewer, version, known.as_ref().err()).await,
        false => Ok(()),
    };
    // Who hangs up at once has guessed all the same.
    known.and(told).map(|()| viewer)
}

/// Has the viewer agree on a subtype of VeNCrypt.
async fn agree_on(subtype: u32, viewer: &mut dyn Stream) -> Result<(), GateError> {
    viewer.write_all(&VENCRYPT).await?;
    let mut version = [0; 2];
    viewer.read_exact(&mut version).await?;
    let agreed = version == VENCRYPT;
    viewer.write_u8(if agreed { 0 } else { u8::MAX }).await?;
    if !agreed {
        return Err(ProtocolError::Malformed("another version of VeNCrypt").into());
    }
    viewer.write_u8(1).await?;
    viewer.write_u32(subtype).await?;
    let agreed = viewer.read_u32().await? == subtype;
    viewer.write_u8(u8::from(agreed)).await?;
    if agreed { Ok(()) } else { Err(ProtocolError::Malformed("a subtype of VeNCrypt that was not offered").into()) }
}

/// Says how it ended (RFC 6143 section 7.1.3).
async fn tell(viewer: &mut dyn Stream, version: Version, refusal: Option<&GateError>) -> Result<(), GateError> {
    let mut message = u32::from(refusal.is_some()).to_be_bytes().to_vec();
    if let Some(refusal) = refusal
        && version == Version::V3_8
    {
        write_string(refusal.to_string().as_bytes(), &mut message);
    }
    viewer.write_all(&message).await?;
    Ok(viewer.flush().await?)
}

/// Offers nothing, and says why.
async fn turn_away<T>(viewer: &mut dyn Stream, version: Version, refusal: GateError) -> Result<T, GateError> {
    let mut message = if version == Version::V3_3 { vec![0; 4] } else { vec![0] };
    write_string(refusal.to_string().as_bytes(), &mut message);
    viewer.write_all(&message).await?;
    viewer.flush().await?;
    Err(refusal)
}
