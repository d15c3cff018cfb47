//! The state of the interrupt controllers and the timer that KVM keeps: taken at power-on, so that a reset can bring it back.

use kvm_bindings::{KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip, kvm_pit_state2};
use kvm_ioctls::VmFd;

use super::{KvmError, refused};

/// The state of both PICs, the I/O APIC and the PIT.
pub struct ChipState {
    irqchips: [kvm_irqchip; 3],
    pit: kvm_pit_state2,
}

impl ChipState {
    /// Takes the state of `vm`'s chips.
    pub fn take(vm: &VmFd) -> Result<Self, KvmError> {
        const DOING: &str = "tell the state of its interrupt controllers";
        let mut irqchips = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC]
            .map(|chip_id| kvm_irqchip { chip_id, ..Default::default() });
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
}
