//! Saving a machine, and restoring one.
//!
//! A machine that stands still is saved in two steps: its devices and vCPUs at once ([`Machine::save`]), its memory by and by
//! ([`SavedMachine::write`]), for as long as the machine stands still.
//!
//! The order of restoring matters. Memory comes first, since devices look at their queues in it. Devices come before the
//! interrupt controllers, and those before the vCPUs, since whoever takes over a state may pull a line: what the controllers and
//! local APICs knew of that is in their own states. The clock comes last, so that it stands still until the end.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Machine, MachineConfig};
use crate::vmm::{
    block::Disk,
    cpu::SavedVcpu,
    kvm::{self, ChipState},
    memory::{Layout, RamPages},
    snapshot::{
        Description, Progress, SnapshotError,
        container::{Kind, Reader, Writer},
        description::DiskDescription,
        pages::{self, Pages},
    },
};

/// What of a machine's make only its configuration tells.
pub(super) struct Make {
    description: Description,
    layout: Layout,
    nested: bool,
}

impl Make {
    /// That of a machine to be made.
    pub fn of(config: &MachineConfig) -> Self {
        let disks = config.disks.iter().map(|disk| DiskDescription {
            id: disk.id.clone(),
            capacity: disk.disk.capacity(),
            read_only: disk.disk.read_only(),
            serial: disk.serial.clone(),
        });
        let networks = config.peripherals.networks.iter().map(|network| (network.id.clone(), network.mac));
        let console = config.peripherals.console.as_ref();
        let ports = console.into_iter().flat_map(|console| &console.ports).map(|port| port.name.clone());
        let description = Description {
            uuid: config.uuid,
            memory: config.memory,
            vcpus: config.vcpus,
            topology: config.cpu.topology(config.vcpus),
            graphics: config.graphics,
            video_memory: config.video_memory,
            functions: BTreeMap::new(),
            devices: Vec::new(),
            disks: disks.collect(),
            drives: config.cdroms.iter().map(|drive| drive.id.clone()).collect(),
            networks: networks.collect(),
            ports: Some(ports.collect()),
        };
        Self { description, layout: Layout::new(config.memory), nested: config.cpu.nested }
    }
}

/// The first document of a saved state.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Of which guest, for people who look at the file.
    machine: Description,
    /// Whether the guest is to run when it is restored.
    runs: bool,
}

/// What the machine was made of whose state `from` begins with.
pub fn saved_description(from: &mut dyn Read) -> Result<Description, SnapshotError> {
    let Head { machine, .. } = Reader::new(from)?.document(Kind::Machine)?;
    Ok(machine)
}

/// The second one: everything but memory.
#[derive(Serialize, Deserialize)]
struct State {
    devices: BTreeMap<String, Value>,
    chips: ChipState,
    vcpus: Vec<SavedVcpu>,
    /// KVM's clock for guests, in nanoseconds.
    clock: u64,
}

/// A machine's state, whose memory is still the machine's.
pub struct SavedMachine {
    head: Head,
    state: State,
    ram: RamPages,
    video_memory: Arc<kvm::KvmVideoMemory>,
}

impl SavedMachine {
    /// Writes the state. The machine must stand still until this is done; any thread may do it.
    pub fn write(&self, to: &mut dyn Write, progress: &Progress) -> Result<(), SnapshotError> {
        let memory: [(Kind, &dyn Pages); 2] = [(Kind::Video, &*self.video_memory), (Kind::Ram, &self.ram)];
        progress.expect(memory.iter().map(|(_, memory)| pages::size(*memory)).sum());
        let mut writer = Writer::new(to, progress)?;
        writer.document(Kind::Machine, &self.head)?;
        writer.document(Kind::Devices, &self.state)?;
        for (kind, memory) in memory {
            pages::save(kind, memory, &mut writer, progress)?;
        }
        writer.finish()
    }
}

impl Machine {
    /// Takes the state of the machine, which is paused if it runs. `runs` is what [`Machine::restore`] will say.
    pub fn save(&mut self, runs: bool) -> Result<SavedMachine, SnapshotError> {
        if self.make.nested {
            return Err(SnapshotError::Nested);
        }
        self.halt();
        if self.requests.failed() {
            return Err(SnapshotError::Failed);
        }
        if self.requests.is_pending() {
            return Err(SnapshotError::Busy);
        }
        let state = State {
            clock: kvm::clock(&self.vm.fd)?,
            vcpus: self.vcpus.save()?,
            chips: ChipState::take(&self.vm.fd)?,
            devices: self.chipset.save()?,
        };
        Ok(SavedMachine {
            head: Head { machine: self.description(), runs },
            state,
            ram: self.ram_pages(),
            video_memory: self.chipset.video_memory.clone(),
        })
    }

    /// Puts the machine, which has not run yet, into the state that is read from `from`. Returns whether it is to run. On an error
    /// it is in no state to run: drop it.
    pub fn restore(&mut self, from: &mut dyn Read) -> Result<bool, SnapshotError> {
        let mut reader = Reader::new(from)?;
        let Head { machine, runs } = reader.document(Kind::Machine)?;
        let differences = self.description().differences_from(&machine);
        if !differences.is_empty() {
            return Err(SnapshotError::Differs(differences));
        }
        let State { devices, chips, vcpus, clock } = reader.document(Kind::Devices)?;
        if !chips.is_sound() {
            return Err(SnapshotError::damaged("it has other interrupt controllers"));
        }
        self.restore_memory(reader)?;
        self.chipset.restore(devices)?;
        chips.apply(&self.vm.fd)?;
        self.vcpus.restore(vcpus)?;
        kvm::set_clock(&self.vm.fd, clock)?;
        Ok(runs)
    }

    /// Reads memory up to the end of the stream.
    fn restore_memory(&self, mut reader: Reader<'_>) -> Result<(), SnapshotError> {
        let (ram, video_memory) = (self.ram_pages(), &*self.chipset.video_memory);
        let memory: [&dyn Pages; 2] = [&ram, video_memory];
        // Firmware or a kernel is there already.
        memory.iter().try_for_each(|memory| memory.clear()).map_err(SnapshotError::Memory)?;
        let ranges = memory.map(|memory| memory.ranges());
        loop {
            let record = reader.read()?;
            let index = match record.kind {
                Kind::Ram => 0,
                Kind::Video => 1,
                Kind::End => return Ok(()),
                other => return Err(SnapshotError::damaged(format_args!("{other:?} among the memory"))),
            };
            pages::restore(&record, memory[index], &ranges[index])?;
        }
    }

    fn ram_pages(&self) -> RamPages {
        RamPages::new(self.ram.clone(), &self.make.layout)
    }

    /// What it is made of.
    pub fn description(&self) -> Description {
        let (functions, devices) = self.chipset.labels();
        Description { functions, devices, ..self.make.description.clone() }
    }
}
