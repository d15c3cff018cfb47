//! Where disks lie: pools, and the volumes in them.
//!
//! A pool is a [`directory`] of images or an LVM volume group ([`lvm`]). There is always the default one, a folder of
//! Lodge's own; others are remembered by the [`registry`]. [`volumes`] makes, grows, deletes and imports volumes in any of them.

mod directory;
pub mod error;
pub mod lvm;
pub mod registry;
pub mod volumes;

pub use directory::{Pool, PoolError, Space};
pub use error::PoolsError;
pub use registry::{DEFAULT, PoolEntry, Pools, Target};
pub use volumes::{NewVolume, PoolInfo, Volume};
