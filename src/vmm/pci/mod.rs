//! PCI: configuration space, BARs, the host bridge and the PIIX functions.

pub mod configuration;

use crate::vmm::{device::Device, interrupt::Interrupt};

use configuration::ConfigSpace;

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
