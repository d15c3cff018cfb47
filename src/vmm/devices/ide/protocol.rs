//! What the registers of a channel do: which drive is selected, how its command goes on, and when it interrupts
//! (ATA/ATAPI-6, section 9).

#![forbid(unsafe_code)]

use super::{
    DriveConfig, UNITS,
    bus_master::BusMaster,
    drive::{
        ALWAYS, BUSY, Buffer, DATA_REQUEST, Drive, ERROR, Model, PACKET, PART, Pair, Phase, READY, REASON_COMMAND,
        REASON_TO_GUEST, SEEK_DONE, Step, TaskFile, Transfer, UNIT, Way,
    },
    worker::Work,
};
use crate::vmm::interrupt::Interrupt;

/// Registers of the command block.
const FEATURES: u64 = 1;
const COUNT: u64 = 2;
const DEVICE: u64 = 6;
const COMMAND: u64 = 7;

/// Bits of the device control register.
const NO_INTERRUPT: u8 = 1 << 1;
const SOFT_RESET: u8 = 1 << 2;
const PREVIOUS: u8 = 1 << 7;

/// Commands that are the channel's: they work whatever a drive does, or on both.
const DEVICE_RESET: u8 = 0x08;
const DIAGNOSE: u8 = 0x90;

/// One of the two drives, or where it could be.
pub struct Unit {
    pub file: TaskFile,
    pub drive: Option<Drive>,
}

/// The registers of a channel, and what goes on behind them.
pub struct Protocol {
    // Wiring
    interrupt: Interrupt,
    // Volatile state
    pub(super) units: [Unit; UNITS],
    pub(super) control: u8,
    pub(super) bus_master: BusMaster,
    pub(super) interrupting: bool,
    /// What is to be done for which drive.
    pub(super) work: Option<(usize, Work)>,
    // What is not saved
    pub(super) may_move_memory: bool,
    /// What the I/O thread is at.
    pub(super) in_flight: Option<Work>,
    /// Counts resets: what was begun before is forgotten.
    pub(super) generation: u64,
    pub(super) paused: bool,
    /// What is to be done has failed, and waits for the machine to go on.
    pub(super) held: bool,
    ending: bool,
}

impl Protocol {
    /// At power-on, paused.
    pub fn new(units: [Option<DriveConfig>; UNITS], interrupt: Interrupt) -> Self {
        let unit = |config: Option<DriveConfig>| Unit { file: TaskFile::default(), drive: config.map(Drive::new) };
        let mut new = Self {
            interrupt,
            units: units.map(unit),
            control: 0,
            bus_master: BusMaster::default(),
            interrupting: false,
            work: None,
            may_move_memory: false,
            in_flight: None,
            generation: 0,
            paused: true,
            held: false,
            ending: false,
        };
        new.reset(true);
        new
    }

    /// Back to power-on (`hard`), or what the guest's reset of the channel leads to.
    pub fn reset(&mut self, hard: bool) {
        self.forget();
        for unit in &mut self.units {
            unit.file.device = ALWAYS;
            match &mut unit.drive {
                Some(drive) => {
                    drive.reset(hard);
                    unit.file.sign(drive.is_packet());
                }
                None => unit.file = TaskFile { device: ALWAYS, ..TaskFile::default() },
            }
        }
        self.interrupting = false;
        if hard {
            self.control = 0;
            self.bus_master.reset();
            self.may_move_memory = false;
        }
        self.drive_line();
    }

