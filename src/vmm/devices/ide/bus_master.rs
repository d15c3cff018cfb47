//! The bus master of a channel: it moves data between a drive and the guest's memory (Programming Interface for Bus Master IDE
//! Controller 1.0, sections 1.2 and 2).

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::vmm::memory::{GuestMemory, GuestSlice};

/// Ports of a channel's bus master.
pub const PORTS: u64 = 8;

const COMMAND: u64 = 0;
const STATUS: u64 = 2;
const TABLE: u64 = 4;

const START: u8 = 1;
const TO_MEMORY: u8 = 1 << 3;

const ACTIVE: u8 = 1;
const ERROR: u8 = 1 << 1;
const INTERRUPT: u8 = 1 << 2;
/// Software notes here which drives can do DMA.
const CAPABLE: u8 = 0b11 << 5;

/// Bytes of a descriptor, and the most that a table has: it does not cross a boundary of 64 KiB.
const DESCRIPTOR: u32 = 8;
const MAX_DESCRIPTORS: u16 = (0x1_0000 / DESCRIPTOR) as u16;
/// The flag of the last descriptor.
const LAST: u16 = 1 << 15;

/// Registers and progress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
    /// Where in the table the transfer is.
    pub(super) cursor: Cursor,
}

/// The guest's table of descriptors leads to where there is no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadTable;

impl BusMaster {
    /// Whether software has started it and it has not come to the end of its table.
    pub fn is_active(&self) -> bool {
        self.status & ACTIVE != 0
    }

    /// Reads the register at `offset`.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let [a, b, c, d] = self.table.to_le_bytes();
        let registers = [self.command, 0, self.status, 0, a, b, c, d];
        let rest = registers.get(offset as usize..).unwrap_or_default();
        data.fill(0xff);
        data.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    }

    /// Writes the register at `offset`.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (offset, &byte) in (offset..).zip(data) {
            match offset {
                COMMAND => {
                    let starts = self.command & START == 0 && byte & START != 0;
                    self.command = byte & (START | TO_MEMORY);
                    if starts {
                        self.status |= ACTIVE;
                        self.cursor = Cursor { next: self.table, ..Cursor::default() };
                    } else if byte & START == 0 {
                        self.status &= !ACTIVE;
                    }
                }
                STATUS => {
                    let cleared = byte & (ERROR | INTERRUPT);
                    self.status = self.status & !(cleared | CAPABLE) | byte & CAPABLE;
                }
                TABLE..PORTS => {
                    let shift = (offset - TABLE) as u32 * 8;
                    self.table = (self.table & !(0xff << shift) | u32::from(byte) << shift) & !0b11;
                }
                _ => {}
            }
        }
    }

    /// The drive raises its interrupt.
    pub fn interrupted(&mut self) {
        self.status |= INTERRUPT;
    }

    /// The drive has what it wanted: nothing is left of the table, or the rest of it is not needed.
    pub fn finished(&mut self) {
        if self.cursor.is_at_end() {
            self.status &= !ACTIVE;
        }
    }

    /// The transfer has ended before its end.
    pub fn aborted(&mut self, bad_table: bool) {
        self.status &= !ACTIVE;
        if bad_table {
            self.status |= ERROR;
        }
    }

    /// Back to power-on.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// A place in a table of descriptors, and in the memory that the descriptor there names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The next descriptor.
    next: u32,
    /// Descriptors so far.
    count: u16,
    /// What is left of the memory of the last one.
    base: u32,
    left: u32,
    /// It was the table's last.
    last: bool,
}

impl Cursor {
    /// Whether the table names no more memory.
    pub fn is_at_end(&self) -> bool {
        self.left == 0 && (self.last || self.count >= MAX_DESCRIPTORS)
    }

    /// Collects memory of `wanted` bytes, or less where the table ends, or where there are many pieces: then it is whole
    /// units of `unit` bytes. What an ended table has beyond whole units is left out.
    pub fn take<'a>(
        &mut self,
        memory: &'a GuestMemory,
        wanted: u64,
        unit: u64,
    ) -> Result<Vec<GuestSlice<'a>>, BadTable> {
        /// Pieces after which it is enough.
        const MANY: usize = 256;
        let mut pieces: Vec<GuestSlice<'a>> = Vec::new();
        let mut taken = 0;
        while taken < wanted && !self.is_at_end() && !(pieces.len() >= MANY && taken % unit == 0) {
            if self.left == 0 {
                self.advance(memory)?;
            }
            // With many pieces only what completes a unit.
            let room = if pieces.len() >= MANY { unit - taken % unit } else { wanted - taken };
            let length = room.min(self.left.into());
            for slice in memory.get_slices(GuestAddress(self.base.into()), length as usize) {
                pieces.push(slice.map_err(|_| BadTable)?);
            }
            taken += length;
            // At most what was left.
            self.base = self.base.wrapping_add(length as u32);
            self.left -= length as u32;
        }
        cut(&mut pieces, taken % unit)?;
        Ok(pieces)
    }

    /// Reads the next descriptor: address, byte count (0 is 64 KiB), flags.
    fn advance(&mut self, memory: &GuestMemory) -> Result<(), BadTable> {
        let descriptor: [u8; DESCRIPTOR as usize] =
            memory.read_obj(GuestAddress(self.next.into())).map_err(|_| BadTable)?;
        let [a, b, c, d, low, high, flags_low, flags_high] = descriptor;
        self.base = u32::from_le_bytes([a, b, c, d]) & !1;
        self.left = match u16::from_le_bytes([low, high]) & !1 {
            0 => 0x1_0000,
            count => count.into(),
        };
        self.last = u16::from_le_bytes([flags_low, flags_high]) & LAST != 0;
        self.next = self.next.wrapping_add(DESCRIPTOR);
        self.count = self.count.saturating_add(1);
        Ok(())
    }
}

/// Takes `excess` bytes off the end.
fn cut(pieces: &mut Vec<GuestSlice<'_>>, mut excess: u64) -> Result<(), BadTable> {
    while excess > 0 {
        let Some(last) = pieces.pop() else { return Ok(()) };
        let length = last.len() as u64;
        if length > excess {
            pieces.push(last.subslice(0, (length - excess) as usize).map_err(|_| BadTable)?);
        }
        excess = excess.saturating_sub(length);
    }
    Ok(())
}

/// The bytes of all pieces.
pub fn total(pieces: &[GuestSlice<'_>]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}
