//! The size that the guest's screen is wished to have: the console's, once a person no longer drags the window's edge.

use std::time::Duration;

use gtk::{glib, prelude::*, subclass::prelude::*};

/// How long the console must have kept its size.
const SETTLING: Duration = Duration::from_millis(300);
/// No guest is asked for less, in pixels: a console this small is about to be hidden.
const SMALLEST: (i32, i32) = (320, 200);

/// The wish, if there is one.
pub struct Wish {
    enabled: bool,
    waiting: Option<glib::SourceId>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { enabled: true, waiting: None }
    }
}

impl Wish {
    /// Sets whether the guest's screen is to follow.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// The console has `room`, the guest's screen has `size`: `ask` is called later if they differ then as they do now.
    pub fn consider(
        &mut self,
        console: &super::Console,
        room: (i32, i32),
        size: (u32, u32),
        ask: impl FnOnce(&super::Console, (u16, u16)) + 'static,
    ) {
        if let Some(waiting) = self.waiting.take() {
            waiting.remove();
        }
        let Some(wanted) = wanted(self.enabled, room, size) else { return };
        let console = console.downgrade();
        self.waiting = Some(glib::timeout_add_local_once(SETTLING, move || {
            let Some(console) = console.upgrade() else { return };
            console.imp().wish.borrow_mut().waiting = None;
            ask(&console, wanted);
        }));
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.remove();
        }
    }
}

/// The size to ask for, if any. A console without a picture asks for nothing.
fn wanted(enabled: bool, room: (i32, i32), size: (u32, u32)) -> Option<(u16, u16)> {
    let large_enough = room.0 >= SMALLEST.0 && room.1 >= SMALLEST.1;
    let wanted = (u16::try_from(room.0).ok()?, u16::try_from(room.1).ok()?);
    let differs = size != (wanted.0.into(), wanted.1.into());
    (enabled && size != (0, 0) && large_enough && differs).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_asked_for_the_consoles_size_if_it_has_another() {
        assert_eq!(wanted(true, (1024, 700), (640, 480)), Some((1024, 700)));
        assert_eq!(wanted(true, (640, 480), (640, 480)), None);
        assert_eq!(wanted(false, (1024, 700), (640, 480)), None);
    }

    #[test]
    fn a_console_that_is_tiny_or_has_no_picture_asks_for_nothing() {
        assert_eq!(wanted(true, (1024, 60), (640, 480)), None);
        assert_eq!(wanted(true, (1024, 700), (0, 0)), None);
        assert_eq!(wanted(true, (100_000, 700), (640, 480)), None);
    }
}
