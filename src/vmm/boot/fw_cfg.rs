//! fw_cfg: how firmware learns about the machine (QEMU, `docs/specs/fw_cfg.rst`).
//!
//! A selector picks an item, whose bytes are then read one by one through a port, or in one go by DMA. Items with names are
//! files; item 0x19 is their directory.

#![forbid(unsafe_code)]

use std::{fmt, fs::File, os::unix::fs::FileExt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    memory::GuestMemory,
};

/// The first port.
pub const BASE: u64 = 0x510;
/// Ports from [`BASE`] on: selector, data, DMA address.
pub const PORTS: u64 = 12;

/// The items with fixed selectors.
pub mod key {
    /// "QEMU", by which firmware knows that it is there.
    pub const SIGNATURE: u16 = 0x00;
    /// What the interface can do.
    pub const ID: u16 = 0x01;
    /// The machine's UUID.
    pub const UUID: u16 = 0x02;
    /// Virtual CPUs at power-on.
    pub const CPUS: u16 = 0x05;
    /// Whether the boot menu is offered.
    pub const BOOT_MENU: u16 = 0x0e;
    /// Virtual CPUs the machine can have.
    pub const MAX_CPUS: u16 = 0x0f;
    /// The directory of files.
    pub const DIRECTORY: u16 = 0x19;
    /// The first file.
    pub const FILES: u16 = 0x20;
}

const LABEL: &str = "fw_cfg";
const STATE_VERSION: u32 = 1;
const NAME_SIZE: usize = 56;

const SELECTOR: u64 = 0;
const DATA: u64 = 1;
const DMA_HIGH: u64 = 4;
const DMA_LOW: u64 = 8;

/// "QEMU CFG": what the DMA register reads as.
const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";
/// The interface has ports (bit 0) and DMA (bit 1).
const FEATURES: u32 = 0b11;

const DMA_ERROR: u32 = 1 << 0;
const DMA_READ: u32 = 1 << 1;
const DMA_SKIP: u32 = 1 << 2;
const DMA_SELECT: u32 = 1 << 3;
const DMA_WRITE: u32 = 1 << 4;

/// The bytes of an item.
pub enum Content {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file, read when firmware asks for it.
    File {
        /// The open file.
        file: File,
        /// Its length in bytes.
        len: u32,
    },
    /// Made when firmware asks for it.
    Made {
        /// Makes it; always `len` bytes.
        make: Box<dyn Fn() -> Vec<u8> + Send>,
        /// Its length in bytes.
        len: u32,
    },
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl Content {
    fn len(&self) -> u32 {
        match self {
            Self::Bytes(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            Self::File { len, .. } | Self::Made { len, .. } => *len,
        }
    }

    /// Fills `data` from `offset` on; zeroes beyond the end.
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let mut copy = |bytes: &[u8]| {
            let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            data.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        };
        match self {
            Self::Bytes(bytes) => copy(bytes),
            Self::Made { make, .. } => copy(&make()),
            Self::File { file, len } => {
                let left = usize::try_from(u64::from(*len).saturating_sub(offset)).unwrap_or(usize::MAX);
                let wanted = data.len().min(left);
                if let Err(error) = file.read_exact_at(&mut data[..wanted], offset) {
                    tracing::error!(%error, "a firmware file could not be read");
                }
            }
        }
    }
}

/// The fw_cfg device.
pub struct FwCfg {
    // Fixed configuration
    /// Items by selector, ascending.
    items: Vec<(u16, Content)>,
    // Wiring
    memory: Arc<GuestMemory>,
    // Volatile state
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    selector: u16,
    offset: u64,
    dma_high: u32,
}

impl FwCfg {
    /// A device with the items `items` (selectors below [`key::DIRECTORY`]) and files `files` (names up to 55 bytes). `memory`
    /// is where DMA goes.
    ///
    /// # Panics
    /// When a name is too long: a mistake of the program, not of a guest.
    pub fn new(memory: Arc<GuestMemory>, items: Vec<(u16, Vec<u8>)>, mut files: Vec<(String, Content)>) -> Self {
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for (selector, (name, content)) in (key::FILES..).zip(&files) {
            assert!(name.len() < NAME_SIZE, "the name {name} is too long for fw_cfg");
            directory.extend(content.len().to_be_bytes());
            directory.extend(selector.to_be_bytes());
            directory.extend([0; 2]);
            directory.extend(name.bytes().chain(std::iter::repeat(0)).take(NAME_SIZE));
        }
        let fixed = [
            (key::SIGNATURE, b"QEMU".to_vec()),
            (key::ID, FEATURES.to_le_bytes().to_vec()),
            (key::DIRECTORY, directory),
        ];
        let fixed = fixed.into_iter().chain(items).map(|(selector, bytes)| (selector, Content::Bytes(bytes)));
        let files = (key::FILES..).zip(files).map(|(selector, (_, content))| (selector, content));
        let mut items: Vec<_> = fixed.chain(files).collect();
        items.sort_by_key(|(selector, _)| *selector);
        Self { items, memory, state: State::default() }
    }

