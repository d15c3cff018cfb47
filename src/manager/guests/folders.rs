//! Tells when something in the library or in the runtime folder changes (inotify(7)). Where the system has no watches left,
//! it is time itself that tells, every two seconds.

use std::{ffi::CStr, io, mem::MaybeUninit, os::fd::OwnedFd, time::Duration};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time,
};

use crate::manager::paths::Paths;

/// How often to look where nothing tells of changes.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Changes come in groups: how long to wait for the rest of one.
const GROUP: Duration = Duration::from_millis(20);
/// Bytes of events that are read at once.
const CHUNK: usize = 16 << 10;

/// See the module.
pub(super) struct Folders {
    /// Nothing where the system has no watches.
    descriptor: Option<AsyncFd<OwnedFd>>,
    /// A change was seen and not told yet.
    pending: bool,
}

impl Folders {
    pub fn new() -> Self {
        let made = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from);
        let descriptor = made.and_then(|descriptor| {
            // SAFETY: an `OwnedFd` owns an open descriptor, always names the same one and closes it only when it is dropped.
            Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
        });
        let told = |error: &io::Error| {
            tracing::warn!("changes in folders are looked for every two seconds, since inotify fails: {error}");
        };
        Self { descriptor: descriptor.inspect_err(told).ok(), pending: false }
    }

    /// Watches the folders of these guests, too. Those that are watched already stay so.
    pub fn add(&mut self, paths: &Paths, names: &[String]) {
        let Some(descriptor) = &self.descriptor else { return };
        let folders = names.iter().map(|name| paths.guest_folder(name));
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR;
        for folder in [paths.guests(), paths.runtime().to_owned()].into_iter().chain(folders) {
            match inotify::add_watch(descriptor.get_ref(), &folder, flags) {
                // One that is gone already will be told by its parent.
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => {
                    tracing::warn!("{} cannot be watched: {error}. Looking every two seconds", folder.display());
                    self.descriptor = None;
                    return;
                }
            }
        }
    }

    /// Waits for a change that matters. Given up before it is over, it forgets nothing.
    pub async fn changed(&mut self) {
        let Some(descriptor) = &self.descriptor else { return time::sleep(LOOK_AGAIN).await };
        while !self.pending {
            match descriptor.readable().await {
                Ok(mut ready) => {
                    self.pending = drain(descriptor.get_ref());
                    ready.clear_ready();
                }
                Err(error) => {
                    tracing::warn!("inotify fails: {error}");
                    return time::sleep(LOOK_AGAIN).await;
                }
            }
        }
        time::sleep(GROUP).await;
        drain(descriptor.get_ref());
        self.pending = false;
    }
}

/// Reads all events that are there; whether any of them matters.
fn drain(descriptor: &OwnedFd) -> bool {
    let mut buffer = [MaybeUninit::uninit(); CHUNK];
    let mut reader = Reader::new(descriptor, &mut buffer);
    let mut matters = false;
    while let Ok(event) = reader.next() {
        // After an overflow anything may have happened.
        matters |= event.events().contains(ReadFlags::QUEUE_OVERFLOW) || event.file_name().is_some_and(is_of_interest);
    }
    matters
}

/// A worker's log, locks and half-written files are nobody's news.
fn is_of_interest(name: &CStr) -> bool {
    let name = name.to_bytes();
    !name.starts_with(b".") && name != b"worker.log" && name != b"run.lock"
}
