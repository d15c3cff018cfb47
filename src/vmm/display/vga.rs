//! The graphics card: PCI function 1234:1111 with the VGA's legacy ports and window, the Bochs display interface, video memory
//! (BAR 0) and a page of registers (BAR 2). QEMU's `docs/specs/standard-vga.rst` describes the same card.

#![forbid(unsafe_code)]

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vm_memory::{Bytes, VolatileSlice};

use super::{
    damage::DirtyPages,
    edid,
    mode::Picture,
    registers::Registers,
    screen::VgaScreen,
    vbe::{Depth, Dispi, Effect},
    video_memory::VideoMemory,
    window::{self, Extension, Latches},
};
use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    pci::{
        PciFunction,
        configuration::{BarKind, ConfigSpace, ConfigState},
    },
};

/// BAR 0: the video memory, mapped into the guest.
pub const BAR_VIDEO_MEMORY: usize = 0;
/// BAR 2: a page with the registers and the EDID.
pub const BAR_REGISTERS: usize = 2;
/// The region of the VGA's ports, [`VGA_PORTS`].
pub const REGION_VGA_PORTS: usize = 6;
/// The region of the Bochs display interface's ports, [`DISPI_PORTS`].
pub const REGION_DISPI_PORTS: usize = 7;
/// The region of the window into video memory, [`WINDOW`].
pub const REGION_WINDOW: usize = 8;

/// The VGA's ports.
pub const VGA_PORTS: Range<u64> = 0x3b0..0x3e0;
/// The ports of the Bochs display interface: index (16 bits), data (16 bits, at 0x1CF and at 0x1D0).
pub const DISPI_PORTS: Range<u64> = 0x1ce..0x1d2;
/// The window into video memory, in memory addresses.
pub const WINDOW: Range<u64> = 0xa0000..0xc0000;

const LABEL: &str = "vga";
const STATE_VERSION: u32 = 1;
const BAR_REGISTERS_SIZE: u64 = 4096;

/// What is where in BAR 2.
const MMIO_VGA_PORTS: Range<u64> = 0x400..0x420;
const MMIO_DISPI: Range<u64> = 0x500..0x516;
const MMIO_EXTENSION: Range<u64> = 0x600..0x608;
/// The port that offset 0x400 stands for.
const MMIO_FIRST_PORT: u16 = 0x3c0;
const LITTLE_ENDIAN: u32 = 0x1e1e_1e1e;
const BIG_ENDIAN: u32 = 0xbebe_bebe;

/// The size the guest is told to prefer until somebody asks for another, in pixels.
const PREFERRED_SIZE: (u32, u32) = (1280, 800);

/// The graphics card.
pub struct Vga {
    // Fixed configuration and wiring
    memory: Arc<dyn VideoMemory>,
    // Volatile state
    config: ConfigSpace,
    registers: Registers,
    dispi: Dispi,
    latches: Latches,
    big_endian: bool,
    preferred_size: (u32, u32),
    /// Grows whenever registers change the picture, so that a look at an unchanged card is cheap.
    revision: u64,
    /// The pages that the card itself has written.
    dirty: DirtyPages,
}

#[derive(Serialize, Deserialize)]
struct State {
    config: ConfigState,
    registers: Registers,
    dispi: Dispi,
    latches: Latches,
    big_endian: bool,
}

impl Vga {
    /// A card with this video memory, and the screen it draws on.
    #[allow(clippy::new_ret_no_self, reason = "the card and its screen come in pairs")]
    pub fn new(memory: Arc<dyn VideoMemory>) -> (Arc<Mutex<Self>>, Arc<VgaScreen>) {
        let mut config =
            ConfigSpace::builder(0x1234, 0x1111).revision(2).class(3, 0, 0).subsystem(0x1af4, 0x1100).build();
        let size = (memory.size() as u64).next_power_of_two();
        config.add_bar(BAR_VIDEO_MEMORY, BarKind::Memory32 { prefetchable: true }, size);
        config.add_bar(BAR_REGISTERS, BarKind::Memory32 { prefetchable: false }, BAR_REGISTERS_SIZE);
        let card = Arc::new(Mutex::new(Self {
            memory: memory.clone(),
            config,
            registers: Registers::default(),
            dispi: Dispi::default(),
            latches: 0,
            big_endian: false,
            preferred_size: PREFERRED_SIZE,
            revision: 1,
            dirty: DirtyPages::default(),
        }));
        let screen = Arc::new(VgaScreen::new(card.clone(), memory));
        (card, screen)
    }

