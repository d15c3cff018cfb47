//! What a virtio function shows in its configuration space: identity, BARs and the capabilities that say where its structures
//! are (virtio 1.2, sections 4.1.2 and 4.1.4).

#![forbid(unsafe_code)]

use super::{AREA, COMMON, DEVICE, ISR, NOTIFY, NOTIFY_STEP, REGISTERS_SIZE};
use crate::vmm::{
    pci::{
        configuration::{BarKind, ConfigSpace, InterruptPin},
        msix::Msix,
    },
    virtio::device::DeviceType,
};

const VENDOR: u16 = 0x1af4;
/// Device IDs of modern devices: this and the type (section 4.1.2).
const DEVICE_ID_BASE: u16 = 0x1040;
/// What QEMU's devices have as well.
const SUBSYSTEM: u16 = 0x1100;
const REVISION: u8 = 1;

const MSIX_SMALLEST: u64 = 0x1000;

const CAPABILITY_VENDOR: u8 = 0x09;
const CAPABILITY_MSIX: u8 = 0x11;
/// The kinds of structures that vendor capabilities point to (section 4.1.4).
const STRUCTURE_COMMON: u8 = 1;
const STRUCTURE_NOTIFY: u8 = 2;
const STRUCTURE_ISR: u8 = 3;
const STRUCTURE_DEVICE: u8 = 4;
const STRUCTURE_WINDOW: u8 = 5;
const MSIX_WRITABLE: u16 = 0xc000;

/// Class and sub-class of a graphics card that firmware and systems without a driver know.
const CLASS_VGA: (u8, u8) = (0x03, 0x00);
const VIDEO_MEMORY: usize = 0;

/// What is behind which BAR.
#[derive(Clone, Copy)]
pub struct Bars {
    /// The registers.
    pub registers: usize,
    /// MSI-X.
    pub msix: usize,
    /// The size of the video memory in BAR 0, which makes the function a VGA.
    video_memory: Option<u64>,
}

impl Bars {
    /// Those of a device that is nothing else.
    pub const PLAIN: Self = Self { registers: 0, msix: 2, video_memory: None };

    /// Those of a GPU that is a VGA too, which firmware knows by its video memory in BAR 0.
    pub fn with_video_memory(size: u64) -> Self {
        Self { registers: 2, msix: 4, video_memory: Some(size) }
    }
}

/// The configuration space of a device with its capabilities, and where those for MSI-X and for the window are.
pub fn configuration(device: DeviceType, bars: Bars, msix: &Msix) -> (ConfigSpace, u16, u16) {
    let (base, sub) = match device {
        DeviceType::Network => (0x02, 0x00),
        DeviceType::Block => (0x01, 0x00),
        DeviceType::Console | DeviceType::Vsock => (0x07, 0x80),
        DeviceType::Entropy | DeviceType::Balloon => (0x00, 0xff),
        DeviceType::Gpu if bars.video_memory.is_some() => CLASS_VGA,
        DeviceType::Gpu => (0x03, 0x80),
        DeviceType::Input => (0x09, 0x80),
    };
    let mut config = ConfigSpace::builder(VENDOR, DEVICE_ID_BASE + device as u16)
        .revision(REVISION)
        .class(base, sub, 0)
        .subsystem(VENDOR, SUBSYSTEM)
        .interrupt_pin(InterruptPin::A)
        .build();
    if let Some(size) = bars.video_memory {
        config.add_bar(VIDEO_MEMORY, BarKind::Memory32 { prefetchable: true }, size.next_power_of_two());
    }
    config.add_bar(bars.registers, BarKind::Memory64 { prefetchable: false }, REGISTERS_SIZE);
    let table = msix.table_size();
    let msix_size = (table + msix.pending_size()).next_power_of_two().max(MSIX_SMALLEST);
    config.add_bar(bars.msix, BarKind::Memory32 { prefetchable: false }, msix_size);

    let control = (msix.vectors() - 1).to_le_bytes();
    let table_at = (bars.msix as u32).to_le_bytes();
    let pending_at = (table as u32 | bars.msix as u32).to_le_bytes();
    let body = [&control[..], &table_at, &pending_at].concat();
    let msix_capability = config.add_capability(CAPABILITY_MSIX, &body, &MSIX_WRITABLE.to_le_bytes());

    for (kind, offset) in [(STRUCTURE_COMMON, COMMON), (STRUCTURE_ISR, ISR), (STRUCTURE_DEVICE, DEVICE)] {
        config.add_capability(CAPABILITY_VENDOR, &capability(kind, bars.registers as u8, offset, AREA, &[]), &[]);
    }
    let step = (NOTIFY_STEP as u32).to_le_bytes();
    config.add_capability(
        CAPABILITY_VENDOR,
        &capability(STRUCTURE_NOTIFY, bars.registers as u8, NOTIFY, AREA, &step),
        &[],
    );
    let window = capability(STRUCTURE_WINDOW, 0, 0, 0, &[0; 4]);
    let writable = [&[0, 0, 0xff, 0, 0, 0][..], &[0xff; 12]].concat();
    let window_capability = config.add_capability(CAPABILITY_VENDOR, &window, &writable);
    (config, msix_capability, window_capability)
}

/// What follows a capability's ID and pointer: its length, then its fields (struct virtio_pci_cap).
fn capability(kind: u8, bar: u8, offset: u64, length: u64, rest: &[u8]) -> Vec<u8> {
    let size = 16 + rest.len() as u8;
    let (offset, length) = ((offset as u32).to_le_bytes(), (length as u32).to_le_bytes());
    [&[size, kind, bar, 0, 0, 0][..], &offset, &length, rest].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vmm::interrupt::testing::FakeInterrupts;

    #[test]
    fn a_gpu_with_video_memory_is_a_vga() {
        let msix = Msix::new(Arc::new(FakeInterrupts::default()), 3);

        let (plain, ..) = configuration(DeviceType::Gpu, Bars::PLAIN, &msix);
        let (vga, ..) = configuration(DeviceType::Gpu, Bars::with_video_memory(16 << 20), &msix);

        assert_eq!([plain.u32(0), vga.u32(0)], [0x1050_1af4; 2]);
        assert_eq!([plain.u32(8) >> 8, vga.u32(8) >> 8], [0x03_80_00, 0x03_00_00]);
        assert_eq!(vga.bar(0).map(|bar| bar.size), Some(16 << 20));
        assert_eq!(vga.bar(2).map(|bar| bar.size), Some(REGISTERS_SIZE));
        assert!(vga.bar(4).is_some());
    }
}
