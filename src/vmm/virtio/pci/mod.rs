//! Virtio over PCI (virtio 1.2, section 4.1): modern devices only.
//!
//! ```text
//!   BAR 0   0x0000 common configuration      BAR 2   0x000 MSI-X table
//!           0x1000 ISR                               then  pending bits
//!           0x2000 device configuration
//!           0x3000 notifications: one doorbell of 4 bytes a queue
//! ```
//!
//! (A GPU that is the machine's VGA has its video memory in BAR 0 and these in BARs 2 and 4.)
//!
//! Life of a device: the driver negotiates and sets up queues (here), says DRIVER_OK and the device gets its queues (*active*).
//! While the machine is paused an active device is stopped and its queues are *parked* here; so they are for a saved state.
//! A driver that breaks the rules gets DEVICE_NEEDS_RESET and the device stands still until the driver resets it.

#![forbid(unsafe_code)]

mod capabilities;
mod common;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmm_sys_util::eventfd::EventFd;

use self::capabilities::{Bars, configuration};
use self::common::{CommonRegisters, CommonState, DRIVER_OK, EVENT_INDEX, Request};
use super::{
    device::{Activation, VirtioDevice},
    interrupt::{InterruptState, VirtioInterrupt},
    queue::{QueueError, QueuePosition, Queues, Virtqueue},
};
use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    interrupt::{Doorbells, Interrupt, MsiAllocator},
    memory::GuestMemory,
    pci::{
        PciFunction,
        configuration::{ConfigSpace, ConfigState},
        msix::{Msix, MsixState},
    },
};

const STATE_VERSION: u32 = 1;

const REGISTERS_SIZE: u64 = 0x4000;
const COMMON: u64 = 0x0000;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
/// The distance of two queues' doorbells, in bytes.
const NOTIFY_STEP: u64 = 4;
const AREA: u64 = 0x1000;

const PCI_COMMAND: u16 = 0x04;
const PCI_STATUS: u16 = 0x06;

/// A virtio device as a PCI function.
pub struct VirtioPci {
    // Fixed configuration
    label: String,
    bars: Bars,
    /// Where the capabilities are in the configuration space that do something when they are accessed.
    msix_capability: u16,
    window_capability: u16,
    // Wiring
    device: Box<dyn VirtioDevice>,
    memory: Arc<GuestMemory>,
    msix: Arc<Msix>,
    interrupt: Arc<VirtioInterrupt>,
    doorbells: Arc<dyn Doorbells>,
    kicks: Box<[EventFd]>,
    // Volatile state
    config: ConfigSpace,
    common: CommonRegisters,
    /// Where the registers answer, and so the doorbells are.
    address: Option<u64>,
    running: bool,
    queues: Parking,
}

/// Where the queues of the device are.
enum Parking {
    /// There are none: the driver is not ready, or has broken one.
    None,
    /// With the device, which serves them.
    Device,
    /// Here, because the machine stands still.
    Here(Queues),
}

impl VirtioPci {
    /// Puts `device` behind the transport. The machine stands still until [`Device::resume`].
    pub fn new(
        device: Box<dyn VirtioDevice>,
        memory: Arc<GuestMemory>,
        vectors: Arc<dyn MsiAllocator>,
        doorbells: Arc<dyn Doorbells>,
    ) -> io::Result<Self> {
        Self::with_bars(device, memory, vectors, doorbells, Bars::PLAIN)
    }

    /// The same for a GPU that is the machine's VGA too: BAR 0 is `video_memory` bytes, which are mapped by whoever plugs the
    /// function in; the registers are behind BAR 2 and MSI-X behind BAR 4.
    pub fn with_video_memory(
        device: Box<dyn VirtioDevice>,
        memory: Arc<GuestMemory>,
        vectors: Arc<dyn MsiAllocator>,
        doorbells: Arc<dyn Doorbells>,
        video_memory: u64,
    ) -> io::Result<Self> {
        Self::with_bars(device, memory, vectors, doorbells, Bars::with_video_memory(video_memory))
    }

