//! Opening what a guest's devices need of the host: the kernel's files, disks, network interfaces and sockets.

#![forbid(unsafe_code)]

use std::{fs::File, path::Path};

use super::{
    carriers::{self, Ends},
    companions::Companion,
    images,
    launch::Inherited,
    runtime::{Prepared, Wanted},
};
use crate::{
    manager::{
        definition::{
            AGENT_PORT, BootSource, Definition, DiskBus, DiskDefinition, DiskFormat, KernelDefinition, NetworkKind,
            NetworkModel, Problem, Problems,
        },
        host::{Root, firmware},
        network::{self, Tap},
        paths::Paths,
        storage,
    },
    system_error::words,
    worker::launch::{
        BackingImage, Cdrom, Connection, Disk, DiskBus as LaunchBus, DiskFormat as LaunchFormat, Kernel, Medium,
        Network, NetworkBoot, Port, Vsock,
    },
};

/// Opens the files of a kernel that is booted directly.
pub(super) fn open_kernel(kernel: &KernelDefinition, inherited: &mut Inherited) -> Result<Kernel, Problems> {
    let mut problems = Problems::default();
    let mut open =
        |field: &str, path: &Path| match File::open(path).and_then(|file| Ok((file.metadata()?.is_file(), file))) {
            Ok((true, file)) => Some(inherited.add(file)),
            Ok((false, _)) => {
                let message = format!("{} is no file. Choose another", path.display());
                problems.0.push(Problem::new(field, message));
                None
            }
            Err(error) => {
                let message = format!(
                    "{} cannot be opened: {}. Correct the path, or make it readable for you",
                    path.display(),
                    words(&error)
                );
                problems.0.push(Problem::new(field, message));
                None
            }
        };
    let image = open("kernel.path", &kernel.path);
    let initrd = kernel.initrd.as_deref().map(|path| open("kernel.initrd", path));
    match (image, initrd) {
        (Some(image), None) => Ok(Kernel { image, initrd: None, cmdline: kernel.cmdline.clone() }),
        (Some(image), Some(Some(initrd))) => {
            Ok(Kernel { image, initrd: Some(initrd), cmdline: kernel.cmdline.clone() })
        }
        _ => Err(problems),
    }
}

/// Opens and locks the images of all disks.
pub(super) fn open_disks(
    definition: &Definition,
    inherited: &mut Inherited,
) -> Result<(Vec<Disk>, Vec<Cdrom>), Problems> {
    let (mut disks, mut cdroms, mut problems) = (Vec::new(), Vec::new(), Problems::default());
    for (index, disk) in definition.disks.iter().enumerate() {
        let bootindex = definition.boot_place(BootSource::Disk(index));
        if !disk.has_medium() {
            cdroms.push(Cdrom { id: disk.id.clone(), medium: None, bootindex });
            continue;
        }
        let mut images = match images::open(disk).and_then(|images| mend(disk).map(|()| images)) {
            Ok(images) => images.into_iter(),
            Err(message) => {
                problems.0.push(Problem::new(format!("disk[{index}].path"), message));
                continue;
            }
        };
        let Some(image) = images.next().map(|image| inherited.add(image)) else { continue };
        let file_name = disk.path.to_string_lossy().into_owned();
        if disk.cdrom {
            let medium = Some(Medium { image, format: format(disk.format), file_name });
            cdroms.push(Cdrom { id: disk.id.clone(), medium, bootindex });
            continue;
        }
        disks.push(Disk {
            id: disk.id.clone(),
            bus: match disk.bus {
                DiskBus::Virtio => LaunchBus::Virtio,
                DiskBus::Ide => LaunchBus::Ide,
            },
            image,
            format: format(disk.format),
            backing: disk
                .backing
                .iter()
                .zip(images)
                .map(|(layer, image)| BackingImage {
                    image: inherited.add(image),
                    format: format(layer.format),
                    file_name: layer.path.to_string_lossy().into_owned(),
                })
                .collect(),
            file_name,
            read_only: disk.is_read_only(),
            bootindex,
            serial: disk.serial.clone().unwrap_or_default(),
            cache: disk.cache,
            error_policy: disk.error_policy,
            rerror_policy: disk.rerror_policy,
            limits: disk.limits.limits(),
        });
    }
    if problems.0.is_empty() { Ok((disks, cdroms)) } else { Err(problems) }
}

fn format(format: DiskFormat) -> LaunchFormat {
    match format {
        DiskFormat::Raw => LaunchFormat::Raw,
        DiskFormat::Qcow2 => LaunchFormat::Qcow2,
    }
}

