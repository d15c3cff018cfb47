//! Commands that act for the person at the guest: `send-key`, `input-send-event`.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, nothing};
use crate::{
    input::{Button, InputEvent, Key, keys},
    qmp::{
        arguments::{self, UnionMember},
        message::ErrorClass,
    },
};

/// How long `send-key` holds its keys when it is not said.
const HOLD: Duration = Duration::from_millis(100);

/// The most events or keys in one command.
const LIMIT: usize = 1024;

/// QAPI's `KeyValue`: a key by its name, or by its number in set 1.
type KeyValue = UnionMember<KeyKind>;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyKind {
    Qcode,
    Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SendKey {
    keys: Vec<KeyValue>,
    hold_time: Option<i64>,
}

pub(super) fn send_key(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let SendKey { keys, hold_time } = arguments::parse(arguments)?;
    limit(keys.len(), "keys")?;
    let keys: Vec<Key> =
        keys.into_iter().enumerate().map(|(at, value)| key(value, &format!("keys[{at}]"))).collect::<Result<_, _>>()?;
    require_running(driver)?;
    let hold = hold_time.map_or(HOLD, |milliseconds| Duration::from_millis(milliseconds.try_into().unwrap_or(0)));
    if !keys.is_empty() {
        driver.typist().stroke(Instant::now(), &keys, hold).map_err(|error| Error::generic(error.to_string()))?;
    }
    nothing()
}

fn key(value: KeyValue, path: &str) -> Result<Key, Error> {
    match value.kind {
        KeyKind::Qcode => {
            let name: String = value.data(path)?;
            keys::from_qcode(&name)
                .ok_or_else(|| Error::generic(format!("Parameter '{path}.data' does not accept value '{name}'")))
        }
        KeyKind::Number => {
            let number: i64 = value.data(path)?;
            let key = u8::try_from(number).ok().and_then(keys::from_xt);
            key.ok_or_else(|| Error::generic(format!("Parameter '{path}.data' does not accept value '{number}'")))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputSendEvent {
    device: Option<String>,
    /// QEMU ignores it unless there is a device.
    #[serde(rename = "head")]
    _head: Option<i64>,
    events: Vec<UnionMember<EventKind>>,
}

/// QAPI's `InputEventKind`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EventKind {
    Key,
    Btn,
    Rel,
    Abs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEvent {
    key: KeyValue,
    down: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ButtonEvent {
    button: ButtonName,
    down: bool,
}

/// QAPI's `InputButton`, as far as the guest's pointers have them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ButtonName {
    Left,
    Middle,
    Right,
    WheelUp,
    WheelDown,
    WheelLeft,
    WheelRight,
    Side,
    Extra,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveEvent {
    axis: Axis,
    value: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Axis {
    X,
    Y,
}

pub(super) fn input_send_event(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let InputSendEvent { device, events, .. } = arguments::parse(arguments)?;
    if let Some(device) = device {
        return Err(Error { class: ErrorClass::DeviceNotFound, desc: format!("Device '{device}' not found") });
    }
    limit(events.len(), "events")?;
    let mut translation = Translation { pointer: driver.pointer, events: Vec::with_capacity(events.len()) };
    for (at, event) in events.into_iter().enumerate() {
        translation.add(event, &format!("events[{at}]"))?;
    }
    require_running(driver)?;
    driver.pointer = translation.pointer;
    driver.input().send(&translation.events);
    nothing()
}

/// QMP's events on their way to ours: QMP moves one axis at a time, ours both.
struct Translation {
    pointer: (u16, u16),
    events: Vec<InputEvent>,
}

impl Translation {
    fn add(&mut self, event: UnionMember<EventKind>, path: &str) -> Result<(), Error> {
        match event.kind {
            EventKind::Key => {
                let KeyEvent { key: value, down } = event.data(path)?;
                self.events.push(InputEvent::Key { key: key(value, &format!("{path}.data.key"))?, down });
            }
            EventKind::Btn => {
                let ButtonEvent { button, down } = event.data(path)?;
                self.events.push(InputEvent::Button { button: button.into(), down });
            }
            EventKind::Rel => self.add_relative(event.data(path)?),
            EventKind::Abs => self.add_absolute(event.data(path)?),
        }
        Ok(())
    }

    fn add_relative(&mut self, MoveEvent { axis, value }: MoveEvent) {
        let value = i32::try_from(value.clamp(i32::MIN.into(), i32::MAX.into())).unwrap_or(0);
        match (axis, self.events.last_mut()) {
            (Axis::X, Some(InputEvent::Relative { dx: dx @ 0, .. })) => *dx = value,
            (Axis::Y, Some(InputEvent::Relative { dy: dy @ 0, .. })) => *dy = value,
            (Axis::X, _) => self.events.push(InputEvent::Relative { dx: value, dy: 0 }),
            (Axis::Y, _) => self.events.push(InputEvent::Relative { dx: 0, dy: value }),
        }
    }

    fn add_absolute(&mut self, MoveEvent { axis, value }: MoveEvent) {
        let value = u16::try_from(value.clamp(0, 0x7fff)).unwrap_or(0);
        match axis {
            Axis::X => self.pointer.0 = value,
            Axis::Y => self.pointer.1 = value,
        }
        let (x, y) = self.pointer;
        match self.events.last_mut() {
            Some(last @ InputEvent::Absolute { .. }) => *last = InputEvent::Absolute { x, y },
            _ => self.events.push(InputEvent::Absolute { x, y }),
        }
    }
}

impl From<ButtonName> for Button {
    fn from(name: ButtonName) -> Self {
        match name {
            ButtonName::Left => Self::Left,
            ButtonName::Middle => Self::Middle,
            ButtonName::Right => Self::Right,
            ButtonName::WheelUp => Self::WheelUp,
            ButtonName::WheelDown => Self::WheelDown,
            ButtonName::WheelLeft => Self::WheelLeft,
            ButtonName::WheelRight => Self::WheelRight,
            ButtonName::Side => Self::Side,
            ButtonName::Extra => Self::Extra,
        }
    }
}

/// What is sent to a guest that stands still would be lost, or come when nobody expects it any more.
fn require_running(driver: &Driver) -> Result<(), Error> {
    if driver.state().is_running() { Ok(()) } else { Err(Error::generic("VM not running")) }
}

fn limit(count: usize, what: &str) -> Result<(), Error> {
    if count <= LIMIT {
        Ok(())
    } else {
        Err(Error::generic(format!("Parameter '{what}' expects at most {LIMIT} members")))
    }
}
