//! What has been entered in the wizard so far, without any widget: the steps that it leads through, what a change of one
//! entry does to the others, and the guest that it makes.

use std::path::PathBuf;

use lodge::manager::{
    definition::{
        CacheMode, Definition, DiskBus, DiskDefinition, DiskFormat, KernelDefinition, NetworkDefinition, Topology,
        check_name,
    },
    media::{Media, MediaKind},
    size::{GIB, MIB, Size},
};

use super::naming::{is_generic, tidy};
use crate::ui::{
    backend::{NewDisk, NewGuest, Surroundings, free_name},
    judgement::Inspected,
};

/// What a guest is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// An operating system is installed from an ISO image.
    Iso,
    /// A disk image that is there already is used.
    DiskImage,
    /// A Linux kernel is booted directly.
    Kernel,
    /// The built-in test card.
    TestCard,
}

impl Method {
    /// All of them, the likeliest first.
    pub const ALL: [Self; 4] = [Self::Iso, Self::DiskImage, Self::Kernel, Self::TestCard];

    /// The steps that lead to such a guest.
    pub fn steps(self) -> &'static [Step] {
        match self {
            Self::Iso | Self::Kernel => &[Step::Method, Step::Media, Step::Resources, Step::Storage, Step::Summary],
            Self::DiskImage => &[Step::Method, Step::Media, Step::Resources, Step::Summary],
            Self::TestCard => &[Step::Method, Step::Resources, Step::Summary],
        }
    }
}

/// A page of the wizard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What the guest is made from.
    Method,
    /// The image.
    Media,
    /// Memory, vCPUs and network.
    Resources,
    /// The disk.
    Storage,
    /// The name and all that was entered.
    Summary,
}

/// A file that was chosen, and what it turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The file.
    pub path: PathBuf,
    /// What it is, or why it is of no use; `None` while it is looked at.
    pub looked_at: Option<Result<Inspected, String>>,
}

/// The disk of a guest that is installed from an ISO image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// A new one.
    New,
    /// An image that is there already.
    Existing,
    /// None.
    None,
}

/// One change that a person has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// What the guest is made from.
    Method(Method),
    /// The ISO image; empty when none is chosen.
    Iso(PathBuf),
    /// The disk image that is imported; empty when none is chosen.
    Image(PathBuf),
    /// The kernel; empty when none is chosen.
    Kernel(PathBuf),
    /// The kernel's initial RAM disk; empty when none is chosen.
    InitialRamDisk(PathBuf),
    /// The kernel's command line.
    CommandLine(String),
    /// The memory, in MiB.
    Memory(u64),
    /// The vCPUs.
    Vcpus(u32),
    /// How the vCPUs are arranged.
    Topology(Topology),
    /// The network that it is in, if any.
    Network(Option<Box<NetworkDefinition>>),
    /// What kind of disk.
    Storage(Storage),
    /// The new disk's size, in bytes.
    DiskSize(u64),
    /// The new disk's format.
    DiskFormat(DiskFormat),
    /// The image of an existing disk; empty when none is chosen.
    Disk(PathBuf),
    /// The name.
    Name(String),
    /// Whether to start the guest at once.
    Start(bool),
}

/// What is entered for a person who comes with an image: an ISO image is installed from, any other is a disk.
pub fn beginning_with(file: PathBuf) -> [Edit; 2] {
    match file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("iso")) {
        true => [Edit::Method(Method::Iso), Edit::Iso(file)],
        false => [Edit::Method(Method::DiskImage), Edit::Image(file)],
    }
}

/// A file that is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// An image or a kernel.
    Media(PathBuf),
    /// An initial RAM disk.
    InitialRamDisk(PathBuf),
}