    /// Asks the guest for a screen of this size, in pixels. It learns it when it next reads the monitor's description.
    pub fn set_preferred_size(&mut self, width: u32, height: u32) {
        self.preferred_size = (width, height);
    }

    /// Grows whenever the registers change the picture.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// What the registers put on the screen.
    pub(super) fn picture(&self) -> Picture {
        Picture::decode(&self.registers, &self.dispi, self.big_endian, self.memory.size())
    }

    /// Moves the pages that the card has written since the last call to `pages`.
    pub(super) fn take_dirty(&mut self, pages: &mut DirtyPages) {
        self.dirty.drain_into(pages);
    }

    fn extension(&self) -> Extension {
        match self.dispi.mode(self.memory.size()) {
            None => Extension::None,
            Some(mode) if mode.depth == Depth::Planar4 => Extension::Planar(self.dispi.bank()),
            Some(_) => Extension::Linear(self.dispi.bank()),
        }
    }

    fn write_port(&mut self, port: u16, value: u8) {
        if self.registers.write(port, value) {
            self.revision += 1;
        }
    }

    fn write_dispi(&mut self, index: u16, value: u16) {
        match self.dispi.write(index, value, self.memory.size()) {
            Effect::None => {}
            Effect::Changed => self.revision += 1,
            Effect::Cleared(len) => {
                clear(&self.memory.slice(), len);
                self.dirty.mark_range(0..len);
                self.revision += 1;
            }
        }
    }

    fn read_registers(&mut self, offset: u64, data: &mut [u8]) {
        if offset < edid::EDID_SIZE as u64 {
            let block = edid::edid(self.preferred_size.0, self.preferred_size.1);
            for (byte, source) in data.iter_mut().zip(&block[offset as usize..]) {
                *byte = *source;
            }
        } else if MMIO_VGA_PORTS.contains(&offset) {
            for (port, byte) in (mmio_port(offset)..).zip(data) {
                *byte = self.registers.read(port);
            }
        } else if MMIO_DISPI.contains(&offset) {
            for (index, bytes) in (mmio_dispi(offset)..).zip(data.chunks_mut(2)) {
                let value = self.dispi.read(index, self.memory.size()).to_le_bytes();
                bytes.copy_from_slice(&value[..bytes.len()]);
            }
        } else if MMIO_EXTENSION.contains(&offset) {
            let endianness = if self.big_endian { BIG_ENDIAN } else { LITTLE_ENDIAN };
            let size = (MMIO_EXTENSION.end - MMIO_EXTENSION.start) as u32;
            let registers = (u64::from(endianness) << 32 | u64::from(size)).to_le_bytes();
            for (byte, source) in data.iter_mut().zip(&registers[(offset - MMIO_EXTENSION.start) as usize..]) {
                *byte = *source;
            }
        } else if offset < MMIO_VGA_PORTS.start {
            data.fill(0);
        }
    }

    fn write_registers(&mut self, offset: u64, data: &[u8]) {
        if MMIO_VGA_PORTS.contains(&offset) {
            for (port, &byte) in (mmio_port(offset)..).zip(data) {
                self.write_port(port, byte);
            }
        } else if MMIO_DISPI.contains(&offset) {
            for (index, bytes) in (mmio_dispi(offset)..).zip(data.chunks_exact(2)) {
                self.write_dispi(index, u16::from_le_bytes([bytes[0], bytes[1]]));
            }
        } else if offset == MMIO_EXTENSION.start + 4
            && let Ok(value) = data.try_into().map(u32::from_le_bytes)
            && [LITTLE_ENDIAN, BIG_ENDIAN].contains(&value)
        {
            self.big_endian = value == BIG_ENDIAN;
            self.revision += 1;
        }
    }
}

