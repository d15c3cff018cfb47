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

mod config;
mod event;

use std::{os::fd::OwnedFd, sync::Arc};

use crate::{
    input::InputSink,
    screen::Screen,
    vmm::{
        cpu::{Registers, VcpuInfo},
        devices::serial::SerialInput,
    },
};

pub use config::{DiskConfig, Firmware, MAX_VCPUS, MEMORY_UNIT, MIN_MEMORY, MachineConfig};
pub use event::{MachineEvent, ResetCause, ShutdownCause};

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
    /// KVM cannot be used.
    #[error("KVM refused to {doing}")]
    Kvm {
        /// What was asked of it.
        doing: &'static str,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
    /// There is no such vCPU.
    #[error("there is no vCPU {0}")]
    NoSuchVcpu(u32),
    /// The guest ran into an internal error and cannot run on.
    #[error("the guest ran into an internal error. reset it first")]
    NeedsReset,
}

/// A disk of a machine, as QMP's `query-block` shows it.
pub struct DiskInfo {
    /// Its name.
    pub id: String,
    /// Its size in bytes.
    pub capacity: u64,
    /// Whether the guest cannot write to it.
    pub read_only: bool,
}

/// A virtual machine.
pub struct Machine {
    state: MachineState,
    screen: Arc<dyn Screen>,
    input: Arc<dyn InputSink>,
    serial_input: Arc<dyn SerialInput>,
}

impl Machine {
    /// Makes the machine, paused at power-on. `kvm` is an open `/dev/kvm`.
    pub fn new(_kvm: OwnedFd, _config: MachineConfig, _events: EventSink) -> Result<Self, MachineError> {
        Err(MachineError::Kvm { doing: "make a machine", source: std::io::ErrorKind::Unsupported.into() })
    }

    /// Its state.
    pub fn state(&self) -> MachineState {
        self.state
    }

    /// Lets the vCPUs run. Nothing when they do already.
    pub fn resume(&mut self) -> Result<(), MachineError> {
        Err(MachineError::NeedsReset)
    }

    /// Stops the vCPUs; returns when all of them stand still with their I/O completed. Nothing when they do already.
    pub fn pause(&mut self) -> Result<(), MachineError> {
        Err(MachineError::NeedsReset)
    }

    /// Puts the machine into its state at power-on. Afterwards it runs if it did before; after an internal error it is paused.
    pub fn reset(&mut self) -> Result<(), MachineError> {
        Err(MachineError::NeedsReset)
    }

    /// The vCPUs.
    pub fn vcpus(&self) -> Vec<VcpuInfo> {
        Vec::new()
    }

    /// The registers of vCPU `index`, whatever the machine's state.
    pub fn registers(&self, index: u32) -> Result<Registers, MachineError> {
        Err(MachineError::NoSuchVcpu(index))
    }

    /// The guest's screen.
    pub fn screen(&self) -> Arc<dyn Screen> {
        self.screen.clone()
    }

    /// The guest's keyboard and pointer.
    pub fn input(&self) -> Arc<dyn InputSink> {
        self.input.clone()
    }

    /// The way into the guest's serial port.
    pub fn serial_input(&self) -> Arc<dyn SerialInput> {
        self.serial_input.clone()
    }

    /// The disks, in the order of the configuration.
    pub fn disks(&self) -> Vec<DiskInfo> {
        Vec::new()
    }
}