    fn with_bars(
        device: Box<dyn VirtioDevice>,
        memory: Arc<GuestMemory>,
        vectors: Arc<dyn MsiAllocator>,
        doorbells: Arc<dyn Doorbells>,
        bars: Bars,
    ) -> io::Result<Self> {
        let sizes = device.queue_sizes().to_vec();
        let kicks = sizes.iter().map(|_| EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC));
        let kicks = kicks.collect::<io::Result<Box<[EventFd]>>>()?;
        let msix = Arc::new(Msix::new(vectors, u16::try_from(sizes.len() + 1).unwrap_or(u16::MAX)));
        let (config, msix_capability, window_capability) = configuration(device.device_type(), bars, &msix);
        Ok(Self {
            label: device.label().to_owned(),
            bars,
            msix_capability,
            window_capability,
            interrupt: Arc::new(VirtioInterrupt::new(msix.clone(), sizes.len())),
            common: CommonRegisters::new(device.features(), &sizes),
            device,
            memory,
            msix,
            doorbells,
            kicks,
            config,
            address: None,
            running: false,
            queues: Parking::None,
        })
    }

    /// Whether the driver is ready and the device could serve it.
    fn active(&self) -> bool {
        self.common.status() & DRIVER_OK != 0 && !self.interrupt.failed()
    }

    fn read_registers(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        match offset {
            COMMON..ISR => self.common.read(offset, data, &self.interrupt),
            ISR => {
                if let Some(first) = data.first_mut() {
                    *first = self.interrupt.take_isr();
                }
            }
            DEVICE..NOTIFY => self.device.read_config(offset - DEVICE, data),
            _ => {}
        }
    }

    fn write_registers(&mut self, offset: u64, data: &[u8]) {
        match offset {
            COMMON..ISR => {
                if let Some(request) = self.common.write(offset, data, &self.interrupt) {
                    self.carry_out(request);
                }
            }
            DEVICE..NOTIFY => self.device.write_config(offset - DEVICE, data),
            // Only where the doorbells are not connected to the device directly.
            NOTIFY..REGISTERS_SIZE => {
                let queue = usize::try_from((offset - NOTIFY) / NOTIFY_STEP).unwrap_or(usize::MAX);
                if let Some(kick) = self.kicks.get(queue) {
                    // A counter that is full has kicked long since.
                    let _ = kick.write(1);
                }
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Reset => self.reset_device(),
            Request::Start => {
                let enabled = self.enabled_queues();
                self.start_with(enabled.into_iter().map(|index| (index, QueuePosition::default())));
            }
            Request::EnableQueue(index) if self.active() => {
                let queues = self.take_queues();
                match self.queue(index, QueuePosition::default()) {
                    Ok(queue) => {
                        let mut queues = queues;
                        queues.insert(queue);
                        self.give_queues(queues);
                    }
                    Err(error) => self.fail(&error),
                }
            }
            Request::EnableQueue(_) => {}
            Request::ResetQueue(index) => {
                let mut queues = self.take_queues();
                queues.take(index);
                self.common.reset_queue(index);
                self.interrupt.set_vector(Some(index), super::interrupt::NO_VECTOR);
                if self.active() {
                    self.give_queues(queues);
                }
            }
        }
    }

    fn enabled_queues(&self) -> Vec<u16> {
        let numbered = (0..).zip(self.common.queues());
        numbered.filter(|(_, queue)| queue.enabled).map(|(index, _)| index).collect()
    }

    /// Makes the queues and hands them to the device.
    fn start_with(&mut self, positions: impl Iterator<Item = (u16, QueuePosition)>) {
        let mut queues = Queues::new();
        for (index, position) in positions {
            match self.queue(index, position) {
                Ok(queue) => queues.insert(queue),
                Err(error) => return self.fail(&error),
            }
        }
        self.give_queues(queues);
    }

    /// Queue `index` as the registers say.
    fn queue(&self, index: u16, position: QueuePosition) -> Result<Virtqueue, QueueError> {
        let absent = || QueueError::Setup { queue: index, reason: "there is no such queue".to_owned() };
        let registers = self.common.queues().get(usize::from(index)).ok_or_else(absent)?;
        let kick = self.kicks.get(usize::from(index)).ok_or_else(absent)?.try_clone()?;
        let event_index = self.common.features() & EVENT_INDEX != 0;
        Virtqueue::new(index, registers.setup, position, event_index, kick, self.interrupt.clone(), &self.memory)
    }

    /// Gives the device its queues, or parks them while the machine stands still.
    fn give_queues(&mut self, queues: Queues) {
        if !self.running {
            self.queues = Parking::Here(queues);
            return;
        }
        let activation = Activation {
            features: self.common.features(),
            memory: self.memory.clone(),
            queues,
            interrupt: self.interrupt.clone(),
        };
        match self.device.activate(activation) {
            Ok(()) => self.queues = Parking::Device,
            Err(error) => self.fail(&QueueError::Device(error)),
        }
    }

    /// Takes the queues from wherever they are; the device stops.
    fn take_queues(&mut self) -> Queues {
        match std::mem::replace(&mut self.queues, Parking::None) {
            Parking::None => Queues::new(),
            Parking::Device => self.device.deactivate(),
            Parking::Here(queues) => queues,
        }
    }

    fn fail(&mut self, error: &QueueError) {
        tracing::warn!(device = self.label, %error, "the driver has set the device up wrongly. It has to reset it");
        self.queues = Parking::None;
        self.interrupt.device_failed();
    }

    fn reset_device(&mut self) {
        drop(self.take_queues());
        self.device.reset();
        self.common.reset();
        self.interrupt.reset();
        for kick in &self.kicks {
            // A kick from before is no kick for the next driver. There may be none.
            let _ = kick.read();
        }
    }

    /// The access through the configuration space (section 4.1.4.9): where and how long it is, when it is a valid one.
    fn window(&self) -> Option<(usize, u64, usize)> {
        let at = self.window_capability;
        let (bar, offset, length) = (self.config.u8(at + 4), self.config.u32(at + 8), self.config.u32(at + 12));
        let valid = matches!(length, 1 | 2 | 4) && offset % length == 0;
        valid.then_some((bar.into(), offset.into(), length as usize))
    }
}

