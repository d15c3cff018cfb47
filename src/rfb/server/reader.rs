//! A viewer's first thread: the handshake, then its messages, one after the other, until it goes.

use super::handshake::{greet, introduce};
use super::keyboard::Keyboard;
use super::order::{Encodings, Notices, SizeReason};
use super::pointer::Pointer;
use super::session::Session;
use super::update::{Composer, wire_size};
use super::{Shared, ViewerEvent, writer};
use crate::input::InputEvent;
use crate::rfb::protocol::{ClientMessage, ProtocolError};
use crate::screen::Screen;
use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

/// Who has not finished the handshake by then is not going to.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages are short; a long one is taken in several steps.
const BUFFER: usize = 2048;

/// Runs until the viewer goes.
pub(super) fn run(shared: &Arc<Shared>, session: &Arc<Session>) {
    (shared.observer)(ViewerEvent::Connected(session.id));
    if let Err(error) = converse(shared, session) {
        tracing::debug!(viewer = session.id.0, %error, "a viewer has gone");
    }
    session.leave();
    shared.forget(session.id);
    shared.viewer_withdraws(session.id);
    (shared.observer)(ViewerEvent::Disconnected(session.id));
}

fn converse(shared: &Arc<Shared>, session: &Arc<Session>) -> Result<(), ProtocolError> {
    let mut reader = BufReader::with_capacity(BUFFER, &session.stream);
    session.stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    session.stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let hello = greet(&mut reader, &mut &session.stream)?;
    if !hello.shared {
        shared.send_away_all_but(session.id);
    }
    let _attached = Attached::new(&*shared.screen);
    let (width, height) = current_size(&*shared.screen);
    introduce(width, height, &shared.name(), &mut &session.stream)?;
    session.stream.set_read_timeout(None)?;
    session.stream.set_write_timeout(None)?;
    session.set_size((width, height));
    session.set_initialized(hello.shared);
    (shared.observer)(ViewerEvent::Initialized(session.id));

    let composer = Composer::new(Arc::clone(&shared.screen), width, height);
    std::thread::scope(|scope| {
        let writer = super::thread("rfb writer").spawn_scoped(scope, || {
            if let Err(error) = writer::run(shared, session, composer) {
                tracing::debug!(viewer = session.id.0, %error, "a viewer takes no more updates");
            }
            session.leave();
        });
        let result = writer.map_err(ProtocolError::Io).and_then(|_| listen(shared, session, &mut reader));
        session.leave();
        result
    })
}

/// Takes messages until there are no more.
fn listen(shared: &Shared, session: &Session, reader: &mut BufReader<impl std::io::Read>) -> Result<(), ProtocolError> {
    let mut devices =
        Devices { shared, keyboard: Keyboard::default(), pointer: Pointer::default(), events: Vec::new() };
    let (mut sends_movement, mut extended_buttons) = (false, false);
    loop {
        let message = ClientMessage::read_from(reader, extended_buttons)?;
        let is_fence = matches!(message, ClientMessage::Fence(_));
        match message {
            ClientMessage::SetPixelFormat(format) => session.set_format(format),
            ClientMessage::SetEncodings(list) => {
                let encodings = Encodings::new(&list);
                (sends_movement, extended_buttons) = (encodings.pointer_motion, encodings.extended_buttons);
                session.set_encodings(encodings);
                shared.greet_clipboard(session);
            }
            ClientMessage::UpdateRequest { incremental, area } => {
                session.request(incremental, area.into());
            }
            ClientMessage::Fence(fence) => session.fence(fence)?,
            ClientMessage::ContinuousUpdates { enable, area } => session.flow(enable.then_some(area.into())),
            ClientMessage::Key { down, keysym } => devices.keyboard.keysym(down, keysym, &mut devices.events),
            ClientMessage::ExtendedKey { down, keysym, code } => {
                devices.keyboard.extended(down, keysym, code, &mut devices.events);
            }
            ClientMessage::Pointer { buttons, x, y } => {
                let events = &mut devices.events;
                if sends_movement && !shared.input.follows_position() {
                    devices.pointer.movement(x, y, buttons, events);
                } else {
                    session.point(x, y);
                    devices.pointer.place(x, y, session.size(), buttons, events);
                }
            }
            ClientMessage::CutText(text) => shared.hear_text(session, &text),
            ClientMessage::Clipboard(message) => shared.hear_clipboard(session, message),
            ClientMessage::SetDesktopSize { width, height } => {
                let reason = prefer_size(&*shared.screen, width, height);
                session.notify(Notices { desktop_size: Some(reason), ..Notices::default() });
                shared.hurry();
            }
        }
        devices.deliver();
        if !is_fence {
            session.release_fence();
        }
    }
}

/// Has the guest know what size a viewer prefers. It may follow, later.
fn prefer_size(screen: &dyn Screen, width: u16, height: u16) -> SizeReason {
    if width == 0 || height == 0 || !screen.follows_preferred_size() {
        return SizeReason::Refused;
    }
    screen.set_preferred_size(width.into(), height.into());
    SizeReason::Forwarded
}

/// A viewer's devices; when they are dropped every key and button is released.
struct Devices<'a> {
    shared: &'a Shared,
    keyboard: Keyboard,
    pointer: Pointer,
    events: Vec<InputEvent>,
}

impl Devices<'_> {
    /// Gives the guest what has gathered, and has the viewers watch for what it does with it.
    fn deliver(&mut self) {
        if !self.events.is_empty() {
            self.shared.input.send(&self.events);
            self.events.clear();
            self.shared.hurry();
        }
    }
}

impl Drop for Devices<'_> {
    fn drop(&mut self) {
        self.keyboard.release_all(&mut self.events);
        self.pointer.release_all(&mut self.events);
        self.deliver();
    }
}

/// Keeps the screen's surface for as long as a viewer looks.
struct Attached<'a>(&'a dyn Screen);

impl<'a> Attached<'a> {
    fn new(screen: &'a dyn Screen) -> Self {
        screen.attach();
        Self(screen)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.detach();
    }
}

fn current_size(screen: &dyn Screen) -> (u32, u32) {
    screen.refresh();
    let mut size = (1, 1);
    screen.look(0, &mut |surface, _| size = wire_size(surface));
    size
}
