//! Everything of the machine that is no disk: buses, chipset, display and the legacy devices, wired to one another.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::{
    Graphics, MachineError, ResetCause, ShutdownCause, graphics, requests::Requests, screen::CurrentScreen,
    virtio::VirtioWiring,
};
use crate::{
    input::InputSink,
    screen::Screen,
    vmm::{
        boot::{acpi, fw_cfg},
        bus::Bus,
        device::{Device, SharedDevice, StateError},
        devices::{
            debug_port::DebugPort,
            i8042::{self, I8042},
            ide::CHANNELS,
            power_management::{self, PowerManagement},
            pvpanic::{GuestPanic, PvPanic},
            rtc::{CmosContents, Rtc},
            serial::{self, Serial, SerialInput, SerialOutput},
            system_control::SystemControl,
        },
        display::vga::WINDOW,
        interrupt::{Interrupt, SharedLine},
        kvm::{CoalescedWrites, KvmLine, KvmVideoMemory, MemorySlots, Vm},
        machine::MachineEvent,
        memory::Layout,
        pci::{
            PciAddress,
            bus::PciBus,
            host_bridge::{CONFIG_BASE, CONFIG_PORTS, ConfigPorts, HOST_BRIDGE, HostBridge},
            piix3::{ISA_BRIDGE, Piix3, PirqRouter},
            piix4::{POWER_MANAGEMENT, Piix4},
        },
    },
};

/// Where the panic device is.
const PANIC: PciAddress = PciAddress::new(3, 0);

const KEYBOARD_IRQ: usize = 1;
const SERIAL_IRQ: usize = 4;
const RTC_IRQ: usize = 8;
const MOUSE_IRQ: usize = 12;
const IDE_IRQS: [usize; CHANNELS] = [14, 15];

const KEYBOARD_DATA: u64 = 0x60;
const KEYBOARD_COMMAND: u64 = 0x64;
const RTC_PORT: u64 = 0x70;
const SYSTEM_CONTROL_PORT: u64 = 0x92;
const SERIAL_PORT: u64 = 0x3f8;
const DEBUG_PORT: u64 = 0x402;

/// The buses and what is on them.
pub struct Chipset {
    /// The ports.
    pub ports: Arc<Bus>,
    /// Memory that is not RAM.
    pub memory: Arc<Bus>,
    /// Writes to it that KVM has collected.
    pub coalesced: Arc<CoalescedWrites>,
    /// The PCI bus.
    pub pci: Arc<PciBus>,
    /// The devices that are no PCI functions.
    pub devices: Vec<SharedDevice>,
    /// The screen.
    pub screen: Arc<dyn Screen>,
    /// The graphics card's memory.
    pub video_memory: Arc<KvmVideoMemory>,
    /// Keyboard and mouse.
    pub input: Arc<dyn InputSink>,
    /// The way into the serial port.
    pub serial_input: Arc<dyn SerialInput>,
    /// The interrupts of the IDE channels.
    pub ide_lines: [Interrupt; CHANNELS],
    /// The power button's home.
    pub power: Arc<Mutex<PowerManagement>>,
}

/// What the chipset depends on.
pub struct ChipsetConfig {
    /// Where RAM is.
    pub layout: Layout,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// The graphics card.
    pub graphics: Graphics,
    /// Video memory in bytes.
    pub video_memory: u32,
    /// Where the serial port's output goes.
    pub serial: Box<dyn SerialOutput>,
    /// Where the debug port writes.
    pub debug_log: Box<dyn io::Write + Send>,
    /// What tells firmware about the machine.
    pub fw_cfg: fw_cfg::FwCfg,
}

