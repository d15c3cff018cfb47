//! PCI: configuration space, BARs, the host bridge and the PIIX functions.

pub mod bus;
pub mod configuration;
pub mod host_bridge;
pub mod msix;
pub mod piix3;
pub mod piix3_ide;
pub mod piix4;

use std::fmt;

use crate::vmm::{device::Device, interrupt::Interrupt};

use configuration::ConfigSpace;

/// Where a function is on the bus: its slot and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    slot: u8,
    function: u8,
}

impl PciAddress {
    /// Function `function` (0 to 7) in slot `slot` (0 to 31).
    ///
    /// # Panics
    /// When there is no such place: a mistake of the program, not of a guest.
    pub const fn new(slot: u8, function: u8) -> Self {
        assert!(slot < PCI_SLOTS && function < 8);
        Self { slot, function }
    }

    /// The slot.
    pub fn slot(self) -> u8 {
        self.slot
    }

    /// The function's number in its slot.
    pub fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.slot, self.function)
    }
}

/// A PCI function. Regions 0 to 5 of the [`Device`] are its BARs 0 to 5. Its reset resets its configuration space too.
pub trait PciFunction: Device {
    /// The configuration space.
    fn config(&self) -> &ConfigSpace;

    /// The configuration space.
    fn config_mut(&mut self) -> &mut ConfigSpace;

    /// The wire of the function's interrupt pin, given when the function is plugged in.
    fn connect_interrupt(&mut self, _line: Interrupt) {}

    /// The guest is about to read `len` bytes of configuration at `offset`: for registers whose value is made on demand.
    fn config_reading(&mut self, _offset: u16, _len: u8) {}

    /// The guest has written `len` bytes of configuration at `offset`; the space holds them already.
    fn config_written(&mut self, _offset: u16, _len: u8) {}

    /// BAR `bar` now answers at `address`, or no longer does.
    fn bar_mapped(&mut self, _bar: usize, _address: Option<u64>) {}
}

/// Slots of the bus.
pub const PCI_SLOTS: u8 = 32;

/// The interrupts (GSI and ISA number) of PIRQA to PIRQD, as firmware programs them.
pub const PIRQ_INTERRUPTS: [u8; 4] = [10, 10, 11, 11];

/// The interrupt of pin `pin` (0 is INTA) of the function in slot `slot`, as the PIIX3 wires it.
pub fn slot_interrupt(slot: u8, pin: u8) -> u8 {
    PIRQ_INTERRUPTS[usize::from(slot.wrapping_add(pin).wrapping_sub(1) & 3)]
}

/// Memory that the guest sees directly where a BAR is, instead of trapping into the function.
pub trait BarMemory: Send + Sync {
    /// Maps it at guest physical `address`, or nowhere.
    fn map(&self, address: Option<u64>) -> std::io::Result<()>;
}
