//! MSI-X: the vector table, the pending bits and the capability's control word of one PCI function (PCI Local Bus
//! Specification 3.0, section 6.8.2).
//!
//! The registers are written by vCPUs; [`Msix::trigger`] is called by the device's threads. A vector that is masked
//! remembers that it was triggered and delivers when it is unmasked.

#![forbid(unsafe_code)]

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::vmm::{
    device::StateError,
    interrupt::{MsiAllocator, MsiMessage, MsiVector},
};

/// Bytes of one table entry.
pub const ENTRY_SIZE: u64 = 16;

/// The largest number of vectors that a table can have.
pub const MAX_VECTORS: u16 = 2048;

const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;
const ENTRY_MASKED: u32 = 1;

/// The MSI-X registers of a function.
pub struct Msix {
    allocator: Arc<dyn MsiAllocator>,
    /// The writable bits of the capability's control word.
    control: AtomicU16,
    vectors: Box<[Mutex<Vector>]>,
}

#[derive(Default)]
struct Vector {
    entry: MsixEntry,
    /// Made when the guest first unmasks the vector: most vectors of most guests are never used.
    irq: Option<Arc<dyn MsiVector>>,
    /// Whether `irq` leads anywhere now. What is triggered without a route would be lost, so it becomes pending.
    routed: bool,
}

/// One entry of the table with its pending bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixEntry {
    address: u64,
    data: u32,
    control: u32,
    pending: bool,
}

impl Default for MsixEntry {
    fn default() -> Self {
        Self { address: 0, data: 0, control: ENTRY_MASKED, pending: false }
    }
}

impl MsixEntry {
    fn message(&self) -> Option<MsiMessage> {
        (self.control & ENTRY_MASKED == 0).then_some(MsiMessage { address: self.address, data: self.data })
    }
}

/// The saved state of [`Msix`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    control: u16,
    entries: Vec<MsixEntry>,
}

impl Msix {
    /// A table of `vectors` vectors (1 to [`MAX_VECTORS`]), all masked, MSI-X disabled.
    pub fn new(allocator: Arc<dyn MsiAllocator>, vectors: u16) -> Self {
        let vectors = (0..vectors.clamp(1, MAX_VECTORS)).map(|_| Mutex::default()).collect();
        Self { allocator, control: AtomicU16::new(0), vectors }
    }

    /// The number of vectors.
    pub fn vectors(&self) -> u16 {
        self.vectors.len() as u16
    }

    /// The bytes of the table.
    pub fn table_size(&self) -> u64 {
        self.vectors.len() as u64 * ENTRY_SIZE
    }

    /// The bytes of the pending bit array.
    pub fn pending_size(&self) -> u64 {
        self.vectors.len().div_ceil(64) as u64 * 8
    }

    /// Whether the guest has switched MSI-X on (and thereby INTx off).
    pub fn enabled(&self) -> bool {
        self.control.load(Ordering::Acquire) & ENABLE != 0
    }

    /// The capability's control word as the guest reads it.
    pub fn control(&self) -> u16 {
        self.control.load(Ordering::Acquire) | (self.vectors() - 1)
    }

    /// The guest writes the capability's control word.
    pub fn set_control(&self, value: u16) {
        let new = value & (ENABLE | FUNCTION_MASK);
        if self.control.swap(new, Ordering::AcqRel) != new {
            for vector in &self.vectors {
                self.update(&mut lock(vector));
            }
        }
    }

