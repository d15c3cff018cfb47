//! What has been entered in the wizard so far, without any widget: the steps that it leads through, what a change of one
//! entry does to the others, and the guest that it makes.

use std::path::PathBuf;

use lodge::manager::{
    definition::{
        CacheMode, Definition, DiskBus, DiskDefinition, DiskFormat, KernelDefinition, NAME_MAX_CHARACTERS,
        NetworkDefinition, Topology, check_name,
    },
    media::{Media, MediaKind},
    size::{GIB, MIB, Size},
};

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
            Edit::Network(network) => self.network = network.map(|network| *network),
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
        NewGuest { definition: self.definition(), disk: self.new_disk(), start: self.start }
    }
}

fn is_generic(label: &str) -> bool {
    let words = ["cdrom", "iso", "isoimage", "image", "disc", "disk", "new", "untitled", "volume"];
    label.len() < 3 || words.contains(&label.to_lowercase().as_str())
}

/// A file's or volume's name as a guest's: no underscores, no leading dots, not too long.
fn tidy(name: &str) -> String {
    let words: Vec<_> = name.split(|c: char| c == '_' || c == '/' || c.is_whitespace() || c.is_control()).collect();
    let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let name: String = name.trim_start_matches(['.', '-', ' ']).chars().take(NAME_MAX_CHARACTERS - 8).collect();
    name.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ui::wizard::testing::{around, disk, iso, qcow2};

    fn draft_with(edits: impl IntoIterator<Item = Edit>) -> Draft {
        let mut draft = Draft::default();
        for edit in edits {
            draft.apply(edit, &around());
        }
        draft
    }

    #[test]
    fn an_image_that_is_brought_along_is_installed_from_or_is_the_disk() {
        let iso = draft_with(beginning_with("/isos/debian.ISO".into()));
        let image = draft_with(beginning_with("/images/old.qcow2".into()));

        assert_eq!((iso.method, iso.iso.unwrap().path), (Method::Iso, "/isos/debian.ISO".into()));
        assert_eq!((image.method, image.image.unwrap().path), (Method::DiskImage, "/images/old.qcow2".into()));
    }

    #[test]
    fn an_installation_has_the_new_disk_and_the_cdrom() {
        let mut draft = draft_with([Edit::Iso("/isos/debian-12.iso".into()), Edit::DiskSize(GIB)]);
        draft.looked_at(&Look::Media("/isos/debian-12.iso".into()), &Ok(iso(Some("Debian_12 amd64"))), &around());

        let guest = draft.new_guest();

        assert_eq!(guest.definition.name, "Debian 12 amd64");
        assert_eq!(
            guest.disk,
            Some(NewDisk::Empty {
                size: GIB,
                format: DiskFormat::Qcow2,
                cache: CacheMode::default(),
                bus: DiskBus::default()
            })
        );
        assert_eq!(guest.definition.disks.len(), 1);
        assert!(guest.definition.disks[0].cdrom);
        assert_eq!(guest.definition.validate(), Ok(()));
    }

    #[test]
    fn an_imported_disk_keeps_its_format() {
        for (found, format) in [(qcow2(), DiskFormat::Qcow2), (disk(), DiskFormat::Raw)] {
            let mut draft = draft_with([Edit::Method(Method::DiskImage), Edit::Image("/images/web.img".into())]);
            draft.looked_at(&Look::Media("/images/web.img".into()), &Ok(found), &around());

            let guest = draft.new_guest();

            assert_eq!((guest.definition.disks[0].format, guest.disk), (format, None));
            assert_eq!(guest.definition.name, "web");
        }
    }

    #[test]
    fn the_iso_and_the_disk_image_are_kept_apart_when_the_method_changes() {
        let draft = draft_with([
            Edit::Iso("/a.iso".into()),
            Edit::Method(Method::DiskImage),
            Edit::Image("/b.qcow2".into()),
            Edit::Method(Method::Iso),
        ]);

        assert_eq!(draft.media().unwrap().path, Path::new("/a.iso"));
        assert_eq!(draft.image.unwrap().path, Path::new("/b.qcow2"));
    }

    #[test]
    fn what_was_entered_by_hand_survives_a_change_of_the_method() {
        let draft = draft_with([
            Edit::Name("my own".into()),
            Edit::Memory(777),
            Edit::Method(Method::TestCard),
            Edit::Method(Method::Iso),
        ]);

        assert_eq!((draft.name.as_str(), draft.memory_mib), ("my own", 777));
    }

    #[test]
    fn the_arrangement_follows_the_vcpus_until_it_is_touched() {
        let mut draft = draft_with([Edit::Vcpus(4)]);
        let before = (draft.topology, draft.definition().cpu.topology);
        let touched = Topology { sockets: 2, cores: 2, threads: 1 };

        draft.apply(Edit::Topology(touched), &around());
        draft.apply(Edit::Vcpus(8), &around());

        assert_eq!(before, (Topology::cores(4), None));
        assert_eq!(draft.definition().cpu.topology, Some(touched));
    }

    #[test]
    fn a_network_makes_a_card_with_an_address() {
        let draft = draft_with([Edit::Network(Some(Box::new(NetworkDefinition::bridge("br0"))))]);

        let cards = draft.definition().networks;

        assert_eq!(cards.len(), 1);
        assert!(cards[0].bridge.as_deref() == Some("br0") && cards[0].mac.is_some(), "{cards:?}");
    }

    #[test]
    fn what_was_not_touched_follows_the_method() {
        let draft = draft_with([Edit::Method(Method::TestCard)]);

        // "testcard" is taken in these surroundings.
        assert_eq!((draft.name.as_str(), draft.memory_mib), ("testcard-2", 64));
    }

    #[test]
    fn a_late_answer_about_another_file_changes_nothing() {
        let mut draft = draft_with([Edit::Iso("/a.iso".into()), Edit::Iso("/b.iso".into())]);

        draft.looked_at(&Look::Media("/a.iso".into()), &Ok(iso(None)), &around());

        assert_eq!(draft.media().unwrap().looked_at, None);
    }

    #[test]
    fn a_kernel_comes_with_its_ram_disk_and_command_line() {
        let draft = draft_with([
            Edit::Method(Method::Kernel),
            Edit::Kernel("/boot/vmlinuz-6.1".into()),
            Edit::InitialRamDisk("/boot/initrd.img-6.1".into()),
            Edit::CommandLine("quiet".into()),
            Edit::Storage(Storage::None),
        ]);

        let guest = draft.new_guest();

        let kernel = guest.definition.kernel.clone().unwrap();
        assert_eq!((kernel.path, kernel.cmdline.as_str()), ("/boot/vmlinuz-6.1".into(), "quiet"));
        assert_eq!(kernel.initrd, Some("/boot/initrd.img-6.1".into()));
        assert_eq!((guest.disk, guest.definition.validate()), (None, Ok(())));
    }

    #[test]
    fn suggested_names_can_always_be_used() {
        for (label, path) in [
            ("..hidden", "/x/.iso"),
            ("", "/x/\n.iso"),
            ("a/b", "/x/y.iso"),
            (&*"long ".repeat(100), "/x/y.iso"),
            ("CDROM", "/x/grub rescue.iso"),
        ] {
            let mut draft = draft_with([Edit::Iso(path.into())]);
            draft.looked_at(&Look::Media(path.into()), &Ok(iso(Some(label))), &around());

            assert_eq!(check_name(&draft.name), Ok(()), "{label:?} gave {:?}", draft.name);
        }
    }
}
