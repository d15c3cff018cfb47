//! The state of the interrupt controllers and the timer that KVM keeps: taken at power-on, so that a reset can bring it back, and
//! when a machine is saved. KVM's clock for guests is not among it, since it goes on over a reset.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip, kvm_pit_state2,
};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use super::{KvmError, refused};

/// The chips, by KVM's numbers.
const CHIPS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

/// The state of both PICs, the I/O APIC and the PIT.
#[derive(Serialize, Deserialize)]
pub struct ChipState {
    irqchips: [kvm_irqchip; 3],
    pit: kvm_pit_state2,
}

impl ChipState {
    /// Takes the state of `vm`'s chips.
    pub fn take(vm: &VmFd) -> Result<Self, KvmError> {
        const DOING: &str = "tell the state of its interrupt controllers";
        let mut irqchips = CHIPS.map(|chip_id| kvm_irqchip { chip_id, ..Default::default() });
        for chip in &mut irqchips {
            vm.get_irqchip(chip).map_err(refused(DOING))?;
        }
        Ok(Self { irqchips, pit: vm.get_pit2().map_err(refused(DOING))? })
    }

    /// Brings `vm`'s chips into this state.
    pub fn apply(&self, vm: &VmFd) -> Result<(), KvmError> {
        const DOING: &str = "set the state of its interrupt controllers";
        for chip in &self.irqchips {
            vm.set_irqchip(chip).map_err(refused(DOING))?;
        }
        vm.set_pit2(&self.pit).map_err(refused(DOING))
    }

    /// Whether each chip is the one in its place. The rest KVM checks itself.
    pub fn is_sound(&self) -> bool {
        self.irqchips.iter().map(|chip| chip.chip_id).eq(CHIPS)
    }
}

/// What KVM's clock shows the guests of `vm`, in nanoseconds.
pub fn clock(vm: &VmFd) -> Result<u64, KvmError> {
    Ok(vm.get_clock().map_err(refused("tell the time"))?.clock)
}

/// Sets KVM's clock for the guests of `vm`.
pub fn set_clock(vm: &VmFd, nanoseconds: u64) -> Result<(), KvmError> {
    let data = kvm_clock_data { clock: nanoseconds, ..Default::default() };
    vm.set_clock(&data).map_err(refused("set the time"))
}