    /// Reads the table at `offset` (bytes).
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let (Some(vector), within) = (self.vector(offset / ENTRY_SIZE), offset % ENTRY_SIZE) else { return };
        let entry = &lock(vector).entry;
        let mut bytes = [0; ENTRY_SIZE as usize];
        bytes[..8].copy_from_slice(&entry.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.data.to_le_bytes());
        bytes[12..].copy_from_slice(&entry.control.to_le_bytes());
        for (to, from) in data.iter_mut().zip(bytes.iter().skip(within as usize)) {
            *to = *from;
        }
    }

    /// Writes the table at `offset` (bytes). Only aligned accesses of 4 and 8 bytes are defined; others are ignored.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        if !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return;
        }
        let Some(vector) = self.vector(offset / ENTRY_SIZE) else { return };
        let mut vector = lock(vector);
        for (word, bytes) in (offset % ENTRY_SIZE / 4..).zip(data.chunks_exact(4)) {
            let value = bytes.try_into().map(u32::from_le_bytes).unwrap_or_default();
            let entry = &mut vector.entry;
            match word {
                0 => entry.address = entry.address & !0xffff_ffff | u64::from(value & !3),
                1 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
                2 => entry.data = value,
                _ => entry.control = value & ENTRY_MASKED,
            }
        }
        self.update(&mut vector);
    }

    /// Reads the pending bit array at `offset` (bytes). The guest cannot write it.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (step, value) in (0..).zip(data) {
            *value = (0..8u64).fold(0, |bits, bit| {
                let index = offset.saturating_add(step).saturating_mul(8).saturating_add(bit);
                let pending = self.vector(index).is_some_and(|vector| lock(vector).entry.pending);
                bits | u8::from(pending) << bit
            });
        }
    }

    /// Delivers vector `index`, now or when it is unmasked. Nothing happens while MSI-X is off or without such a vector.
    pub fn trigger(&self, index: u16) {
        let Some(vector) = self.vector(index.into()) else { return };
        // Held while the irqfd is written: once a guest has masked the vector nothing more may come, and nothing that was
        // triggered may be lost on the way.
        let mut vector = lock(vector);
        match &vector.irq {
            Some(irq) if vector.routed => irq.trigger(),
            _ => vector.entry.pending |= self.enabled(),
        }
    }

    /// As after power-on.
    pub fn reset(&self) {
        self.control.store(0, Ordering::Release);
        for vector in &self.vectors {
            let mut vector = lock(vector);
            vector.entry = MsixEntry::default();
            self.update(&mut vector);
        }
    }

    /// The volatile state.
    pub fn save(&self) -> MsixState {
        MsixState {
            control: self.control.load(Ordering::Acquire),
            entries: self.vectors.iter().map(|vector| lock(vector).entry.clone()).collect(),
        }
    }

    /// Takes over a saved state of the device named `label`.
    pub fn restore(&self, label: &str, state: MsixState) -> Result<(), StateError> {
        if state.entries.len() != self.vectors.len() {
            let reason = format!("{} MSI-X vectors instead of {}", state.entries.len(), self.vectors.len());
            return Err(StateError::damaged(label, reason));
        }
        if state.control & !(ENABLE | FUNCTION_MASK) != 0
            || state.entries.iter().any(|entry| entry.address & 3 != 0 || entry.control & !ENTRY_MASKED != 0)
        {
            return Err(StateError::damaged(label, "reserved bits are set in the MSI-X registers"));
        }
        self.control.store(state.control, Ordering::Release);
        for (vector, entry) in self.vectors.iter().zip(state.entries) {
            let mut vector = lock(vector);
            vector.entry = entry;
            self.update(&mut vector);
        }
        Ok(())
    }

    fn vector(&self, index: u64) -> Option<&Mutex<Vector>> {
        self.vectors.get(usize::try_from(index).ok()?)
    }

    /// Brings the vector's route in line with its registers and delivers what was pending.
    fn update(&self, vector: &mut Vector) {
        let control = self.control.load(Ordering::Acquire);
        let message = if control & (ENABLE | FUNCTION_MASK) == ENABLE { vector.entry.message() } else { None };
        if let Err(error) = self.route(vector, message) {
            tracing::error!(%error, "an MSI-X vector could not be routed. The guest will miss its interrupts");
        }
        if vector.routed
            && std::mem::take(&mut vector.entry.pending)
            && let Some(irq) = &vector.irq
        {
            irq.trigger();
        }
    }

    fn route(&self, vector: &mut Vector, message: Option<MsiMessage>) -> io::Result<()> {
        vector.routed = false;
        let irq = match (&vector.irq, message) {
            (Some(irq), _) => irq,
            (None, Some(_)) => vector.irq.insert(self.allocator.allocate()?),
            (None, None) => return Ok(()),
        };
        irq.route(message)?;
        vector.routed = message.is_some();
        Ok(())
    }
}

