//! The devices that are no PCI functions of their own: one file each.

pub mod debug_port;
pub mod e1000;
pub mod i8042;
pub mod ide;
pub mod power_management;
pub mod pvpanic;
pub mod rtc;
pub mod serial;
pub mod system_control;
mod timer;

use std::sync::Arc;

/// The wire by which a device asks for a reset of the machine. It only reports; whoever drives the machine resets it.
pub type ResetLine = Arc<dyn Fn() + Send + Sync>;
