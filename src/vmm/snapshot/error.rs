//! What can go wrong with a saved state.

use std::io;

use super::container::VERSION;
use crate::{
    system_error::words,
    vmm::{cpu::VcpuRestoreError, device::StateError, kvm::KvmError},
};

/// Why a state could not be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It could not be written.
    #[error("the guest's state could not be written: {}. make room for it and save it again", words(.0))]
    Write(io::Error),
    /// It could not be read.
    #[error("the saved state could not be read: {}. try again, or start the guest without its state", words(.0))]
    Read(io::Error),
    /// It is something else.
    #[error("this is no saved state of a guest. start the guest without it")]
    Foreign,
    /// It was written by a newer version.
    #[error(
        "the saved state has version {found}, this program knows {VERSION}. restore it with the release of Lodge that has saved it"
    )]
    Version {
        /// The version in the state.
        found: u32,
    },
    /// It ends too early.
    #[error("the saved state is not complete: saving it was interrupted. start the guest without its state")]
    Truncated,
    /// Something in it is impossible.
    #[error("the saved state is damaged: {0}. start the guest without its state")]
    Damaged(String),
    /// It is that of another machine.
    #[error(
        "the guest has been changed since its state was saved: {}. change it back, or start it without its state",
        .0.join(", ")
    )]
    Differs(Vec<String>),
    /// Whoever wanted it saved has changed his mind.
    #[error("saving the guest's state was cancelled")]
    Cancelled,
    /// The guest has asked for something that must be done first.
    #[error("the guest has just asked to be reset or switched off. try again")]
    Busy,
    /// A vCPU stands in a state that cannot be saved.
    #[error("the guest ran into an internal error, which is not worth keeping. reset it first")]
    Failed,
    /// Virtual machines of the guest's own.
    #[error("a guest that may run virtual machines itself cannot be saved. switch its nested virtualization off")]
    Nested,
    /// The machine's RAM.
    #[error("the guest's memory cannot be used: {0}. force the guest off and start it again")]
    Memory(io::Error),
    /// A device.
    #[error(transparent)]
    Device(#[from] StateError),
    /// A vCPU.
    #[error(transparent)]
    Vcpu(#[from] VcpuRestoreError),
    /// KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

impl SnapshotError {
    pub(crate) fn damaged(reason: impl std::fmt::Display) -> Self {
        Self::Damaged(reason.to_string())
    }
}
