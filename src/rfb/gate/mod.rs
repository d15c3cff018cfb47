//! The gate before a screen that viewers reach over a network: it lets in who knows the password, over TLS where there is a
//! certificate, and relays them to the screen's own socket, where nothing is asked any more.
//!
//! So what strangers say never reaches the process of a guest; and the server there knows neither passwords nor TLS.
//!
//! - Security types: RFC 6143 section 7.2, and [`security`] for VeNCrypt.
//! - Viewers in web browsers (noVNC) speak RFB inside of a [`websocket`].

mod attempts;
mod password;
mod relay;
mod security;
#[cfg(test)]
mod tests;
mod websocket;

use std::{io, net::IpAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::protocol::{ProtocolError, Version, security as kinds};
use crate::system_error::words;
use attempts::Attempts;
pub use password::Password;

/// A person may have to look the password up while the viewer waits at the gate.
const PATIENCE: Duration = Duration::from_secs(180);

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why a viewer was not let in, or has gone.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// It does not speak the protocol, or has hung up.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The connection failed or ended.
    #[error("the connection ended: {}", words(.0))]
    Io(#[from] io::Error),
    /// It said nothing for too long.
    #[error("it did not log in within three minutes")]
    TooSlow,
    /// It does not know the password.
    #[error("it gave a wrong password")]
    WrongPassword,
    /// Somebody at its address has tried too many passwords.
    #[error("there were too many wrong passwords from its address")]
    TooManyAttempts,
    /// It speaks RFB 3.3, which has no encryption.
    #[error("it is too old for encryption")]
    TooOld,
    /// It is not a WebSocket.
    #[error("it is no WebSocket: {0}")]
    WebSocket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
}

/// What viewers have to do to get in, and what they may do then.
#[derive(Default)]
pub struct Rules {
    /// What they must know; nothing is asked when there is none.
    pub password: Option<Password>,
    /// With whose certificate they talk; they talk in the clear when there is none.
    pub tls: Option<TlsAcceptor>,
    /// Whether they come by WebSocket; TLS is around that then (`wss`).
    pub websocket: bool,
    /// Whether their keys, pointer and clipboard are thrown away.
    pub view_only: bool,
}

/// The gate.
pub struct Gate {
    rules: Rules,
    attempts: Attempts,
}

impl Gate {
    /// A gate with these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules, attempts: Attempts::default() }
    }

    /// Lets a viewer from `address` in, or not, and relays it to the screen behind the connection that `open` makes, until
    /// one of them ends.
    pub async fn serve<S, O>(
        &self,
        viewer: S,
        address: IpAddr,
        open: impl Future<Output = io::Result<O>>,
    ) -> Result<(), GateError>
    where
        S: Stream + 'static,
        O: Stream,
    {
        let admitted = timeout(PATIENCE, self.admit(Box::new(viewer), address)).await;
        let viewer = admitted.map_err(|_| GateError::TooSlow)??;
        let mut screen = open.await?;
        greet_screen(&mut screen).await?;
        relay::relay(viewer, screen, self.rules.view_only).await
    }

    /// Everything until the viewer is let in.
    async fn admit(&self, viewer: Box<dyn Stream>, address: IpAddr) -> Result<Box<dyn Stream>, GateError> {
        if !self.rules.websocket {
            return security::admit(viewer, self.rules.tls.as_ref(), self.lock(address)).await;
        }
        let viewer: Box<dyn Stream> = match &self.rules.tls {
            Some(tls) => Box::new(tls.accept(viewer).await?),
            None => viewer,
        };
        security::admit(Box::new(websocket::accept(viewer).await?), None, self.lock(address)).await
    }

    fn lock(&self, address: IpAddr) -> Option<Lock<'_>> {
        let password = self.rules.password.as_ref()?;
        Some(Lock { password, attempts: &self.attempts, address })
    }
}

/// The password that a viewer from an address must give.
struct Lock<'a> {
    password: &'a Password,
    attempts: &'a Attempts,
    address: IpAddr,
}

impl Lock<'_> {
    /// Whether this address may try at all now.
    fn check(&self) -> Result<(), GateError> {
        if self.attempts.is_blocked(self.address) { Err(GateError::TooManyAttempts) } else { Ok(()) }
    }

    /// Asks for the password.
    async fn ask(&self, viewer: &mut dyn Stream) -> Result<(), GateError> {
        let challenge = password::challenge()?;
        viewer.write_all(&challenge).await?;
        let mut answer = [0; password::CHALLENGE];
        viewer.read_exact(&mut answer).await?;
        // Others may have tried meanwhile, at the same time as this one.
        self.check()?;
        let right = self.password.answers(&challenge, &answer);
        self.attempts.note(self.address, right);
        if right { Ok(()) } else { Err(GateError::WrongPassword) }
    }
}

/// Begins with the screen's own server as a viewer does, up to the point where its first message comes: whether the screen
/// is shared, which the real viewer says.
async fn greet_screen(screen: &mut (impl Stream + ?Sized)) -> Result<(), GateError> {
    let mut line = [0; 12];
    screen.read_exact(&mut line).await?;
    screen.write_all(Version::V3_8.line()).await?;
    let mut offered = vec![0; usize::from(screen.read_u8().await?)];
    screen.read_exact(&mut offered).await?;
    if Version::parse(&line)? != Version::V3_8 || !offered.contains(&kinds::NONE) {
        return Err(ProtocolError::Security(offered).into());
    }
    screen.write_all(&[kinds::NONE]).await?;
    match screen.read_u32().await? {
        0 => Ok(()),
        _ => Err(ProtocolError::Malformed("the screen's own server refuses the gate").into()),
    }
}