impl Device for VirtioPci {
    fn label(&self) -> &str {
        &self.label
    }

    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        let table = self.msix.table_size();
        match region {
            _ if region == self.bars.registers => self.read_registers(offset, data),
            _ if region == self.bars.msix && offset < table => self.msix.read_table(offset, data),
            _ if region == self.bars.msix => self.msix.read_pending(offset - table, data),
            _ => data.fill(0xff),
        }
    }

    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        match region {
            _ if region == self.bars.registers => self.write_registers(offset, data),
            _ if region == self.bars.msix && offset < self.msix.table_size() => self.msix.write_table(offset, data),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.reset_device();
        self.msix.reset();
        self.config.reset();
        self.interrupt.msix_switched();
        self.interrupt.set_line_disabled(false);
    }

    fn pause(&mut self) {
        self.running = false;
        if matches!(self.queues, Parking::Device) {
            self.queues = Parking::Here(self.device.deactivate());
        }
    }

    fn resume(&mut self) {
        self.running = true;
        if matches!(self.queues, Parking::Here(_)) && self.active() {
            let queues = self.take_queues();
            self.give_queues(queues);
        }
    }

    fn save(&self) -> Result<Value, StateError> {
        let queues = match &self.queues {
            Parking::Device => {
                let reason = "it is running. pause the machine first".to_owned();
                return Err(StateError::Unsupported { device: self.label.clone(), reason });
            }
            Parking::Here(queues) if self.active() => Some(queues),
            Parking::Here(_) | Parking::None => None,
        };
        let positions = queues.into_iter().flat_map(Queues::iter);
        let state = State {
            config: self.config.save(),
            msix: self.msix.save(),
            interrupt: self.interrupt.save(),
            common: self.common.state().clone(),
            positions: positions.map(|queue| (queue.index(), queue.position())).collect(),
            device: self.device.save()?,
        };
        save_state(&self.label, STATE_VERSION, state)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let outcome = restore_state(&self.label, STATE_VERSION, state).and_then(|state| self.take_over(state));
        if outcome.is_err() {
            self.reset();
        }
        outcome
    }
}

