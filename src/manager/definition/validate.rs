//! What makes a definition a good one: every complaint at once, each with its field and how to mend it.

use std::{collections::HashSet, fmt, path::Path};

use super::{Definition, DiskBus, DiskDefinition, DiskFormat, VERSION};
use crate::manager::{
    size::{MIB, Size},
    storage::device,
};

/// Longest name, in characters.
pub const NAME_MAX_CHARACTERS: usize = 64;
/// Longest name, in bytes of UTF-8: it is the name of a folder.
pub const NAME_MAX_BYTES: usize = 200;
/// Most vCPUs of a guest: an xAPIC id has 8 bits, 255 addresses all of them, and the I/O APIC needs one.
pub const MAX_VCPUS: u32 = 254;
/// Most virtio disks of a guest: the slots of PCI bus 0 that the machine leaves free. Each network card takes one of them.
pub const MAX_DISKS: usize = 22;
/// Most images below a disk's own: each is an open file, and one more place to look for what a guest reads.
pub const MAX_LAYERS: usize = 64;
/// Most IDE disks and CD-ROM drives of a guest, together.
pub const MAX_IDE_DRIVES: usize = 4;

/// Something wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The field as in the TOML file: `memory`, `disk[0].path`.
    pub field: String,
    /// What is wrong, and how to mend it.
    pub message: String,
    /// The line of the TOML file, from 1, where it was read from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Problem {
    /// A problem with `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), line: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{} (line {line}): {}", self.field, self.message),
            None => write!(formatter, "{}: {}", self.field, self.message),
        }
    }
}

/// Everything wrong with a definition, on one line when shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// The first complaint about `field`, to be shown beside it.
    pub fn about(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|problem| problem.field == field).map(|problem| problem.message.as_str())
    }
}

/// What this host can give to one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    /// The host's memory, in bytes.
    pub memory_total: u64,
    /// What is free or can be freed of it now, in bytes.
    pub memory_available: u64,
    /// The host's CPUs.
    pub cpus: u32,
    /// The most vCPUs that KVM gives to one guest.
    pub max_vcpus: u32,
    /// The width of the host's physical addresses, in bits.
    pub address_bits: u32,
}

/// What [`Definition::review`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// What keeps the guest from running.
    pub errors: Problems,
    /// What makes it slow or is likely a slip.
    pub warnings: Problems,
}