/// Everything that has been entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What the guest is made from.
    pub method: Method,
    /// The ISO image, for [`Method::Iso`].
    pub iso: Option<Chosen>,
    /// The disk image, for [`Method::DiskImage`].
    pub image: Option<Chosen>,
    /// The kernel, for [`Method::Kernel`].
    pub kernel: Option<Chosen>,
    /// Its initial RAM disk.
    pub initrd: Option<Chosen>,
    /// Its command line.
    pub command_line: String,
    /// The memory, in MiB.
    pub memory_mib: u64,
    memory_edited: bool,
    /// The vCPUs.
    pub vcpus: u32,
    /// How they are arranged.
    pub topology: Topology,
    topology_edited: bool,
    /// The network card.
    pub network: Option<NetworkDefinition>,
    network_edited: bool,
    preferred_network: Option<NetworkDefinition>,
    /// What kind of disk, for [`Method::Iso`] and [`Method::Kernel`].
    pub storage: Storage,
    /// The new disk's size, in bytes.
    pub disk_size: u64,
    /// The new disk's format.
    pub disk_format: DiskFormat,
    /// The existing disk.
    pub disk: Option<Chosen>,
    /// The name.
    pub name: String,
    name_edited: bool,
    /// Whether to start the guest at once.
    pub start: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            method: Method::Iso,
            iso: None,
            image: None,
            kernel: None,
            initrd: None,
            command_line: "console=ttyS0 console=tty0".to_owned(),
            memory_mib: 2048,
            memory_edited: false,
            vcpus: 1,
            topology: Topology::cores(1),
            topology_edited: false,
            network: Some(NetworkDefinition::nat()),
            network_edited: false,
            preferred_network: None,
            storage: Storage::New,
            disk_size: 20 * GIB,
            disk_format: DiskFormat::Qcow2,
            disk: None,
            name: String::new(),
            name_edited: false,
            start: true,
        }
    }
}

impl Draft {
    /// Nothing is entered yet; the network that this card is connected to is preferred, where there is one.
    pub fn preferring(network: Option<NetworkDefinition>) -> Self {
        Self { preferred_network: network, ..Self::default() }
    }

    /// Takes over a change, and lets what was not touched by hand follow it. Returns the file that is to be looked at now.
    pub fn apply(&mut self, edit: Edit, around: &Surroundings) -> Option<Look> {
        let mut look = None;
        let mut choose = |path: PathBuf, kind: fn(PathBuf) -> Look| {
            let path = Some(path).filter(|path| !path.as_os_str().is_empty());
            look = path.clone().map(kind);
            path.map(|path| Chosen { path, looked_at: None })
        };
        match edit {
            Edit::Method(method) => self.method = method,
            Edit::Iso(path) => self.iso = choose(path, Look::Media),
            Edit::Image(path) => self.image = choose(path, Look::Media),
            Edit::Kernel(path) => self.kernel = choose(path, Look::Media),
            Edit::InitialRamDisk(path) => self.initrd = choose(path, Look::InitialRamDisk),
            Edit::CommandLine(line) => self.command_line = line,
            Edit::Memory(mib) => {
                self.memory_edited |= mib != self.memory_mib;
                self.memory_mib = mib;
            }
            Edit::Vcpus(count) => self.vcpus = count,
            Edit::Topology(topology) => {
                self.topology_edited |= topology != self.topology;
                self.topology = topology;
            }
            Edit::Network(network) => {
                self.network = network.map(|network| *network);
                self.network_edited = true;
            }
            Edit::Storage(storage) => self.storage = storage,
            Edit::DiskSize(bytes) => self.disk_size = bytes,
            Edit::DiskFormat(format) => self.disk_format = format,
            Edit::Disk(path) => self.disk = choose(path, Look::Media),
            Edit::Name(name) => {
                self.name_edited |= name != self.name;
                self.name = name;
            }
            Edit::Start(start) => self.start = start,
        }
        self.follow(around);
        look
    }

    /// Takes over what a file turned out to be, wherever it is still chosen.
    pub fn looked_at(&mut self, look: &Look, result: &Result<Inspected, String>, around: &Surroundings) {
        let (path, fields) = match look {
            Look::Media(path) => (path, vec![&mut self.iso, &mut self.image, &mut self.kernel, &mut self.disk]),
            Look::InitialRamDisk(path) => (path, vec![&mut self.initrd]),
        };
        for chosen in fields.into_iter().flatten() {
            if chosen.path == *path {
                chosen.looked_at = Some(result.clone());
            }
        }
        self.follow(around);
    }

    /// The image of the media page.
    pub fn media(&self) -> Option<&Chosen> {
        match self.method {
            Method::Iso => self.iso.as_ref(),
            Method::DiskImage => self.image.as_ref(),
            Method::Kernel => self.kernel.as_ref(),
            Method::TestCard => None,
        }
    }