impl VirtioPci {
    fn take_over(&mut self, state: State) -> Result<(), StateError> {
        let damaged = |reason: String| StateError::Damaged { device: self.label.clone(), reason };
        self.config.restore(&self.label, &state.config)?;
        self.msix.restore(&self.label, state.msix)?;
        self.interrupt.restore(state.interrupt).map_err(|reason| damaged(reason.to_owned()))?;
        self.common.restore(state.common).map_err(|reason| damaged(reason.to_owned()))?;
        self.interrupt.set_line_disabled(self.config.interrupt_disabled());
        let mut queues = Queues::new();
        if self.active() {
            for (index, position) in state.positions {
                if !self.common.queues().get(usize::from(index)).is_some_and(|queue| queue.enabled) {
                    return Err(damaged(format!("queue {index} has a position but is not enabled")));
                }
                queues.insert(self.queue(index, position).map_err(|error| damaged(error.to_string()))?);
            }
            if queues.iter().count() != self.enabled_queues().len() {
                return Err(damaged("an enabled queue has no position".to_owned()));
            }
        }
        // The device comes last: some of its state, as what the host's side has set, would survive the reset after an error.
        self.device.restore(state.device)?;
        if self.active() {
            self.give_queues(queues);
        }
        Ok(())
    }
}

impl PciFunction for VirtioPci {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn connect_interrupt(&mut self, line: Interrupt) {
        self.interrupt.connect(line);
    }

    fn config_reading(&mut self, offset: u16, len: u8) {
        if ConfigSpace::touches(offset, len, PCI_STATUS..PCI_STATUS + 2) {
            self.config.set_interrupt_status(self.interrupt.isr() != 0);
        }
        let data = self.window_capability + 16;
        if ConfigSpace::touches(offset, len, data..data + 4)
            && let Some((bar, at, length)) = self.window()
        {
            let mut bytes = [0; 4];
            self.read(bar, at, &mut bytes[..length]);
            self.config.set(data, &bytes);
        }
    }

    fn config_written(&mut self, offset: u16, len: u8) {
        if ConfigSpace::touches(offset, len, PCI_COMMAND..PCI_COMMAND + 2) {
            self.interrupt.set_line_disabled(self.config.interrupt_disabled());
        }
        let control = self.msix_capability + 2;
        if ConfigSpace::touches(offset, len, control..control + 2) {
            self.msix.set_control(self.config.u16(control));
            self.interrupt.msix_switched();
        }
        let data = self.window_capability + 16;
        if ConfigSpace::touches(offset, len, data..data + 4)
            && let Some((bar, at, length)) = self.window()
        {
            let bytes = self.config.u32(data).to_le_bytes();
            self.write(bar, at, &bytes[..length]);
        }
    }

    fn bar_mapped(&mut self, bar: usize, address: Option<u64>) {
        if bar != self.bars.registers {
            return;
        }
        let connect = |address: u64, on: bool| {
            for (index, kick) in (0..).zip(&self.kicks) {
                let doorbell = address + NOTIFY + index * NOTIFY_STEP;
                let done = match on {
                    true => self.doorbells.register(doorbell, kick),
                    false => self.doorbells.unregister(doorbell, kick),
                };
                if let Err(error) = done {
                    // The slow way through the registers still works.
                    tracing::warn!(device = self.label, %error, queue = index, "a doorbell could not be changed");
                }
            }
        };
        if let Some(old) = self.address {
            connect(old, false);
        }
        if let Some(new) = address {
            connect(new, true);
        }
        self.address = address;
    }
}

impl Drop for VirtioPci {
    fn drop(&mut self) {
        self.bar_mapped(self.bars.registers, None);
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    config: ConfigState,
    msix: MsixState,
    interrupt: InterruptState,
    common: CommonState,
    positions: Vec<(u16, QueuePosition)>,
    device: Value,
}
