//! What a guest finds at power-on: firmware and its configuration.

pub mod acpi;
mod byte_loops;
pub mod firmware;
pub mod fw_cfg;
pub mod linux;
pub mod smbios;
