//! A vCPU's whole state: taken at power-on, so that a reset can bring it back, and when a machine is saved.
//!
//! KVM has no request to reset a vCPU; setting the state that a new vCPU has does the same. KVM's structures are saved as their
//! bytes, which never change their meaning (Linux, `Documentation/virt/kvm/api.rst`).

use std::ops::RangeInclusive;

use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
    kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

use crate::vmm::kvm::{KvmError, refused};

const MSR_TSC: u32 = 0x10;
const MSR_TSC_ADJUST: u32 = 0x3b;
const MSR_MCG_CAP: u32 = 0x179;
/// The next event of the local APIC's timer, on the time stamp counter.
const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// The memory type range registers, which KVM keeps but does not list.
const MSRS_MTRR: [RangeInclusive<u32>; 5] = [0x200..=0x20f, 0x250..=0x250, 0x258..=0x259, 0x268..=0x26f, 0x2ff..=0x2ff];
/// The machine check banks, four MSRs each, which KVM keeps but does not list.
const MSR_MC0_CTL: u32 = 0x400;
const MSRS_A_BANK: u32 = 4;
/// MSRs that KVM takes in one request.
const MSRS_AT_ONCE: usize = 128;

/// The state of a vCPU.
#[derive(Serialize, Deserialize)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: Box<kvm_xsave>,
    xcrs: kvm_xcrs,
    debug_regs: kvm_debugregs,
    lapic: Box<kvm_lapic_state>,
    events: kvm_vcpu_events,
    msrs: Vec<kvm_msr_entry>,
    mp_state: kvm_mp_state,
}

/// The numbers of the MSRs that make up a vCPU's state on this host.
pub fn msr_numbers(system: &Kvm) -> Result<Vec<u32>, KvmError> {
    let list = system.get_msr_index_list().map_err(refused("list the MSRs it keeps"))?;
    let mut numbers: Vec<u32> = list.as_slice().iter().copied().chain(MSRS_MTRR.into_iter().flatten()).collect();
    // In this order they are set: the timer's deadline means something only once the counter is right.
    numbers.sort_unstable_by_key(|&msr| (msr == MSR_TSC_DEADLINE, msr));
    numbers.dedup();
    Ok(numbers)
}

impl VcpuState {
    /// Takes the state of a `vcpu` that has just been made, with the MSRs `msrs`.
    pub fn at_power_on(vcpu: &VcpuFd, msrs: &[u32]) -> Result<Self, KvmError> {
        let mut state = Self::take(vcpu, msrs)?;
        // The time stamp counter goes on over a reset, as the clocks made of it do.
        state.msrs.retain(|msr| ![MSR_TSC, MSR_TSC_ADJUST].contains(&msr.index));
        Ok(state)
    }

    /// Takes the state of `vcpu`, with the MSRs `msrs`.
    pub fn take(vcpu: &VcpuFd, msrs: &[u32]) -> Result<Self, KvmError> {
        const DOING: &str = "tell a vCPU's state";
        Ok(Self {
            // The multiprocessing state first: it makes KVM settle events that are pending.
            mp_state: vcpu.get_mp_state().map_err(refused(DOING))?,
            regs: vcpu.get_regs().map_err(refused(DOING))?,
            sregs: vcpu.get_sregs().map_err(refused(DOING))?,
            xsave: Box::new(vcpu.get_xsave().map_err(refused(DOING))?),
            xcrs: vcpu.get_xcrs().map_err(refused(DOING))?,
            debug_regs: vcpu.get_debug_regs().map_err(refused(DOING))?,
            lapic: Box::new(vcpu.get_lapic().map_err(refused(DOING))?),
            msrs: [take_msrs(vcpu, msrs)?, take_msrs(vcpu, &machine_check_msrs(vcpu)?)?].concat(),
            events: vcpu.get_vcpu_events().map_err(refused(DOING))?,
        })
    }

    /// Brings `vcpu` into this state.
    pub fn apply(&self, vcpu: &VcpuFd) -> Result<(), KvmError> {
        const DOING: &str = "set a vCPU's state";
        // The special registers hold the local APIC's mode, which the rest depends on; events come last, since the others can
        // make KVM drop them.
        vcpu.set_mp_state(self.mp_state).map_err(refused(DOING))?;
        vcpu.set_sregs(&self.sregs).map_err(refused(DOING))?;
        vcpu.set_regs(&self.regs).map_err(refused(DOING))?;
        vcpu.set_xcrs(&self.xcrs).map_err(refused(DOING))?;
        apply_xsave(vcpu, &self.xsave)?;
        vcpu.set_debug_regs(&self.debug_regs).map_err(refused(DOING))?;
        vcpu.set_lapic(&self.lapic).map_err(refused(DOING))?;
        apply_msrs(vcpu, &self.msrs)?;
        vcpu.set_vcpu_events(&self.events).map_err(refused(DOING))
    }
}

fn apply_xsave(vcpu: &VcpuFd, xsave: &kvm_xsave) -> Result<(), KvmError> {
    // SAFETY: KVM reads 4 KiB, the size of the structure, unless the process has asked for larger guest state
    // (ARCH_REQ_XCOMP_GUEST_PERM), which this program never does.
    unsafe { vcpu.set_xsave(xsave) }.map_err(refused("set a vCPU's floating point state"))
}

/// The MSRs of the vCPU's machine check banks.
fn machine_check_msrs(vcpu: &VcpuFd) -> Result<Vec<u32>, KvmError> {
    let capabilities = take_msrs(vcpu, &[MSR_MCG_CAP])?;
    let banks = capabilities.iter().map(|entry| entry.data as u32 & 0xff).sum::<u32>();
    Ok((MSR_MC0_CTL..MSR_MC0_CTL + MSRS_A_BANK * banks).collect())
}

fn take_msrs(vcpu: &VcpuFd, numbers: &[u32]) -> Result<Vec<kvm_msr_entry>, KvmError> {
    let mut taken = Vec::with_capacity(numbers.len());
    let mut left = numbers;
    while !left.is_empty() {
        let batch: Vec<_> =
            left.iter().take(MSRS_AT_ONCE).map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut batch = Msrs::from_entries(&batch).expect("the batch is within the limit");
        let read = vcpu.get_msrs(&mut batch).map_err(refused("tell a vCPU's MSRs"))?;
        taken.extend(batch.as_slice().iter().take(read));
        // KVM stops at an MSR that this vCPU does not have after all.
        let skip = usize::from(read < batch.as_slice().len());
        left = left.get(read + skip..).unwrap_or_default();
    }
    Ok(taken)
}

fn apply_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<(), KvmError> {
    let mut left = msrs;
    while !left.is_empty() {
        let batch = Msrs::from_entries(&left[..left.len().min(MSRS_AT_ONCE)]).expect("the batch is within the limit");
        let written = vcpu.set_msrs(&batch).map_err(refused("set a vCPU's MSRs"))?;
        let skip = usize::from(written < batch.as_slice().len());
        if let Some(refused) = left.get(written).filter(|_| skip > 0) {
            // Read-only ones among them already have the value.
            let has = take_msrs(vcpu, &[refused.index])?.first().map(|entry| entry.data);
            if has != Some(refused.data) {
                let (msr, value) = (format_args!("{:#x}", refused.index), format_args!("{:#x}", refused.data));
                tracing::warn!(msr, value, ?has, "KVM did not take an MSR's value");
            }
        }
        left = left.get(written + skip..).unwrap_or_default();
    }
    Ok(())
}