impl Definition {
    /// Checks everything that does not depend on the host.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        if self.version == 0 || self.version > VERSION {
            problems.push(Problem::new("version", format!("{} is not a known version. Write {VERSION}", self.version)));
        }
        if let Err(message) = check_name(&self.name) {
            problems.push(Problem::new("name", message));
        }
        if self.uuid.is_nil() {
            problems.push(Problem::new("uuid", "it is all zeroes. Write one from \"uuidgen\""));
        }
        if self.description.len() > 10_000 || self.description.contains('\0') {
            problems.push(Problem::new("description", "it is too long. Write at most 10,000 bytes"));
        }
        if let Some(os) = &self.os
            && (os.is_empty() || os.len() > 32 || !os.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)))
        {
            problems.push(Problem::new("os", "it is not a short word. Write one like debian, or remove it"));
        }
        self.validate_tags(&mut problems);
        self.validate_memory(&mut problems);
        if self.vcpus == 0 || self.vcpus > MAX_VCPUS {
            problems.push(Problem::new("vcpus", format!("{} is not possible. Choose 1 to {MAX_VCPUS}", self.vcpus)));
        } else {
            self.cpu.validate(self.vcpus, &mut problems);
        }
        self.validate_disks(&mut problems);
        self.validate_networks(&mut problems);
        self.devices.validate(&mut problems);
        if let Some(kernel) = &self.kernel {
            check_path("kernel.path", &kernel.path, &mut problems);
            if let Some(initrd) = &kernel.initrd {
                check_path("kernel.initrd", initrd, &mut problems);
            }
            if kernel.cmdline.len() > 2047 || kernel.cmdline.contains(['\0', '\n']) {
                problems.push(Problem::new("kernel.cmdline", "it is too long. Write one line of at most 2,047 bytes"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// [`Definition::validate`], and whether this host can run the guest.
    pub fn review(&self, host: &HostLimits) -> Review {
        let mut errors = self.validate().err().unwrap_or_default();
        let mut warnings = Problems::default();
        let memory = self.memory.bytes();
        let total = Size(host.memory_total).approximate();
        // Where the PCI hole pushes memory up, addresses end above the memory's size.
        let addressable = 1u64.checked_shl(host.address_bits).unwrap_or(u64::MAX);
        if errors.about("memory").is_none() {
            if memory > addressable.saturating_sub(crate::manager::size::GIB) {
                let message = format!("the host's CPU cannot address {}. Choose less", self.memory);
                errors.0.push(Problem::new("memory", message));
            } else if memory > host.memory_total.saturating_mul(4) {
                let message = format!("{} is more than four times the host's {total}. Choose less", self.memory);
                errors.0.push(Problem::new("memory", message));
            } else if memory > host.memory_total {
                let message = format!("{} is more than the host's {total}: it will swap. Choose less", self.memory);
                warnings.0.push(Problem::new("memory", message));
            } else if memory > host.memory_available {
                let free = Size(host.memory_available).approximate();
                let message =
                    format!("only {free} of the host's {total} are free now. Stop other guests or choose less");
                warnings.0.push(Problem::new("memory", message));
            }
        }
        if errors.about("vcpus").is_none() {
            if self.vcpus > host.max_vcpus {
                let message = format!("KVM on this host gives at most {} to one guest. Choose less", host.max_vcpus);
                errors.0.push(Problem::new("vcpus", message));
            } else if self.vcpus > host.cpus {
                let message = format!("the host has {} CPUs: more make the guest slower. Choose less", host.cpus);
                warnings.0.push(Problem::new("vcpus", message));
            }
        }
        for (index, disk) in self.disks.iter().enumerate() {
            if let Some(stable) = device::stable_name(&disk.path) {
                let (path, stable) = (disk.path.display(), stable.display());
                let message = format!("{path} can be another device after a restart of the host. Write {stable}");
                warnings.0.push(Problem::new(format!("disk[{index}].path"), message));
            }
        }
        warnings.0.extend(self.boot_warnings());
        self.display.listen.iter().for_each(|listen| listen.warn(&mut warnings.0));
        Review { errors, warnings }
    }

    fn validate_memory(&self, problems: &mut Vec<Problem>) {
        let memory = self.memory.bytes();
        if memory < MIB {
            problems.push(Problem::new("memory", format!("{} is too little. Choose at least 1 MiB", self.memory)));
        } else if !memory.is_multiple_of(MIB) {
            let near = Size((memory / MIB).saturating_mul(MIB));
            problems
                .push(Problem::new("memory", format!("{} is not a whole number of MiB. Write {near}", self.memory)));
        }
        if let Some(size) = self.memory_backing.huge_pages {
            if !memory.is_multiple_of(size.bytes()) {
                let message = format!(
                    "{} is not made of whole huge pages. Write a multiple of {}",
                    self.memory,
                    Size(size.bytes())
                );
                problems.push(Problem::new("memory", message));
            }
            if self.memory_backing.mergeable {
                let message = "huge pages are never merged. Switch it off, or remove huge_pages";
                problems.push(Problem::new("memory_backing.mergeable", message));
            }
        }
        if self.memory_backing.shared && self.memory_backing.mergeable {
            let message = "shared memory is never merged. Switch it off, or remove shared";
            problems.push(Problem::new("memory_backing.mergeable", message));
        }
        let video = self.display.video_memory.bytes();
        if !video.is_power_of_two() || !(8 * MIB..=256 * MIB).contains(&video) {
            let message =
                format!("{} is not possible. Choose 8, 16, 32, 64, 128 or 256 MiB", self.display.video_memory);
            problems.push(Problem::new("display.video_memory", message));
        }
        self.display.listen.iter().for_each(|listen| listen.validate(problems));
    }

    fn validate_disks(&self, problems: &mut Vec<Problem>) {
        let most = MAX_DISKS.saturating_sub(self.networks.len());
        let ide = self.disks.iter().filter(|disk| disk.bus == DiskBus::Ide).count();
        let virtio = self.disks.len() - ide;
        if virtio > most {
            let message = format!("{virtio} disks are too many. Keep at most {most}");
            problems.push(Problem::new("disk", message));
        }
        if ide > MAX_IDE_DRIVES {
            let message = format!("{ide} IDE disks and CD-ROM drives are too many. Keep at most {MAX_IDE_DRIVES}");
            problems.push(Problem::new("disk", message));
        }
        let (mut ids, mut places, mut writable) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (index, disk) in self.disks.iter().enumerate() {
            let field = |name: &str| format!("disk[{index}].{name}");
            if disk.has_medium() || !disk.cdrom {
                check_path(&field("path"), &disk.path, problems);
            }
            validate_disk(disk, &field, problems);
            if !ids.insert(&disk.id) {
                problems
                    .push(Problem::new(field("id"), format!("\"{}\" is taken by another disk. Change it", disk.id)));
            }
            if let Some(place) = disk.boot
                && !places.insert(place)
            {
                problems
                    .push(Problem::new(field("boot"), format!("place {place} is taken by another disk. Change it")));
            }
            if !disk.is_read_only() && !writable.insert(&disk.path) {
                let message = format!("{} is already a disk of this guest. Remove one of them", disk.path.display());
                problems.push(Problem::new(field("path"), message));
            }
        }
        for (index, network) in self.networks.iter().enumerate() {
            let message = match network.boot {
                Some(0) => "places count from 1. Write 1 for the first".to_owned(),
                Some(place) if !places.insert(place) => {
                    format!("place {place} is taken by another card or by a disk. Change it")
                }
                _ => continue,
            };
            problems.push(Problem::new(format!("network[{index}].boot"), message));
        }
        for (index, disk) in self.disks.iter().enumerate() {
            if let Some(layer) = disk.backing.iter().find(|layer| writable.contains(&layer.path)) {
                let message = format!("the guest writes to {}. Remove one of them", layer.path.display());
                problems.push(Problem::new(format!("disk[{index}].backing"), message));
            }
        }
    }
}

fn validate_disk(disk: &DiskDefinition, field: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
    if disk.id.is_empty()
        || disk.id.len() > 32
        || !disk.id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    {
        let message = format!("{:?} is no id. Use up to 32 letters, digits, - and _, or remove it", disk.id);
        problems.push(Problem::new(field("id"), message));
    }
    if let Some(serial) = &disk.serial
        && (serial.len() > 20 || !serial.chars().all(|c| c.is_ascii_graphic()))
    {
        problems.push(Problem::new(field("serial"), "it is no serial number. Use up to 20 letters and digits"));
    }
    for (index, layer) in disk.backing.iter().enumerate() {
        check_path(&field(&format!("backing[{index}].path")), &layer.path, problems);
    }
    if disk.backing.len() > MAX_LAYERS {
        let message = format!("{} images below it are too many. Keep at most {MAX_LAYERS}", disk.backing.len());
        problems.push(Problem::new(field("backing"), message));
    }
    let above = disk.backing.len().checked_sub(1).map(|above| disk.layers().take(above + 1));
    if above.is_some_and(|mut above| above.any(|layer| layer.format == DiskFormat::Raw)) {
        let message = "a raw image is based on nothing. Correct its format, or remove what is below it";
        problems.push(Problem::new(field("backing"), message));
    }
    disk.limits.validate(field, problems);
    if disk.shareable && disk.format != DiskFormat::Raw {
        let message = "only a raw disk can be shared: others do not learn of changes in a qcow2 image. Convert it";
        problems.push(Problem::new(field("shareable"), message));
    }
    if disk.boot == Some(0) {
        problems.push(Problem::new(field("boot"), "places count from 1. Write 1 for the first"));
    }
}

fn check_path(field: &str, path: &Path, problems: &mut Vec<Problem>) {
    let text = path.to_string_lossy();
    if text.is_empty() {
        problems.push(Problem::new(field, "a file is needed. Write its path from the root: /…"));
    } else if !path.is_absolute() || text.contains(['\0', '\n']) {
        let message = format!("{text:?} is not an absolute path. Write it from the root: /…");
        problems.push(Problem::new(field, message));
    }
}

/// Whether `name` can be a guest's name; says what is wrong when it can't. Names are names of folders, words of commands
/// and titles of windows.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is needed. Write one".to_owned());
    }
    if name.chars().count() > NAME_MAX_CHARACTERS || name.len() > NAME_MAX_BYTES {
        return Err(format!("the name is too long. Write at most {NAME_MAX_CHARACTERS} characters"));
    }
    if name.contains('/') {
        return Err("a name cannot contain a slash. Remove it".to_owned());
    }
    if name.chars().any(char::is_control) {
        return Err("a name cannot contain line breaks or control characters. Remove them".to_owned());
    }
    if name.starts_with(['.', '-']) {
        return Err("a name cannot begin with a dot or a dash. Begin it with a letter or digit".to_owned());
    }
    if name.trim() != name {
        return Err("a name cannot begin or end with a space. Remove it".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        definition::{DiskFormat, Layer, NetworkDefinition, NetworkKind},
        size::{GIB, TIB},
    };

    const HOST: HostLimits =
        HostLimits { memory_total: 16 * GIB, memory_available: 8 * GIB, cpus: 4, max_vcpus: 16, address_bits: 39 };

    fn fields(problems: &Problems) -> Vec<&str> {
        problems.0.iter().map(|problem| problem.field.as_str()).collect()
    }

    #[test]
    fn a_new_guest_has_no_problems() {
        let guest = Definition::new("Büro 2 (alt)");

        assert_eq!(guest.validate(), Ok(()));
        assert_eq!(guest.review(&HOST), Review::default());
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let mut guest = Definition::new("a/b");
        guest.memory = Size(0);
        guest.vcpus = 1000;
        guest.disks = vec![
            DiskDefinition { id: "x".into(), boot: Some(1), ..DiskDefinition::new("relative.raw", DiskFormat::Raw) },
            DiskDefinition { id: "x".into(), boot: Some(1), ..DiskDefinition::new("relative.raw", DiskFormat::Raw) },
        ];
        guest.networks = vec![NetworkDefinition {
            mac: Some("01:00:00:00:00:01".into()),
            ..NetworkDefinition::new(NetworkKind::Bridge)
        }];

        let problems = guest.validate().unwrap_err();

        assert_eq!(
            fields(&problems),
            [
                "name",
                "memory",
                "vcpus",
                "disk[0].path",
                "disk[1].path",
                "disk[1].id",
                "disk[1].boot",
                "disk[1].path",
                "network[0].bridge",
                "network[0].mac"
            ]
        );
        assert!(!problems.to_string().contains('\n'));
    }

    #[test]
    fn memory_is_whole_mebibytes_and_the_nearest_is_offered() {
        let mut guest = Definition::new("web");
        guest.memory = Size(2_000_000_000);

        let problems = guest.validate().unwrap_err();

        assert!(problems.about("memory").unwrap().contains("1907 MiB"), "{problems}");
    }

    #[test]
    fn what_the_host_cannot_give_is_refused_and_what_makes_it_swap_is_warned_of() {
        let review = |memory: u64, vcpus: u32| {
            let mut guest = Definition::new("web");
            (guest.memory, guest.vcpus) = (Size(memory), vcpus);
            let review = guest.review(&HOST);
            (fields(&review.errors).join(","), fields(&review.warnings).join(","))
        };

        assert_eq!(review(TIB, 17), ("memory,vcpus".into(), String::new()));
        assert_eq!(review(65 * GIB, 1), ("memory".into(), String::new()));
        assert_eq!(review(17 * GIB, 5), (String::new(), "memory,vcpus".into()));
        assert_eq!(review(9 * GIB, 4), (String::new(), "memory".into()));
        assert_eq!(review(u64::MAX / MIB * MIB, 1).0, "memory");
    }

    #[test]
    fn what_a_disk_is_based_on_is_qcow2_down_to_the_base_and_never_written() {
        let layer = |path: &str, format| Layer { path: path.into(), format };
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition {
            backing: vec![layer("/b", DiskFormat::Qcow2), layer("/a", DiskFormat::Raw)],
            ..DiskDefinition::new("/c", DiskFormat::Qcow2)
        });
        assert_eq!(guest.validate(), Ok(()));

        guest.disks[0].backing.swap(0, 1);
        guest.disks[0].backing.push(layer("c", DiskFormat::Raw));
        guest.add_disk(DiskDefinition::new("/a", DiskFormat::Raw));
        let problems = guest.validate().unwrap_err();

        assert_eq!(fields(&problems), ["disk[0].backing[2].path", "disk[0].backing", "disk[0].backing"], "{problems}");
    }

    #[test]
    fn every_problem_says_how_to_mend_it() {
        let mut guest = Definition::new("");
        guest.memory = Size(1);
        guest.vcpus = 0;
        guest.os = Some("two words".into());
        guest.display.video_memory = Size(3);

        for problem in guest.validate().unwrap_err().0 {
            assert!(problem.message.contains(". "), "{problem}");
        }
    }
}
