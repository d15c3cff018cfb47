//! One viewer's pointer: turns its states (place or movement, and buttons) into events.

use crate::input::{Button, InputEvent};

/// The buttons of RFB's mask, from bit 0.
const BUTTONS: [Button; 9] = [
    Button::Left,
    Button::Middle,
    Button::Right,
    Button::WheelUp,
    Button::WheelDown,
    Button::WheelLeft,
    Button::WheelRight,
    Button::Side,
    Button::Extra,
];
/// What viewers add to movement, so that it is not negative.
const STILL: i32 = 0x7FFF;
/// The right and bottom edges in [`InputEvent::Absolute`].
const EDGE: u32 = 32767;

/// The state of a viewer's pointer.
#[derive(Debug, Default)]
pub(super) struct Pointer {
    place: Option<(u16, u16)>,
    buttons: u16,
}

impl Pointer {
    /// The pointer is at a place of a screen of this size.
    pub(super) fn place(&mut self, x: u16, y: u16, size: (u32, u32), buttons: u16, events: &mut Vec<InputEvent>) {
        if self.place.replace((x, y)) != Some((x, y)) {
            events.push(InputEvent::Absolute { x: scale(x, size.0), y: scale(y, size.1) });
        }
        self.press(buttons, events);
    }

    /// The pointer has moved.
    pub(super) fn movement(&mut self, x: u16, y: u16, buttons: u16, events: &mut Vec<InputEvent>) {
        self.place = None;
        let (dx, dy) = (i32::from(x) - STILL, i32::from(y) - STILL);
        if (dx, dy) != (0, 0) {
            events.push(InputEvent::Relative { dx, dy });
        }
        self.press(buttons, events);
    }

    /// Lets go of everything: the viewer has gone.
    pub(super) fn release_all(&mut self, events: &mut Vec<InputEvent>) {
        self.press(0, events);
    }

    fn press(&mut self, buttons: u16, events: &mut Vec<InputEvent>) {
        let changed = self.buttons ^ buttons;
        for (bit, button) in BUTTONS.into_iter().enumerate() {
            if changed >> bit & 1 != 0 {
                events.push(InputEvent::Button { button, down: buttons >> bit & 1 != 0 });
            }
        }
        self.buttons = buttons;
    }
}

/// A pixel's place in units of 1/32767 of the screen's length: the first pixel is 0, the last 32767.
fn scale(place: u16, length: u32) -> u16 {
    let last = length.saturating_sub(1).max(1);
    let place = u32::from(place).min(last);
    // At most 32767.
    ((u64::from(place) * u64::from(EDGE) + u64::from(last) / 2) / u64::from(last)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_scaled_with_the_screen() {
        assert_eq!([0, 1279, 1280, 65535].map(|x| scale(x, 1280)), [0, 32767, 32767, 32767]);
        assert_eq!((scale(0, 1), scale(5, 0)), (0, 32767));
        // Every pixel of a wide screen can be pointed at.
        assert!((0..2559).all(|x| scale(x, 2560) < scale(x + 1, 2560)));
    }

    #[test]
    fn a_click_is_a_movement_and_a_button() {
        let (mut pointer, mut events) = (Pointer::default(), Vec::new());

        pointer.place(100, 0, (101, 101), 1, &mut events);
        pointer.place(100, 0, (101, 101), 0, &mut events);

        let left = |down| InputEvent::Button { button: Button::Left, down };
        assert_eq!(events, [InputEvent::Absolute { x: 32767, y: 0 }, left(true), left(false)]);
    }

    #[test]
    fn wheels_are_two_buttons_each_and_unknown_buttons_are_none() {
        let (mut pointer, mut events) = (Pointer::default(), Vec::new());

        for buttons in [0b1110_0000_1000, 0b0001_0000, 0b0110_0000, 0b1_1000_0000] {
            pointer.movement(0x7FFF, 0x7FFF, buttons, &mut events);
        }

        let states = [
            (Button::WheelUp, true),
            (Button::WheelUp, false),
            (Button::WheelDown, true),
            (Button::WheelDown, false),
            (Button::WheelLeft, true),
            (Button::WheelRight, true),
            (Button::WheelLeft, false),
            (Button::WheelRight, false),
            (Button::Side, true),
            (Button::Extra, true),
        ];
        assert_eq!(events, states.map(|(button, down)| InputEvent::Button { button, down }));
    }

    #[test]
    fn movement_may_be_to_the_left_and_upwards() {
        let (mut pointer, mut events) = (Pointer::default(), Vec::new());

        pointer.movement(0x7FFF - 3, 0x7FFF + 5, 0, &mut events);

        assert_eq!(events, [InputEvent::Relative { dx: -3, dy: 5 }]);
    }

    #[test]
    fn buttons_are_released_when_the_viewer_goes() {
        let (mut pointer, mut events) = (Pointer::default(), Vec::new());
        pointer.movement(0x7FFF, 0x7FFF, 0b101, &mut events);
        events.clear();

        pointer.release_all(&mut events);

        let released = |button| InputEvent::Button { button, down: false };
        assert_eq!(events, [released(Button::Left), released(Button::Right)]);
    }
}
