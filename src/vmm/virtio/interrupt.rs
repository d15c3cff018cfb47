//! How a virtio device interrupts its driver over PCI (virtio 1.2, sections 4.1.4.5 and 4.1.5.1.2).
//!
//! With MSI-X on, each queue and the configuration have the vector that the driver gave them. With MSI-X off there is one
//! line and the ISR register says why it is high. Everything here may be called from any thread.

#![forbid(unsafe_code)]

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering},
};

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
    isr: u8,
}

impl VirtioInterrupt {
    /// Interrupts for `queues` queues: through `msix` once the guest has switched it on.
    pub fn new(msix: Arc<Msix>, queues: usize) -> Self {
        Self {
            msix,
            vectors: (0..=queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            legacy: Mutex::new(Legacy { line: None, isr: 0 }),
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
    pub fn vector(&self, queue: Option<u16>) -> u16 {
        self.vectors.get(slot(queue)).map_or(NO_VECTOR, |vector| vector.load(Ordering::Acquire))
    }

    /// The driver chooses a vector; one that does not exist reads back as [`NO_VECTOR`].
    pub fn set_vector(&self, queue: Option<u16>, vector: u16) {
        if let Some(slot) = self.vectors.get(slot(queue)) {
            slot.store(if vector < self.msix.vectors() { vector } else { NO_VECTOR }, Ordering::Release);
        }
    }

    /// The driver reads the ISR register, which clears it and lowers the line.
    pub fn take_isr(&self) -> u8 {
        let mut legacy = self.legacy();
        let isr = std::mem::take(&mut legacy.isr);
        legacy.update(false);
        isr
    }

    /// The ISR register without a side effect.
    pub fn isr(&self) -> u8 {
        self.legacy().isr
    }

    /// Brings back saved registers.
    pub fn set_registers(&self, isr: u8, generation: u8, failed: bool) {
        self.generation.store(generation, Ordering::Release);
        self.failed.store(failed, Ordering::Release);
        let mut legacy = self.legacy();
        legacy.isr = isr & (ISR_QUEUE | ISR_CONFIGURATION);
        legacy.update(self.msix.enabled());
    }

    /// The driver has switched MSI-X on or off.
    pub fn msix_switched(&self) {
        self.legacy().update(self.msix.enabled());
    }

    /// Forgets vectors, pending interrupts and the failure. The generation goes on.
    pub fn reset(&self) {
        for vector in &self.vectors {
            vector.store(NO_VECTOR, Ordering::Release);
        }
        self.set_registers(0, self.generation(), false);
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
            line.set_level(self.isr != 0 && !msix);
        }
    }
}

fn slot(queue: Option<u16>) -> usize {
    queue.map_or(0, |queue| usize::from(queue).saturating_add(1))
}
