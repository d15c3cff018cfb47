//! The common configuration structure (virtio 1.2, section 4.1.4.3): a register machine apart from its wiring. What a
//! write asks for is returned as a [`Request`], and the transport carries it out.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use virtio_bindings::{
    virtio_config::{
        VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
        VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1,
    },
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};

use crate::vmm::virtio::{interrupt::VirtioInterrupt, queue::QueueSetup};

/// Bytes of the structure.
pub const SIZE: usize = 0x40;

/// Device status bits (section 2.1).
pub const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
pub const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
pub const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;
const DRIVER_BITS: u8 = (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED) as u8;

/// The features that the transport and the queues have, whatever the device.
pub const GENERAL_FEATURES: u64 =
    VERSION_1 | RING_RESET | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;
const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
const RING_RESET: u64 = 1 << VIRTIO_F_RING_RESET;
/// Used and available buffers carry event indices.
pub const EVENT_INDEX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

const DEVICE_FEATURE_SELECT: u64 = 0x00;
const DEVICE_FEATURE: usize = 0x04;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0c;
const CONFIG_VECTOR: u64 = 0x10;
const QUEUE_COUNT: usize = 0x12;
const DEVICE_STATUS: u64 = 0x14;
const CONFIG_GENERATION: usize = 0x15;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_NOTIFY_OFFSET: usize = 0x1e;
const QUEUE_DESCRIPTORS: u64 = 0x20;
const QUEUE_DRIVER: u64 = 0x28;
const QUEUE_DEVICE: u64 = 0x30;
const QUEUE_RESET: u64 = 0x3a;

/// What the driver asks of the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To reset the device.
    Reset,
    /// To start it: the driver is ready.
    Start,
    /// To take up queue `0` while the device is active.
    EnableQueue(u16),
    /// To give up queue `0`.
    ResetQueue(u16),
}

/// One queue's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRegisters {
    pub setup: QueueSetup,
    pub enabled: bool,
}

impl QueueRegisters {
    fn new(size: u16) -> Self {
        Self { setup: QueueSetup { size, descriptors: 0, available: 0, used: 0 }, enabled: false }
    }
}

/// The registers.
pub struct CommonRegisters {
    // Fixed configuration
    offered: u64,
    sizes: Box<[u16]>,
    // Volatile state
    state: CommonState,
}

/// The volatile registers, which are also saved. The vectors are with [`VirtioInterrupt`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonState {
    status: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    /// The driver has accepted a feature beyond those that there can be.
    unknown_features: bool,
    queue_select: u16,
    queues: Vec<QueueRegisters>,
}

impl CommonRegisters {
    /// Registers of a device with `features` of its own and queues of at most `sizes` descriptors.
    pub fn new(features: u64, sizes: &[u16]) -> Self {
        let state = CommonState {
            status: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            unknown_features: false,
            queue_select: 0,
            queues: sizes.iter().copied().map(QueueRegisters::new).collect(),
        };
        Self { offered: features | GENERAL_FEATURES, sizes: sizes.into(), state }
    }

    /// The status as the driver has set it.
    pub fn status(&self) -> u8 {
        self.state.status
    }

    /// The features that the driver has accepted.
    pub fn features(&self) -> u64 {
        self.state.driver_features
    }

    /// The queues.
    pub fn queues(&self) -> &[QueueRegisters] {
        &self.state.queues
    }

    /// Puts queue `index` into its state after reset.
    pub fn reset_queue(&mut self, index: u16) {
        if let (Some(queue), Some(&size)) =
            (self.state.queues.get_mut(usize::from(index)), self.sizes.get(usize::from(index)))
        {
            *queue = QueueRegisters::new(size);
        }
    }

    /// As after power-on.
    pub fn reset(&mut self) {
        *self = Self::new(self.offered, &self.sizes);
    }

    /// The state to save.
    pub fn state(&self) -> &CommonState {
        &self.state
    }

