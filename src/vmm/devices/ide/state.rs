//! What is saved of a channel and its drives.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{
    UNITS,
    ata::Settings,
    atapi::CdromState,
    bus_master::BusMaster,
    drive::{Buffer, Drive, Model, PART, Phase, TaskFile, Transfer},
    identify::{MAX_MULTIPLE, MAX_TRIM_BLOCKS},
    protocol::Protocol,
    tray::TrayState,
    worker::Work,
};

/// The most that is behind a data register.
const MAX_BUFFER: usize = PART as usize;

/// The saved state of a channel.
#[derive(Serialize, Deserialize)]
pub struct ChannelState {
    units: [UnitState; UNITS],
    control: u8,
    bus_master: BusMaster,
    interrupting: bool,
    work: Option<(usize, Work)>,
}

#[derive(Serialize, Deserialize)]
struct UnitState {
    file: TaskFile,
    drive: Option<DriveState>,
}

#[derive(Serialize, Deserialize)]
struct DriveState {
    phase: Phase,
    transfer: Transfer,
    buffer: Buffer,
    in_packet: bool,
    model: ModelState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ModelState {
    Disk(Settings),
    Cdrom { drive: CdromState, tray: TrayState },
}

impl Protocol {
    /// The state to save. What the I/O thread is at has to be over.
    pub fn save(&self) -> ChannelState {
        let units = [0, 1].map(|index: usize| {
            let unit = &self.units[index];
            UnitState { file: unit.file.clone(), drive: unit.drive.as_ref().map(save_drive) }
        });
        ChannelState {
            units,
            control: self.control,
            bus_master: self.bus_master.clone(),
            interrupting: self.interrupting,
            work: self.work,
        }
    }

    /// Takes over a saved state, for drives that have just been reset; says what is wrong with it otherwise.
    pub fn restore(&mut self, state: ChannelState) -> Result<(), String> {
        if let Some((index, work)) = state.work {
            let drive = state.units.get(index).and_then(|unit| unit.drive.as_ref());
            if drive.is_none_or(|drive| drive.phase != Phase::Work) {
                return Err(format!("drive {index} has {work:?} to do and does not wait for it"));
            }
        }
        for (unit, saved) in self.units.iter_mut().zip(state.units) {
            match (&mut unit.drive, saved.drive) {
                (Some(drive), Some(saved)) => restore_drive(drive, saved)?,
                (None, None) => {}
                _ => return Err("it is of other drives".to_owned()),
            }
            unit.file = saved.file;
        }
        self.control = state.control;
        self.bus_master = state.bus_master;
        self.interrupting = state.interrupting;
        self.work = state.work;
        self.drive_line();
        Ok(())
    }
}

fn save_drive(drive: &Drive) -> DriveState {
    DriveState {
        phase: drive.phase,
        transfer: drive.transfer,
        buffer: drive.buffer.clone(),
        in_packet: drive.in_packet,
        model: match &drive.model {
            Model::Disk(disk) => ModelState::Disk(disk.settings),
            Model::Cdrom(cdrom) => ModelState::Cdrom { drive: cdrom.state, tray: cdrom.tray.save() },
        },
    }
}

fn restore_drive(drive: &mut Drive, saved: DriveState) -> Result<(), String> {
    let DriveState { phase, transfer, buffer, in_packet, model } = saved;
    let (unit, capacity) = (drive.unit(), drive.medium().map_or(0, |medium| medium.capacity()));
    let Transfer { offset, left, trims, .. } = transfer;
    let most = if trims { u64::from(MAX_TRIM_BLOCKS) * unit } else { capacity };
    let is_inside = offset.checked_add(left).is_some_and(|end| end <= most) || left == 0;
    if !offset.is_multiple_of(unit) || !left.is_multiple_of(unit) || !is_inside {
        return Err(format!("{} moves {left} bytes from {offset} on", drive.name()));
    }
    let Buffer { bytes, position, end } = &buffer;
    if bytes.len() > MAX_BUFFER || position > end || *end > bytes.len() {
        return Err(format!("{} is at byte {position} of {}", drive.name(), bytes.len()));
    }
    match (&mut drive.model, model) {
        (Model::Disk(disk), ModelState::Disk(settings)) => {
            if settings.multiple > MAX_MULTIPLE || settings.geometry.heads == 0 || settings.geometry.sectors == 0 {
                return Err(format!("{} has impossible settings: {settings:?}", drive.name()));
            }
            disk.settings = settings;
        }
        (Model::Cdrom(cdrom), ModelState::Cdrom { drive, tray }) => {
            cdrom.state = drive;
            cdrom.tray.restore(tray);
        }
        _ => return Err(format!("{} is another kind of drive", drive.name())),
    }
    (drive.phase, drive.transfer, drive.buffer, drive.in_packet) = (phase, transfer, buffer, in_packet);
    Ok(())
}
