//! A PS/2 mouse behind the controller: IBM Personal System/2 Hardware Interface Technical Reference, "Auxiliary device", with
//! the wheel of Microsoft's IntelliMouse and the two side buttons of the IntelliMouse Explorer.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::input::Button;

/// Changes of the buttons that wait for a guest that does not read.
const QUEUE: usize = 64;
const REPLIES: usize = 16;

const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;

const SCALING_1_1: u8 = 0xe6;
const SCALING_2_1: u8 = 0xe7;
const RESOLUTION: u8 = 0xe8;
const STATUS: u8 = 0xe9;
const STREAM_MODE: u8 = 0xea;
const READ: u8 = 0xeb;
const WRAP_OFF: u8 = 0xec;
const WRAP_ON: u8 = 0xee;
const REMOTE_MODE: u8 = 0xf0;
const IDENTIFY: u8 = 0xf2;
const SAMPLE_RATE: u8 = 0xf3;
const ENABLE: u8 = 0xf4;
const DISABLE: u8 = 0xf5;
const DEFAULTS: u8 = 0xf6;
const RESET: u8 = 0xff;

const PLAIN: u8 = 0;
const WHEEL: u8 = 3;
const EXPLORER: u8 = 4;

/// The sequence of sample rates by which a driver asks for the wheel, and after that for the side buttons.
const ASK_WHEEL: [u8; 3] = [200, 100, 80];
const ASK_EXPLORER: [u8; 3] = [200, 200, 80];

const SIDE_BUTTONS: u8 = 0b1_1000;

/// Movement since the last report, with the buttons as they are at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Movement {
    dx: i32,
    dy: i32,
    wheel: i32,
    buttons: u8,
}

impl Movement {
    fn is_still(&self) -> bool {
        (self.dx, self.dy, self.wheel) == (0, 0, 0)
    }
}

/// The mouse. It is the same type that is saved, since all of it is volatile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mouse {
    identity: u8,
    reporting: bool,
    remote: bool,
    wrap: bool,
    double_scaling: bool,
    resolution: u8,
    sample_rate: u8,
    /// The last three sample rates.
    rates: [u8; 3],
    /// The command whose argument comes next.
    argument_of: Option<u8>,
    /// Answers and the rest of the report that is being sent.
    replies: VecDeque<u8>,
    movements: VecDeque<Movement>,
    buttons: u8,
    last_sent: u8,
}

impl Default for Mouse {
    fn default() -> Self {
        Self {
            identity: PLAIN,
            reporting: false,
            remote: false,
            wrap: false,
            double_scaling: false,
            resolution: 2,
            sample_rate: 100,
            rates: [0; 3],
            argument_of: None,
            replies: VecDeque::new(),
            movements: VecDeque::new(),
            buttons: 0,
            last_sent: 0,
        }
    }
}

impl Mouse {
    /// A person moves the mouse: to the right and downwards.
    pub fn moved(&mut self, dx: i32, dy: i32) {
        let movement = self.current();
        movement.dx = movement.dx.saturating_add(dx);
        movement.dy = movement.dy.saturating_add(dy);
        self.forget_unless_wanted();
    }

    /// A person presses or releases a button or turns the wheel.
    pub fn button(&mut self, button: Button, down: bool) {
        let bit = match button {
            Button::Left => 1 << 0,
            Button::Right => 1 << 1,
            Button::Middle => 1 << 2,
            Button::Side => 1 << 3,
            Button::Extra => 1 << 4,
            Button::WheelUp | Button::WheelDown => {
                let step = if button == Button::WheelUp { -1 } else { 1 };
                let movement = self.current();
                movement.wheel = movement.wheel.saturating_add(if down { step } else { 0 });
                return self.forget_unless_wanted();
            }
            // A PS/2 mouse has no such wheel.
            Button::WheelLeft | Button::WheelRight => return,
        };
        let buttons = if down { self.buttons | bit } else { self.buttons & !bit };
        if buttons != self.buttons {
            self.buttons = buttons;
            if self.movements.len() < QUEUE {
                self.movements.push_back(Movement { buttons, ..Movement::default() });
            } else {
                // Clicks get lost, but the last state of the buttons does not.
                self.current().buttons = buttons;
            }
        }
        self.forget_unless_wanted();
    }

    /// The next byte for the controller.
    pub fn take(&mut self) -> Option<u8> {
        if self.replies.is_empty() && self.reporting && !self.remote && !self.movements.is_empty() {
            self.report();
        }
        let byte = self.replies.pop_front()?;
        if byte != RESEND {
            self.last_sent = byte;
        }
        Some(byte)
    }

