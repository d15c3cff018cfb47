//! The pointer as the guest sees it: which buttons are down, and where it is or how far it has moved.
//!
//! A guest that is told how far its pointer has moved (a PS/2 mouse) may move it further, or less far. Its pointer and the person's get
//! apart, and where the person's stops, at the edge of the display, the guest's could not be moved on. So at an edge of the picture
//! the guest's is pushed as far as the picture is large: it is at the same edge then.

use lodge::rfb::client::{Client, buttons};

use super::geometry::Placement;

/// The state of the pointer.
#[derive(Debug, Default)]
pub struct Pointer {
    buttons: u16,
    /// The guest's pointer goes where it is told, as a tablet's does.
    follows_position: bool,
    /// The last place, in pixels of the guest.
    last: Option<(u32, u32)>,
    /// How far it was from the place before that.
    pace: (i32, i32),
    /// Parts of a step of the wheels, to the right and towards the person.
    wheels: [f64; 2],
}

/// The bit of a button with GDK's number.
fn bit(button: u32) -> u16 {
    match button {
        1 => buttons::LEFT,
        2 => buttons::MIDDLE,
        3 => buttons::RIGHT,
        8 => buttons::SIDE,
        9 => buttons::EXTRA,
        _ => 0,
    }
}

/// How far to push at a place: over the edge that it is at, or beyond.
fn push(at: i64, size: u32) -> i32 {
    let far = i32::try_from(size).unwrap_or(i32::MAX);
    match at {
        ..=0 => -far,
        _ if at >= i64::from(size) - 1 => far,
        _ => 0,
    }
}

impl Pointer {
    /// Whether the guest's pointer goes where it is told.
    pub fn set_follows_position(&mut self, follows: bool) {
        self.follows_position = follows;
        self.forget_place();
    }

    /// Whether the guest's pointer goes where it is told.
    pub fn follows_position(&self) -> bool {
        self.follows_position
    }

    /// The person's pointer is at a point of the console.
    pub fn moved(&mut self, client: &Client, placement: &Placement, x: f64, y: f64) {
        let (x, y) = placement.pixel_at(x, y);
        if self.follows_position {
            self.last = Some((x, y));
            client.pointer_to(x, y, self.buttons);
        } else if let Some((dx, dy)) = self.step(placement, (x, y)) {
            client.pointer_by(dx, dy, self.buttons);
        }
    }

    /// The person's pointer leaves the console.
    pub fn leave(&self, client: &Client, placement: &Placement) {
        if let Some((dx, dy)) = self.push_out(placement).filter(|_| !self.follows_position) {
            client.pointer_by(dx, dy, self.buttons);
        }
    }

    /// The person's pointer has left, or comes in anew: the next place is no movement.
    pub fn forget_place(&mut self) {
        (self.last, self.pace) = (None, (0, 0));
    }

    /// How far the guest's pointer has to move for the person's to be at a pixel, if at all.
    fn step(&mut self, placement: &Placement, (x, y): (u32, u32)) -> Option<(i32, i32)> {
        let last = self.last.replace((x, y));
        let along = |new: u32, old: Option<u32>, size: u32| {
            let moved = old.map_or(0, |old| i64::from(new) - i64::from(old)) as i32;
            let arrived = old != Some(new);
            let push = if arrived { push(i64::from(new), size) } else { 0 };
            (moved, moved.saturating_add(push))
        };
        let (moved_x, dx) = along(x, last.map(|(x, _)| x), placement.width);
        let (moved_y, dy) = along(y, last.map(|(_, y)| y), placement.height);
        self.pace = (moved_x, moved_y);
        (last.is_some() || (dx, dy) != (0, 0)).then_some((dx, dy))
    }

    /// How far the guest's pointer has to move for the person's to leave the picture where it was going.
    fn push_out(&self, placement: &Placement) -> Option<(i32, i32)> {
        let (x, y) = self.last?;
        let along = |at: u32, pace: i32, size: u32| push(i64::from(at) + i64::from(pace), size);
        let pushed = (along(x, self.pace.0, placement.width), along(y, self.pace.1, placement.height));
        (pushed != (0, 0)).then_some(pushed)
    }

