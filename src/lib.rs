//! Lodge: a desktop virtual machine manager with its own KVM engine.
//!
//! A map of the crate, from the top down; imports point down only:
//!
//! - [`cli`]: the verbs of `lodgectl`.
//! - [`manager`]: what `lodge` and `lodgectl` share: definitions, the library, starting and finding workers, the host.
//! - [`worker`]: the process that runs one guest: launch description, driver, control and serial servers, exit report.
//! - [`nat`]: what supervisor, worker and `lodge-nat` say to each other about a network card's address translation.
//! - [`switch`]: what they and `lodge-switch` say to each other about isolated networks.
//! - [`qmp`]: the control protocol. [`rfb`]: the screen protocol.
//! - [`vmm`]: the engine: machine, vCPUs, buses, devices.
//! - [`qcow2`]: the structures of that image format. [`progress`]: how far a long operation is. [`system_error`]: what the system
//!   says of a failure, in words.
//! - [`screen`], [`input`], [`clipboard`]: what a screen, what keys and pointers and what a shared clipboard are.
//!
//! The desktop application's own code (`src/main.rs`, `src/ui/`) belongs to the `lodge` binary, and the address translator's and
//! the switch's to `lodge-nat` and `lodge-switch` (`src/bin/`), so that the worker stays small. `lodge-gate`, there too, shows a
//! screen on a network.

pub mod cli;
pub mod clipboard;
pub mod input;
pub mod manager;
pub mod nat;
pub mod progress;
pub mod qcow2;
pub mod qmp;
pub mod rfb;
pub mod screen;
pub mod switch;
pub mod system_error;
pub mod vmm;
pub mod worker;
