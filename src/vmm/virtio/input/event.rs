//! Events as the driver gets them (virtio 1.2, section 5.8.6): type, code and value of linux/input-event-codes.h.

#![forbid(unsafe_code)]

use super::Kind;
use crate::input::{Button, InputEvent};

pub const EV_SYN: u16 = 0x00;
pub const EV_KEY: u16 = 0x01;
pub const EV_REL: u16 = 0x02;
pub const EV_ABS: u16 = 0x03;
pub const EV_LED: u16 = 0x11;
pub const EV_REP: u16 = 0x14;
pub const REL_HWHEEL: u16 = 0x06;
pub const REL_WHEEL: u16 = 0x08;
pub const ABS_X: u16 = 0x00;
pub const ABS_Y: u16 = 0x01;
/// The greatest value of an axis.
pub const ABSOLUTE_MAX: u32 = 32767;
/// Num lock, caps lock, scroll lock.
pub const KEYBOARD_LEDS: [u16; 3] = [0, 1, 2];

const BUTTONS: [(Button, u16); 5] = [
    (Button::Left, 0x110),
    (Button::Right, 0x111),
    (Button::Middle, 0x112),
    (Button::Side, 0x113),
    (Button::Extra, 0x114),
];

/// The codes of a pointer's buttons.
pub fn pointer_buttons() -> impl Iterator<Item = u16> {
    BUTTONS.iter().map(|&(_, code)| code)
}

/// One event: `struct virtio_input_event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// `EV_…`.
    pub kind: u16,
    /// Key, axis or button.
    pub code: u16,
    /// 0 or 1, a position, or steps.
    pub value: u32,
}

/// Bytes of an event.
pub const EVENT_SIZE: usize = 8;

impl Event {
    /// Ends a group of events that belong together.
    pub const REPORT: Self = Self { kind: EV_SYN, code: 0, value: 0 };

    /// Little-endian, as in the queue.
    pub fn to_bytes(self) -> [u8; EVENT_SIZE] {
        let mut bytes = [0; EVENT_SIZE];
        bytes[..2].copy_from_slice(&self.kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.code.to_le_bytes());
        bytes[4..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }
}

/// The events that a device of `kind` makes of what a person has done; none when it is not for this kind.
pub fn translate(kind: Kind, event: &InputEvent) -> Vec<Event> {
    let one = |kind, code, value| vec![Event { kind, code, value }];
    match (kind, *event) {
        (Kind::Keyboard, InputEvent::Key { key, down }) => one(EV_KEY, key.0, down.into()),
        (Kind::Tablet, InputEvent::Button { button: Button::WheelUp, down: true }) => one(EV_REL, REL_WHEEL, 1),
        (Kind::Tablet, InputEvent::Button { button: Button::WheelDown, down: true }) => {
            one(EV_REL, REL_WHEEL, u32::MAX)
        }
        (Kind::Tablet, InputEvent::Button { button: Button::WheelRight, down: true }) => one(EV_REL, REL_HWHEEL, 1),
        (Kind::Tablet, InputEvent::Button { button: Button::WheelLeft, down: true }) => {
            one(EV_REL, REL_HWHEEL, u32::MAX)
        }
        (Kind::Tablet, InputEvent::Button { button, down }) => BUTTONS
            .iter()
            .find(|&&(known, _)| known == button)
            .map_or_else(Vec::new, |&(_, code)| one(EV_KEY, code, down.into())),
        (Kind::Tablet, InputEvent::Absolute { x, y }) => vec![
            Event { kind: EV_ABS, code: ABS_X, value: u32::from(x).min(ABSOLUTE_MAX) },
            Event { kind: EV_ABS, code: ABS_Y, value: u32::from(y).min(ABSOLUTE_MAX) },
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Key;

    #[test]
    fn keys_are_the_keyboards_and_positions_the_tablets() {
        let key = InputEvent::Key { key: Key(30), down: true };
        let position = InputEvent::Absolute { x: 40_000, y: 5 };

        assert_eq!(translate(Kind::Keyboard, &key), [Event { kind: EV_KEY, code: 30, value: 1 }]);
        assert!(translate(Kind::Tablet, &key).is_empty());
        assert!(translate(Kind::Keyboard, &position).is_empty());
        assert_eq!(translate(Kind::Tablet, &position)[0].value, ABSOLUTE_MAX);
    }

    #[test]
    fn the_wheel_turns_once_a_press_and_not_at_its_release() {
        let turn = |button, down| translate(Kind::Tablet, &InputEvent::Button { button, down });

        let turned = [Button::WheelUp, Button::WheelDown, Button::WheelLeft, Button::WheelRight].map(|button| {
            let [event] = turn(button, true)[..] else { panic!("{button:?} is one event") };
            (event.code, event.value as i32, turn(button, false).len())
        });
        assert_eq!(turned, [(REL_WHEEL, 1, 0), (REL_WHEEL, -1, 0), (REL_HWHEEL, -1, 0), (REL_HWHEEL, 1, 0)]);
    }

    #[test]
    fn an_event_has_eight_bytes_little_endian() {
        let event = Event { kind: EV_ABS, code: ABS_Y, value: 0x0102_0304 };

        assert_eq!(event.to_bytes(), [3, 0, 1, 0, 4, 3, 2, 1]);
    }
}