    fn select(&mut self, selector: u16) {
        self.state.selector = selector;
        self.state.offset = 0;
    }

    /// Reads on in the selected item.
    fn take(&mut self, data: &mut [u8]) {
        match self.items.binary_search_by_key(&self.state.selector, |(selector, _)| *selector) {
            Ok(index) => self.items[index].1.read(self.state.offset, data),
            Err(_) => data.fill(0),
        }
        self.state.offset = self.state.offset.saturating_add(data.len() as u64);
    }

    /// Carries out the DMA request at `address`: control, length and address, all big-endian. Control is zero when it is done.
    fn dma(&mut self, address: u64) {
        let mut request = [0; 16];
        if self.memory.read_slice(&mut request, GuestAddress(address)).is_err() {
            return;
        }
        let [control, length, high, low] =
            std::array::from_fn(|word| u32::from_be_bytes(std::array::from_fn(|byte| request[word * 4 + byte])));
        if control & DMA_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let target = u64::from(high) << 32 | u64::from(low);
        let done = if control & DMA_READ != 0 {
            self.copy_out(target, length)
        } else if control & DMA_WRITE != 0 {
            // No item can be written.
            false
        } else {
            if control & DMA_SKIP != 0 {
                self.state.offset = self.state.offset.saturating_add(u64::from(length));
            }
            true
        };
        let answer: u32 = if done { 0 } else { DMA_ERROR };
        // The request was readable a moment ago, and RAM does not go away.
        let _ = self.memory.write_slice(&answer.to_be_bytes(), GuestAddress(address));
    }

    /// Reads on in the selected item, to `length` bytes of guest memory at `target`.
    fn copy_out(&mut self, target: u64, length: u32) -> bool {
        if !self.memory.check_range(GuestAddress(target), length as usize) {
            return false;
        }
        let mut chunk = [0; 4096];
        let mut done = 0;
        while done < length {
            let piece = &mut chunk[..4096.min((length - done) as usize)];
            self.take(piece);
            if self.memory.write_slice(piece, GuestAddress(target + u64::from(done))).is_err() {
                return false;
            }
            done += piece.len() as u32;
        }
        true
    }
}

impl Device for FwCfg {
    fn label(&self) -> &str {
        LABEL
    }

    fn read(&mut self, _region: usize, offset: u64, data: &mut [u8]) {
        match offset {
            DATA if data.len() == 1 => self.take(data),
            DMA_HIGH.. => {
                let signature = DMA_SIGNATURE.iter().skip((offset - DMA_HIGH) as usize).chain(std::iter::repeat(&0xff));
                data.iter_mut().zip(signature).for_each(|(to, from)| *to = *from);
            }
            _ => data.fill(0xff),
        }
    }

