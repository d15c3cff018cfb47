//! The server as viewers see it.

mod changes;
mod clipboard;
mod composing;
mod conversations;

use super::{Server, ViewerEvent};
use crate::input::{InputEvent, InputSink};
use crate::screen::canvas::Canvas;
use crate::screen::cursor::Cursor;
use crate::screen::{Generation, Rect, Screen, Surface};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Everything that is waited for here comes within milliseconds; this is for hosts that are very busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A list that can be waited on.
struct Log<T> {
    entries: Mutex<Vec<T>>,
    changed: Condvar,
}

impl<T: Clone> Log<T> {
    fn new() -> Self {
        Self { entries: Mutex::default(), changed: Condvar::new() }
    }

    fn extend(&self, entries: impl IntoIterator<Item = T>) {
        self.entries.lock().unwrap().extend(entries);
        self.changed.notify_all();
    }

    /// Waits until the list is as wanted, and returns it.
    fn wait(&self, wanted: impl Fn(&[T]) -> bool) -> Vec<T> {
        let (entries, timeout) = self
            .changed
            .wait_timeout_while(self.entries.lock().unwrap(), DEADLINE, |entries| !wanted(entries))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "it never happened; there are {} entries", entries.len());
        entries.clone()
    }

    fn clear(&self) {
        self.entries.lock().unwrap().clear();
    }
}

/// Takes input and remembers it.
struct Devices {
    events: Log<InputEvent>,
    follows_position: AtomicBool,
}

impl InputSink for Devices {
    fn send(&self, events: &[InputEvent]) {
        self.events.extend(events.iter().copied());
    }

    fn follows_position(&self) -> bool {
        self.follows_position.load(Ordering::Relaxed)
    }
}

/// A canvas that remembers when it was looked at.
struct Watched {
    canvas: Canvas,
    refreshes: Log<Instant>,
}

impl Screen for Watched {
    fn refresh(&self) -> Generation {
        self.refreshes.extend([Instant::now()]);
        self.canvas.refresh()
    }

    fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.canvas.look(since, look)
    }

    fn look_without_cursor(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.canvas.look_without_cursor(since, look)
    }

    fn cursor(&self) -> Option<Cursor> {
        self.canvas.cursor()
    }

    fn attach(&self) {
        self.canvas.attach();
    }

    fn detach(&self) {
        self.canvas.detach();
    }

    fn follows_preferred_size(&self) -> bool {
        self.canvas.follows_preferred_size()
    }

    fn set_preferred_size(&self, width: u32, height: u32) {
        self.canvas.set_preferred_size(width, height);
    }
}

/// A server and everything around it.
struct Scene {
    screen: Arc<Watched>,
    devices: Arc<Devices>,
    events: Arc<Log<ViewerEvent>>,
    server: Server,
}

impl Scene {
    fn new(width: u32, height: u32) -> Self {
        let screen = Arc::new(Watched { canvas: Canvas::new(width, height), refreshes: Log::new() });
        let devices = Arc::new(Devices { events: Log::new(), follows_position: AtomicBool::new(true) });
        let events = Arc::new(Log::new());
        let observer = {
            let events = Arc::clone(&events);
            Arc::new(move |event| events.extend([event]))
        };
        let server = Server::new(Arc::clone(&screen) as _, Arc::clone(&devices) as _, "desktop", observer);
        Self { screen, devices, events, server }
    }

    /// Waits until so many viewers have gone.
    fn wait_for_disconnects(&self, count: usize) {
        let gone = |event: &&ViewerEvent| matches!(event, ViewerEvent::Disconnected(_));
        self.events.wait(|events| events.iter().filter(gone).count() >= count);
    }
}
