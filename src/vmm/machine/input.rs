//! Where keys and pointer go: to virtio-input while the guest drives it, else to the i8042's keyboard and mouse.

#![forbid(unsafe_code)]

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    input::{Button, InputEvent, InputSink, Key},
    vmm::virtio::input::VirtioInputSink,
};

/// Something that goes down and comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Switch {
    Key(Key),
    Button(Button),
}

/// The guest's keyboards and pointers as one.
pub struct InputRouter {
    legacy: Arc<dyn InputSink>,
    keyboard: Arc<VirtioInputSink>,
    tablet: Arc<VirtioInputSink>,
    /// What is down on the virtio devices: it comes up there too, whatever the guest has done meanwhile.
    down: Mutex<HashSet<Switch>>,
}

/// The devices of one call, by their place in an array.
const LEGACY: usize = 0;
const KEYBOARD: usize = 1;
const TABLET: usize = 2;

impl InputRouter {
    /// A router between the i8042 (`legacy`) and the virtio devices.
    pub fn new(legacy: Arc<dyn InputSink>, keyboard: Arc<VirtioInputSink>, tablet: Arc<VirtioInputSink>) -> Self {
        Self { legacy, keyboard, tablet, down: Mutex::default() }
    }

    fn destination(&self, event: &InputEvent) -> usize {
        let (switch, goes_down, device, ready) = match *event {
            InputEvent::Key { key, down } => (Switch::Key(key), down, KEYBOARD, self.keyboard.is_ready()),
            InputEvent::Button { button, down } => (Switch::Button(button), down, TABLET, self.tablet.is_ready()),
            InputEvent::Absolute { .. } if self.tablet.is_ready() => return TABLET,
            // A tablet knows no movement.
            InputEvent::Absolute { .. } | InputEvent::Relative { .. } => return LEGACY,
        };
        let mut all_down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let is_virtio = if goes_down {
            ready && {
                all_down.insert(switch);
                true
            }
        } else {
            all_down.remove(&switch)
        };
        if is_virtio { device } else { LEGACY }
    }
}

impl InputSink for InputRouter {
    fn send(&self, events: &[InputEvent]) {
        let mut parts: [Vec<InputEvent>; 3] = Default::default();
        for event in events {
            parts[self.destination(event)].push(*event);
        }
        let sinks: [&dyn InputSink; 3] = [&*self.legacy, &*self.keyboard, &*self.tablet];
        for (sink, part) in sinks.into_iter().zip(parts) {
            if !part.is_empty() {
                sink.send(&part);
            }
        }
    }

    fn follows_position(&self) -> bool {
        self.tablet.follows_position() || self.legacy.follows_position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::virtio::input::{Kind, VirtioInput};

    #[derive(Default)]
    struct Legacy(Mutex<Vec<InputEvent>>);

    impl InputSink for Legacy {
        fn send(&self, events: &[InputEvent]) {
            self.0.lock().unwrap().extend(events);
        }
    }

    #[test]
    fn without_drivers_everything_goes_to_the_legacy_devices() {
        let legacy = Arc::new(Legacy::default());
        let sink = |kind| VirtioInput::new(kind).unwrap().1;
        let router = InputRouter::new(legacy.clone(), sink(Kind::Keyboard), sink(Kind::Tablet));
        let events = [
            InputEvent::Key { key: Key(30), down: true },
            InputEvent::Absolute { x: 1, y: 2 },
            InputEvent::Button { button: Button::Left, down: true },
        ];

        router.send(&events);

        assert_eq!(*legacy.0.lock().unwrap(), events);
        assert!(!router.follows_position());
    }
}
