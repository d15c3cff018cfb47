//! The DSDT: the devices that an operating system cannot find by itself, and how PCI interrupts are wired.

use acpi_tables::{
    Aml,
    aml::{
        AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Name, Package, PackageBuilder, Path,
        ResourceTemplate, Scope, ZERO,
    },
    sdt::Sdt,
};

use super::{
    AcpiConfig, S5_SLEEP_TYPE,
    tables::{HEADER, OEM_ID, OEM_TABLE_ID},
};
use crate::vmm::pci::{PCI_SLOTS, slot_interrupt};

/// Builds the table.
pub fn build(config: &AcpiConfig) -> Sdt {
    let mut aml = Vec::new();
    Scope::new("_SB_".into(), vec![&Processors(&config.apic_ids), &HostBridge(config)]).to_aml_bytes(&mut aml);
    Name::new("_S5_".into(), &Package::new(vec![&S5_SLEEP_TYPE, &S5_SLEEP_TYPE, &ZERO, &ZERO])).to_aml_bytes(&mut aml);

    let mut dsdt = Sdt::new(*b"DSDT", HEADER, 2, OEM_ID, OEM_TABLE_ID, 1);
    dsdt.append_slice(&aml);
    dsdt
}

/// One processor device a vCPU.
struct Processors<'a>(&'a [u32]);

impl Aml for Processors<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        for uid in 0..self.0.len() as u32 {
            let hid = Name::new("_HID".into(), &"ACPI0007");
            let unique = Name::new("_UID".into(), &uid);
            Device::new(Path::new(&format!("C{uid:03X}")), vec![&hid, &unique]).to_aml_bytes(sink);
        }
    }
}

/// The host bridge with its windows, its interrupt wiring and the ISA devices behind it.
struct HostBridge<'a>(&'a AcpiConfig);

impl Aml for HostBridge<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let hid = Name::new("_HID".into(), &EISAName::new("PNP0A03"));
        let address = Name::new("_ADR".into(), &ZERO);
        let unique = Name::new("_UID".into(), &ZERO);

        let buses = AddressSpace::new_bus_number(0u16, 0);
        let configuration = IO::new(0xcf8, 0xcf8, 1, 8);
        let low_ports = AddressSpace::new_io(0u16, 0xcf7, None);
        let high_ports = AddressSpace::new_io(0xd00u16, 0xffff, None);
        let video = memory(0xa_0000, 0xc_0000);
        let window = memory(self.0.pci_window.start as u32, self.0.pci_window.end as u32);
        let window_64 = self.0.pci_window_64.as_ref().map(|window| {
            AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, true, window.start, window.end - 1, None)
        });
        let mut resources: Vec<&dyn Aml> = vec![&buses, &configuration, &low_ports, &high_ports, &video, &window];
        resources.extend(window_64.as_ref().map(|window| window as &dyn Aml));
        let resources = Name::new("_CRS".into(), &ResourceTemplate::new(resources));

        let routing = Name::new("_PRT".into(), &interrupt_routing());
        let isa = IsaBridge;
        Device::new("PCI0".into(), vec![&hid, &address, &unique, &resources, &routing, &isa]).to_aml_bytes(sink);
    }
}

fn memory(start: u32, end: u32) -> AddressSpace<u32> {
    AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, start, end - 1, None)
}

/// `_PRT` with fixed interrupts: no link devices, nothing to evaluate. Each entry is (address, pin, source 0, GSI).
fn interrupt_routing() -> PackageBuilder {
    let mut routing = PackageBuilder::new();
    for slot in 0..PCI_SLOTS {
        for pin in 0..4u8 {
            let address = u32::from(slot) << 16 | 0xffff;
            let gsi = slot_interrupt(slot, pin);
            routing.add_element(&Package::new(vec![&address, &pin, &ZERO, &gsi]));
        }
    }
    routing
}

/// The PIIX3's ISA devices.
struct IsaBridge;

impl Aml for IsaBridge {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let address = Name::new("_ADR".into(), &0x0001_0000u32);
        let clock = IsaDevice { name: "RTC_", hid: "PNP0B00", ports: &[(0x70, 2)], irq: 8, uid: None };
        let keyboard = IsaDevice { name: "KBD_", hid: "PNP0303", ports: &[(0x60, 1), (0x64, 1)], irq: 1, uid: None };
        let mouse = IsaDevice { name: "MOU_", hid: "PNP0F13", ports: &[], irq: 12, uid: None };
        let serial = IsaDevice { name: "COM1", hid: "PNP0501", ports: &[(0x3f8, 8)], irq: 4, uid: Some(1) };
        Device::new("ISA_".into(), vec![&address, &clock, &keyboard, &mouse, &serial]).to_aml_bytes(sink);
    }
}

/// An ISA device: its ports (first port and how many) and its interrupt.
struct IsaDevice {
    name: &'static str,
    hid: &'static str,
    ports: &'static [(u16, u8)],
    irq: u8,
    uid: Option<u8>,
}

impl Aml for IsaDevice {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let hid = Name::new("_HID".into(), &EISAName::new(self.hid));
        let uid = self.uid.map(|uid| Name::new("_UID".into(), &uid));
        let present = Name::new("_STA".into(), &0x0fu8);
        let ports: Vec<_> = self.ports.iter().map(|&(first, count)| IO::new(first, first, 1, count)).collect();
        let irq = Interrupt::new(true, true, false, false, u32::from(self.irq));
        let mut resources: Vec<&dyn Aml> = ports.iter().map(|port| port as &dyn Aml).collect();
        resources.push(&irq);
        let resources = Name::new("_CRS".into(), &ResourceTemplate::new(resources));
        let mut children: Vec<&dyn Aml> = vec![&hid, &present, &resources];
        children.extend(uid.as_ref().map(|uid| uid as &dyn Aml));
        Device::new(self.name.into(), children).to_aml_bytes(sink);
    }
}
