//! Interrupt lines, message-signalled interrupts and doorbells over KVM.
//!
//! KVM numbers its interrupt inputs (GSIs). 0 to 15 are the lines of a PC, wired to the PICs and the I/O APIC, 16 to 23 reach
//! the I/O APIC alone; from 24 on each stands for one MSI message.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi,
};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::EventFd;

use crate::vmm::interrupt::{Doorbells, InterruptLine, MsiAllocator, MsiMessage, MsiVector};

const PIC_PINS: u32 = 8;
const IOAPIC_PINS: u32 = 24;
/// The largest GSI that KVM takes, exclusive.
const MAX_GSI: u32 = 4096;

/// A line of the legacy interrupt controllers.
pub struct KvmLine {
    vm: Arc<VmFd>,
    gsi: u32,
}

impl KvmLine {
    /// The line of ISA interrupt `irq`, 0 to 15.
    pub fn new(vm: Arc<VmFd>, irq: u8) -> Self {
        Self { vm, gsi: u32::from(irq) }
    }
}

impl InterruptLine for KvmLine {
    fn set_level(&self, high: bool) {
        if let Err(error) = self.vm.set_irq_line(self.gsi, high) {
            tracing::error!(%error, gsi = self.gsi, "KVM refused an interrupt");
        }
    }
}

/// KVM's table of interrupt routes; hands out MSI vectors.
pub struct Routing {
    vm: Arc<VmFd>,
    messages: Mutex<BTreeMap<u32, Option<MsiMessage>>>,
}

impl Routing {
    /// Sets the routes of the legacy lines.
    pub fn new(vm: Arc<VmFd>) -> io::Result<Arc<Self>> {
        let routing = Arc::new(Self { vm, messages: Mutex::default() });
        routing.commit(&routing.messages())?;
        Ok(routing)
    }

    fn messages(&self) -> MutexGuard<'_, BTreeMap<u32, Option<MsiMessage>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, messages: &BTreeMap<u32, Option<MsiMessage>>) -> io::Result<()> {
        let messages = messages.iter().filter_map(|(&gsi, message)| Some(message_route(gsi, (*message)?)));
        let table: Vec<_> = legacy_routes().chain(messages).collect();
        let table = KvmIrqRouting::from_entries(&table).map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        self.vm.set_gsi_routing(&table).map_err(Into::into)
    }
}

/// The routes of a PC: each line to its PIC pin and its I/O APIC pin, but the timer's (0) to pin 2 of the I/O APIC, where the
/// PICs' cascade would be.
fn legacy_routes() -> impl Iterator<Item = kvm_irq_routing_entry> {
    let pic = (0..2 * PIC_PINS).map(|gsi| {
        let chip = if gsi < PIC_PINS { KVM_IRQCHIP_PIC_MASTER } else { KVM_IRQCHIP_PIC_SLAVE };
        chip_route(gsi, chip, gsi % PIC_PINS)
    });
    let ioapic = (0..IOAPIC_PINS).filter(|&gsi| gsi != 2).map(|gsi| {
        let pin = if gsi == 0 { 2 } else { gsi };
        chip_route(gsi, KVM_IRQCHIP_IOAPIC, pin)
    });
    pic.chain(ioapic)
}

fn chip_route(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let u = kvm_irq_routing_entry__bindgen_ty_1 { irqchip: kvm_irq_routing_irqchip { irqchip, pin } };
    kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, u, ..Default::default() }
}

fn message_route(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    let msi = kvm_irq_routing_msi {
        address_lo: message.address as u32,
        address_hi: (message.address >> 32) as u32,
        data: message.data,
        ..Default::default()
    };
    let u = kvm_irq_routing_entry__bindgen_ty_1 { msi };
    kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, u, ..Default::default() }
}

/// [`Routing`] shared with the vectors it hands out.
pub struct KvmMsiAllocator(pub Arc<Routing>);

impl MsiAllocator for KvmMsiAllocator {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let mut messages = self.0.messages();
        let gsi = (IOAPIC_PINS..MAX_GSI)
            .find(|gsi| !messages.contains_key(gsi))
            .ok_or(io::Error::from(io::ErrorKind::QuotaExceeded))?;
        messages.insert(gsi, None);
        Ok(Arc::new(KvmVector { routing: self.0.clone(), gsi, event }))
    }
}

struct KvmVector {
    routing: Arc<Routing>,
    gsi: u32,
    event: EventFd,
}

impl MsiVector for KvmVector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        let mut messages = self.routing.messages();
        let current = messages.get(&self.gsi).copied().flatten();
        if message == current {
            return Ok(());
        }
        messages.insert(self.gsi, message);
        if message.is_none() {
            // Without its irqfd the route in KVM's table is dead; it goes with the next change of the table.
            return self.routing.vm.unregister_irqfd(&self.event, self.gsi).map_err(Into::into);
        }
        let result = self.routing.commit(&messages).and_then(|()| match current {
            Some(_) => Ok(()),
            None => self.routing.vm.register_irqfd(&self.event, self.gsi).map_err(Into::into),
        });
        if result.is_err() {
            messages.insert(self.gsi, current);
        }
        result
    }

    fn event(&self) -> &EventFd {
        &self.event
    }
}

impl Drop for KvmVector {
    fn drop(&mut self) {
        if let Err(error) = self.route(None) {
            tracing::error!(%error, gsi = self.gsi, "an irqfd could not be removed");
        }
        self.routing.messages().remove(&self.gsi);
    }
}

/// Doorbells as ioeventfds on guest physical memory.
pub struct KvmDoorbells(pub Arc<VmFd>);

impl Doorbells for KvmDoorbells {
    fn register(&self, address: u64, event: &EventFd) -> io::Result<()> {
        self.0.register_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch).map_err(Into::into)
    }

    fn unregister(&self, address: u64, event: &EventFd) -> io::Result<()> {
        self.0.unregister_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (GSI, chip, pin) of every legacy route.
    fn routes() -> Vec<(u32, u32, u32)> {
        legacy_routes()
            .map(|route| {
                // SAFETY: all legacy routes are to chips.
                let chip = unsafe { route.u.irqchip };
                (route.gsi, chip.irqchip, chip.pin)
            })
            .collect()
    }

    #[test]
    fn the_timer_reaches_pin_2_of_the_io_apic() {
        let routes = routes();

        assert!(routes.contains(&(0, KVM_IRQCHIP_PIC_MASTER, 0)));
        assert!(routes.contains(&(0, KVM_IRQCHIP_IOAPIC, 2)));
        assert_eq!(routes.iter().filter(|(_, chip, pin)| (*chip, *pin) == (KVM_IRQCHIP_IOAPIC, 2)).count(), 1);
    }

    #[test]
    fn every_line_reaches_its_pins() {
        let routes = routes();

        assert!(routes.contains(&(4, KVM_IRQCHIP_PIC_MASTER, 4)));
        assert!(routes.contains(&(12, KVM_IRQCHIP_PIC_SLAVE, 4)));
        assert!((3..24).all(|gsi| routes.contains(&(gsi, KVM_IRQCHIP_IOAPIC, gsi))));
    }

    #[test]
    fn a_message_is_routed_with_its_whole_address() {
        let route = message_route(30, MsiMessage { address: 0x1_fee0_1000, data: 0x41 });

        // SAFETY: message_route makes a route to a message.
        let msi = unsafe { route.u.msi };
        assert_eq!((route.gsi, route.type_), (30, KVM_IRQ_ROUTING_MSI));
        assert_eq!((msi.address_lo, msi.address_hi, msi.data), (0xfee0_1000, 1, 0x41));
    }
}
