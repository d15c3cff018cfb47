//! The keyboard controller (Intel 8042 with IBM's AT and PS/2 program), with a keyboard and a mouse plugged in: IBM Personal
//! System/2 Hardware Interface Technical Reference, "Keyboard and auxiliary device controller".
//!
//! Region 0 is port 0x60 (data), region 1 is port 0x64 (status and command). The keyboard speaks scan code set 2; the
//! controller translates to set 1 only while the guest wants it (XLATE).

#![forbid(unsafe_code)]

mod keyboard;
mod mouse;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{
    keyboard::{Keyboard, Translator},
    mouse::Mouse,
};
use super::ResetLine;
use crate::{
    input::{InputEvent, InputSink},
    vmm::{
        device::{Device, StateError, restore_state, save_state},
        interrupt::Interrupt,
    },
};

const STATE_VERSION: u32 = 1;

/// Region of the data port.
pub const DATA: usize = 0;
/// Region of the status and command port.
pub const COMMAND: usize = 1;

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
const STATUS_COMMAND: u8 = 1 << 3;
const STATUS_UNLOCKED: u8 = 1 << 4;
const STATUS_FROM_MOUSE: u8 = 1 << 5;

const CONFIG_KEYBOARD_INTERRUPT: u8 = 1 << 0;
const CONFIG_MOUSE_INTERRUPT: u8 = 1 << 1;
const CONFIG_SYSTEM: u8 = 1 << 2;
const CONFIG_KEYBOARD_OFF: u8 = 1 << 4;
const CONFIG_MOUSE_OFF: u8 = 1 << 5;
const CONFIG_TRANSLATE: u8 = 1 << 6;

const OUTPUT_NOT_RESET: u8 = 1 << 0;
const OUTPUT_A20: u8 = 1 << 1;

const READ_CONFIG: u8 = 0x20;
const WRITE_CONFIG: u8 = 0x60;
const TEST_PASSWORD: u8 = 0xa4;
const MOUSE_DISABLE: u8 = 0xa7;
const MOUSE_ENABLE: u8 = 0xa8;
const TEST_MOUSE_PORT: u8 = 0xa9;
const SELF_TEST: u8 = 0xaa;
const TEST_KEYBOARD_PORT: u8 = 0xab;
const KEYBOARD_DISABLE: u8 = 0xad;
const KEYBOARD_ENABLE: u8 = 0xae;
const READ_INPUT_PORT: u8 = 0xc0;
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;
const WRITE_AS_KEYBOARD: u8 = 0xd2;
const WRITE_AS_MOUSE: u8 = 0xd3;
const WRITE_TO_MOUSE: u8 = 0xd4;
const A20_OFF: u8 = 0xdd;
const A20_ON: u8 = 0xdf;
const READ_TEST_PORT: u8 = 0xe0;
const PULSE_OUTPUT: u8 = 0xf0;

/// Answers of the controller itself that wait for a guest that does not read.
const REPLIES: usize = 16;

/// The width and height of the screen that positions are turned into movement for, in pixels. A mouse cannot know the real
/// one.
const SCREEN: (i32, i32) = (1024, 768);
/// One pixel, in the units of an absolute position.
const POSITION_RANGE: i32 = 32768;

/// The keyboard controller.
pub struct I8042 {
    shared: Arc<Shared>,
}

struct Shared {
    keyboard_interrupt: Interrupt,
    mouse_interrupt: Interrupt,
    reset: ResetLine,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    /// Where the pointer was last, for viewers that tell positions and not movement.
    position: Option<(i32, i32)>,
}

/// The volatile state, which is also the saved one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    config: u8,
    output_port: u8,
    /// The last byte to come in came by the command port.
    command_last: bool,
    /// The command whose argument comes next by the data port.
    argument_of: Option<u8>,
    replies: VecDeque<Byte>,
    /// What the guest reads next.
    output: Option<Byte>,
    /// What it reads when there is nothing.
    last: u8,
    translator: Translator,
    keyboard: Keyboard,
    mouse: Mouse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Byte {
    value: u8,
    from_mouse: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            config: CONFIG_KEYBOARD_INTERRUPT | CONFIG_MOUSE_INTERRUPT,
            output_port: OUTPUT_NOT_RESET | OUTPUT_A20,
            command_last: false,
            argument_of: None,
            replies: VecDeque::new(),
            output: None,
            last: 0,
            translator: Translator::default(),
            keyboard: Keyboard::default(),
            mouse: Mouse::default(),
        }
    }
}

