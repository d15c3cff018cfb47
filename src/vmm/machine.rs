//! A machine: memory, vCPUs, buses and devices, and the one who drives them.
//!
//! ```text
//!            new                resume                 a vCPU cannot go on
//!   (config) ────▶ Paused ──────────────────▶ Running ─────────────────────▶ InternalError
//!                  ▲ ▲ └◀───────────────────────┘ │                             │
//!                  │ │          pause             │ reset                       │ reset
//!                  │ └ reset                      └▶ Running                    │
//!                  └────────────────────────────────────────────────────────────┘
//! ```
//!
//! One thread owns the [`Machine`] and is the only one to change its state. The threads of the vCPUs and devices report what
//! the guest wants as [`MachineEvent`]s. Before a state is left, every vCPU has stopped at an instruction boundary
//! with its I/O completed. Dropping the machine stops and joins all its threads.

mod boot;
mod boot_order;
mod chipset;
mod config;
mod disks;
mod event;
mod graphics;
mod input;
mod merging;
mod peripherals;
mod requests;
mod saved;
mod screen;
mod virtio;

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, PoisonError},
};

use crate::{
    input::InputSink,
    screen::Screen,
    system_error::words,
    vmm::{
        block::BlockError,
        boot::{firmware::FirmwareError, linux::LinuxBootError},
        bus::BusError,
        cpu::{Registers, VcpuInfo, Vcpus, VcpusError, Wiring},
        devices::serial::SerialInput,
        kvm::{ChipState, KvmDoorbells, KvmError, KvmMsiAllocator, MemorySlots, Routing, Vm, refused},
        memory::{self, GuestMemory, Layout, MemoryError},
        pci::bus::SlotTaken,
        virtio::balloon::BalloonHandle,
    },
};

use boot::{Beginning, Facts, Starter};
use chipset::{Chipset, ChipsetConfig};
use requests::Requests;
use saved::Make;
use virtio::VirtioWiring;

pub use config::{Boot, CdromConfig, DiskBus, DiskConfig, Firmware, MAX_VCPUS, MEMORY_UNIT, MIN_MEMORY, MachineConfig};
pub use disks::{CdromInfo, DiskInfo, DiskSnapshot, MAX_DISKS, queues as disk_queues};
pub use event::{MachineEvent, ResetCause, ShutdownCause};
pub use graphics::Graphics;
pub use merging::GoOn;
use peripherals::PluggedPeripherals;

pub use saved::{SavedMachine, saved_description};

pub use peripherals::{
    Connection, ConsoleConfig, MAX_NETWORKS, NetworkBoot, NetworkConfig, NetworkInfo, NetworkModel, Peripherals,
    VsockConfig,
};

/// Who is told of [`MachineEvent`]s.
pub type EventSink = Arc<dyn Fn(MachineEvent) + Send + Sync>;

/// The state of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineState {
    /// The vCPUs stand still.
    Paused,
    /// The vCPUs run, or wait for the driver's answer to a [`MachineEvent`].
    Running,
    /// A vCPU cannot go on; only a reset helps.
    InternalError,
}