    /// Takes over a saved state, after the checks that apply to a driver's writes.
    pub fn restore(&mut self, state: CommonState) -> Result<(), &'static str> {
        if state.queues.len() != self.sizes.len() {
            return Err("it has another number of queues");
        }
        if state.queues.iter().zip(&self.sizes).any(|(queue, &largest)| queue.setup.size > largest) {
            return Err("a queue is larger than it can be");
        }
        let negotiated = state.status & FEATURES_OK != 0;
        if negotiated && (state.unknown_features || !self.acceptable(state.driver_features)) {
            return Err("it uses features that the device does not have");
        }
        if state.status & DRIVER_OK != 0 && !negotiated || state.status & NEEDS_RESET != 0 {
            return Err("its status is impossible");
        }
        self.state = state;
        Ok(())
    }

    /// Reads at `offset` (bytes).
    pub fn read(&self, offset: u64, data: &mut [u8], interrupt: &VirtioInterrupt) {
        let image = self.image(interrupt);
        let from = usize::try_from(offset).ok().and_then(|offset| image.get(offset..)).unwrap_or_default();
        data.fill(0);
        data.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }

    /// Every register in its place.
    fn image(&self, interrupt: &VirtioInterrupt) -> [u8; SIZE] {
        let state = &self.state;
        let mut image = [0; SIZE];
        let mut put = |offset: usize, bytes: &[u8]| image[offset..offset + bytes.len()].copy_from_slice(bytes);
        let half = |features: u64, select: u32| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        put(DEVICE_FEATURE_SELECT as usize, &state.device_feature_select.to_le_bytes());
        put(DEVICE_FEATURE, &half(self.offered, state.device_feature_select).to_le_bytes());
        put(DRIVER_FEATURE_SELECT as usize, &state.driver_feature_select.to_le_bytes());
        put(DRIVER_FEATURE as usize, &half(state.driver_features, state.driver_feature_select).to_le_bytes());
        put(CONFIG_VECTOR as usize, &interrupt.vector(None).to_le_bytes());
        put(QUEUE_COUNT, &(self.sizes.len() as u16).to_le_bytes());
        put(DEVICE_STATUS as usize, &[state.status | if interrupt.failed() { NEEDS_RESET } else { 0 }]);
        put(CONFIG_GENERATION, &[interrupt.generation()]);
        put(QUEUE_SELECT as usize, &state.queue_select.to_le_bytes());
        // A queue that does not exist has size 0.
        if let Some(queue) = state.queues.get(usize::from(state.queue_select)) {
            put(QUEUE_SIZE as usize, &queue.setup.size.to_le_bytes());
            put(QUEUE_VECTOR as usize, &interrupt.vector(Some(state.queue_select)).to_le_bytes());
            put(QUEUE_ENABLE as usize, &u16::from(queue.enabled).to_le_bytes());
            put(QUEUE_NOTIFY_OFFSET, &state.queue_select.to_le_bytes());
            put(QUEUE_DESCRIPTORS as usize, &queue.setup.descriptors.to_le_bytes());
            put(QUEUE_DRIVER as usize, &queue.setup.available.to_le_bytes());
            put(QUEUE_DEVICE as usize, &queue.setup.used.to_le_bytes());
        }
        image
    }

    /// Writes at `offset` (bytes). Accesses that are not of a register's width are ignored.
    pub fn write(&mut self, offset: u64, data: &[u8], interrupt: &VirtioInterrupt) -> Option<Request> {
        let mut bytes = [0; 8];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        let value = u64::from_le_bytes(bytes);
        let state = &mut self.state;
        match (offset, data.len()) {
            (DEVICE_FEATURE_SELECT, 4) => state.device_feature_select = value as u32,
            (DRIVER_FEATURE_SELECT, 4) => state.driver_feature_select = value as u32,
            (DRIVER_FEATURE, 4) if state.status & FEATURES_OK == 0 => match state.driver_feature_select {
                0 => state.driver_features = state.driver_features & !0xffff_ffff | value,
                1 => state.driver_features = state.driver_features & 0xffff_ffff | value << 32,
                _ => state.unknown_features |= value != 0,
            },
            (CONFIG_VECTOR, 2) => interrupt.set_vector(None, value as u16),
            (DEVICE_STATUS, 1) => return self.set_status(value as u8),
            (QUEUE_SELECT, 2) => state.queue_select = value as u16,
            (QUEUE_VECTOR, 2) => interrupt.set_vector(Some(state.queue_select), value as u16),
            (QUEUE_RESET, 2) => {
                let active = state.status & DRIVER_OK != 0 && state.driver_features & RING_RESET != 0;
                let enabled = state.queues.get(usize::from(state.queue_select)).is_some_and(|queue| queue.enabled);
                return (value == 1 && active && enabled).then_some(Request::ResetQueue(state.queue_select));
            }
            (QUEUE_SIZE | QUEUE_ENABLE, 2) | (QUEUE_DESCRIPTORS..QUEUE_DEVICE_END, 4 | 8) => {
                return self.write_queue(offset, data.len(), value);
            }
            _ => {}
        }
        None
    }

    fn write_queue(&mut self, offset: u64, len: usize, value: u64) -> Option<Request> {
        let state = &mut self.state;
        let largest = self.sizes.get(usize::from(state.queue_select)).copied()?;
        // An enabled queue cannot be changed under the device's hands.
        let queue = state.queues.get_mut(usize::from(state.queue_select)).filter(|queue| !queue.enabled)?;
        let setup = &mut queue.setup;
        let address = match offset & !7 {
            QUEUE_DESCRIPTORS => &mut setup.descriptors,
            QUEUE_DRIVER => &mut setup.available,
            _ => &mut setup.used,
        };
        match (offset, len) {
            // A size beyond the largest is refused by reading back as before.
            (QUEUE_SIZE, 2) if value <= u64::from(largest) => setup.size = value as u16,
            (QUEUE_ENABLE, 2) if value == 1 => {
                queue.enabled = true;
                return (state.status & DRIVER_OK != 0).then_some(Request::EnableQueue(state.queue_select));
            }
            (QUEUE_DESCRIPTORS | QUEUE_DRIVER | QUEUE_DEVICE, 8) => *address = value,
            (QUEUE_DESCRIPTORS | QUEUE_DRIVER | QUEUE_DEVICE, 4) => *address = *address & !0xffff_ffff | value,
            (_, 4) if offset % 8 == 4 => *address = *address & 0xffff_ffff | value << 32,
            _ => {}
        }
        None
    }

    fn set_status(&mut self, value: u8) -> Option<Request> {
        if value == 0 {
            return Some(Request::Reset);
        }
        let before = self.state.status;
        let mut status = before | value & DRIVER_BITS;
        if value & FEATURES_OK != 0 && self.acceptable(self.state.driver_features) && !self.state.unknown_features {
            status |= FEATURES_OK;
        }
        if value & DRIVER_OK != 0 && status & FEATURES_OK != 0 {
            status |= DRIVER_OK;
        }
        self.state.status = status;
        (status & !before & DRIVER_OK != 0).then_some(Request::Start)
    }

    /// Whether a driver may use exactly these features. One without VERSION_1 is a legacy driver, for which there is no
    /// interface here.
    fn acceptable(&self, features: u64) -> bool {
        features & !self.offered == 0 && features & VERSION_1 != 0
    }
}

const QUEUE_DEVICE_END: u64 = QUEUE_DEVICE + 8;