    fn write(&mut self, _region: usize, offset: u64, data: &[u8]) {
        match (offset, data) {
            (SELECTOR, &[low, high]) => self.select(u16::from_le_bytes([low, high])),
            (DMA_HIGH, &[a, b, c, d]) => self.state.dma_high = u32::from_be_bytes([a, b, c, d]),
            (DMA_LOW, &[a, b, c, d]) => {
                let high = std::mem::take(&mut self.state.dma_high);
                self.dma(u64::from(high) << 32 | u64::from(u32::from_be_bytes([a, b, c, d])));
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.state = State::default();
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(LABEL, STATE_VERSION, self.state)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        self.state = restore_state(LABEL, STATE_VERSION, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn device() -> FwCfg {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x2_0000)]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a ROM of 22 bytes, say").unwrap();
        let files = vec![
            ("etc/second".to_owned(), Content::File { file, len: 22 }),
            ("bootorder".to_owned(), Content::Bytes(b"/disk\0".to_vec())),
        ];
        FwCfg::new(Arc::new(memory), vec![(key::CPUS, vec![2, 0])], files)
    }

    fn select(device: &mut FwCfg, selector: u16) {
        device.write(0, SELECTOR, &selector.to_le_bytes());
    }

    fn take(device: &mut FwCfg, count: usize) -> Vec<u8> {
        let byte = |_| {
            let mut byte = [0xaa];
            device.read(0, DATA, &mut byte);
            byte[0]
        };
        (0..count).map(byte).collect()
    }

    /// Makes a DMA request; returns its control word afterwards.
    fn dma(device: &mut FwCfg, control: u32, length: u32, target: u64) -> u32 {
        let request: Vec<u8> =
            [control.to_be_bytes(), length.to_be_bytes()].concat().into_iter().chain(target.to_be_bytes()).collect();
        device.memory.write_slice(&request, GuestAddress(0x100)).unwrap();
        device.write(0, DMA_HIGH, &0u32.to_be_bytes());
        device.write(0, DMA_LOW, &0x100u32.to_be_bytes());
        let mut answer = [0; 4];
        device.memory.read_slice(&mut answer, GuestAddress(0x100)).unwrap();
        u32::from_be_bytes(answer)
    }

    #[test]
    fn it_is_found_by_its_signatures() {
        let mut device = device();

        select(&mut device, key::SIGNATURE);
        let signature = take(&mut device, 4);
        select(&mut device, key::ID);
        let features = take(&mut device, 4);
        let mut dma = [0; 4];
        device.read(0, DMA_LOW, &mut dma);

        assert_eq!(signature, b"QEMU");
        assert_eq!(features, [3, 0, 0, 0]);
        assert_eq!(&dma, b" CFG");
    }

    #[test]
    fn an_item_reads_byte_by_byte_and_then_as_zeroes() {
        let mut device = device();

        select(&mut device, key::CPUS);

        assert_eq!(take(&mut device, 4), [2, 0, 0, 0]);
    }

    #[test]
    fn what_is_missing_reads_as_zeroes() {
        let mut device = device();

        select(&mut device, 0x8000);

        assert_eq!(take(&mut device, 3), [0; 3]);
    }

    #[test]
    fn the_directory_names_the_files_in_order() {
        let mut device = device();

        select(&mut device, key::DIRECTORY);
        let directory = take(&mut device, 4 + 2 * 64);

        assert_eq!(directory[..4], [0, 0, 0, 2]);
        assert_eq!(directory[4..4 + 8], [0, 0, 0, 6, 0, 0x20, 0, 0]);
        assert_eq!(&directory[12..22], b"bootorder\0");
        assert_eq!(directory[68..68 + 8], [0, 0, 0, 22, 0, 0x21, 0, 0]);
        assert_eq!(&directory[76..87], b"etc/second\0");
    }

    #[test]
    fn dma_selects_skips_and_copies_a_file() {
        let mut device = device();

        let selected = dma(&mut device, 0x21 << 16 | DMA_SELECT | DMA_SKIP, 2, 0);
        let copied = dma(&mut device, DMA_READ, 0x5000, 0x1000);

        assert_eq!((selected, copied), (0, 0));
        let mut bytes = [0xff; 0x5001];
        device.memory.read_slice(&mut bytes[..0x5000], GuestAddress(0x1000)).unwrap();
        assert_eq!(&bytes[..20], b"ROM of 22 bytes, say");
        assert!(bytes[20..0x5000].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn dma_outside_of_memory_and_writes_are_errors() {
        let mut device = device();

        assert_eq!(dma(&mut device, DMA_READ, 0x100, 0x1_ffff), DMA_ERROR);
        assert_eq!(dma(&mut device, DMA_READ, u32::MAX, u64::MAX - 3), DMA_ERROR);
        assert_eq!(dma(&mut device, (u32::from(key::FILES) << 16) | DMA_SELECT | DMA_WRITE, 4, 0), DMA_ERROR);
    }

    #[test]
    fn a_dma_request_outside_of_memory_is_ignored() {
        let mut device = device();

        device.write(0, DMA_HIGH, &[0xff; 4]);
        device.write(0, DMA_LOW, &[0xff; 4]);

        assert_eq!(device.state, State::default());
    }

    #[test]
    fn a_saved_state_reads_on_where_it_was() {
        let mut device = device();
        select(&mut device, key::SIGNATURE);
        take(&mut device, 2);

        let state = device.save().unwrap();
        let mut other = self::device();
        other.restore(state.clone()).unwrap();

        assert_eq!(other.save().unwrap(), state);
        assert_eq!(take(&mut other, 2), b"MU");
    }
}