impl I8042 {
    /// A controller with the lines of its two devices (IRQ 1 and IRQ 12) and the machine's reset.
    pub fn new(keyboard_interrupt: Interrupt, mouse_interrupt: Interrupt, reset: ResetLine) -> Self {
        let inner = Mutex::new(Inner { state: State::default(), position: None });
        Self { shared: Arc::new(Shared { keyboard_interrupt, mouse_interrupt, reset, inner }) }
    }

    /// Where a person's keys and movements go in.
    pub fn input(&self) -> Arc<dyn InputSink> {
        self.shared.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the next byte out, if the guest has read the last one, and drives the interrupt lines.
    fn settle(&self, state: &mut State) {
        if state.output.is_none() {
            // The lines go down before they go up again: the guest's controller takes edges.
            self.drive_lines(state);
            state.output = state.next_byte();
        }
        self.drive_lines(state);
    }

    fn drive_lines(&self, state: &State) {
        let (keyboard, mouse) = match state.output {
            Some(Byte { from_mouse: false, .. }) => (state.config & CONFIG_KEYBOARD_INTERRUPT != 0, false),
            Some(Byte { from_mouse: true, .. }) => (false, state.config & CONFIG_MOUSE_INTERRUPT != 0),
            None => (false, false),
        };
        self.keyboard_interrupt.set_level(keyboard);
        self.mouse_interrupt.set_level(mouse);
    }
}

impl InputSink for Shared {
    fn send(&self, events: &[InputEvent]) {
        let mut inner = self.lock();
        let Inner { state, position } = &mut *inner;
        for event in events {
            match *event {
                InputEvent::Key { key, down } => state.keyboard.key(key, down),
                InputEvent::Button { button, down } => state.mouse.button(button, down),
                InputEvent::Relative { dx, dy } => state.mouse.moved(dx, dy),
                InputEvent::Absolute { x, y } => {
                    let pixel = |value: u16, size: i32| i32::from(value) * size / POSITION_RANGE;
                    let (x, y) = (pixel(x, SCREEN.0), pixel(y, SCREEN.1));
                    let (old_x, old_y) = position.replace((x, y)).unwrap_or((x, y));
                    if (x, y) != (old_x, old_y) {
                        state.mouse.moved(x - old_x, y - old_y);
                    }
                }
            }
        }
        self.settle(state);
    }
}

impl State {
    fn status(&self) -> u8 {
        let output = match self.output {
            Some(Byte { from_mouse: false, .. }) => STATUS_OUTPUT_FULL,
            Some(Byte { from_mouse: true, .. }) => STATUS_OUTPUT_FULL | STATUS_FROM_MOUSE,
            None => 0,
        };
        let system = if self.config & CONFIG_SYSTEM != 0 { STATUS_SYSTEM } else { 0 };
        let command = if self.command_last { STATUS_COMMAND } else { 0 };
        output | system | command | STATUS_UNLOCKED
    }

    fn next_byte(&mut self) -> Option<Byte> {
        if let Some(byte) = self.replies.pop_front() {
            return Some(byte);
        }
        if self.config & CONFIG_KEYBOARD_OFF == 0 {
            while let Some(value) = self.keyboard.take() {
                if self.config & CONFIG_TRANSLATE == 0 {
                    return Some(Byte { value, from_mouse: false });
                } else if let Some(value) = self.translator.translate(value) {
                    return Some(Byte { value, from_mouse: false });
                }
            }
        }
        if self.config & CONFIG_MOUSE_OFF == 0 {
            return self.mouse.take().map(|value| Byte { value, from_mouse: true });
        }
        None
    }

    fn reply(&mut self, value: u8) {
        self.reply_as(value, false);
    }

    fn reply_as(&mut self, value: u8, from_mouse: bool) {
        if self.replies.len() < REPLIES {
            self.replies.push_back(Byte { value, from_mouse });
        }
    }

