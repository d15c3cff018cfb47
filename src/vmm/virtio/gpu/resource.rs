//! Resources: the pictures that a driver has made. Their pixels stay where the guest has them.
//!
//! The specification lets the device copy a resource's pixels out of the guest's memory when it is told to (TRANSFER_TO_HOST)
//! and show its copy later (FLUSH). Drivers always transfer what they are about to flush, from the same place in memory. So no
//! copy is made: a flushed part is read from the guest's memory when somebody looks. Only a driver that transfers from
//! elsewhere, or takes the memory away while the picture is on the screen, makes the device keep one.

#![forbid(unsafe_code)]

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::protocol::Piece;
use crate::{screen::Rect, vmm::memory::GuestMemory};

/// Bytes of a pixel.
pub const PIXEL_SIZE: u64 = 4;

/// Where a pixel's four bytes have its components (section 5.7.6.8, enum virtio_gpu_formats).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    number: u32,
    red: u32,
    green: u32,
    blue: u32,
    alpha: Option<u32>,
}

impl Format {
    /// Format `number`, if there is one.
    pub fn new(number: u32) -> Option<Self> {
        // The specification names the bytes in the order of their addresses.
        let (order, alpha) = match number {
            1 => ([2, 1, 0, 3], true),
            2 => ([2, 1, 0, 3], false),
            3 => ([1, 2, 3, 0], true),
            4 => ([1, 2, 3, 0], false),
            67 => ([0, 1, 2, 3], true),
            68 => ([3, 2, 1, 0], false),
            121 => ([3, 2, 1, 0], true),
            134 => ([0, 1, 2, 3], false),
            _ => return None,
        };
        let [red, green, blue, last] = order.map(|byte| 8 * byte);
        Some(Self { number, red, green, blue, alpha: alpha.then_some(last) })
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.number
    }

    /// Whether a pixel is `0xxxRRGGBB`, as a surface has it but for the highest byte.
    pub fn is_native(self) -> bool {
        (self.red, self.green, self.blue) == (16, 8, 0)
    }

    /// A pixel as `0x00RRGGBB`.
    pub fn pixel(self, bytes: [u8; 4]) -> u32 {
        let word = u32::from_le_bytes(bytes);
        (word >> self.red & 0xff) << 16 | (word >> self.green & 0xff) << 8 | word >> self.blue & 0xff
    }

    /// The same, with how opaque it is in the highest byte.
    pub fn pixel_with_alpha(self, bytes: [u8; 4]) -> u32 {
        let alpha = self.alpha.map_or(0xff, |alpha| u32::from_le_bytes(bytes) >> alpha & 0xff);
        self.pixel(bytes) | alpha << 24
    }
}

/// The pieces of guest memory that hold a resource's pixels.
#[derive(Debug, PartialEq, Eq)]
pub struct Backing {
    /// Each with the offset at which it begins.
    pieces: Vec<(u64, Piece)>,
}

impl Backing {
    /// The memory in `pieces`, if all of it is the guest's.
    pub fn new(pieces: &[Piece], memory: &GuestMemory) -> Option<Self> {
        let mut end = 0;
        let mut placed = Vec::with_capacity(pieces.len());
        for &piece in pieces {
            if !memory.check_range(GuestAddress(piece.address), piece.len as usize) {
                return None;
            }
            placed.push((end, piece));
            end += u64::from(piece.len);
        }
        Some(Self { pieces: placed })
    }

    /// The pieces.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = Piece> {
        self.pieces.iter().map(|(_, piece)| *piece)
    }

    /// Copies from `offset` on; what is not there is 0.
    pub fn read(&self, memory: &GuestMemory, offset: u64, bytes: &mut [u8]) {
        let mut index = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty()
            && let Some((start, piece)) = self.pieces.get(index)
        {
            let skip = offset.saturating_sub(*start);
            let left = u64::from(piece.len).saturating_sub(skip);
            let len = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (now, later) = rest.split_at_mut(len);
            // The range was checked when the memory was attached, and RAM does not go away.
            if memory.read_slice(now, GuestAddress(piece.address.saturating_add(skip))).is_err() {
                now.fill(0);
            }
            rest = later;
            offset = offset.saturating_add(len as u64);
            index += 1;
        }
        rest.fill(0);
    }
}

/// A picture. Clones share its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// How its pixels are stored.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Its place in the guest's memory.
    pub backing: Option<Arc<Backing>>,
    /// A copy of its pixels, when they are not to be read from there.
    pub kept: Option<Arc<Vec<u8>>>,
}

impl Resource {
    /// Whether `rect` lies in it and is not empty.
    pub fn contains(&self, rect: Rect) -> bool {
        let within = |start: u32, len: u32, size: u32| len > 0 && start.checked_add(len).is_some_and(|end| end <= size);
        within(rect.x, rect.width, self.width) && within(rect.y, rect.height, self.height)
    }

    /// Bytes of all its pixels.
    pub fn size(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * PIXEL_SIZE
    }