impl Chipset {
    /// Makes and wires it. `requests` learns of resets, power-off and panics.
    pub fn new(
        vm: &Vm,
        slots: &Arc<MemorySlots>,
        requests: &Arc<Requests>,
        virtio: &VirtioWiring,
        config: ChipsetConfig,
    ) -> Result<Self, MachineError> {
        let ports = Arc::new(Bus::new("ports"));
        let memory = Arc::new(Bus::new("memory"));
        let lines: [_; 16] =
            std::array::from_fn(|irq| SharedLine::new(Arc::new(KvmLine::new(vm.fd.clone(), irq as u8)) as Interrupt));
        let router = PirqRouter::new(std::array::from_fn(|irq| lines[irq].connect()));
        let pci = PciBus::new(ports.clone(), memory.clone(), router.clone());

        // PCI: the chipset's functions, display and panic device.
        let power =
            PowerManagement::new(lines[usize::from(acpi::SCI)].connect(), requests.power_line(ShutdownCause::Acpi));
        let power = Arc::new(Mutex::new(power));
        let panic_requests = requests.clone();
        let panic = PvPanic::new(Arc::new(move |event| match event {
            GuestPanic::Panicked => panic_requests.raise(MachineEvent::GuestPanicked),
            GuestPanic::CrashLoaded => tracing::warn!("the guest has panicked and runs its crash kernel"),
        }));
        pci.plug(HOST_BRIDGE, Arc::new(Mutex::new(HostBridge::new())), vec![])?;
        pci.plug(ISA_BRIDGE, Arc::new(Mutex::new(Piix3::new(router))), vec![])?;
        pci.plug(POWER_MANAGEMENT, Arc::new(Mutex::new(Piix4::new(ports.clone(), power.clone()))), vec![])?;
        let card = graphics::plug(config.graphics, config.video_memory, slots, virtio, &pci, [&ports, &memory])?;
        pci.plug(PANIC, Arc::new(Mutex::new(panic)), vec![])?;

        let coalesced = Arc::new(CoalescedWrites::new(vm, memory.clone(), WINDOW)?);
        let screen = Arc::new(CurrentScreen { screen: card.screen, coalesced: coalesced.clone() });

        // The devices that are no PCI functions.
        let keyboard = I8042::new(
            lines[KEYBOARD_IRQ].connect(),
            lines[MOUSE_IRQ].connect(),
            requests.reset_line(ResetCause::KeyboardController),
        );
        let input = keyboard.input();
        let serial = Serial::new("serial0", lines[SERIAL_IRQ].connect(), config.serial)
            .map_err(|source| MachineError::Device { label: "serial0".to_owned(), source })?;
        let serial_input = serial.input();
        let cmos = CmosContents {
            memory_below_4g: config.layout.below_4g,
            memory_above_4g: config.layout.above_4g,
            vcpus: config.vcpus,
            utc_offset: 0,
        };
        let rtc = Rtc::new(lines[RTC_IRQ].connect(), cmos);
        let config_ports = ConfigPorts::new(pci.clone(), requests.reset_line(ResetCause::ResetControl));
        let system_control = SystemControl::new(requests.reset_line(ResetCause::SystemControlPort));

        let video_memory = card.video_memory;
        let mut devices: Vec<SharedDevice> = card.devices;
        let mut add = |device: SharedDevice, ranges: &[(u64, u64, usize)]| {
            for &(base, len, region) in ranges {
                ports.insert(base, len, device.clone(), region)?;
            }
            devices.push(device);
            Ok::<_, MachineError>(())
        };
        add(Arc::new(Mutex::new(config_ports)), &[(CONFIG_BASE, CONFIG_PORTS, 0)])?;
        let command_port = u64::from(acpi::SMI_COMMAND);
        add(power.clone(), &[(command_port, power_management::COMMAND_PORTS, power_management::COMMAND)])?;
        let keyboard_ports = [(KEYBOARD_DATA, 1, i8042::DATA), (KEYBOARD_COMMAND, 1, i8042::COMMAND)];
        add(Arc::new(Mutex::new(keyboard)), &keyboard_ports)?;
        add(Arc::new(Mutex::new(serial)), &[(SERIAL_PORT, serial::PORTS, 0)])?;
        add(Arc::new(Mutex::new(rtc)), &[(RTC_PORT, 2, 0)])?;
        add(Arc::new(Mutex::new(system_control)), &[(SYSTEM_CONTROL_PORT, 1, 0)])?;
        add(Arc::new(Mutex::new(DebugPort::new(config.debug_log))), &[(DEBUG_PORT, 1, 0)])?;
        add(Arc::new(Mutex::new(config.fw_cfg)), &[(fw_cfg::BASE, fw_cfg::PORTS, 0)])?;

        let ide_lines = IDE_IRQS.map(|irq| lines[irq].connect());
        Ok(Self { ports, memory, coalesced, pci, devices, screen, video_memory, input, serial_input, ide_lines, power })
    }

    /// Every device, PCI functions first.
    fn all(&self) -> impl Iterator<Item = SharedDevice> {
        let functions = self.pci.functions().into_iter().map(|(_, function)| function as SharedDevice);
        functions.chain(self.devices.iter().cloned())
    }

    /// Puts every device into its state at power-on.
    pub fn reset(&self) {
        // PCI functions by their bus, which moves their BARs too.
        self.pci.reset();
        for device in &self.devices {
            lock(device).reset();
        }
    }

    /// The labels of the PCI functions by their addresses, and those of the other devices.
    pub fn labels(&self) -> (BTreeMap<String, String>, Vec<String>) {
        let functions = self.pci.functions().into_iter();
        let functions = functions.map(|(address, function)| {
            let function: SharedDevice = function;
            (address.to_string(), lock(&function).label().to_owned())
        });
        (functions.collect(), self.devices.iter().map(|device| lock(device).label().to_owned()).collect())
    }

    /// The states of all devices, by their labels.
    pub fn save(&self) -> Result<BTreeMap<String, Value>, StateError> {
        self.coalesced.deliver();
        self.all()
            .map(|device| {
                let device = lock(&device);
                Ok((device.label().to_owned(), device.save()?))
            })
            .collect()
    }

    /// Puts all devices into saved states. On an error some have theirs, and others are as after reset.
    pub fn restore(&self, mut states: BTreeMap<String, Value>) -> Result<(), StateError> {
        self.reset();
        for device in self.all() {
            let mut device = lock(&device);
            match states.remove(device.label()) {
                Some(state) => device.restore(state)?,
                None => return Err(StateError::damaged(device.label(), "it has no state")),
            }
        }
        self.pci.remap();
        match states.keys().next() {
            Some(unknown) => Err(StateError::damaged(unknown, "there is no such device")),
            None => Ok(()),
        }
    }

    /// Ends what the devices do on their own.
    pub fn pause(&self) {
        for device in self.all() {
            lock(&device).pause();
        }
    }

    /// Lets the devices work again.
    pub fn resume(&self) {
        for device in self.all() {
            lock(&device).resume();
        }
    }
}

impl Drop for Chipset {
    fn drop(&mut self) {
        // The buses hold devices that hold the buses.
        self.ports.clear();
        self.memory.clear();
    }
}

fn lock(device: &SharedDevice) -> MutexGuard<'_, dyn Device + 'static> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}
