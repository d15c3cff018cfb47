//! What a guest finds at power-on: firmware and its configuration.

pub mod acpi;
mod byte_loops;
pub mod firmware;
pub mod fw_cfg;
pub mod linux;
pub mod mp;
pub mod smbios;

/// What guests are told of the machine by tables, whichever way they begin.
pub struct Tables {
    /// ACPI.
    pub acpi: acpi::AcpiTables,
    /// SMBIOS.
    pub smbios: smbios::SmbiosConfig,
    /// The MultiProcessor configuration table. SeaBIOS makes its own.
    pub mp: Vec<u8>,
}
