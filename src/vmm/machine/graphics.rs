//! The machine's graphics card: what is plugged into the buses for it, and the screen it gives.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::{MachineError, virtio::VirtioWiring};
use crate::{
    screen::{Screen, heads::Heads},
    vmm::{
        bus::Bus,
        device::SharedDevice,
        display::vga::{
            BAR_VIDEO_MEMORY, DISPI_PORTS, REGION_DISPI_PORTS, REGION_VGA_PORTS, REGION_WINDOW, VGA_PORTS, Vga, WINDOW,
        },
        kvm::{KvmVideoMemory, MemorySlots},
        pci::{PciAddress, bus::PciBus},
        virtio::gpu::VirtioGpu,
    },
};

/// Where the graphics card is.
const ADDRESS: PciAddress = PciAddress::new(2, 0);

/// A kind of graphics card. All are a VGA with Bochs VBE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Graphics {
    /// The standard VGA: every system can drive it.
    #[default]
    Vga,
    /// virtio-gpu: for systems with a driver for it the size follows the viewer's window. A VGA for all others.
    Virtio,
}

impl Graphics {
    /// The name under which SeaBIOS looks for the card's ROM: its PCI vendor and device ID.
    pub fn rom_name(self) -> &'static str {
        match self {
            Self::Vga => "pci1234,1111.rom",
            Self::Virtio => "pci1af4,1050.rom",
        }
    }
}

/// A graphics card that is plugged in.
pub struct Card {
    /// Its screen.
    pub screen: Arc<dyn Screen>,
    /// What of it is no PCI function.
    pub devices: Vec<SharedDevice>,
    /// Its memory.
    pub video_memory: Arc<KvmVideoMemory>,
}

/// Plugs a graphics card in, with `video_memory` bytes of its own.
pub fn plug(
    kind: Graphics,
    video_memory: u32,
    slots: &Arc<MemorySlots>,
    wiring: &VirtioWiring,
    pci: &PciBus,
    [ports, memory]: [&Bus; 2],
) -> Result<Card, MachineError> {
    let size = u64::from(video_memory);
    let video_memory = KvmVideoMemory::new(slots, video_memory).map_err(|source| MachineError::Memory {
        what: "video memory",
        len: size,
        source,
    })?;
    let video_memory = Arc::new(video_memory);
    let (vga, vga_screen) = Vga::new(video_memory.clone());
    ports.insert(VGA_PORTS.start, VGA_PORTS.end - VGA_PORTS.start, vga.clone(), REGION_VGA_PORTS)?;
    ports.insert(DISPI_PORTS.start, DISPI_PORTS.end - DISPI_PORTS.start, vga.clone(), REGION_DISPI_PORTS)?;
    memory.insert(WINDOW.start, WINDOW.end - WINDOW.start, vga.clone(), REGION_WINDOW)?;
    let bar_memory = vec![(BAR_VIDEO_MEMORY, video_memory.clone() as _)];
    match kind {
        Graphics::Vga => {
            pci.plug(ADDRESS, vga, bar_memory)?;
            Ok(Card { screen: vga_screen, devices: Vec::new(), video_memory })
        }
        Graphics::Virtio => {
            let (gpu, gpu_screen) = VirtioGpu::new("virtio-gpu0", wiring.memory.clone());
            let function = wiring.vga_function(Box::new(gpu), size)?;
            pci.plug(ADDRESS, Arc::new(Mutex::new(function)), bar_memory)?;
            // As long as no driver shows anything, the screen is the VGA's.
            let screen = Heads::new(vec![gpu_screen, vga_screen]);
            Ok(Card { screen: Arc::new(screen), devices: vec![vga], video_memory })
        }
    }
}