/// Mends an image that was not closed properly, before a guest writes to it.
fn mend(disk: &DiskDefinition) -> Result<(), String> {
    match disk.format {
        DiskFormat::Qcow2 if !disk.is_read_only() => {
            storage::check::mend_before_use(&disk.path).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}

/// Opens the host's ends of all network cards, and prepares those who carry frames.
pub(super) fn open_networks(
    paths: &Paths,
    definition: &Definition,
    root: &Root,
    inherited: &mut Inherited,
) -> Result<(Vec<Network>, Vec<Companion>), Problems> {
    let (mut networks, mut carriers, mut problems) = (Vec::new(), Vec::new(), Problems::default());
    for (index, network) in definition.networks.iter().enumerate() {
        let connection = match network.kind {
            NetworkKind::None => Ok(Connection::Nothing),
            NetworkKind::Nat | NetworkKind::Isolated => {
                let mtu = carriers::translated_mtu(network.model, boot_place(definition, index).is_some());
                carriers::prepare(paths, definition, index, network, mtu)
                    .map(|(Ends { feed, control }, carrier)| {
                        carriers.push(carrier);
                        let (feed, control) = (inherited.add(feed), inherited.add(control));
                        match network.kind {
                            NetworkKind::Isolated => Connection::Switch { feed, control },
                            _ => Connection::Nat { feed, control },
                        }
                    })
                    .map_err(|error| {
                        ("kind", format!("no sockets could be made: {}. Close other programs", words(&error)))
                    })
            }
            NetworkKind::Tap | NetworkKind::Bridge | NetworkKind::Network => network::open(network, root)
                .map(|tap| match tap {
                    Some(Tap { interface, queues }) => {
                        let queues = queues.into_iter().map(|queue| inherited.add(queue)).collect();
                        Connection::Tap { interface, queues }
                    }
                    None => Connection::Nothing,
                })
                .map_err(|error| (error.field, error.message)),
        };
        let boot = network_boot(definition, index, root, inherited).map_err(|message| ("boot", message));
        match connection.and_then(|connection| Ok((connection, boot?))) {
            Ok((connection, boot)) => networks.push(Network {
                id: format!("net{index}"),
                model: network.model,
                mac: network.mac_bytes().unwrap_or_default(),
                link: network.kind != NetworkKind::None,
                source: network.source(),
                connection,
                limits: network.limits.limits(),
                boot,
            }),
            Err((field, message)) => problems.0.push(Problem::new(format!("network[{index}].{field}"), message)),
        }
    }
    if problems.0.is_empty() { Ok((networks, carriers)) } else { Err(problems) }
}

/// The place of card number `index` in the boot order.
fn boot_place(definition: &Definition, index: usize) -> Option<u32> {
    definition.boot_place(BootSource::Network(index)).filter(|_| definition.kernel.is_none())
}

/// Opens what card number `index` is booted from with, if it is.
fn network_boot(
    definition: &Definition,
    index: usize,
    root: &Root,
    inherited: &mut Inherited,
) -> Result<Option<NetworkBoot>, String> {
    let Some((bootindex, network)) = boot_place(definition, index).zip(definition.networks.get(index)) else {
        return Ok(None);
    };
    let file = match network.model {
        NetworkModel::Virtio => firmware::VIRTIO_NETWORK_ROM,
        NetworkModel::E1000 => firmware::E1000_NETWORK_ROM,
    };
    let missing = || {
        let (what, mend) = firmware::missing(file);
        format!("{what}. {mend}")
    };
    let path = firmware::find(root, file).ok_or_else(missing)?;
    let rom = File::open(&path)
        .map_err(|error| format!("{} cannot be read: {}. Install its package again", path.display(), words(&error)))?;
    Ok(Some(NetworkBoot { bootindex, rom: inherited.add(rom) }))
}

/// The sockets that the guest's devices need.
pub(super) fn wanted(definition: &Definition) -> Wanted {
    let devices = &definition.devices;
    Wanted { console: devices.console, agent: devices.agent, vsock: devices.vsock.is_some() }
}

/// The devices behind sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub console: Option<std::os::fd::RawFd>,
    pub ports: Vec<Port>,
    pub vsock: Option<Vsock>,
}

/// Hands the devices' sockets over.
pub(super) fn hand_over_sockets(
    definition: &Definition,
    prepared: &mut Prepared,
    inherited: &mut Inherited,
) -> Sockets {
    let agent = prepared.agent.take();
    let ports = agent.map(|listener| Port { name: AGENT_PORT.to_owned(), listener: inherited.add(listener) });
    let vsock = definition.devices.vsock.zip(prepared.vsock.take());
    Sockets {
        console: prepared.console.take().map(|listener| inherited.add(listener)),
        ports: ports.into_iter().collect(),
        vsock: vsock.map(|(cid, listener)| Vsock { cid, listener: inherited.add(listener) }),
    }
}
