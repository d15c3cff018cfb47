//! What the desktop application and `lodgectl` share; no GTK here.
//!
//! - [`paths`]: where everything lies. [`size`]: amounts of bytes as people write them.
//! - [`definition`]: what a guest is. [`library`]: all guests on disk, which is the truth. [`run_lock`]: what a running
//!   guest holds. [`atomic_file`]: files that are there whole or not at all. [`file_lock`]: locks that are
//!   inherited.
//! - [`supervisor`]: starts workers, finds and ends them. [`client`]: talks to one worker.
//! - [`guests`]: the live view of all guests, for the application. [`statistics`]: their graphs.
//! - [`host`]: what this machine can do, and what is missing.
//! - [`creation`]: guests together with their disks. [`clone`]: copies of guests. [`storage`]: disk images outside of guests. [`pool`]: disk images. [`media`]: what a file that a person chose is.
//! - [`snapshots`]: moments that a guest can go back to.
//! - [`editing`]: changes of a definition, at once where that is possible.
//! - [`certificate`]: by whom a screen is shown on a network.
//! - [`network`]: the host's end of network cards. [`drives`]: media in CD-ROM drives.
//! - [`testcard`]: the built-in guest.

pub mod atomic_file;
pub mod certificate;
pub mod client;
pub mod clone;
pub mod creation;
pub mod definition;
pub mod drives;
pub mod editing;
pub mod file_lock;
pub mod guests;
pub mod host;
pub mod library;
pub mod media;
pub mod network;
pub mod network_screen;
pub mod networks;
pub mod paths;
pub mod pool;
pub mod run_lock;
pub mod size;
pub mod snapshots;
pub mod socket;
pub mod statistics;
pub mod storage;
pub mod supervisor;
pub mod testcard;
pub mod testing;
pub mod virtual_networks;
