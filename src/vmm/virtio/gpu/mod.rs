//! GPU without acceleration: the guest draws into its own memory and tells which parts are to be seen (virtio 1.2, section
//! 5.7; 2D commands, EDID).
//!
//! - [`protocol`]: commands and answers as bytes;
//! - [`resource`]: pictures in the guest's memory;
//! - [`scene`]: what commands have set up; [`screen`]: what viewers see of it.
//!
//! There is one screen. Its preferred size follows the viewers' windows ([`Screen::set_preferred_size`]): the driver is
//! told by a configuration change and sets the mode by itself.
//!
//! [`Screen::set_preferred_size`]: crate::screen::Screen::set_preferred_size

#![forbid(unsafe_code)]

pub mod protocol;
pub mod resource;
pub mod scene;
pub mod screen;
mod state;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use self::{
    protocol::{Command, ErrorKind, Header, Response},
    scene::Scene,
};
use super::{
    device::{Activation, DeviceType, VirtioDevice, read_config_bytes},
    queue::{Chain, QueueError, Queues},
    worker::{Engine, Handler, Io},
};
use crate::vmm::{device::StateError, memory::GuestMemory};

pub use screen::GpuScreen;

/// Pieces of guest memory that all resources together can have.
pub const MAX_PIECES: usize = 256 << 10;

/// VIRTIO_GPU_F_EDID: the driver can ask for the monitor's description.
const FEATURE_EDID: u64 = 1 << 1;
/// Sizes of the control queue and the cursor queue.
const QUEUE_SIZES: [u16; 2] = [256, 16];
/// Where the driver writes the events it has seen, in the configuration.
const CONFIG_EVENTS_CLEAR: u64 = 4;

/// The device.
pub struct VirtioGpu {
    label: String,
    scene: Arc<Mutex<Scene>>,
    engine: Engine<Worker>,
}

impl VirtioGpu {
    /// A GPU called `label` for a guest with this memory, and its screen.
    #[allow(clippy::new_ret_no_self, reason = "the device and its screen come in pairs")]
    pub fn new(label: &str, memory: Arc<GuestMemory>) -> (Self, Arc<GpuScreen>) {
        let scene = Arc::new(Mutex::new(Scene::new(memory)));
        let screen = Arc::new(GpuScreen::new(scene.clone()));
        let engine = Engine::new(label, Worker { scene: scene.clone() });
        (Self { label: label.to_owned(), scene, engine }, screen)
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        lock(&self.scene)
    }
}

impl VirtioDevice for VirtioGpu {
    fn label(&self) -> &str {
        &self.label
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Gpu
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        FEATURE_EDID
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.scene().config(), offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if offset == CONFIG_EVENTS_CLEAR
            && let Ok(events) = data.try_into().map(u32::from_le_bytes)
        {
            self.scene().clear_events(events);
        }
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.scene().connect(Some(activation.interrupt.clone()));
        self.engine.start(activation)
    }

    fn deactivate(&mut self) -> Queues {
        self.scene().connect(None);
        self.engine.stop()
    }

    fn reset(&mut self) {
        self.scene().reset();
    }

    fn save(&self) -> Result<Value, StateError> {
        state::save(&self.label, &self.scene())
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        state::restore(&self.label, &mut self.scene(), state)
    }
}

/// The device's own thread.
struct Worker {
    scene: Arc<Mutex<Scene>>,
}

impl Handler for Worker {
    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(queue) else { return Ok(()) };
        queue.serve_all(memory, |chain| serve(&self.scene, chain))
    }
}

/// Carries out the command of a chain and returns how long the answer is.
fn serve(scene: &Mutex<Scene>, chain: &mut Chain) -> Result<usize, QueueError> {
    // Without a header there is nothing to answer to. What follows it may be wrong: that is the command's error.
    let header = Header::read(&mut chain.readable)?;
    let response = match Command::read(&header, &mut chain.readable) {
        Ok(command) => lock(scene).execute(command),
        Err(_) => Response::Error(ErrorKind::InvalidParameter),
    };
    let mut bytes = response.bytes(&header);
    // Drivers give pointer commands no room for an answer.
    bytes.truncate(chain.writable.len());
    chain.writable.write(&bytes)?;
    Ok(bytes.len())
}

fn lock(scene: &Mutex<Scene>) -> MutexGuard<'_, Scene> {
    scene.lock().unwrap_or_else(PoisonError::into_inner)
}