    /// What is to be done, and what is being done, is not wanted any more.
    pub fn forget(&mut self) {
        self.work = None;
        self.held = false;
        self.generation = self.generation.wrapping_add(1);
    }

    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.held &= paused;
    }

    pub fn end(&mut self) {
        self.ending = true;
    }

    pub fn is_ending(&self) -> bool {
        self.ending
    }

    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub fn set_bus_master(&mut self, may_move_memory: bool) {
        self.may_move_memory = may_move_memory;
    }

    /// Whether the I/O thread moves memory though the bus master was stopped.
    pub fn moves_memory_unasked(&self) -> bool {
        matches!(self.in_flight, Some(Work::Transfer | Work::Reply)) && !self.bus_master.is_active()
    }

    pub fn drive_line(&self) {
        self.interrupt.set_level(self.interrupting && self.control & NO_INTERRUPT == 0);
    }

    fn interrupt(&mut self) {
        self.interrupting = true;
        self.bus_master.interrupted();
        self.drive_line();
    }

    /// Which drive is selected.
    fn selected(&self) -> usize {
        usize::from(self.units[0].file.device & UNIT != 0)
    }

    fn is_busy(&self) -> bool {
        self.units[self.selected()].file.status & BUSY != 0
    }

    /// The status register; reading it here changes nothing.
    pub fn status(&self) -> u8 {
        if self.control & SOFT_RESET != 0 {
            return BUSY;
        }
        self.units[self.selected()].file.status
    }

    pub fn read_register(&mut self, offset: u64) -> u8 {
        if offset == COMMAND {
            self.interrupting = false;
            self.drive_line();
            return self.status();
        }
        let file = &self.units[self.selected()].file;
        let pick = |pair: Pair| if self.control & PREVIOUS != 0 { pair.before } else { pair.now };
        match offset {
            FEATURES => file.error,
            COUNT => pick(file.count),
            DEVICE => file.device,
            _ => file.lba.get(offset as usize - 3).map_or(0xff, |&pair| pick(pair)),
        }
    }

    /// Whether a write stops what the selected drive does.
    pub fn interrupts_work(&self, offset: u64, value: u8) -> bool {
        let unit = &self.units[self.selected()];
        let is_packet = unit.drive.as_ref().is_some_and(Drive::is_packet);
        offset == COMMAND && (value == DEVICE_RESET && is_packet || !self.is_busy() && self.work.is_some())
    }

    pub fn write_register(&mut self, offset: u64, value: u8) {
        self.control &= !PREVIOUS;
        if offset == COMMAND {
            return self.command(value);
        }
        if self.is_busy() {
            return;
        }
        // Both drives listen.
        for Unit { file, .. } in &mut self.units {
            match offset {
                FEATURES => file.features.put(value),
                COUNT => file.count.put(value),
                DEVICE => file.device = value | ALWAYS,
                _ => {
                    if let Some(pair) = file.lba.get_mut(offset as usize - 3) {
                        pair.put(value);
                    }
                }
            }
        }
    }

    /// Whether a write to the control register begins a reset of both drives.
    pub fn begins_reset(&self, value: u8) -> bool {
        value & SOFT_RESET != 0 && self.control & SOFT_RESET == 0
    }

    pub fn write_control(&mut self, value: u8) {
        if self.begins_reset(value) {
            self.reset(false);
        }
        self.control = value & (NO_INTERRUPT | SOFT_RESET | PREVIOUS);
        self.drive_line();
    }

    fn command(&mut self, code: u8) {
        let selected = self.selected();
        if self.control & SOFT_RESET != 0 {
            return;
        }
        if code == DIAGNOSE && !self.is_busy() {
            self.reset(false);
            // That is told by device 0, if there is one.
            return self.interrupt();
        }
        let unit = &mut self.units[selected];
        let Some(drive) = &mut unit.drive else { return };
        if unit.file.status & BUSY != 0 && !(code == DEVICE_RESET && drive.is_packet()) {
            return;
        }
        self.interrupting = false;
        drive.phase = Phase::Idle;
        drive.in_packet = false;
        unit.file.error = 0;
        let step = drive.execute(code, &mut unit.file);
        self.drive_line();
        self.take_step(selected, step);
    }

    /// Does what a command leads to.
    pub(super) fn take_step(&mut self, index: usize, step: Step) {
        let unit = &mut self.units[index];
        let Some(drive) = &mut unit.drive else { return };
        match step {
            Step::Done(result) => self.finish(index, result, true),
            Step::Silent => {}
            Step::Packet => {
                drive.phase = Phase::Packet;
                drive.buffer = Buffer { bytes: vec![0; PACKET], position: 0, end: PACKET };
                unit.file.count.now = REASON_COMMAND;
                unit.file.status = READY | SEEK_DONE | DATA_REQUEST;
            }
            Step::Reply { data, dma, block } => {
                drive.transfer = Transfer { dma, block, ..Transfer::default() };
                drive.buffer = Buffer { bytes: data, position: 0, end: 0 };
                match dma {
                    true => self.begin(index, Work::Reply),
                    false => self.present(index),
                }
            }
            Step::Move(transfer) => {
                drive.transfer = transfer;
                drive.buffer = Buffer::default();
                match (transfer.dma, transfer.way) {
                    (true, _) => self.begin(index, Work::Transfer),
                    (false, Way::In) => self.begin(index, Work::Fill),
                    // The first block is asked for without an interrupt.
                    (false, Way::Out) => self.ask(index, false),
                }
            }
            Step::Flush => self.begin(index, Work::Flush),
        }
    }

    fn begin(&mut self, index: usize, work: Work) {
        let unit = &mut self.units[index];
        if let Some(drive) = &mut unit.drive {
            drive.phase = Phase::Work;
        }
        unit.file.status = match work {
            // The drive is ready for the bus master.
            Work::Transfer | Work::Reply if !self.bus_master.is_active() => READY | SEEK_DONE | DATA_REQUEST,
            _ => READY | SEEK_DONE | BUSY,
        };
        self.work = Some((index, work));
    }

    /// The command is over.
    pub(super) fn finish(&mut self, index: usize, result: Result<(), u8>, interrupts: bool) {
        let unit = &mut self.units[index];
        let Some(drive) = &mut unit.drive else { return };
        drive.phase = Phase::Idle;
        drive.buffer = Buffer::default();
        drive.transfer = Transfer::default();
        unit.file.status = READY | SEEK_DONE;
        if let Err(error) = result {
            unit.file.error = error;
            unit.file.status = READY | ERROR;
        }
        if std::mem::take(&mut drive.in_packet) {
            unit.file.count.now = REASON_COMMAND | REASON_TO_GUEST;
        }
        if interrupts {
            self.interrupt();
        }
    }

    /// Offers the next block of the buffer to the guest.
    pub(super) fn present(&mut self, index: usize) {
        let unit = &mut self.units[index];
        let Some(drive) = &mut unit.drive else { return };
        let Buffer { bytes, position, end } = &mut drive.buffer;
        let length = bytes.len().saturating_sub(*position).min(drive.transfer.block as usize);
        *end = *position + length;
        drive.phase = Phase::DataIn;
        if drive.in_packet {
            // No larger than the limit, which has 16 bits.
            let [low, high] = (length as u16).to_le_bytes();
            (unit.file.lba[1].now, unit.file.lba[2].now) = (low, high);
            unit.file.count.now = REASON_TO_GUEST;
        }
        unit.file.status = READY | SEEK_DONE | DATA_REQUEST;
        self.interrupt();
    }

    /// Asks the guest for the next block.
    pub(super) fn ask(&mut self, index: usize, interrupts: bool) {
        let unit = &mut self.units[index];
        let Some(drive) = &mut unit.drive else { return };
        let part = drive.transfer.left.min(PART) as usize;
        let buffer = &mut drive.buffer;
        if buffer.bytes.len() != part || buffer.position >= part {
            *buffer = Buffer { bytes: vec![0; part], position: 0, end: 0 };
        }
        buffer.end = (buffer.position + drive.transfer.block as usize).min(part);
        drive.phase = Phase::DataOut;
        unit.file.status = READY | SEEK_DONE | DATA_REQUEST;
        if interrupts {
            self.interrupt();
        }
    }

    /// Reads the data register, as often as there is room in `data`.
    pub fn read_data(&mut self, data: &mut [u8]) {
        let index = self.selected();
        let mut to = data;
        while !to.is_empty() {
            let drive = self.units[index].drive.as_mut().filter(|drive| drive.phase == Phase::DataIn);
            let Some(drive) = drive else { break };
            let from = drive.buffer.rest();
            let length = from.len().min(to.len());
            let (now, later) = to.split_at_mut(length);
            now.copy_from_slice(&from[..length]);
            to = later;
            drive.buffer.position += length;
            if drive.buffer.position >= drive.buffer.end {
                self.block_read(index);
            }
        }
        to.fill(0xff);
    }

    /// The guest has read a block.
    fn block_read(&mut self, index: usize) {
        let Some(drive) = &self.units[index].drive else { return };
        if drive.buffer.position < drive.buffer.bytes.len() {
            self.present(index);
        } else if drive.transfer.left > 0 {
            self.begin(index, Work::Fill);
        } else {
            // Only packets end with an interrupt of their own.
            let interrupts = drive.in_packet;
            self.finish(index, Ok(()), interrupts);
        }
    }

    /// Writes the data register.
    pub fn write_data(&mut self, data: &[u8]) {
        let index = self.selected();
        let mut from = data;
        while !from.is_empty() {
            let drive = self.units[index].drive.as_mut();
            let drive = drive.filter(|drive| matches!(drive.phase, Phase::DataOut | Phase::Packet));
            let Some(drive) = drive else { return };
            let to = drive.buffer.rest();
            let length = to.len().min(from.len());
            let (now, later) = from.split_at(length);
            to[..length].copy_from_slice(now);
            from = later;
            drive.buffer.position += length;
            if drive.buffer.position >= drive.buffer.end {
                self.block_written(index);
            }
        }
    }

    /// The guest has written a block.
    fn block_written(&mut self, index: usize) {
        let Some(drive) = &mut self.units[index].drive else { return };
        match (drive.phase, &mut drive.model) {
            (Phase::Packet, Model::Cdrom(cdrom)) => {
                drive.in_packet = true;
                let packet = drive.buffer.bytes.first_chunk().copied().unwrap_or_default();
                let step = cdrom.packet(packet);
                self.take_step(index, step);
            }
            _ if drive.buffer.position < drive.buffer.bytes.len() => self.ask(index, true),
            _ => self.begin(index, Work::Drain),
        }
    }

    pub fn read_bus_master(&self, offset: u64, data: &mut [u8]) {
        self.bus_master.read(offset, data);
    }

    pub fn write_bus_master(&mut self, offset: u64, data: &[u8]) {
        self.bus_master.write(offset, data);
        if let Some((index, Work::Transfer | Work::Reply)) = self.work {
            let unit = &mut self.units[index];
            let state = if self.bus_master.is_active() { BUSY } else { DATA_REQUEST };
            unit.file.status = READY | SEEK_DONE | state;
        }
    }
}