/// A vector's registers are consistent whenever the lock is free, so a panic elsewhere does not spoil them.
fn lock(vector: &Mutex<Vector>) -> MutexGuard<'_, Vector> {
    vector.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::interrupt::testing::FakeInterrupts;

    fn table(vectors: u16) -> (Arc<FakeInterrupts>, Msix) {
        let interrupts = Arc::new(FakeInterrupts::default());
        (interrupts.clone(), Msix::new(interrupts, vectors))
    }

    fn program(msix: &Msix, vector: u64, address: u64, data: u32, masked: u32) {
        msix.write_table(vector * 16, &address.to_le_bytes());
        msix.write_table(vector * 16 + 8, &data.to_le_bytes());
        msix.write_table(vector * 16 + 12, &masked.to_le_bytes());
    }

    fn delivered(interrupts: &FakeInterrupts, vector: usize) -> u64 {
        interrupts.vectors.lock().unwrap()[vector].event().read().unwrap_or(0)
    }

    #[test]
    fn vectors_start_masked_and_disabled() {
        let (interrupts, msix) = table(3);

        let mut control = [0; 4];
        msix.read_table(16 + 12, &mut control);
        msix.trigger(1);

        assert_eq!(u32::from_le_bytes(control), 1);
        assert_eq!(msix.control(), 2);
        assert!(interrupts.vectors.lock().unwrap().is_empty());
        assert!(!msix.save().entries[1].pending);
    }

    #[test]
    fn an_unmasked_vector_is_delivered_at_once() {
        let (interrupts, msix) = table(2);
        msix.set_control(ENABLE);
        program(&msix, 1, 0xfee0_1000, 0x4021, 0);

        msix.trigger(1);

        assert_eq!(delivered(&interrupts, 0), 1);
        let message = *interrupts.vectors.lock().unwrap()[0].message.lock().unwrap();
        assert_eq!(message, Some(MsiMessage { address: 0xfee0_1000, data: 0x4021 }));
    }

    #[test]
    fn a_masked_vector_is_pending_until_it_is_unmasked() {
        let (interrupts, msix) = table(70);
        msix.set_control(ENABLE);
        program(&msix, 65, 0xfee0_0000, 1, 0);
        msix.write_table(65 * 16 + 12, &1u32.to_le_bytes());

        msix.trigger(65);
        let mut pending = [0; 8];
        msix.read_pending(8, &mut pending);
        let while_masked = delivered(&interrupts, 0);
        msix.write_table(65 * 16 + 12, &0u32.to_le_bytes());

        assert_eq!(u64::from_le_bytes(pending), 2);
        assert_eq!(while_masked, 0);
        assert_eq!(delivered(&interrupts, 0), 1);
        msix.read_pending(8, &mut pending);
        assert_eq!(u64::from_le_bytes(pending), 0);
    }

    #[test]
    fn the_function_mask_holds_every_vector_back() {
        let (interrupts, msix) = table(1);
        msix.set_control(ENABLE);
        program(&msix, 0, 0xfee0_0000, 1, 0);
        msix.set_control(ENABLE | FUNCTION_MASK);

        msix.trigger(0);
        let while_masked = delivered(&interrupts, 0);
        msix.set_control(ENABLE);

        assert_eq!(while_masked, 0);
        assert_eq!(delivered(&interrupts, 0), 1);
    }

    #[test]
    fn accesses_outside_the_table_or_of_odd_widths_change_nothing() {
        let (_, msix) = table(2);
        let before = msix.save();

        msix.write_table(32, &[0xff; 8]);
        msix.write_table(u64::MAX - 3, &[0xff; 4]);
        msix.write_table(2, &[0xff; 4]);
        msix.write_table(0, &[0xff; 2]);
        msix.write_table(0, &[]);
        let mut data = [0xaa; 8];
        msix.read_table(u64::MAX, &mut data);
        msix.read_pending(u64::MAX, &mut data);
        msix.trigger(2);

        assert_eq!(msix.save(), before);
        assert_eq!(data, [0; 8]);
    }

    #[test]
    fn a_restored_table_is_equal_and_delivers_what_was_pending() {
        let (_, msix) = table(2);
        msix.set_control(ENABLE | FUNCTION_MASK);
        program(&msix, 0, 0xfee0_0000, 7, 0);
        msix.trigger(0);
        let state = msix.save();

        let (interrupts, restored) = table(2);
        restored.restore("test", state.clone()).unwrap();
        let again = restored.save();
        restored.set_control(ENABLE);

        assert_eq!(again, state);
        assert_eq!(delivered(&interrupts, 0), 1);
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let (_, msix) = table(2);
        let mut short = msix.save();
        short.entries.pop();
        let mut odd = msix.save();
        odd.entries[0].address = 1;

        assert!(msix.restore("test", short).is_err());
        assert!(msix.restore("test", odd).is_err());
    }

    #[test]
    fn reset_is_idempotent_and_forgets_the_routes() {
        let (interrupts, msix) = table(1);
        let fresh = msix.save();
        msix.set_control(ENABLE);
        program(&msix, 0, 0xfee0_0000, 7, 0);

        msix.reset();
        msix.reset();

        assert_eq!(msix.save(), fresh);
        assert_eq!(*interrupts.vectors.lock().unwrap()[0].message.lock().unwrap(), None);
    }
}