/// Why a machine could not be made or would not obey.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The configuration asks for something impossible.
    #[error("the machine cannot have {0}")]
    Config(String),
    /// KVM cannot be used, or has refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The vCPUs could not be made.
    #[error(transparent)]
    Vcpus(#[from] VcpusError),
    /// The guest's RAM could not be had.
    #[error(transparent)]
    Ram(#[from] MemoryError),
    /// Other memory could not be had.
    #[error("{len} bytes of {what} could not be allocated: {}. give the guest less memory", words(source))]
    Memory {
        /// What for.
        what: &'static str,
        /// How much, in bytes.
        len: u64,
        /// Why.
        source: io::Error,
    },
    /// Firmware could not be loaded.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// A kernel could not be loaded.
    #[error(transparent)]
    Linux(#[from] LinuxBootError),
    /// The kernel's file begins elsewhere than at power-on.
    #[error("the kernel's file has changed since the guest's start. force the guest off and start it again")]
    KernelChanged,
    /// A device could not be made.
    #[error("the device {label} could not be made: {}", words(source))]
    Device {
        /// Its label.
        label: String,
        /// Why.
        source: io::Error,
    },
    /// Two devices want the same addresses.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Two devices want the same slot.
    #[error(transparent)]
    Slot(#[from] SlotTaken),
    /// There is no such disk.
    #[error("there is no disk {0}")]
    NoSuchDisk(String),
    /// The images of a disk could not be exchanged.
    #[error("{disk}: {source}")]
    Snapshot {
        /// The disk.
        disk: String,
        /// Why.
        source: BlockError,
    },
    /// A disk could not be made larger.
    #[error("{disk}: {source}")]
    Grow {
        /// The disk.
        disk: String,
        /// Why.
        source: BlockError,
    },
    /// There is no such vCPU.
    #[error("there is no vCPU {0}")]
    NoSuchVcpu(u32),
    /// The guest ran into an internal error and cannot run on.
    #[error("the guest ran into an internal error. reset it first")]
    NeedsReset,
}

/// A virtual machine.
pub struct Machine {
    running: bool,
    requests: Arc<Requests>,
    // In this order they end: first those who use the others.
    vcpus: Vcpus,
    chipset: Chipset,
    disks: Vec<DiskInfo>,
    cdroms: Vec<CdromInfo>,
    power_on: ChipState,
    peripherals: PluggedPeripherals,
    starter: Starter,
    make: Make,
    vm: Vm,
    /// Kept until no vCPU can touch it.
    ram: Arc<GuestMemory>,
}

impl Machine {
    /// Makes the machine, paused at power-on. `kvm` is an open `/dev/kvm`.
    pub fn new(kvm: OwnedFd, config: MachineConfig, events: EventSink) -> Result<Self, MachineError> {
        config.check()?;
        let make = Make::of(&config);
        let vm = Vm::new(kvm)?;
        let layout = Layout::new(config.memory);
        let ram = memory::allocate(&layout, config.memory_backing)?;
        let slots = MemorySlots::new(vm.fd.clone());
        slots.map_ram(&ram).map_err(refused("map the guest's memory"))?;
        let routing = Routing::new(vm.fd.clone()).map_err(refused("route interrupts"))?;

        let tables = boot::tables(&config);
        let drives = disks::Drives::new(config.disks, config.cdroms, &events);
        let mut peripherals = config.peripherals;
        let to_boot_from = drives.to_boot_from().into_iter().chain(peripherals.to_boot_from()).collect();
        let requests = Requests::new(events);
        let facts = Facts {
            memory: &ram,
            layout: &layout,
            vcpus: config.vcpus as u16,
            graphics: config.graphics,
            boot_menu: config.boot_menu,
        };
        let Beginning { starter, fw_cfg, entry } =
            Beginning::load(config.boot, tables, &facts, &slots, to_boot_from, peripherals.take_roms())?;
        let chipset_config = ChipsetConfig {
            layout,
            vcpus: config.vcpus,
            graphics: config.graphics,
            video_memory: config.video_memory,
            serial: config.serial,
            debug_log: config.debug_log,
            fw_cfg,
        };
        let virtio_wiring = VirtioWiring {
            memory: ram.clone(),
            vectors: Arc::new(KvmMsiAllocator(routing)),
            doorbells: Arc::new(KvmDoorbells(vm.fd.clone())),
        };
        let chipset = Chipset::new(&vm, &slots, &requests, &virtio_wiring, chipset_config)?;
        let ide = (&chipset.ports, &chipset.ide_lines);
        let (disks, cdroms) = drives.plug(config.vcpus, &chipset.pci, ide, &virtio_wiring, &requests)?;
        let peripherals = peripherals.plug(&chipset.pci, &virtio_wiring, chipset.input.clone())?;
        let wiring = Wiring {
            ports: chipset.ports.clone(),
            memory: chipset.memory.clone(),
            coalesced: chipset.coalesced.clone(),
            ram: ram.clone(),
            governor: requests.clone(),
        };
        let vcpus = Vcpus::new(&vm, config.vcpus, &config.cpu, entry, &wiring)?;
        let power_on = ChipState::take(&vm.fd)?;
        let mut machine = Self {
            running: false,
            requests,
            vcpus,
            chipset,
            disks,
            cdroms,
            peripherals,
            power_on,
            starter,
            make,
            vm,
            ram,
        };
        machine.starter.reset(&machine.chipset.pci, &machine.chipset.ports)?;
        Ok(machine)
    }

    /// Its state.
    pub fn state(&self) -> MachineState {
        match self.running {
            _ if self.requests.failed() => MachineState::InternalError,
            true => MachineState::Running,
            false => MachineState::Paused,
        }
    }

    /// Lets the vCPUs run. Nothing when they do already.
    pub fn resume(&mut self) -> Result<(), MachineError> {
        if self.requests.failed() {
            return Err(MachineError::NeedsReset);
        }
        if !self.running {
            self.disks.iter().for_each(|disk| disk.drive.retry());
            self.chipset.resume();
            self.vcpus.resume();
            self.running = true;
        }
        Ok(())
    }

    /// Stops the vCPUs; returns when all of them stand still with their I/O completed. Nothing when they do already.
    pub fn pause(&mut self) -> Result<(), MachineError> {
        self.halt();
        Ok(())
    }

    fn halt(&mut self) {
        if self.running {
            self.vcpus.pause();
            self.chipset.pause();
            self.running = false;
        }
    }

    /// Puts the machine into its state at power-on. Afterwards it runs if it did before; after an internal error it is paused.
    pub fn reset(&mut self) -> Result<(), MachineError> {
        let go_on = self.running && !self.requests.failed();
        self.pause()?;
        self.chipset.reset();
        self.power_on.apply(&self.vm.fd)?;
        self.starter.reset(&self.chipset.pci, &self.chipset.ports)?;
        self.vcpus.reset()?;
        self.requests.clear();
        if go_on {
            self.resume()?;
        }
        Ok(())
    }

    /// Has the guest go on in new images, all of them at one point: what it has written so far stays as it is now in those that it
    /// had. All of them are exchanged, or none is. A machine that runs is paused for that moment.
    pub fn snapshot_disks(&mut self, snapshots: Vec<DiskSnapshot>) -> Result<(), MachineError> {
        self.while_paused(|machine| disks::snapshot(&machine.disks, snapshots))?
    }

    /// Gives a disk `size` bytes, which are more than it has, and tells the guest. A machine that runs is paused for that moment.
    pub fn grow_disk(&mut self, id: &str, size: u64) -> Result<(), MachineError> {
        self.while_paused(|machine| disks::grow(&mut machine.disks, id, size))?
    }

    /// Does `work` while no device serves requests; a machine that runs goes on afterwards.
    fn while_paused<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Result<T, MachineError> {
        let go_on = self.running;
        self.pause()?;
        let done = work(self);
        if go_on {
            self.resume()?;
        }
        Ok(done)
    }

    /// The vCPUs.
    pub fn vcpus(&self) -> Vec<VcpuInfo> {
        self.vcpus.info()
    }

    /// The registers of vCPU `index`, whatever the machine's state.
    pub fn registers(&self, index: u32) -> Result<Registers, MachineError> {
        Ok(self.vcpus.registers(index).ok_or(MachineError::NoSuchVcpu(index))??)
    }

    /// The guest's screen.
    pub fn screen(&self) -> Arc<dyn Screen> {
        self.chipset.screen.clone()
    }

    /// The guest's keyboard and pointer.
    pub fn input(&self) -> Arc<dyn InputSink> {
        self.peripherals.input.clone()
    }

    /// The way into the console's terminal.
    pub fn console_input(&self) -> Option<Arc<dyn SerialInput>> {
        self.peripherals.console_input.clone()
    }

    /// The balloon.
    pub fn balloon(&self) -> Option<BalloonHandle> {
        self.peripherals.balloon.clone()
    }

    /// The network cards, in the order of the configuration.
    pub fn networks(&self) -> Vec<NetworkInfo> {
        self.peripherals.networks.clone()
    }

    /// Presses the power button: what follows is the guest's to decide.
    pub fn press_power_button(&self) {
        self.chipset.power.lock().unwrap_or_else(PoisonError::into_inner).press_power_button();
    }

    /// The way into the guest's serial port.
    pub fn serial_input(&self) -> Arc<dyn SerialInput> {
        self.chipset.serial_input.clone()
    }

    /// The disks, in the order of the configuration.
    pub fn disks(&self) -> Vec<DiskInfo> {
        self.disks.clone()
    }

    /// The CD-ROM drives, in the order of the configuration.
    pub fn cdroms(&self) -> Vec<CdromInfo> {
        self.cdroms.clone()
    }
}
