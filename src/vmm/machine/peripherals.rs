//! The machine's devices that are neither chipset nor disk nor screen: nearly all of them are virtio devices. They sit in the slots from the last one down, each kind in a
//! place of its own, so that a guest finds them again when others come and go.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};

use super::{
    MachineError,
    boot_order::{BootDrive, Content},
    input::InputRouter,
    virtio::VirtioWiring,
};
use crate::{
    input::InputSink,
    vmm::{
        boot::firmware::BootPlace,
        devices::{
            e1000::E1000,
            serial::{SerialInput, SerialOutput},
        },
        limits::Limits,
        net::{
            NetBackend,
            card::{MacAddress, NetHandle},
            none::NoNetwork,
            stream::Stream,
            tap::Tap,
        },
        pci::{
            PCI_SLOTS, PciAddress,
            bus::{PciBus, SharedFunction},
        },
        virtio::{
            balloon::{Balloon, BalloonHandle},
            console::{Console, NamedPortConfig},
            device::VirtioDevice,
            entropy::Entropy,
            input::{Kind, VirtioInput},
            net::{NetConfig, VirtioNet},
            vsock::VirtioVsock,
        },
    },
};

const ENTROPY: u8 = 31;
const BALLOON: u8 = 30;
const CONSOLE: u8 = 29;
const KEYBOARD: u8 = 28;
const TABLET: u8 = 27;
const VSOCK: u8 = 26;
/// The first network card; the next ones are below.
const NETWORK: u8 = 25;

/// The most network cards of a machine.
pub const MAX_NETWORKS: usize = 8;

/// Which devices there are. By default none.
#[derive(Default)]
pub struct Peripherals {
    /// A source of random numbers.
    pub entropy: bool,
    /// A balloon, which takes memory from the guest and gives it back.
    pub balloon: bool,
    /// A console.
    pub console: Option<ConsoleConfig>,
    /// A keyboard and a tablet beside those of the i8042.
    pub input: bool,
    /// Sockets between guest and host.
    pub vsock: Option<VsockConfig>,
    /// Network cards.
    pub networks: Vec<NetworkConfig>,
}

/// The console's ports.
#[derive(Default)]
pub struct ConsoleConfig {
    /// Where the terminal's output goes, if there is a terminal (Linux's hvc0).
    pub terminal: Option<Box<dyn SerialOutput>>,
    /// Ports for programs, by name.
    pub ports: Vec<NamedPortConfig>,
}

/// Sockets between guest and host.
pub struct VsockConfig {
    /// The guest's address, at least 3.
    pub cid: u32,
    /// Where programs of the host connect.
    pub listener: UnixListener,
}

/// The model of a network card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel's 82540EM, for guests without virtio drivers.
    E1000,
}

/// A network card.
pub struct NetworkConfig {
    /// Its name in QMP and logs.
    pub id: String,
    /// Its model.
    pub model: NetworkModel,
    /// Its address.
    pub mac: MacAddress,
    /// What it is connected to.
    pub connection: Connection,
    /// Whether the cable is plugged in.
    pub link: bool,
    /// How much it may carry.
    pub limits: Limits,
    /// What the firmware boots from it with, if it is to.
    pub boot: Option<NetworkBoot>,
}

/// How a machine boots from a network card.
#[derive(Debug)]
pub struct NetworkBoot {
    /// The card's place in the boot order, the lowest first.
    pub bootindex: u32,
    /// The option ROM for its model: iPXE.
    pub rom: File,
}

impl NetworkModel {
    /// The name under which SeaBIOS looks for the option ROM of such a card: its PCI IDs.
    fn rom_name(self) -> &'static str {
        match self {
            Self::Virtio => "pci1af4,1041.rom",
            Self::E1000 => "pci8086,100e.rom",
        }
    }
}

impl NetworkConfig {
    /// A virtio card whose cable is plugged in.
    pub fn new(id: &str, mac: MacAddress, connection: Connection) -> Self {
        Self {
            id: id.to_owned(),
            model: NetworkModel::default(),
            mac,
            connection,
            link: true,
            limits: Limits::default(),
            boot: None,
        }
    }
}

/// The host's end of a network card.
#[derive(Debug)]
pub enum Connection {
    /// Nothing: it has no link.
    Nothing,
    /// The queues of a TAP interface, open.
    Tap(Vec<File>),
    /// A program, whose streams come through this socket and take packets of up to `mtu` bytes.
    Stream {
        /// The SEQPACKET socket.
        feed: OwnedFd,
        /// In bytes, without the Ethernet header.
        mtu: u16,
    },
}

/// A network card of a machine.
#[derive(Clone)]
pub struct NetworkInfo {
    /// Its name.
    pub id: String,
    /// Its link and counters.
    pub card: NetHandle,
}

/// The ways to the devices that are plugged in.
pub struct PluggedPeripherals {
    /// The balloon.
    pub balloon: Option<BalloonHandle>,
    /// Into the console's terminal.
    pub console_input: Option<Arc<dyn SerialInput>>,
    /// The network cards, in the order of the configuration.
    pub networks: Vec<NetworkInfo>,
    /// Keys and pointer.
    pub input: Arc<dyn InputSink>,
}