    /// A byte to the command port. Returns whether the machine is to be reset.
    fn command(&mut self, command: u8) -> bool {
        self.command_last = true;
        self.argument_of = None;
        match command {
            READ_CONFIG => self.reply(self.config),
            WRITE_CONFIG | WRITE_OUTPUT_PORT | WRITE_AS_KEYBOARD | WRITE_AS_MOUSE | WRITE_TO_MOUSE => {
                self.argument_of = Some(command);
            }
            // No password.
            TEST_PASSWORD => self.reply(0xf1),
            MOUSE_DISABLE => self.config |= CONFIG_MOUSE_OFF,
            MOUSE_ENABLE => self.config &= !CONFIG_MOUSE_OFF,
            SELF_TEST => {
                self.config |= CONFIG_SYSTEM;
                self.reply(0x55);
            }
            TEST_KEYBOARD_PORT | TEST_MOUSE_PORT => self.reply(0),
            KEYBOARD_DISABLE => self.config |= CONFIG_KEYBOARD_OFF,
            KEYBOARD_ENABLE => self.config &= !CONFIG_KEYBOARD_OFF,
            // Not inhibited by a key lock; the rest is jumpers of old mainboards.
            READ_INPUT_PORT => self.reply(0x80),
            READ_OUTPUT_PORT => self.reply(self.output_port | self.pending_bits()),
            A20_OFF => self.output_port &= !OUTPUT_A20,
            A20_ON => self.output_port |= OUTPUT_A20,
            READ_TEST_PORT => self.reply(0),
            // The low bits are the pins that are pulled low for a moment; pin 0 is the reset.
            PULSE_OUTPUT.. => return command & OUTPUT_NOT_RESET == 0,
            _ => {}
        }
        false
    }

    /// A byte to the data port. Returns whether the machine is to be reset.
    fn data(&mut self, value: u8) -> bool {
        self.command_last = false;
        match self.argument_of.take() {
            Some(WRITE_CONFIG) => self.config = value & !(1 << 7),
            Some(WRITE_OUTPUT_PORT) => {
                self.output_port = value | OUTPUT_NOT_RESET;
                return value & OUTPUT_NOT_RESET == 0;
            }
            Some(WRITE_AS_KEYBOARD) => self.reply(value),
            Some(WRITE_AS_MOUSE) => self.reply_as(value, true),
            Some(WRITE_TO_MOUSE) => {
                self.config &= !CONFIG_MOUSE_OFF;
                self.mouse.receive(value);
            }
            // Whatever is sent to the keyboard opens its line.
            _ => {
                self.config &= !CONFIG_KEYBOARD_OFF;
                self.keyboard.receive(value);
            }
        }
        false
    }

    /// The pins of the output port that show a full output buffer.
    fn pending_bits(&self) -> u8 {
        match self.output {
            Some(Byte { from_mouse: false, .. }) => 1 << 4,
            Some(Byte { from_mouse: true, .. }) => 1 << 5,
            None => 0,
        }
    }
}

impl Device for I8042 {
    fn label(&self) -> &str {
        "i8042"
    }

    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        let Some(first) = data.first_mut().filter(|_| offset == 0) else { return };
        let mut inner = self.shared.lock();
        let state = &mut inner.state;
        match region {
            DATA => {
                if let Some(byte) = state.output.take() {
                    state.last = byte.value;
                }
                *first = state.last;
                self.shared.settle(state);
            }
            COMMAND => *first = state.status(),
            _ => {}
        }
    }

    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        let Some(&value) = data.first().filter(|_| offset == 0) else { return };
        let mut inner = self.shared.lock();
        let reset = match region {
            DATA => inner.state.data(value),
            COMMAND => inner.state.command(value),
            _ => false,
        };
        self.shared.settle(&mut inner.state);
        drop(inner);
        if reset {
            (self.shared.reset)();
        }
    }

    fn reset(&mut self) {
        let mut inner = self.shared.lock();
        inner.state = State::default();
        self.shared.settle(&mut inner.state);
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(self.label(), STATE_VERSION, self.shared.lock().state.clone())
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: State = restore_state(self.label(), STATE_VERSION, state)?;
        if state.replies.len() > REPLIES || !state.keyboard.is_sound() || !state.mouse.is_sound() {
            return Err(StateError::damaged(self.label(), "a queue or a mode is impossible"));
        }
        let mut inner = self.shared.lock();
        inner.state = state;
        self.shared.drive_lines(&inner.state);
        Ok(())
    }
}
