//! The files that the launch description names, and what they are for: the worker opens none by name.

use std::{
    fs::File,
    os::{
        fd::{OwnedFd, RawFd},
        unix::net::UnixListener,
    },
};

use super::{
    connections::{Connected, Connections},
    descriptors::{DescriptorError, Inherited},
    launch::{self, LaunchDescription, Vsock},
    run::Failure,
};
use crate::{
    nat::{self, Control},
    switch,
    vmm::{
        boot::linux::LinuxBoot,
        machine::{Boot, Connection, Firmware, NetworkBoot, NetworkConfig, VsockConfig},
        virtio::console::NamedPortConfig,
    },
};

/// Every file that the launch description names.
pub(super) struct Files {
    pub log: File,
    pub exit_report: File,
    /// Only held.
    pub run_lock: OwnedFd,
    pub rest: GuestFiles,
}

/// Those for the guest.
pub(super) struct GuestFiles {
    pub kvm: OwnedFd,
    pub control: OwnedFd,
    pub vnc: OwnedFd,
    pub serial: OwnedFd,
    /// That of the gate before the screen.
    pub gate: Option<OwnedFd>,
    pub boot: Boot,
    pub console: Option<OwnedFd>,
    pub ports: Vec<NamedPortConfig>,
    pub vsock: Option<VsockConfig>,
    pub networks: Vec<NetworkConfig>,
    pub connections: Connections,
    /// Each disk's image, with those below it.
    pub disks: Vec<(File, Vec<File>)>,
    /// A saved state.
    pub restore: Option<File>,
    /// What is in each CD-ROM drive.
    pub media: Vec<Option<File>>,
}

impl Files {
    /// Takes them over.
    pub fn take(inherited: &mut Inherited, launch: &LaunchDescription) -> Result<Self, Failure> {
        let descriptors = &launch.descriptors;
        let mut take = |fd, what: &str| inherited.take(fd, what);
        let mut disks = Vec::with_capacity(launch.disks.len());
        let exit_report = take(descriptors.exit_report, "the exit report")?.into();
        let log = take(descriptors.log, "the log")?.into();
        let run_lock = take(descriptors.run_lock, "the run lock")?;
        for disk in &launch.disks {
            let image = take(disk.image, &disk.id)?.into();
            let below = disk.backing.iter().map(|below| take(below.image, &disk.id).map(File::from));
            disks.push((image, below.collect::<Result<_, _>>()?));
        }
        let connections = Connections::default();
        let rest = GuestFiles {
            kvm: take(descriptors.kvm, "KVM")?,
            control: take(descriptors.control, "the control socket")?,
            vnc: take(descriptors.vnc, "the VNC socket")?,
            serial: take(descriptors.serial, "the serial socket")?,
            gate: launch.listening.map(|listening| take(listening.gate, "the gate")).transpose()?,
            boot: boot(&launch.boot, &mut take)?,
            console: launch.console.map(|console| take(console, "the console socket")).transpose()?,
            ports: launch
                .ports
                .iter()
                .map(|port| {
                    let listener = UnixListener::from(take(port.listener, &port.name)?);
                    Ok(NamedPortConfig { name: port.name.clone(), host: listener.into() })
                })
                .collect::<Result<_, Failure>>()?,
            vsock: match launch.vsock {
                Some(Vsock { cid, listener }) => {
                    Some(VsockConfig { cid, listener: take(listener, "the vsock socket")?.into() })
                }
                None => None,
            },
            networks: launch
                .networks
                .iter()
                .map(|network| {
                    let connection = connection(network, &mut take, &connections)?;
                    Ok(NetworkConfig {
                        id: network.id.clone(),
                        model: network.model,
                        mac: network.mac,
                        connection,
                        link: network.link,
                        limits: network.limits,
                        boot: network_boot(network.boot.as_ref(), &mut take)?,
                    })
                })
                .collect::<Result<_, Failure>>()?,
            connections,
            disks,
            restore: match &launch.restore {
                Some(restore) => Some(take(restore.state, "the saved state")?.into()),
                None => None,
            },
            media: launch
                .cdroms
                .iter()
                .map(|cdrom| {
                    cdrom.medium.as_ref().map(|medium| take(medium.image, &cdrom.id).map(File::from)).transpose()
                })
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { log, exit_report, run_lock, rest })
    }
}

/// What a network card is connected to, of the descriptors that `take` takes over.
fn connection(
    network: &launch::Network,
    take: &mut impl FnMut(RawFd, &str) -> Result<OwnedFd, DescriptorError>,
    connections: &Connections,
) -> Result<Connection, Failure> {
    let mut connected = Connected { source: network.source.clone(), ..Connected::default() };
    let connection = match &network.connection {
        launch::Connection::Nothing => Connection::Nothing,
        launch::Connection::Tap { interface, queues } => {
            connected.interface = Some(interface.clone());
            let queues = queues.iter().map(|&queue| take(queue, &network.id).map(File::from));
            Connection::Tap(queues.collect::<Result<_, _>>()?)
        }
        &launch::Connection::Nat { feed, control } => {
            connected.control = Some(Control::new(take(control, &network.id)?));
            // As the translator tells the guest.
            let mtu = if network.boot.is_some() { nat::USUAL_MTU } else { nat::MTU };
            Connection::Stream { feed: take(feed, &network.id)?, mtu }
        }
        &launch::Connection::Switch { feed, control } => {
            connected.control = Some(Control::new(take(control, &network.id)?));
            Connection::Stream { feed: take(feed, &network.id)?, mtu: switch::MTU }
        }
    };
    connections.set(&network.id, connected);
    Ok(connection)
}

/// How a network card is booted from, of the descriptors that `take` takes over.
fn network_boot(
    boot: Option<&launch::NetworkBoot>,
    take: &mut impl FnMut(RawFd, &str) -> Result<OwnedFd, DescriptorError>,
) -> Result<Option<NetworkBoot>, Failure> {
    let Some(&launch::NetworkBoot { bootindex, rom }) = boot else { return Ok(None) };
    Ok(Some(NetworkBoot { bootindex, rom: take(rom, "the network boot ROM")?.into() }))
}

/// Firmware or kernel, of the descriptors that `take` takes over.
fn boot(
    boot: &launch::Boot,
    take: &mut impl FnMut(RawFd, &str) -> Result<OwnedFd, DescriptorError>,
) -> Result<Boot, Failure> {
    Ok(match boot {
        launch::Boot::Firmware(firmware) => Boot::Firmware(Firmware {
            bios: take(firmware.bios, "the firmware")?.into(),
            vga_bios: take(firmware.vga_bios, "the display's firmware")?.into(),
        }),
        launch::Boot::Kernel(kernel) => Boot::Linux(LinuxBoot {
            kernel: take(kernel.image, "the kernel")?.into(),
            initrd: kernel.initrd.map(|initrd| take(initrd, "the initial RAM disk")).transpose()?.map(File::from),
            command_line: kernel.cmdline.clone(),
        }),
    })
}