    /// Where the pixel at (`x`, `y`) is, in bytes.
    pub fn offset(&self, x: u32, y: u32) -> u64 {
        (u64::from(y) * u64::from(self.width) + u64::from(x)) * PIXEL_SIZE
    }

    /// Copies the stored pixels from (`x`, `y`) on.
    pub fn read(&self, memory: &GuestMemory, x: u32, y: u32, bytes: &mut [u8]) {
        let offset = self.offset(x, y);
        match (&self.kept, &self.backing) {
            (Some(kept), _) => {
                let from = usize::try_from(offset).ok().and_then(|offset| kept.get(offset..)).unwrap_or(&[]);
                let len = from.len().min(bytes.len());
                let (now, rest) = bytes.split_at_mut(len);
                now.copy_from_slice(from.get(..len).unwrap_or(&[]));
                rest.fill(0);
            }
            (None, Some(backing)) => backing.read(memory, offset, bytes),
            (None, None) => bytes.fill(0),
        }
    }

    /// Keeps a copy of the pixels from now on.
    pub fn keep(&mut self, memory: &GuestMemory) {
        if self.kept.is_none() {
            let mut bytes = vec![0; usize::try_from(self.size()).unwrap_or(0)];
            self.read(memory, 0, 0, &mut bytes);
            self.kept = Some(Arc::new(bytes));
        }
    }

    /// Takes the pixels of `rect`, which lies in the resource, from `offset` of the backing.
    pub fn transfer(&mut self, memory: &GuestMemory, rect: Rect, offset: u64) {
        let row_size = u64::from(self.width) * PIXEL_SIZE;
        let len = (u64::from(rect.width) * PIXEL_SIZE) as usize;
        let first = self.offset(rect.x, rect.y);
        let (Some(backing), Some(kept)) = (&self.backing, &mut self.kept) else { return };
        // Whoever looks at the old pixels meanwhile keeps them.
        let kept = Arc::make_mut(kept);
        for row in 0..u64::from(rect.height) {
            let at = usize::try_from(first + row * row_size).unwrap_or(usize::MAX);
            if let Some(to) = at.checked_add(len).and_then(|end| kept.get_mut(at..end)) {
                backing.read(memory, offset.saturating_add(row * row_size), to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::virtio::testing::memory;

    fn piece(address: u64, len: u32) -> Piece {
        Piece { address, len }
    }

    #[test]
    fn formats_name_their_bytes_in_the_order_of_addresses() {
        let bytes = [1, 2, 3, 4];
        let expected = [
            (1, 0x04_03_02_01),
            (2, 0xff_03_02_01),
            (3, 0x01_02_03_04),
            (4, 0xff_02_03_04),
            (67, 0x04_01_02_03),
            (68, 0xff_04_03_02),
            (121, 0x01_04_03_02),
            (134, 0xff_01_02_03),
        ];
        for (number, pixel) in expected {
            let format = Format::new(number).unwrap();

            assert_eq!(format.pixel(bytes), pixel & 0xff_ffff, "format {number}");
            assert_eq!(format.pixel_with_alpha(bytes), pixel, "format {number}");
            assert_eq!(format.is_native(), [1, 2].contains(&number), "format {number}");
        }
        assert_eq!(Format::new(0), None);
    }

    #[test]
    fn pieces_are_read_as_one() {
        let memory = memory();
        memory.write_slice(&[1, 2, 3], GuestAddress(0x1000)).unwrap();
        memory.write_slice(&[4, 5, 6], GuestAddress(0x9000)).unwrap();
        let backing = Backing::new(&[piece(0x1000, 3), piece(0x5000, 0), piece(0x9000, 3)], &memory).unwrap();

        let read = |offset| {
            let mut bytes = [9; 4];
            backing.read(&memory, offset, &mut bytes);
            bytes
        };

        assert_eq!([read(0), read(1), read(4), read(6)], [[1, 2, 3, 4], [2, 3, 4, 5], [5, 6, 0, 0], [0; 4]]);
        assert_eq!(read(u64::MAX), [0; 4]);
    }

    #[test]
    fn memory_that_is_not_the_guests_is_no_backing() {
        let memory = memory();

        assert!(Backing::new(&[piece(u64::MAX, 4096)], &memory).is_none());
        assert!(Backing::new(&[piece(0, u32::MAX)], &memory).is_none());
    }

    #[test]
    fn a_rectangle_is_in_the_resource_or_not() {
        let resource = Resource { format: Format::new(2).unwrap(), width: 100, height: 50, backing: None, kept: None };
        let rect = |x, y, width, height| Rect { x, y, width, height };

        assert!(resource.contains(rect(0, 0, 100, 50)));
        for outside in [rect(1, 0, 100, 50), rect(0, 0, 0, 50), rect(0, 50, 1, 1), rect(u32::MAX, 0, 2, 1)] {
            assert!(!resource.contains(outside), "{outside:?}");
        }
    }
}
