//! A vCPU in a saved machine: its state, and the CPU that its guest believes to run on.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use super::{features, state::VcpuState};
use crate::vmm::kvm::{KvmError, refused};

/// Why a vCPU could not be put into a saved state.
#[derive(Debug, thiserror::Error)]
pub enum VcpuRestoreError {
    /// The host's CPU is not as good as that on which the guest has begun.
    #[error(
        "this host's CPU lacks {}, which the guest uses. restore it on a host that has this, or start it without its state",
        .0.join(", ")
    )]
    Features(Vec<String>),
    /// There are more or fewer of them.
    #[error("the state has {saved} vCPUs, the machine {here}")]
    Count {
        /// vCPUs of the state.
        saved: usize,
        /// vCPUs of the machine.
        here: usize,
    },
    /// There are more leaves than KVM takes.
    #[error("the saved state is damaged: it has {0} CPUID leaves")]
    Leaves(usize),
    /// KVM has refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// The saved state of a vCPU.
#[derive(Serialize, Deserialize)]
pub struct SavedVcpu {
    leaves: Vec<Leaf>,
    state: VcpuState,
}

/// What CPUID tells in one leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Leaf {
    function: u32,
    index: u32,
    flags: u32,
    /// EAX, EBX, ECX, EDX.
    registers: [u32; 4],
}

impl SavedVcpu {
    /// Takes the state of `vcpu`, with the MSRs `msrs`.
    pub(super) fn take(vcpu: &VcpuFd, msrs: &[u32]) -> Result<Self, KvmError> {
        Ok(Self { leaves: leaves(vcpu)?, state: VcpuState::take(vcpu, msrs)? })
    }

    /// Brings `vcpu`, which has not run yet, into this state. Its CPU is from now on the one that the guest knows.
    pub(super) fn apply(&self, vcpu: &VcpuFd) -> Result<(), VcpuRestoreError> {
        let here = leaves(vcpu)?;
        if self.leaves != here {
            let [saved, here] = [&self.leaves, &here].map(|leaves| leaves.iter().map(Leaf::entry).collect::<Vec<_>>());
            let missing = features::missing(&saved, &here);
            if !missing.is_empty() {
                return Err(VcpuRestoreError::Features(missing));
            }
            let cpuid = CpuId::from_entries(&saved).map_err(|_| VcpuRestoreError::Leaves(saved.len()))?;
            vcpu.set_cpuid2(&cpuid).map_err(refused("set a vCPU's CPUID"))?;
        }
        self.state.apply(vcpu)?;
        // Tells the guest's watchdogs that time has jumped; refused by guests without kvmclock.
        let _ = vcpu.kvmclock_ctrl();
        Ok(())
    }
}

/// What `vcpu` tells by CPUID.
fn leaves(vcpu: &VcpuFd) -> Result<Vec<Leaf>, KvmError> {
    let cpuid = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).map_err(refused("tell a vCPU's CPUID"))?;
    Ok(cpuid.as_slice().iter().map(Leaf::new).collect())
}

impl Leaf {
    fn new(entry: &kvm_cpuid_entry2) -> Self {
        let kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, .. } = *entry;
        Self { function, index, flags, registers: [eax, ebx, ecx, edx] }
    }

    fn entry(&self) -> kvm_cpuid_entry2 {
        let Self { function, index, flags, registers: [eax, ebx, ecx, edx] } = *self;
        kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
    }
}
