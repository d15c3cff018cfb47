//! The PCI bus: which functions are plugged in, and where their BARs are mapped right now.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{
    BarMemory, PciAddress, PciFunction,
    configuration::{BARS, BarKind},
    piix3::PirqRouter,
};
use crate::vmm::{
    bus::{Bus, BusError},
    device::SharedDevice,
};

/// A PCI function as the bus and the machine hold it.
pub type SharedFunction = Arc<Mutex<dyn PciFunction>>;

/// The slot is taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is a PCI function at {0} already")]
pub struct SlotTaken(pub PciAddress);

/// The machine's only PCI bus.
pub struct PciBus {
    ports: Arc<Bus>,
    memory: Arc<Bus>,
    router: Arc<PirqRouter>,
    functions: RwLock<BTreeMap<PciAddress, Arc<Plugged>>>,
}

struct Plugged {
    function: SharedFunction,
    /// Memory behind BARs that do not trap.
    bar_memory: Vec<(usize, Arc<dyn BarMemory>)>,
    /// Where each BAR is mapped. Held while configuration is written, so that mappings change one after the other.
    mapped: Mutex<[Option<u64>; BARS]>,
}

impl PciBus {
    /// An empty bus, whose BARs appear on `ports` and `memory` and whose interrupt pins go to `router`.
    pub fn new(ports: Arc<Bus>, memory: Arc<Bus>, router: Arc<PirqRouter>) -> Arc<Self> {
        Arc::new(Self { ports, memory, router, functions: RwLock::default() })
    }

    /// Plugs a function in and connects its interrupt pin. The BARs of `bar_memory` are backed by memory.
    pub fn plug(
        &self,
        address: PciAddress,
        function: SharedFunction,
        bar_memory: Vec<(usize, Arc<dyn BarMemory>)>,
    ) -> Result<(), SlotTaken> {
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        if functions.contains_key(&address) {
            return Err(SlotTaken(address));
        }
        {
            let mut function = function.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pin) = function.config().pin() {
                function.connect_interrupt(self.router.input(address.slot(), pin));
            }
        }
        functions.insert(address, Arc::new(Plugged { function, bar_memory, mapped: Mutex::default() }));
        Ok(())
    }

    fn find(&self, address: PciAddress) -> Option<Arc<Plugged>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    /// The functions that are plugged in, in the order of their addresses.
    pub fn functions(&self) -> Vec<(PciAddress, SharedFunction)> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        functions.iter().map(|(address, plugged)| (*address, plugged.function.clone())).collect()
    }

    /// Reads configuration; ones where no function is.
    pub fn read(&self, address: PciAddress, offset: u16, data: &mut [u8]) {
        let Some(plugged) = self.find(address) else {
            data.fill(0xff);
            return;
        };
        let mut function = plugged.function.lock().unwrap_or_else(PoisonError::into_inner);
        function.config_reading(offset, data.len() as u8);
        function.config().read(offset, data);
    }

    /// Writes configuration and moves the BARs that this has moved.
    pub fn write(&self, address: PciAddress, offset: u16, data: &[u8]) {
        if let Some(plugged) = self.find(address) {
            self.change(&plugged, |function| {
                function.config_mut().write(offset, data);
                function.config_written(offset, data.len() as u8);
            });
        }
    }

    /// Resets every function.
    pub fn reset(&self) {
        self.change_all(|function| function.reset());
    }

    /// Maps the BARs as the configuration spaces say, after those were restored.
    pub fn remap(&self) {
        self.change_all(|_| {});
    }

    fn change_all(&self, mut change: impl FnMut(&mut dyn PciFunction)) {
        let functions: Vec<_> =
            self.functions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for plugged in functions {
            self.change(&plugged, &mut change);
        }
    }

    /// Changes a function, then its mappings.
    fn change(&self, plugged: &Plugged, change: impl FnOnce(&mut dyn PciFunction)) {
        let mut mapped = plugged.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        let mut function = plugged.function.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut *function);

        let wanted = function.config().bar_addresses();
        // First everything away that moves, so that two BARs can change places.
        for bar in 0..BARS {
            if let Some(old) = mapped[bar].filter(|_| mapped[bar] != wanted[bar]) {
                self.unmap(plugged, &*function, bar, old);
                mapped[bar] = None;
                function.bar_mapped(bar, None);
            }
        }
        for bar in 0..BARS {
            if let Some(new) = wanted[bar].filter(|_| mapped[bar].is_none()) {
                match self.map(plugged, &*function, bar, new) {
                    Ok(()) => {
                        mapped[bar] = Some(new);
                        function.bar_mapped(bar, Some(new));
                    }
                    // The guest has put two things in one place. Real hardware would answer with both.
                    Err(error) => tracing::debug!(device = function.label(), bar, %error, "a BAR stays unmapped"),
                }
            }
        }
    }

    fn map(&self, plugged: &Plugged, function: &dyn PciFunction, bar: usize, address: u64) -> Result<(), MapError> {
        let Some(size) = function.config().bar(bar).map(|bar| bar.size) else { return Ok(()) };
        match plugged.memory_behind(bar) {
            Some(memory) => memory.map(Some(address)).map_err(MapError::Memory),
            None => {
                let device: SharedDevice = plugged.function.clone();
                self.bus_of(function, bar).insert(address, size, device, bar).map_err(MapError::Bus)
            }
        }
    }

    fn unmap(&self, plugged: &Plugged, function: &dyn PciFunction, bar: usize, address: u64) {
        match plugged.memory_behind(bar) {
            Some(memory) => {
                if let Err(error) = memory.map(None) {
                    tracing::error!(device = function.label(), bar, %error, "a BAR could not be unmapped");
                }
            }
            None => self.bus_of(function, bar).remove(address),
        }
    }

    fn bus_of(&self, function: &dyn PciFunction, bar: usize) -> &Bus {
        match function.config().bar(bar).map(|bar| bar.kind) {
            Some(BarKind::Io) => &self.ports,
            _ => &self.memory,
        }
    }
}

