//! The screen as the machine shows it: with the writes that KVM has collected and no vCPU has delivered yet.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::{
    screen::{Generation, Rect, Screen, Surface, cursor::Cursor},
    vmm::kvm::CoalescedWrites,
};

/// A screen that is brought up to date with the collected writes before anybody looks.
pub struct CurrentScreen {
    /// What the display shows.
    pub screen: Arc<dyn Screen>,
    /// What it does not know yet.
    pub coalesced: Arc<CoalescedWrites>,
}

impl Screen for CurrentScreen {
    fn refresh(&self) -> Generation {
        self.coalesced.deliver();
        self.screen.refresh()
    }

    fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.coalesced.deliver();
        self.screen.look(since, look)
    }

    fn look_without_cursor(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.coalesced.deliver();
        self.screen.look_without_cursor(since, look)
    }

    fn cursor(&self) -> Option<Cursor> {
        self.screen.cursor()
    }

    fn attach(&self) {
        self.screen.attach();
    }

    fn detach(&self) {
        self.screen.detach();
    }

    fn is_shown(&self) -> bool {
        self.screen.is_shown()
    }

    fn follows_preferred_size(&self) -> bool {
        self.screen.follows_preferred_size()
    }

    fn set_preferred_size(&self, width: u32, height: u32) {
        self.screen.set_preferred_size(width, height);
    }
}
