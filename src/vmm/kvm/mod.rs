//! KVM as the machine uses it: the virtual machine, its memory slots and its interrupts
//! (Linux, `Documentation/virt/kvm/api.rst`).

mod chips;
mod coalesced;
mod interrupts;
mod slots;
mod video_memory;

use std::{
    io,
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    sync::Arc,
};

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Cap, Kvm, VmFd};

pub use chips::{ChipState, clock, set_clock};
pub use coalesced::CoalescedWrites;
pub use interrupts::{KvmDoorbells, KvmLine, KvmMsiAllocator, Routing};
pub use slots::{MappedMemory, MemorySlots};
pub use video_memory::KvmVideoMemory;

/// The stable version of KVM's interface.
const API_VERSION: i32 = 12;
/// Where KVM keeps a page table and a task state for guests in real mode on Intel CPUs that cannot run it: four pages that
/// neither RAM nor devices use.
pub const KVM_RESERVED: std::ops::Range<u64> = 0xfeff_c000..0xff00_0000;

/// What the machine asks of KVM.
const REQUIRED: [(Cap, &str); 9] = [
    (Cap::UserMemory, "memory slots"),
    (Cap::ReadonlyMem, "read-only memory slots"),
    (Cap::Irqchip, "interrupt controllers"),
    (Cap::Pit2, "the interval timer"),
    (Cap::IrqRouting, "interrupt routing"),
    (Cap::Irqfd, "irqfd"),
    (Cap::Ioeventfd, "ioeventfd"),
    (Cap::IoeventfdNoLength, "ioeventfd of any length"),
    (Cap::ImmediateExit, "immediate_exit"),
];

/// Why KVM cannot be used, or what it has refused.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// The kernel's KVM speaks another version of the interface, or the file is not `/dev/kvm`.
    #[error(
        "/dev/kvm speaks version {found} of KVM's interface, this program version {API_VERSION}. use a current Linux"
    )]
    Version {
        /// The version it speaks.
        found: i32,
    },
    /// A capability is missing.
    #[error("the host's KVM lacks {0}. use a current Linux kernel")]
    Missing(&'static str),
    /// A request was refused.
    #[error("KVM refused to {doing}: {source}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// For `map_err`: KVM refused `doing`.
pub fn refused<E: Into<KvmAnswer>>(doing: &'static str) -> impl FnOnce(E) -> KvmError {
    move |answer| KvmError::Refused { doing, source: answer.into().0 }
}

/// KVM's answer to a request it has refused.
pub struct KvmAnswer(io::Error);

impl From<vmm_sys_util::errno::Error> for KvmAnswer {
    fn from(error: vmm_sys_util::errno::Error) -> Self {
        Self(error.into())
    }
}

impl From<io::Error> for KvmAnswer {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// A virtual machine of KVM with its interrupt controllers and timer, without memory and vCPUs.
pub struct Vm {
    /// The way to KVM itself.
    pub system: Kvm,
    /// The virtual machine.
    pub fd: Arc<VmFd>,
}

impl Vm {
    /// Makes a virtual machine. `kvm` is an open `/dev/kvm`.
    pub fn new(kvm: OwnedFd) -> Result<Self, KvmError> {
        // SAFETY: the descriptor is owned and passed on; that it is /dev/kvm is checked by the version below before
        // anything else is asked of it.
        let system = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
        match system.get_api_version() {
            API_VERSION => {}
            found => return Err(KvmError::Version { found }),
        }
        if let Some((_, missing)) = REQUIRED.iter().find(|(cap, _)| !system.check_extension(*cap)) {
            return Err(KvmError::Missing(missing));
        }
        let fd = system.create_vm().map_err(refused("make a virtual machine"))?;
        fd.set_identity_map_address(KVM_RESERVED.start).map_err(refused("place its identity map"))?;
        fd.set_tss_address(KVM_RESERVED.start as usize + 0x1000).map_err(refused("place its task state"))?;
        fd.create_irq_chip().map_err(refused("make interrupt controllers"))?;
        // The dummy speaker answers port 0x61, whose timer bits firmware and kernels poll.
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        fd.create_pit2(pit).map_err(refused("make an interval timer"))?;
        Ok(Self { system, fd: Arc::new(fd) })
    }

    /// The CPUID leaves that KVM can give a vCPU on this host.
    pub fn supported_cpuid(&self) -> Result<kvm_bindings::CpuId, KvmError> {
        self.system.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("tell the CPUID leaves it supports"))
    }
}
