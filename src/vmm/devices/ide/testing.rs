//! A channel with its drives for tests, driven as a guest does, without KVM.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use vm_memory::{Bytes, GuestAddress};

use super::{
    drive::{BUSY, DATA_REQUEST, ERROR},
    *,
};
use crate::vmm::{
    block::{self, Disk, Format, Image, drive::Drive},
    device::Device,
    interrupt::testing::FakeLine,
    memory::{GuestMemory, GuestSlice},
};

pub const MEMORY: usize = 4 << 20;
pub const DISK: u64 = 1 << 20;
pub const CD: u64 = 256 << 10;
/// Where the tests have their tables and their data.
pub const TABLE: u64 = 0x1000;
pub const DATA: u64 = 0x10_0000;
pub const LBA: u8 = 0xe0;
pub const SLAVE: u8 = 0x10;
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A channel with a disk and a CD-ROM drive, that runs.
pub struct Bench {
    pub channel: Channel,
    pub line: Arc<FakeLine>,
    pub memory: Arc<GuestMemory>,
    pub disk: File,
    pub tray: Tray,
    pub drive: Arc<Drive>,
}

/// Bytes that differ wherever one looks.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

pub fn medium(file: &File, read_only: bool) -> Arc<dyn Disk> {
    let image = Image { file: file.try_clone().unwrap(), format: Format::Raw };
    block::open(image, read_only, Vec::new()).unwrap().into()
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|disk| Drive::new("disk", disk))
    }

    /// A disk that is what `make` makes of its content.
    pub fn with(make: impl FnOnce(Arc<dyn Disk>) -> Drive) -> Self {
        let (disk, cd) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        disk.write_all_at(&pattern(DISK as usize, 1), 0).unwrap();
        cd.write_all_at(&pattern(CD as usize, 2), 0).unwrap();
        let line = Arc::new(FakeLine::default());
        let tray = Tray::new(Some(medium(&cd, true)), Arc::new(|_| ()));
        let drive = Arc::new(make(medium(&disk, false)));
        let units = [
            DriveConfig::Disk { drive: drive.clone(), serial: "s1".to_owned() },
            DriveConfig::Cdrom { tray: tray.clone(), statistics: Arc::default() },
        ];
        let memory = Arc::new(GuestMemory::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap());
        let mut channel = Channel::new("ide0", units.map(Some), line.clone(), memory.clone()).unwrap();
        channel.resume();
        channel.set_bus_master(true);
        Self { channel, line, memory, disk, tray, drive }
    }

    pub fn write(&mut self, register: u64, value: u8) {
        self.channel.write(COMMAND, register, &[value]);
    }

    pub fn read(&mut self, register: u64) -> u8 {
        let mut data = [0];
        self.channel.read(COMMAND, register, &mut data);
        data[0]
    }

    pub fn alternate_status(&mut self) -> u8 {
        let mut data = [0];
        self.channel.read(CONTROL, 0, &mut data);
        data[0]
    }

    /// Waits until the selected drive is not busy; its status.
    pub fn ready(&mut self) -> u8 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.alternate_status() {
                status if status & BUSY == 0 => return status,
                _ => assert!(Instant::now() < deadline, "the drive stays busy"),
            }
            std::thread::yield_now();
        }
    }

    /// Waits for the interrupt, and takes it; the status.
    pub fn interrupt(&mut self) -> u8 {
        let deadline = Instant::now() + PATIENCE;
        while !self.line.is_high() {
            assert!(Instant::now() < deadline, "no interrupt comes; status {:#x}", self.alternate_status());
            std::thread::yield_now();
        }
        let status = self.read(7);
        assert!(!self.line.is_high(), "reading the status takes the interrupt back");
        status
    }

    /// A command to the disk with a 28-bit address.
    pub fn disk_command(&mut self, code: u8, lba: u32, count: u8) {
        let [a, b, c, d] = lba.to_le_bytes();
        for (register, value) in [(6, LBA | d), (2, count), (3, a), (4, b), (5, c), (7, code)] {
            self.write(register, value);
        }
    }

    /// The same with a 48-bit address.
    pub fn long_command(&mut self, code: u8, lba: u64, count: u16) {
        let [a, b, c, d, e, f, ..] = lba.to_le_bytes();
        let [low, high] = count.to_le_bytes();
        let before = [(6, LBA), (2, high), (3, d), (4, e), (5, f)];
        for (register, value) in before.into_iter().chain([(2, low), (3, a), (4, b), (5, c), (7, code)]) {
            self.write(register, value);
        }
    }

    pub fn read_data(&mut self, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.channel.read_items(COMMAND, 0, 2, &mut data);
        data
    }

    /// Describes pieces of memory to the bus master.
    pub fn describe(&mut self, pieces: &[(u64, u32)]) {
        for (index, &(address, length)) in pieces.iter().enumerate() {
            let last = if index + 1 == pieces.len() { 0x8000_0000u32 } else { 0 };
            let entry = u64::from(length & 0xffff | last) << 32 | address;
            self.memory.write_obj(entry, GuestAddress(TABLE + index as u64 * 8)).unwrap();
        }
        self.channel.write(BUS_MASTER, 4, &(TABLE as u32).to_le_bytes());
        self.channel.write(BUS_MASTER, 2, &[0x06]);
    }

    pub fn start_bus_master(&mut self, to_memory: bool) {
        self.channel.write(BUS_MASTER, 0, &[1 | u8::from(to_memory) << 3]);
    }

    /// The bus master's status, after it was stopped.
    pub fn stop_bus_master(&mut self) -> u8 {
        let mut status = [0];
        self.channel.read(BUS_MASTER, 2, &mut status);
        self.channel.write(BUS_MASTER, 0, &[0]);
        status[0]
    }

    pub fn memory(&self, address: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.memory.read_slice(&mut data, GuestAddress(address)).unwrap();
        data
    }

    pub fn on_disk(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.disk.read_exact_at(&mut data, offset).unwrap();
        data
    }

    /// Sends a packet to the CD-ROM drive, whose answer comes in blocks of `limit` bytes.
    pub fn packet(&mut self, packet: [u8; 12], limit: u16, dma: bool) {
        let [low, high] = limit.to_le_bytes();
        for (register, value) in [(6, 0xa0 | SLAVE), (1, u8::from(dma)), (4, low), (5, high), (7, 0xa0)] {
            self.write(register, value);
        }
        assert_eq!(self.ready() & (DATA_REQUEST | ERROR), DATA_REQUEST);
        self.channel.write_items(COMMAND, 0, 2, &packet);
    }
}

/// A disk on a host without room, until there is some.
pub struct Full {
    pub disk: Arc<dyn Disk>,
    pub full: AtomicBool,
}

impl Disk for Full {
    fn capacity(&self) -> u64 {
        self.disk.capacity()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.disk.read(offset, buffers)
    }

    fn write(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.disk.write(offset, buffers),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk.discard(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.disk.write_zeroes(offset, length, unmap)
    }
}
