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
    register_page::{self, Register},
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

const WINDOW_SIZE: u64 = WINDOW.end - WINDOW.start;
const LABEL: &str = "vga";
const STATE_VERSION: u32 = 1;

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
        let bar_size = (memory.size() as u64).next_power_of_two();
        config.add_bar(BAR_VIDEO_MEMORY, BarKind::Memory32 { prefetchable: true }, bar_size);
        config.add_bar(BAR_REGISTERS, BarKind::Memory32 { prefetchable: false }, register_page::PAGE_SIZE);
        let card = Arc::new(Mutex::new(Self {
            dirty: DirtyPages::new(memory.size()),
            memory: memory.clone(),
            config,
            registers: Registers::default(),
            dispi: Dispi::default(),
            latches: 0,
            big_endian: false,
            preferred_size: PREFERRED_SIZE,
            revision: 1,
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

    fn read_register(&mut self, offset: u64, data: &mut [u8]) {
        match Register::at(offset) {
            Register::Edid(offset) => {
                let block = edid::edid(self.preferred_size.0, self.preferred_size.1);
                copy(&block[offset..], data);
            }
            Register::EdidRoom => data.fill(0),
            Register::Port(first) => {
                for (port, byte) in (first..).zip(data) {
                    *byte = self.registers.read(port);
                }
            }
            Register::Dispi(first) => {
                for (index, bytes) in (first..).zip(data.chunks_mut(2)) {
                    copy(&self.dispi.read(index, self.memory.size()).to_le_bytes(), bytes);
                }
            }
            Register::ExtensionSize => copy(&register_page::EXTENSION_SIZE.to_le_bytes(), data),
            Register::Endianness => {
                let value = if self.big_endian { register_page::BIG_ENDIAN } else { register_page::LITTLE_ENDIAN };
                copy(&value.to_le_bytes(), data);
            }
            Register::Nothing => {}
        }
    }

    fn write_register(&mut self, offset: u64, data: &[u8]) {
        match Register::at(offset) {
            Register::Port(first) => {
                for (port, &byte) in (first..).zip(data) {
                    self.write_port(port, byte);
                }
            }
            Register::Dispi(first) => {
                for (index, &bytes) in (first..).zip(data.as_chunks().0) {
                    self.write_dispi(index, u16::from_le_bytes(bytes));
                }
            }
            Register::Endianness => {
                let big_endian = match data.try_into().map(u32::from_le_bytes) {
                    Ok(register_page::LITTLE_ENDIAN) => false,
                    Ok(register_page::BIG_ENDIAN) => true,
                    _ => return,
                };
                self.big_endian = big_endian;
                self.revision += 1;
            }
            Register::Edid(_) | Register::EdidRoom | Register::ExtensionSize | Register::Nothing => {}
        }
    }
}

/// Copies as many bytes as there are in both.
fn copy(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Makes the first `len` bytes zero.
fn clear(memory: &VolatileSlice, len: usize) {
    let zeroes = [0; 4096];
    for offset in (0..len).step_by(zeroes.len()) {
        if memory.write_slice(&zeroes[..zeroes.len().min(len - offset)], offset).is_err() {
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
                for (offset, byte) in (offset..WINDOW_SIZE).zip(data) {
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
            BAR_REGISTERS => self.read_register(offset, data),
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
                for (offset, &value) in (offset..WINDOW_SIZE).zip(data) {
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
            BAR_REGISTERS => self.write_register(offset, data),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::display::testing::{Bench, TEXT};

    fn read<const N: usize>(bench: &Bench, region: usize, offset: u64) -> [u8; N] {
        let mut data = [0; N];
        bench.card.lock().unwrap().read(region, offset, &mut data);
        data
    }

    fn write(bench: &Bench, region: usize, offset: u64, data: &[u8]) {
        bench.card.lock().unwrap().write(region, offset, data);
    }

    /// A card in the middle of its work, with nothing at its power-on value.
    fn busy() -> Bench {
        let mut bench = Bench::in_mode(&TEXT);
        bench.set_vbe_mode(1024, 768, 16);
        bench.dispi(9, 7);
        bench.set_big_endian();
        bench.port(0x3c8, 5);
        bench.port(0x3c9, 1);
        bench.card.lock().unwrap().latches = 0x1234_5678;
        bench.card.lock().unwrap().config_mut().write(4, &[2]);
        bench
    }

    #[test]
    fn it_is_the_standard_vga_on_the_pci_bus() {
        let bench = Bench::new();
        let card = bench.card.lock().unwrap();

        assert_eq!(card.config().u32(0), 0x1111_1234);
        assert_eq!(card.config().u32(8), 0x0300_0002);
        assert_eq!(card.config().bar(0).map(|bar| bar.size), Some(16 << 20));
        assert_eq!(card.config().u32(0x10) & 0xf, 8, "prefetchable");
        assert_eq!(card.config().bar(2).map(|bar| bar.size), Some(4096));
    }

    #[test]
    fn two_bytes_at_an_index_port_are_index_and_data() {
        let mut bench = Bench::in_mode(&TEXT);

        write(&bench, REGION_VGA_PORTS, 0x3d4 - 0x3b0, &[0x0e, 0x12]);

        assert_eq!(bench.read_port(0x3d5), 0x12);
        assert_eq!(read(&bench, REGION_VGA_PORTS, 0x3d4 - 0x3b0), [0x0e, 0x12]);
    }

    #[test]
    fn the_dispi_ports_are_sixteen_bits_wide() {
        let bench = Bench::new();
        write(&bench, REGION_DISPI_PORTS, 0, &[0, 0]);

        assert_eq!(read(&bench, REGION_DISPI_PORTS, 1), [0xc5, 0xb0]);
        assert_eq!(read(&bench, REGION_DISPI_PORTS, 2), [0xc5, 0xb0]);
        assert_eq!(read(&bench, REGION_DISPI_PORTS, 1), [0xff]);
    }

    #[test]
    fn the_register_page_mirrors_ports_and_interface() {
        let mut bench = Bench::in_mode(&TEXT);
        write(&bench, BAR_REGISTERS, 0x500 + 2, &800u16.to_le_bytes());
        write(&bench, BAR_REGISTERS, 0x414, &[0x0e, 0x34]);

        assert_eq!(read(&bench, BAR_REGISTERS, 0x500), [0xc5, 0xb0, 0x20, 0x03]);
        assert_eq!(bench.read_port(0x3d5), 0x34);
        assert_eq!(read(&bench, BAR_REGISTERS, 0x415), [0x34]);
        assert_eq!(read(&bench, BAR_REGISTERS, 0x600), 8u32.to_le_bytes());
        assert_eq!(read(&bench, BAR_REGISTERS, 0x604), 0x1e1e_1e1eu32.to_le_bytes());
        bench.set_big_endian();
        assert_eq!(read(&bench, BAR_REGISTERS, 0x604), 0xbebe_bebeu32.to_le_bytes());
        assert_eq!(read(&bench, BAR_REGISTERS, 0x700), [0xff; 4]);
    }

    #[test]
    fn the_register_page_begins_with_the_monitors_description() {
        let bench = Bench::new();
        let block: Vec<u8> = (0..32).flat_map(|word| read::<4>(&bench, BAR_REGISTERS, word * 4)).collect();
        bench.card.lock().unwrap().set_preferred_size(1920, 1080);

        assert_eq!(block, edid::edid(1280, 800));
        assert_eq!(read(&bench, BAR_REGISTERS, 56), [edid::edid(1920, 1080)[56]]);
        assert_eq!(read(&bench, BAR_REGISTERS, 0x80), [0; 4]);
    }

    #[test]
    fn a_mode_that_is_set_is_black() {
        let mut bench = Bench::in_vbe_mode(640, 480, 32);
        bench.memory.guest_write(100, &[1; 5000]);
        bench.refresh();

        bench.set_vbe_mode(640, 480, 32);

        assert!(bench.surface().pixels.iter().all(|&pixel| pixel == 0));
    }

    #[test]
    fn reset_is_idempotent() {
        let bench = busy();
        let fresh = Bench::new().card.lock().unwrap().save().unwrap();
        let mut card = bench.card.lock().unwrap();

        card.reset();
        let once = card.save().unwrap();
        card.reset();

        assert_eq!(once, fresh);
        assert_eq!(card.save().unwrap(), fresh);
    }

    #[test]
    fn a_restored_card_is_the_saved_one_and_draws_the_same() {
        let from = busy();
        from.memory.guest_write(7 * 2048, &[0x12, 0x34]);
        let state = from.card.lock().unwrap().save().unwrap();
        let to = Bench::new();
        to.refresh();
        to.memory.guest_write(7 * 2048, &[0x12, 0x34]);

        to.card.lock().unwrap().restore(state.clone()).unwrap();

        assert_eq!(to.card.lock().unwrap().save().unwrap(), state);
        assert_eq!(to.surface(), from.surface());
    }

    #[test]
    fn a_damaged_state_is_refused_and_leaves_the_card_reset() {
        let state = busy().card.lock().unwrap().save().unwrap();
        let fresh = Bench::new().card.lock().unwrap().save().unwrap();
        let damages: [(&str, Value); 5] = [
            ("/version", 2.into()),
            ("/registers/sequencer/3", 0xff.into()),
            ("/registers/dac/colours", Value::Array(vec![])),
            ("/dispi/width", 60_000.into()),
            ("/config/bytes/0", 0.into()),
        ];
        for (place, value) in damages {
            let mut damaged = state.clone();
            *damaged.pointer_mut(place).unwrap() = value;
            let bench = busy();
            let mut card = bench.card.lock().unwrap();

            assert!(card.restore(damaged).is_err(), "{place}");
            assert_eq!(card.save().unwrap(), fresh, "{place}");
        }
    }

    #[test]
    fn no_access_is_too_wide_or_too_far() {
        let bench = busy();
        let last = u64::MAX;
        let offsets = [0, 1, 0x2f, 0x7f, 0x3ff, 0x41f, 0x515, 0x607, 0xfff, 0x1ffff, (16 << 20) - 1, last];
        for region in 0..10 {
            for offset in offsets {
                write(&bench, region, offset, &[0xff; 8]);
                write(&bench, region, offset, &[]);
                read::<8>(&bench, region, offset);
                read::<0>(&bench, region, offset);
            }
        }
        bench.surface();
    }
}
