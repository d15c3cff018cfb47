//! How a virtio device interrupts its driver over PCI (virtio 1.2, sections 4.1.4.5 and 4.1.5.1.2).
//!
//! With MSI-X on, each queue and the configuration have the vector that the driver gave them. With MSI-X off there is one
//! line and the ISR register says why it is high. Everything here may be called from any thread.

#![forbid(unsafe_code)]

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::vmm::{interrupt::Interrupt, pci::msix::Msix};

/// The vector number that stands for none (VIRTIO_MSI_NO_VECTOR).
pub const NO_VECTOR: u16 = 0xffff;

const ISR_QUEUE: u8 = 1;
const ISR_CONFIGURATION: u8 = 2;

/// The way from a device to its driver.
pub struct VirtioInterrupt {
    msix: Arc<Msix>,
    /// The vector of the configuration, then one for each queue.
    vectors: Box<[AtomicU16]>,
    legacy: Mutex<Legacy>,
    generation: AtomicU8,
    failed: AtomicBool,
}

struct Legacy {
    line: Option<Interrupt>,
    disabled: bool,
    isr: u8,
}

/// The saved state of [`VirtioInterrupt`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptState {
    isr: u8,
    generation: u8,
    failed: bool,
    vectors: Vec<u16>,
}

impl VirtioInterrupt {
    /// Interrupts for `queues` queues: through `msix` once the guest has switched it on.
    pub fn new(msix: Arc<Msix>, queues: usize) -> Self {
        Self {
            msix,
            vectors: (0..=queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            legacy: Mutex::new(Legacy { line: None, disabled: false, isr: 0 }),
            generation: AtomicU8::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// Connects the INTx line.
    pub fn connect(&self, line: Interrupt) {
        self.legacy().line = Some(line);
    }

    /// Queue `queue` has used buffers that the driver wants to know of.
    pub fn queue_used(&self, queue: u16) {
        self.raise(usize::from(queue).saturating_add(1), ISR_QUEUE);
    }

    /// The device's configuration has changed. The new values must be readable before this is called.
    pub fn configuration_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.raise(0, ISR_CONFIGURATION);
    }

    /// The driver has broken the rules so that the device cannot go on: DEVICE_NEEDS_RESET (section 2.1.2).
    pub fn device_failed(&self) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            self.configuration_changed();
        }
    }

    /// Whether the device waits for a reset.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The configuration's generation: differs after each change.
    pub fn generation(&self) -> u8 {
        self.generation.load(Ordering::Acquire)
    }

    /// The vector of queue `queue`, or of the configuration (`None`).
    pub(super) fn vector(&self, queue: Option<u16>) -> u16 {
        self.vectors.get(slot(queue)).map_or(NO_VECTOR, |vector| vector.load(Ordering::Acquire))
    }

    /// The driver chooses a vector; one that does not exist reads back as [`NO_VECTOR`].
    pub(super) fn set_vector(&self, queue: Option<u16>, vector: u16) {
        if let Some(slot) = self.vectors.get(slot(queue)) {
            slot.store(if vector < self.msix.vectors() { vector } else { NO_VECTOR }, Ordering::Release);
        }
    }

    /// The driver reads the ISR register, which clears it and lowers the line.
    pub(super) fn take_isr(&self) -> u8 {
        let mut legacy = self.legacy();
        let isr = std::mem::take(&mut legacy.isr);
        legacy.update(self.msix.enabled());
        isr
    }

    /// The ISR register without a side effect.
    pub(super) fn isr(&self) -> u8 {
        self.legacy().isr
    }

    /// The driver has switched MSI-X on or off.
    pub(super) fn msix_switched(&self) {
        self.legacy().update(self.msix.enabled());
    }

    /// The driver has forbidden or allowed the line (PCI's interrupt disable bit).
    pub(super) fn set_line_disabled(&self, disabled: bool) {
        let mut legacy = self.legacy();
        legacy.disabled = disabled;
        legacy.update(self.msix.enabled());
    }

    /// Forgets vectors, pending interrupts and the failure. The generation goes on.
    pub(super) fn reset(&self) {
        for vector in &self.vectors {
            vector.store(NO_VECTOR, Ordering::Release);
        }
        self.failed.store(false, Ordering::Release);
        self.take_isr();
    }

    /// The state to save.
    pub(super) fn save(&self) -> InterruptState {
        InterruptState {
            isr: self.isr(),
            generation: self.generation(),
            failed: self.failed(),
            vectors: self.vectors.iter().map(|vector| vector.load(Ordering::Acquire)).collect(),
        }
    }

    /// Takes over a saved state.
    pub(super) fn restore(&self, state: InterruptState) -> Result<(), &'static str> {
        let valid = |&vector: &u16| vector == NO_VECTOR || vector < self.msix.vectors();
        if state.vectors.len() != self.vectors.len() || !state.vectors.iter().all(valid) {
            return Err("its interrupt vectors are impossible");
        }
        if state.isr & !(ISR_QUEUE | ISR_CONFIGURATION) != 0 {
            return Err("reserved bits are set in its ISR register");
        }
        for (vector, saved) in self.vectors.iter().zip(state.vectors) {
            vector.store(saved, Ordering::Release);
        }
        self.generation.store(state.generation, Ordering::Release);
        self.failed.store(state.failed, Ordering::Release);
        let mut legacy = self.legacy();
        legacy.isr = state.isr;
        legacy.update(self.msix.enabled());
        Ok(())
    }

    fn raise(&self, slot: usize, reason: u8) {
        if self.msix.enabled() {
            let vector = self.vectors.get(slot).map_or(NO_VECTOR, |vector| vector.load(Ordering::Acquire));
            if vector != NO_VECTOR {
                self.msix.trigger(vector);
            }
        } else {
            let mut legacy = self.legacy();
            legacy.isr |= reason;
            legacy.update(self.msix.enabled());
        }
    }

    fn legacy(&self) -> MutexGuard<'_, Legacy> {
        self.legacy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Legacy {
    fn update(&mut self, msix: bool) {
        if let Some(line) = &self.line {
            line.set_level(self.isr != 0 && !msix && !self.disabled);
        }
    }
}

fn slot(queue: Option<u16>) -> usize {
    queue.map_or(0, |queue| usize::from(queue).saturating_add(1))
}
