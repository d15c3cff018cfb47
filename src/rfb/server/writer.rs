//! A viewer's second thread: waits for requests, looks at the screen at the viewer's pace and sends what has changed.

use super::Shared;
use super::order::Notices;
use super::pacing::Pace;
use super::session::Session;
use super::update::Composer;
use crate::rfb::memory;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Runs until the viewer leaves. `composer` knows what the viewer was told in the handshake.
pub(super) fn run(shared: &Shared, session: &Session, mut composer: Composer) -> io::Result<()> {
    let mut pace = Pace::default();
    let mut looked: Option<Instant> = None;
    let mut message = Vec::new();
    let mut write = |bytes: &[u8], descriptor: Option<OwnedFd>| match descriptor {
        Some(descriptor) => memory::send_with(&session.stream, bytes, descriptor.as_fd()),
        None => (&session.stream).write_all(bytes),
    };
    loop {
        if let Some(next) = looked.map(|looked| looked + pace.interval())
            && session.rest(next)
        {
            pace.expect();
        }
        let Some(work) = session.next_work() else { return Ok(()) };
        (&session.stream).write_all(&work.messages)?;
        (&session.stream).write_all(&work.clipboard.messages())?;
        composer.apply(work.settings);
        let Some((order, mut notices)) = work.update else { continue };
        notices.pointer_mode |= composer.pointer_mode_changed(shared.input.follows_position());
        let urgent = order.anew.is_some() || notices != Notices::default();
        let is_early = looked.is_some_and(|looked| looked.elapsed() < pace.interval());
        if is_early && !urgent {
            // Something else did not bear waiting.
            session.give_back(order);
            continue;
        }
        let generation = shared.refresher.refresh(&*shared.screen, pace.interval());
        looked = Some(Instant::now());
        notices.pointer_position = composer.follow_cursor().filter(|place| !session.has_pointed_to(*place));
        let urgent = urgent || notices.pointer_position.is_some();
        let news = urgent || composer.lacks(generation, order.area);
        if news && composer.send(&order, notices, &shared.name(), &mut write)? {
            session.set_size(composer.source_size());
            if let Some(fence) = session.sent_update() {
                message.clear();
                fence.write(&mut message);
                (&session.stream).write_all(&message)?;
            }
            pace.hurry();
        } else {
            session.give_back(order);
            pace.slow_down();
            if pace.is_slow() {
                composer.give_memory_back();
            }
        }
    }
}
