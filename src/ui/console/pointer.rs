//! The pointer as the guest sees it: which buttons are down, and where it is or how far it has moved.

use lodge::rfb::client::{Client, buttons};

use super::geometry::Placement;

/// The state of the pointer.
#[derive(Debug, Default)]
pub struct Pointer {
    buttons: u8,
    /// The guest's pointer goes where it is told, as a tablet's does.
    follows_position: bool,
    /// The last place, in pixels of the guest.
    last: Option<(u32, u32)>,
    /// Parts of a wheel's step.
    wheel: f64,
}

/// The bit of a button with GDK's number.
fn bit(button: u32) -> u8 {
    match button {
        1 => buttons::LEFT,
        2 => buttons::MIDDLE,
        3 => buttons::RIGHT,
        _ => 0,
    }
}

impl Pointer {
    /// Whether the guest's pointer goes where it is told.
    pub fn set_follows_position(&mut self, follows: bool) {
        self.follows_position = follows;
        self.last = None;
    }

    /// Whether the guest's pointer goes where it is told.
    pub fn follows_position(&self) -> bool {
        self.follows_position
    }

    /// The person's pointer is at a point of the console.
    pub fn moved(&mut self, client: &Client, placement: &Placement, x: f64, y: f64) {
        let (x, y) = placement.pixel_at(x, y);
        let last = self.last.replace((x, y));
        if self.follows_position {
            client.pointer_to(x, y, self.buttons);
        } else if let Some((old_x, old_y)) = last {
            let delta = |new: u32, old: u32| i64::from(new).saturating_sub(i64::from(old)) as i32;
            client.pointer_by(delta(x, old_x), delta(y, old_y), self.buttons);
        }
    }

    /// The person's pointer has left, or comes in anew: the next place is no movement.
    pub fn forget_place(&mut self) {
        self.last = None;
    }

    /// A button went down or up.
    pub fn button(&mut self, client: &Client, button: u32, down: bool) {
        let bit = bit(button);
        self.buttons = if down { self.buttons | bit } else { self.buttons & !bit };
        self.tell(client, self.buttons);
    }

    /// The wheel turned by `steps`, towards the person when positive; a smooth one turns by parts.
    pub fn scrolled(&mut self, client: &Client, steps: f64) {
        self.wheel += steps;
        while self.wheel.abs() >= 1.0 {
            let bit = if self.wheel > 0.0 { buttons::WHEEL_DOWN } else { buttons::WHEEL_UP };
            self.wheel -= self.wheel.signum();
            self.tell(client, self.buttons | bit);
            self.tell(client, self.buttons);
        }
    }

    /// Lets every button go.
    pub fn release_all(&mut self, client: &Client) {
        if std::mem::take(&mut self.buttons) != 0 {
            self.tell(client, 0);
        }
    }

    fn tell(&self, client: &Client, buttons: u8) {
        if self.follows_position {
            let (x, y) = self.last.unwrap_or_default();
            client.pointer_to(x, y, buttons);
        } else {
            client.pointer_by(0, 0, buttons);
        }
    }
}