    /// What was not touched by hand suits what is known now.
    pub fn follow(&mut self, around: &Surroundings) {
        if !self.memory_edited {
            self.memory_mib = self.usual_memory(around);
        }
        let preferred = self.preferred_network.as_ref().filter(|network| around.networks.contains(network));
        if let Some(network) = preferred.filter(|_| !self.network_edited) {
            self.network = Some(network.clone());
        }
        if !self.topology_edited {
            self.topology = Topology::cores(self.vcpus);
        }
        if !self.name_edited {
            self.name = free_name(&self.usual_name(), &around.names);
        }
    }

    /// 2 GiB for an operating system, or half of what is free on a small host; the test card needs next to nothing.
    fn usual_memory(&self, around: &Surroundings) -> u64 {
        match self.method {
            Method::TestCard => 64,
            _ => (around.limits.memory_available / MIB / 2 / 256 * 256).clamp(512, 2048),
        }
    }

    fn usual_name(&self) -> String {
        let word = match (self.method, self.media()) {
            (Method::TestCard, _) => Some("testcard".to_owned()),
            (_, None) => None,
            (_, Some(chosen)) => {
                let label = match &chosen.looked_at {
                    Some(Ok(Inspected { media: Media { label, .. }, .. })) => label.as_deref(),
                    _ => None,
                };
                let stem = chosen.path.file_stem().map(|stem| stem.to_string_lossy());
                // Many labels are just "ISOIMAGE" or "CDROM": a file's name tells more.
                label.filter(|label| !is_generic(label)).map(tidy).or_else(|| stem.map(|stem| tidy(&stem)))
            }
        };
        word.filter(|word| check_name(word).is_ok()).unwrap_or_else(|| "guest".to_owned())
    }

    /// The disk that is to be attached or made.
    fn existing_disk(&self) -> Option<&Chosen> {
        match (self.method, self.storage) {
            (Method::DiskImage, _) => self.image.as_ref(),
            (Method::Iso | Method::Kernel, Storage::Existing) => self.disk.as_ref(),
            _ => None,
        }
    }

    /// The new disk that is to be made.
    pub fn new_disk(&self) -> Option<NewDisk> {
        match (self.method, self.storage) {
            (Method::TestCard, _) => Some(NewDisk::TestCard),
            (Method::Iso | Method::Kernel, Storage::New) => Some(NewDisk::Empty {
                size: self.disk_size,
                format: self.disk_format,
                cache: CacheMode::default(),
                bus: DiskBus::default(),
            }),
            _ => None,
        }
    }

    /// The guest as a definition, without the disk that is yet to be made.
    pub fn definition(&self) -> Definition {
        let mut definition = Definition::new(self.name.clone());
        definition.memory = Size::mib(self.memory_mib);
        definition.vcpus = self.vcpus;
        definition.cpu.topology = Some(self.topology).filter(|_| self.topology_edited);
        if let Some(network) = &self.network {
            definition.add_network(network.clone());
        }
        if self.method == Method::TestCard {
            definition.os = Some("testcard".to_owned());
        }
        if let Some(chosen) = self.existing_disk() {
            let format = match &chosen.looked_at {
                Some(Ok(Inspected { media: Media { kind: MediaKind::Qcow2, .. }, .. })) => DiskFormat::Qcow2,
                _ => DiskFormat::Raw,
            };
            definition.add_disk(DiskDefinition::new(&chosen.path, format));
        }
        if let (Method::Iso, Some(chosen)) = (self.method, &self.iso) {
            definition.add_disk(DiskDefinition::cdrom(&chosen.path));
        }
        if let (Method::Kernel, Some(chosen)) = (self.method, &self.kernel) {
            definition.os = Some("linux".to_owned());
            definition.kernel = Some(KernelDefinition {
                path: chosen.path.clone(),
                initrd: self.initrd.as_ref().map(|chosen| chosen.path.clone()),
                cmdline: self.command_line.clone(),
            });
        }
        definition
    }

    /// What the manager is asked to make.
    pub fn new_guest(&self) -> NewGuest {
        NewGuest { definition: self.definition(), disk: self.new_disk(), pool: None, start: self.start }
    }
}

#[cfg(test)]
mod tests;