impl Plugged {
    fn memory_behind(&self, bar: usize) -> Option<&Arc<dyn BarMemory>> {
        self.bar_memory.iter().find(|(index, _)| *index == bar).map(|(_, memory)| memory)
    }
}

/// Why a BAR could not be mapped.
#[derive(Debug, thiserror::Error)]
enum MapError {
    #[error(transparent)]
    Bus(BusError),
    #[error("KVM refused its memory: {0}")]
    Memory(std::io::Error),
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::Value;

    use super::*;
    use crate::vmm::{
        device::{Device, StateError},
        interrupt::{Interrupt, testing::FakeLine},
        pci::configuration::{ConfigSpace, InterruptPin},
    };

    const BAR1: u16 = 0x14;
    const HERE: PciAddress = PciAddress::new(3, 0);

    /// Answers every read with the number of the BAR.
    struct Probe {
        config: ConfigSpace,
        mapped: Vec<(usize, Option<u64>)>,
        line: Option<Interrupt>,
    }

    impl Probe {
        fn new() -> Arc<Mutex<Self>> {
            let mut config = ConfigSpace::builder(1, 2).interrupt_pin(InterruptPin::A).build();
            config.add_bar(0, BarKind::Io, 16);
            config.add_bar(1, BarKind::Memory32 { prefetchable: false }, 4096);
            config.add_bar(2, BarKind::Memory32 { prefetchable: true }, 8192);
            Arc::new(Mutex::new(Self { config, mapped: Vec::new(), line: None }))
        }
    }

    impl Device for Probe {
        fn label(&self) -> &str {
            "probe"
        }
        fn read(&mut self, region: usize, _offset: u64, data: &mut [u8]) {
            data.fill(region as u8);
        }
        fn write(&mut self, _region: usize, _offset: u64, _data: &[u8]) {}
        fn reset(&mut self) {
            self.config.reset();
        }
        fn save(&self) -> Result<Value, StateError> {
            Ok(Value::Null)
        }
        fn restore(&mut self, _state: Value) -> Result<(), StateError> {
            Ok(())
        }
    }

    impl PciFunction for Probe {
        fn config(&self) -> &ConfigSpace {
            &self.config
        }
        fn config_mut(&mut self) -> &mut ConfigSpace {
            &mut self.config
        }
        fn connect_interrupt(&mut self, line: Interrupt) {
            self.line = Some(line);
        }
        fn bar_mapped(&mut self, bar: usize, address: Option<u64>) {
            self.mapped.push((bar, address));
        }
    }

    #[derive(Default)]
    struct FakeMemory(Mutex<Vec<Option<u64>>>);

    impl BarMemory for FakeMemory {
        fn map(&self, address: Option<u64>) -> io::Result<()> {
            self.0.lock().unwrap().push(address);
            Ok(())
        }
    }

    struct Fixture {
        bus: Arc<PciBus>,
        ports: Arc<Bus>,
        memory: Arc<Bus>,
        lines: Vec<Arc<FakeLine>>,
    }