impl Peripherals {
    /// The first slot that they take; 32 when there are none.
    pub fn first_slot(&self) -> u8 {
        let places = [
            (self.entropy, ENTROPY),
            (self.balloon, BALLOON),
            (self.console.is_some(), CONSOLE),
            (self.input, TABLET),
            (self.vsock.is_some(), VSOCK),
            (!self.networks.is_empty(), (NETWORK + 1).saturating_sub(self.networks.len() as u8)),
        ];
        places.into_iter().filter(|(there, _)| *there).map(|(_, slot)| slot).min().unwrap_or(PCI_SLOTS)
    }

    /// The cards to boot from.
    pub(super) fn to_boot_from(&self) -> Vec<BootDrive> {
        let drive = |(slot, network): (u8, &NetworkConfig)| {
            let bootindex = network.boot.as_ref()?.bootindex;
            let place = BootPlace::Network(PciAddress::new(slot, 0));
            Some(BootDrive { place, bootindex, content: Content::Network })
        };
        (0..=NETWORK).rev().zip(&self.networks).filter_map(drive).collect()
    }

    /// The option ROMs, one for each model that is booted from.
    pub(super) fn take_roms(&mut self) -> Vec<(&'static str, File)> {
        let mut roms = Vec::new();
        for network in &mut self.networks {
            let name = network.model.rom_name();
            if let Some(NetworkBoot { rom, .. }) = network.boot.take()
                && roms.iter().all(|(other, _)| *other != name)
            {
                roms.push((name, rom));
            }
        }
        roms
    }

    /// Plugs them in; `legacy` is where keys and pointer go as long as the guest does not drive ours.
    pub fn plug(
        self,
        pci: &PciBus,
        wiring: &VirtioWiring,
        legacy: Arc<dyn InputSink>,
    ) -> Result<PluggedPeripherals, MachineError> {
        let plug = |slot: u8, device: Box<dyn VirtioDevice>| {
            pci.plug(PciAddress::new(slot, 0), Arc::new(Mutex::new(wiring.function(device)?)), vec![])?;
            Ok::<_, MachineError>(())
        };
        let mut plugged =
            PluggedPeripherals { balloon: None, console_input: None, networks: Vec::new(), input: legacy.clone() };
        if self.entropy {
            plug(ENTROPY, Box::new(Entropy::new("rng0")))?;
        }
        if self.balloon {
            let balloon = Balloon::new("balloon0").map_err(failed("balloon0"))?;
            plugged.balloon = Some(balloon.handle());
            plug(BALLOON, Box::new(balloon))?;
        }
        if let Some(ConsoleConfig { terminal, ports }) = self.console {
            let console = Console::new("console0", terminal, ports).map_err(failed("console0"))?;
            plugged.console_input = console.input();
            plug(CONSOLE, Box::new(console))?;
        }
        if self.input {
            let (keyboard, keys) = VirtioInput::new(Kind::Keyboard).map_err(failed("keyboard0"))?;
            let (tablet, pointer) = VirtioInput::new(Kind::Tablet).map_err(failed("tablet0"))?;
            plug(KEYBOARD, Box::new(keyboard))?;
            plug(TABLET, Box::new(tablet))?;
            plugged.input = Arc::new(InputRouter::new(legacy, keys, pointer));
        }
        if let Some(VsockConfig { cid, listener }) = self.vsock {
            plug(VSOCK, Box::new(VirtioVsock::new(cid, listener).map_err(failed("vsock0"))?))?;
        }
        for (slot, network) in (0..=NETWORK).rev().zip(self.networks) {
            let id = network.id.clone();
            let (function, card) = network.make(wiring)?;
            pci.plug(PciAddress::new(slot, 0), function, vec![])?;
            plugged.networks.push(NetworkInfo { id, card });
        }
        Ok(plugged)
    }
}

impl NetworkConfig {
    fn make(self, wiring: &VirtioWiring) -> Result<(SharedFunction, NetHandle), MachineError> {
        let Self { id, model, mac, connection, link, limits, boot: _ } = self;
        let is_connected = !matches!(connection, Connection::Nothing);
        let mut backends = connection.open().map_err(failed(&id))?;
        let (function, card): (SharedFunction, _) = match model {
            NetworkModel::Virtio => {
                let config = NetConfig { id: id.clone(), mac, backends };
                let (device, card) = VirtioNet::new(config).map_err(failed(&id))?;
                (Arc::new(Mutex::new(wiring.function(Box::new(device))?)), card)
            }
            NetworkModel::E1000 => {
                let one = "a card of this model has one pair of queues. give it one";
                let backend = backends.pop().filter(|_| backends.is_empty());
                let backend = backend.ok_or_else(|| failed(&id)(io::Error::other(one)))?;
                let (device, card) = E1000::new(&id, mac, backend, wiring.memory.clone()).map_err(failed(&id))?;
                (Arc::new(Mutex::new(device)), card)
            }
        };
        card.set_link(link && is_connected);
        card.set_limits(limits);
        Ok((function, card))
    }
}

impl Connection {
    /// The back ends, one a pair of queues.
    pub fn open(self) -> io::Result<Vec<Box<dyn NetBackend>>> {
        Ok(match self {
            Self::Nothing => vec![Box::new(NoNetwork::new()?)],
            Self::Tap(queues) => {
                let taps = queues.into_iter().map(|queue| Ok(Box::new(Tap::new(queue)?) as _));
                taps.collect::<io::Result<_>>()?
            }
            Self::Stream { feed, mtu } => vec![Box::new(Stream::new(feed, mtu)?)],
        })
    }
}

fn failed(label: &str) -> impl Fn(io::Error) -> MachineError {
    let label = label.to_owned();
    move |source| MachineError::Device { label: label.clone(), source }
}