fn mmio_port(offset: u64) -> u16 {
    MMIO_FIRST_PORT + (offset - MMIO_VGA_PORTS.start) as u16
}

fn mmio_dispi(offset: u64) -> u16 {
    ((offset - MMIO_DISPI.start) / 2) as u16
}

/// Makes the first `len` bytes zero; pages nobody has touched stay untouched.
fn clear(memory: &VolatileSlice, len: usize) {
    let zeroes = [0; 4096];
    let mut page = [0; 4096];
    for offset in (0..len).step_by(page.len()) {
        let len = page.len().min(len - offset);
        let touched = memory.read_slice(&mut page[..len], offset).is_ok() && page[..len] != zeroes[..len];
        if touched && memory.write_slice(&zeroes[..len], offset).is_err() {
            return;
        }
    }
}

impl Device for Vga {
    fn label(&self) -> &str {
        LABEL
    }

    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        match region {
            REGION_WINDOW => {
                let extension = self.extension();
                let memory = self.memory.slice();
                for (offset, byte) in (offset..).zip(data) {
                    *byte = window::read(&self.registers, extension, &mut self.latches, &memory, offset);
                }
            }
            REGION_VGA_PORTS => {
                for (port, byte) in (VGA_PORTS.start.saturating_add(offset)..VGA_PORTS.end).zip(data) {
                    *byte = self.registers.read(port as u16);
                }
            }
            REGION_DISPI_PORTS if data.len() >= 2 => {
                let value = match offset {
                    0 => self.dispi.index(),
                    _ => self.dispi.read(self.dispi.index(), self.memory.size()),
                };
                data[..2].copy_from_slice(&value.to_le_bytes());
            }
            BAR_REGISTERS => self.read_registers(offset, data),
            // While the guest moves BAR 0 about, an access may still come here.
            BAR_VIDEO_MEMORY => {
                let _ = self.memory.slice().read(data, offset as usize);
            }
            _ => {}
        }
    }

    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        match region {
            REGION_WINDOW => {
                let extension = self.extension();
                let memory = self.memory.slice();
                for (offset, &value) in (offset..).zip(data) {
                    window::write(&self.registers, extension, self.latches, &memory, &mut self.dirty, offset, value);
                }
            }
            REGION_VGA_PORTS => {
                for (port, &value) in (VGA_PORTS.start.saturating_add(offset)..VGA_PORTS.end).zip(data) {
                    self.write_port(port as u16, value);
                }
            }
            REGION_DISPI_PORTS => {
                let Some(value) = data.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)) else { return };
                match offset {
                    0 => self.dispi.set_index(value),
                    _ => self.write_dispi(self.dispi.index(), value),
                }
            }
            BAR_REGISTERS => self.write_registers(offset, data),
            BAR_VIDEO_MEMORY => {
                let offset = offset as usize;
                if self.memory.slice().write_slice(data, offset).is_ok() {
                    self.dirty.mark_range(offset..offset + data.len());
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.config.reset();
        self.registers = Registers::default();
        self.dispi = Dispi::default();
        self.latches = 0;
        self.big_endian = false;
        self.revision += 1;
    }

    fn save(&self) -> Result<Value, StateError> {
        let state = State {
            config: self.config.save(),
            registers: self.registers.clone(),
            dispi: self.dispi.clone(),
            latches: self.latches,
            big_endian: self.big_endian,
        };
        save_state(LABEL, STATE_VERSION, state)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: State = restore_state(LABEL, STATE_VERSION, state)?;
        if !state.registers.is_sound() {
            return Err(StateError::damaged(LABEL, "a register has bits that it cannot have"));
        }
        if !state.dispi.is_sound() {
            return Err(StateError::damaged(LABEL, "the VBE mode is larger than any"));
        }
        self.config.restore(LABEL, &state.config)?;
        self.registers = state.registers;
        self.dispi = state.dispi;
        self.latches = state.latches;
        self.big_endian = state.big_endian;
        // The video memory has been filled behind the card's back.
        self.dirty.mark_range(0..self.memory.size());
        Ok(())
    }
}

impl PciFunction for Vga {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
}
