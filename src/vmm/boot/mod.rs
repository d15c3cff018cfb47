//! What a guest finds at power-on: firmware and its configuration.

pub mod acpi;
pub mod linux;
pub mod smbios;