    /// The guest sends a byte to the mouse.
    pub fn receive(&mut self, byte: u8) {
        if self.wrap && !matches!(byte, WRAP_OFF | RESET) {
            return self.reply(&[byte]);
        }
        match (self.argument_of.take(), byte) {
            (Some(SAMPLE_RATE), 1..=200) => {
                self.sample_rate = byte;
                self.rates = [self.rates[1], self.rates[2], byte];
                self.reply(&[ACKNOWLEDGE]);
            }
            (Some(RESOLUTION), 0..=3) => {
                self.resolution = byte;
                self.reply(&[ACKNOWLEDGE]);
            }
            // Anything that is no argument is a new command.
            (_, SAMPLE_RATE | RESOLUTION) => {
                self.argument_of = Some(byte);
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, SCALING_1_1 | SCALING_2_1) => {
                self.double_scaling = byte == SCALING_2_1;
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, STATUS) => self.reply(&[ACKNOWLEDGE, self.status(), self.resolution, self.sample_rate]),
            (_, STREAM_MODE | REMOTE_MODE) => {
                self.remote = byte == REMOTE_MODE;
                self.movements.clear();
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, READ) => {
                self.reply(&[ACKNOWLEDGE]);
                self.current();
                self.report();
            }
            (_, WRAP_ON | WRAP_OFF) => {
                self.wrap = byte == WRAP_ON;
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, IDENTIFY) => {
                match self.rates {
                    ASK_WHEEL if self.identity == PLAIN => self.identity = WHEEL,
                    ASK_EXPLORER => self.identity = EXPLORER,
                    _ => {}
                }
                self.reply(&[ACKNOWLEDGE, self.identity]);
            }
            (_, ENABLE | DISABLE) => {
                self.reporting = byte == ENABLE;
                self.movements.clear();
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, DEFAULTS) => {
                *self = Self { identity: self.identity, buttons: self.buttons, ..Self::default() };
                self.reply(&[ACKNOWLEDGE]);
            }
            (_, RESEND) => self.reply(&[self.last_sent]),
            (_, RESET) => {
                *self = Self { buttons: self.buttons, ..Self::default() };
                self.reply(&[ACKNOWLEDGE, SELF_TEST_PASSED, PLAIN]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    /// Whether the state can be that of a mouse: it may come from a file.
    pub fn is_sound(&self) -> bool {
        matches!(self.identity, PLAIN | WHEEL | EXPLORER)
            && self.resolution <= 3
            && self.replies.len() <= REPLIES
            && self.movements.len() <= QUEUE
    }

    /// The movement that is still going on.
    fn current(&mut self) -> &mut Movement {
        if self.movements.is_empty() {
            self.movements.push_back(Movement { buttons: self.buttons, ..Movement::default() });
        }
        let last = self.movements.len() - 1;
        &mut self.movements[last]
    }

    /// What nobody asks for is not kept.
    fn forget_unless_wanted(&mut self) {
        if !self.reporting && !self.remote {
            self.movements.clear();
        }
    }

    /// Puts the oldest movement into the replies, or as much of it as one report can tell.
    fn report(&mut self) {
        let Some(mut movement) = self.movements.pop_front() else { return };
        let dx = movement.dx.clamp(-255, 255);
        // On the wire upwards is positive, and so is the wheel towards the person.
        let dy = movement.dy.clamp(-255, 255);
        let wheel = if self.identity == PLAIN { movement.wheel } else { movement.wheel.clamp(-7, 7) };
        let [x, ..] = dx.to_le_bytes();
        let [y, ..] = (-dy).to_le_bytes();
        let [z, ..] = wheel.to_le_bytes();
        let signs = u8::from(dx < 0) << 4 | u8::from(dy > 0) << 5;
        self.reply(&[1 << 3 | signs | movement.buttons & 0b111, x, y]);
        match self.identity {
            WHEEL => self.reply(&[z]),
            EXPLORER => self.reply(&[z & 0xf | (movement.buttons & SIDE_BUTTONS) << 1]),
            _ => {}
        }
        movement.dx -= dx;
        movement.dy -= dy;
        movement.wheel -= wheel;
        if !movement.is_still() {
            self.movements.push_front(movement);
        }
    }

    fn status(&self) -> u8 {
        let (left, right, middle) = (self.buttons & 1, self.buttons >> 1 & 1, self.buttons >> 2 & 1);
        right
            | middle << 1
            | left << 2
            | u8::from(self.double_scaling) << 4
            | u8::from(self.reporting) << 5
            | u8::from(self.remote) << 6
    }

    fn reply(&mut self, bytes: &[u8]) {
        if self.replies.len() + bytes.len() <= REPLIES {
            self.replies.extend(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mouse: &mut Mouse) -> Vec<u8> {
        std::iter::from_fn(|| mouse.take()).collect()
    }

    fn ask(mouse: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|&byte| mouse.receive(byte));
        drain(mouse)
    }

    fn reporting() -> Mouse {
        let mut mouse = Mouse::default();
        ask(&mut mouse, &[0xf4]);
        mouse
    }

    fn with_rates(rates: [u8; 3]) -> Mouse {
        let mut mouse = reporting();
        rates.iter().for_each(|&rate| drop(ask(&mut mouse, &[0xf3, rate])));
        ask(&mut mouse, &[0xf2]);
        mouse
    }

    #[test]
    fn reset_tells_that_it_is_a_plain_mouse() {
        assert_eq!(ask(&mut Mouse::default(), &[0xff]), [0xfa, 0xaa, 0]);
    }

    #[test]
    fn movement_goes_right_and_up_positive() {
        let mut mouse = reporting();

        mouse.moved(5, -3);
        mouse.moved(-7, 4);

        assert_eq!(drain(&mut mouse), [0b0011_1000, 0xfe, 0xff]);
        assert!(drain(&mut mouse).is_empty());
    }

    #[test]
    fn a_long_way_takes_several_reports() {
        let mut mouse = reporting();

        mouse.moved(-300, 0);

        assert_eq!(drain(&mut mouse), [0b0001_1000, 1, 0, 0b0001_1000, 211, 0]);
    }

    #[test]
    fn a_quick_click_is_two_reports_after_the_movement() {
        let mut mouse = reporting();

        mouse.moved(1, 0);
        mouse.button(Button::Left, true);
        mouse.button(Button::Left, false);

        assert_eq!(drain(&mut mouse), [8, 1, 0, 9, 0, 0, 8, 0, 0]);
    }

    #[test]
    fn the_wheel_turns_once_the_driver_knows_of_it() {
        let mut mouse = with_rates(ASK_WHEEL);
        assert_eq!(ask(&mut mouse, &[0xf2]), [0xfa, 3]);

        mouse.button(Button::WheelUp, true);
        mouse.button(Button::WheelUp, false);

        assert_eq!(drain(&mut mouse), [8, 0, 0, 0xff]);
    }

    #[test]
    fn the_explorer_has_side_buttons() {
        let mut mouse = with_rates(ASK_WHEEL);
        ASK_EXPLORER.iter().for_each(|&rate| drop(ask(&mut mouse, &[0xf3, rate])));
        assert_eq!(ask(&mut mouse, &[0xf2]), [0xfa, 4]);

        mouse.button(Button::Side, true);
        mouse.button(Button::Extra, true);
        mouse.button(Button::WheelDown, true);

        assert_eq!(drain(&mut mouse), [8, 0, 0, 0x10, 8, 0, 0, 0x31]);
    }

    #[test]
    fn a_plain_mouse_forgets_the_wheel() {
        let mut mouse = reporting();

        mouse.button(Button::WheelDown, true);

        assert_eq!(drain(&mut mouse), [8, 0, 0]);
        assert!(drain(&mut mouse).is_empty());
    }

    #[test]
    fn nothing_is_reported_or_kept_until_the_driver_enables_it() {
        let mut mouse = Mouse::default();

        mouse.moved(100, 100);
        mouse.button(Button::Right, true);
        let silent = drain(&mut mouse);
        let enabled = ask(&mut mouse, &[0xf4]);
        mouse.moved(1, 0);

        assert!(silent.is_empty());
        assert_eq!(enabled, [0xfa]);
        assert_eq!(drain(&mut mouse), [0b1010, 1, 0], "the button is still held");
    }

    #[test]
    fn in_remote_mode_it_speaks_when_asked() {
        let mut mouse = reporting();
        assert_eq!(ask(&mut mouse, &[0xf0]), [0xfa]);
        mouse.moved(2, 0);
        assert!(drain(&mut mouse).is_empty());

        assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 8, 2, 0]);
        assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 8, 0, 0]);
    }

    #[test]
    fn the_status_tells_buttons_modes_resolution_and_rate() {
        let mut mouse = reporting();
        mouse.button(Button::Left, true);
        drain(&mut mouse);
        ask(&mut mouse, &[0xe7, 0xe8, 3, 0xf3, 40]);

        assert_eq!(ask(&mut mouse, &[0xe9]), [0xfa, 0b0011_0100, 3, 40]);
    }

    #[test]
    fn wrap_mode_echoes_until_it_ends() {
        let mut mouse = Mouse::default();

        assert_eq!(ask(&mut mouse, &[0xee, 0xf4, 0x12, 0xec]), [0xfa, 0xf4, 0x12, 0xfa]);
        assert_eq!(ask(&mut mouse, &[0x12]), [0xfe]);
    }

    #[test]
    fn a_guest_that_does_not_read_loses_clicks_but_not_the_last_state() {
        let mut mouse = reporting();
        for _ in 0..1000 {
            mouse.button(Button::Left, true);
            mouse.button(Button::Left, false);
        }
        mouse.button(Button::Right, true);
        mouse.moved(i32::MAX, i32::MIN);
        mouse.moved(i32::MAX, i32::MIN);
        assert!(mouse.is_sound());

        let first: Vec<u8> = (0..3 * QUEUE).filter_map(|_| mouse.take()).collect();

        assert_eq!(first[3 * QUEUE - 3] & 0b111, 0b010);
    }
}
