//! What a machine tells the one who drives it.

#![forbid(unsafe_code)]

use crate::vmm::{block::errors::DiskError, cpu::InternalErrorReport};

/// Something that the guest has done, or that has happened to it, and is for the driver to decide on. It comes from the thread of a vCPU or device; the receiver
/// only notes it down and never calls the machine from there.
///
/// After all but the last two the vCPUs stop at their next exit, and no second such event comes before [`Machine::reset`](super::Machine::reset).
#[derive(Debug, Clone)]
pub enum MachineEvent {
    /// The guest wants a reset: call [`Machine::reset`](super::Machine::reset), or end the machine.
    Reset {
        /// By which way.
        cause: ResetCause,
    },
    /// The guest has powered itself off.
    Shutdown {
        /// By which way.
        cause: ShutdownCause,
    },
    /// The guest's operating system has panicked.
    GuestPanicked,
    /// A vCPU cannot go on. It is stopped already; call [`Machine::pause`](super::Machine::pause) for the others.
    InternalError(Box<InternalErrorReport>),
    /// The host could not do what the guest has asked a disk for. If the request is kept, call
    /// [`Machine::pause`](super::Machine::pause): it is served again when the machine goes on.
    DiskError(Box<DiskError>),
    /// The guest has opened or closed the tray of a CD-ROM drive, and goes on.
    TrayMoved {
        /// The drive.
        id: String,
        /// Whether it is open now.
        open: bool,
    },
}

/// How a guest has reset itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCause {
    /// Bit 0 of port 0x92.
    SystemControlPort,
    /// The PIIX3's reset control register at port 0xCF9.
    ResetControl,
    /// The keyboard controller's pulse of the reset line.
    KeyboardController,
    /// A fault while delivering a double fault.
    TripleFault,
}

/// How a guest has powered itself off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownCause {
    /// It entered the ACPI state S5.
    Acpi,
}