    fn fixture() -> Fixture {
        let (ports, memory) = (Arc::new(Bus::new("ports")), Arc::new(Bus::new("memory")));
        let lines: Vec<_> = (0..16).map(|_| Arc::new(FakeLine::default())).collect();
        let router = PirqRouter::new(std::array::from_fn(|irq| lines[irq].clone() as Interrupt));
        Fixture { bus: PciBus::new(ports.clone(), memory.clone(), router), ports, memory, lines }
    }

    fn read(bus: &Bus, address: u64) -> u8 {
        let mut byte = [0];
        bus.read(address, &mut byte);
        byte[0]
    }

    #[test]
    fn configuration_of_an_empty_slot_reads_as_ones() {
        let fixture = fixture();

        let mut data = [0; 4];
        fixture.bus.read(HERE, 0, &mut data);
        fixture.bus.write(HERE, 4, &[0; 4]);

        assert_eq!(data, [0xff; 4]);
    }

    #[test]
    fn bars_answer_where_the_guest_puts_them() {
        let fixture = fixture();
        let probe = Probe::new();
        fixture.bus.plug(HERE, probe.clone(), vec![]).unwrap();

        fixture.bus.write(HERE, 0x10, &0xc000u32.to_le_bytes());
        fixture.bus.write(HERE, BAR1, &0xfebf_0000u32.to_le_bytes());
        fixture.bus.write(HERE, 4, &[3, 0]);
        let mapped = (read(&fixture.ports, 0xc00f), read(&fixture.memory, 0xfebf_0fff));
        fixture.bus.write(HERE, BAR1, &0xfebe_0000u32.to_le_bytes());
        let moved = (read(&fixture.memory, 0xfebf_0fff), read(&fixture.memory, 0xfebe_0000));
        fixture.bus.write(HERE, 4, &[0, 0]);

        assert_eq!(mapped, (0, 1));
        assert_eq!(moved, (0xff, 1));
        assert_eq!((read(&fixture.ports, 0xc00f), read(&fixture.memory, 0xfebe_0000)), (0xff, 0xff));
        let told = [(0, Some(0xc000)), (1, Some(0xfebf_0000)), (1, None), (1, Some(0xfebe_0000)), (0, None), (1, None)];
        assert_eq!(probe.lock().unwrap().mapped, told);
    }

    #[test]
    fn a_bar_with_memory_is_mapped_and_does_not_trap() {
        let fixture = fixture();
        let memory = Arc::new(FakeMemory::default());
        fixture.bus.plug(HERE, Probe::new(), vec![(2, memory.clone())]).unwrap();

        fixture.bus.write(HERE, 4, &[2, 0]);
        fixture.bus.write(HERE, 0x18, &0xe000_0000u32.to_le_bytes());
        fixture.bus.write(HERE, 0x18, &[0xff; 4]);

        assert_eq!(*memory.0.lock().unwrap(), [Some(0xe000_0000), None]);
    }

    #[test]
    fn a_bar_over_another_stays_unmapped() {
        let fixture = fixture();
        let (one, other) = (Probe::new(), Probe::new());
        fixture.bus.plug(HERE, one, vec![]).unwrap();
        fixture.bus.plug(PciAddress::new(4, 0), other.clone(), vec![]).unwrap();

        for address in [HERE, PciAddress::new(4, 0)] {
            fixture.bus.write(address, BAR1, &0xfebf_0000u32.to_le_bytes());
            fixture.bus.write(address, 4, &[2, 0]);
        }

        assert!(other.lock().unwrap().mapped.is_empty());
        assert_eq!(read(&fixture.memory, 0xfebf_0000), 1);
    }

    #[test]
    fn a_reset_unmaps_all_bars() {
        let fixture = fixture();
        fixture.bus.plug(HERE, Probe::new(), vec![]).unwrap();
        fixture.bus.write(HERE, 0x10, &0xc000u32.to_le_bytes());
        fixture.bus.write(HERE, 4, &[1, 0]);

        fixture.bus.reset();

        assert_eq!(read(&fixture.ports, 0xc000), 0xff);
    }

    #[test]
    fn a_slot_takes_one_function_whose_pin_is_connected() {
        let fixture = fixture();
        let probe = Probe::new();
        fixture.bus.plug(HERE, probe.clone(), vec![]).unwrap();

        assert_eq!(fixture.bus.plug(HERE, Probe::new(), vec![]), Err(SlotTaken(HERE)));
        assert!(probe.lock().unwrap().line.is_some());
        assert!(fixture.lines.iter().all(|line| !line.is_high()));
    }
}