    /// A button went down or up.
    pub fn button(&mut self, client: &Client, button: u32, down: bool) {
        let bit = bit(button);
        self.buttons = if down { self.buttons | bit } else { self.buttons & !bit };
        self.tell(client, self.buttons);
    }

    /// The wheels turned by so many steps, to the right and towards the person when positive; smooth ones turn by parts.
    pub fn scrolled(&mut self, client: &Client, steps: [f64; 2]) {
        for bit in self.turns(steps) {
            self.tell(client, self.buttons | bit);
            self.tell(client, self.buttons);
        }
    }

    /// The buttons that stand for the whole steps of the wheels.
    fn turns(&mut self, steps: [f64; 2]) -> Vec<u16> {
        const WHEELS: [[u16; 2]; 2] =
            [[buttons::WHEEL_LEFT, buttons::WHEEL_RIGHT], [buttons::WHEEL_UP, buttons::WHEEL_DOWN]];
        let mut turns = Vec::new();
        for ((wheel, steps), [back, forth]) in self.wheels.iter_mut().zip(steps).zip(WHEELS) {
            *wheel += steps;
            while wheel.abs() >= 1.0 {
                turns.push(if *wheel > 0.0 { forth } else { back });
                *wheel -= wheel.signum();
            }
        }
        turns
    }

    /// Lets every button go.
    pub fn release_all(&mut self, client: &Client) {
        if std::mem::take(&mut self.buttons) != 0 {
            self.tell(client, 0);
        }
    }

    fn tell(&self, client: &Client, buttons: u16) {
        if self.follows_position {
            let (x, y) = self.last.unwrap_or_default();
            client.pointer_to(x, y, buttons);
        } else {
            client.pointer_by(0, 0, buttons);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Placement = Placement { x: 0.0, y: 0.0, scale: 1.0, width: 640, height: 480 };

    /// The movements that come of places.
    fn movements(places: &[(u32, u32)]) -> (Pointer, Vec<Option<(i32, i32)>>) {
        let mut pointer = Pointer::default();
        let steps = places.iter().map(|place| pointer.step(&SCREEN, *place)).collect();
        (pointer, steps)
    }

    #[test]
    fn each_wheel_turns_by_whole_steps() {
        let mut pointer = Pointer::default();

        let turns = [[0.0, 1.0], [-1.0, 0.0], [0.5, -0.5], [0.5, -0.5]].map(|steps| pointer.turns(steps));

        let expected: [&[u16]; 4] =
            [&[buttons::WHEEL_DOWN], &[buttons::WHEEL_LEFT], &[], &[buttons::WHEEL_RIGHT, buttons::WHEEL_UP]];
        assert_eq!(turns, expected);
    }

    #[test]
    fn where_it_comes_in_is_no_movement_and_what_follows_is() {
        let (_, steps) = movements(&[(100, 100), (103, 99), (103, 99)]);

        assert_eq!(steps, [None, Some((3, -1)), Some((0, 0))]);
    }

    #[test]
    fn at_an_edge_the_guests_pointer_is_pushed_there_once() {
        let (_, steps) = movements(&[(5, 100), (0, 101), (0, 103), (2, 103), (639, 479)]);

        assert_eq!(steps[1..], [Some((-5 - 640, 1)), Some((0, 2)), Some((2, 0)), Some((637 + 640, 376 + 480))]);
    }

    #[test]
    fn it_comes_in_at_the_edge_where_the_persons_does() {
        let (_, steps) = movements(&[(0, 200), (1, 200)]);

        assert_eq!(steps, [Some((-640, 0)), Some((1, 0))]);
    }

    #[test]
    fn one_that_leaves_quickly_leaves_where_it_was_going() {
        let leaving = |places: &[(u32, u32)]| movements(places).0.push_out(&SCREEN);

        assert_eq!(leaving(&[(90, 200), (40, 210)]), Some((-640, 0)));
        assert_eq!(leaving(&[(600, 460), (620, 478)]), Some((640, 480)));
        assert_eq!(leaving(&[(300, 200), (310, 210)]), None);
        assert_eq!(leaving(&[]), None);
    }
}
