//! The RFB server: shows one screen to any number of viewers.
//!
//! Each viewer has two threads of its own, one that reads its messages and one that sends it updates, so that a slow one
//! delays nobody. Without viewers nothing runs.

mod clipboard;
mod cursor;
mod damage;
mod flow;
mod handshake;
mod join;
mod keyboard;
mod lending;
mod order;
mod pacing;
mod parts;
mod pointer;
mod reader;
mod scroll;
mod session;
#[cfg(test)]
mod tests;
mod update;
mod writer;

use crate::clipboard::GuestClipboard;
use crate::input::InputSink;
use crate::screen::Screen;
use order::Notices;
use pacing::Refresher;
use session::Session;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// More viewers than anyone has; each costs two threads.
const MAX_VIEWERS: usize = 64;
/// What a viewer's thread needs at most, with room to spare; only what is used of it takes memory.
const STACK: usize = 256 * 1024;

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
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    last_id: AtomicU64,
}

/// What all viewers' threads share.
struct Shared {
    screen: Arc<dyn Screen>,
    input: Arc<dyn InputSink>,
    name: Mutex<String>,
    observer: Observer,
    refresher: Refresher,
    clipboard: clipboard::Hub,
    sessions: Mutex<Vec<Arc<Session>>>,
}

impl Server {
    /// A server for `screen` that gives what viewers type to `input` and calls the desktop `name`.
    pub fn new(screen: Arc<dyn Screen>, input: Arc<dyn InputSink>, name: &str, observer: Observer) -> Self {
        let shared = Shared {
            screen,
            input,
            name: Mutex::new(name.to_owned()),
            observer,
            refresher: Refresher::default(),
            clipboard: clipboard::Hub::default(),
            sessions: Mutex::default(),
        };
        Self { shared: Arc::new(shared), threads: Mutex::default(), last_id: AtomicU64::new(0) }
    }

    /// Has viewers share a guest's clipboard: with the guest, not with each other.
    pub fn share_clipboard(&self, guest: Arc<dyn GuestClipboard>) {
        self.shared.share_clipboard(guest);
    }

    /// Takes a viewer that has connected to a Unix socket and returns at once. Whoever can open the socket may look: the
    /// socket's mode protects it.
    pub fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let id = ViewerId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let session = Arc::new(Session::new(id, stream));
        {
            let mut sessions = self.shared.sessions();
            if sessions.len() >= MAX_VIEWERS {
                return Err(io::Error::other("there are too many viewers already. close one"));
            }
            sessions.push(Arc::clone(&session));
        }
        let shared = Arc::clone(&self.shared);
        let spawned = thread("rfb reader").spawn(move || reader::run(&shared, &session));
        if spawned.is_err() {
            self.shared.forget(id);
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(spawned?);
        Ok(())
    }

    /// Gives the desktop a new name and tells the viewers that understand it.
    pub fn rename(&self, name: &str) {
        name.clone_into(&mut self.shared.name.lock().unwrap_or_else(PoisonError::into_inner));
        for session in self.shared.sessions().iter() {
            session.notify(Notices { name: true, ..Notices::default() });
        }
    }

    /// Who is connected.
    pub fn viewers(&self) -> Vec<Viewer> {
        self.shared.sessions().iter().map(|session| session.describe()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.sessions().iter().for_each(|session| session.leave());
        for thread in self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A thread that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The screen will change soon: somebody has typed.
    fn hurry(&self) {
        self.sessions().iter().for_each(|session| session.hurry());
    }

    fn send_away_all_but(&self, id: ViewerId) {
        self.sessions().iter().filter(|session| session.id != id).for_each(|session| session.leave());
    }

    fn forget(&self, id: ViewerId) {
        self.sessions().retain(|session| session.id != id);
    }
}

fn thread(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK)
}
