//! ATA disks and ATAPI CD-ROM drives on the two channels of an IDE controller, for guests without virtio drivers and for every
//! CD that boots. The controller's PCI function is [`piix3_ide`](crate::vmm::pci::piix3_ide).
//!
//! A [`Channel`] is the register face of two drives: command block, control block and bus master. It takes commands, answers
//! those that need no medium at once, and leaves everything else to its I/O thread ([`worker`]): no vCPU waits for the host.
//!
//! ```text
//!   vCPU ──ports──▶ Channel ──▶ Drive ──▶ ata (disks) / atapi (CD-ROM drives) ──▶ Step
//!                      │                                                          │
//!                      └────────────── Work, one part of a transfer ◀─────────────┘
//!   I/O thread ──────────▶ disk image ◀──▶ guest memory (DMA) or the drive's buffer (PIO)
//! ```
//!
//! Specifications: ATA/ATAPI-6 (T13 1410D): registers section 7, commands section 8, protocols section 9. SFF-8020i and MMC-5
//! for CD-ROM drives. Intel 82371SB (PIIX3) datasheet sections 2.3 and 2.7, and Programming Interface for Bus Master IDE
//! Controller 1.0 for the bus master.

#![forbid(unsafe_code)]

mod ata;
mod atapi;
mod bus_master;
mod channel;
mod drive;
mod identify;
mod protocol;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tray;
mod worker;

use std::sync::Arc;

use crate::vmm::block::{drive::Drive, statistics::Statistics};

pub use bus_master::PORTS as BUS_MASTER_PORTS;
pub use channel::{BUS_MASTER, COMMAND, COMMAND_PORTS, CONTROL, CONTROL_PORTS, Channel};
pub use tray::{Locked, Tray, TrayInfo, TrayObserver};

/// Channels of a controller.
pub const CHANNELS: usize = 2;
/// Drives of a channel.
pub const UNITS: usize = 2;
/// Drives of a controller.
pub const MAX_DRIVES: usize = CHANNELS * UNITS;

/// A drive to be connected to a channel.
pub enum DriveConfig {
    /// An ATA disk.
    Disk {
        /// Its content, and what is done when the host fails.
        drive: Arc<Drive>,
        /// The serial number the guest sees; up to 20 bytes count.
        serial: String,
    },
    /// An ATAPI CD-ROM drive.
    Cdrom {
        /// Its tray.
        tray: Tray,
        /// What it has been asked for.
        statistics: Arc<Statistics>,
    },
}
