//! Keys and pointers: the events that a person's devices make, independent of where they come from (RFB, QMP, the
//! application) and of the device that takes them in the guest (i8042, virtio-input).

#![forbid(unsafe_code)]

pub mod keys;

/// A key, by its code in Linux's input subsystem (`KEY_A` is 30; linux/input-event-codes.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u16);

/// A button of a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Button {
    /// The left one.
    Left,
    /// The middle one.
    Middle,
    /// The right one.
    Right,
    /// One step of the wheel away from the person.
    WheelUp,
    /// One step of the wheel towards the person.
    WheelDown,
    /// One step of the wheel to the left.
    WheelLeft,
    /// One step of the wheel to the right.
    WheelRight,
    /// The first side button (back).
    Side,
    /// The second side button (forward).
    Extra,
}

/// Something a person has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputEvent {
    /// A key went down or up.
    Key {
        /// Which.
        key: Key,
        /// Down (`true`) or up.
        down: bool,
    },
    /// A button went down or up.
    Button {
        /// Which.
        button: Button,
        /// Down (`true`) or up.
        down: bool,
    },
    /// The pointer moved by so many pixels.
    Relative {
        /// To the right.
        dx: i32,
        /// Downwards.
        dy: i32,
    },
    /// The pointer is at a place of the screen, in units of 1/32767 of its width and height.
    Absolute {
        /// From the left, 0 to 32767.
        x: u16,
        /// From the top, 0 to 32767.
        y: u16,
    },
}

/// Whatever takes input events. Events of one call belong together (one movement with its button).
pub trait InputSink: Send + Sync {
    /// Takes the events; never blocks. What the guest has no room for is dropped.
    fn send(&self, events: &[InputEvent]);

    /// Whether the guest's pointer goes where [`InputEvent::Absolute`] says, as that of a tablet does. Otherwise it knows
    /// only movement, and a viewer does best to send [`InputEvent::Relative`] while it holds the pointer. May change
    /// while the guest runs.
    fn follows_position(&self) -> bool {
        false
    }
}
