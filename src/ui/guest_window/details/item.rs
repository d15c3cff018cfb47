//! What a guest consists of: the entries beside its details, each with a page of its own.

use lodge::manager::definition::{Definition, DiskDefinition, DisplayModel};

use super::boot;
use crate::ui::{
    i18n::{gettext, gettext_f, ngettext_f},
    wording,
};

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Its name, its description and what it does now.
    Overview,
    /// The virtual CPUs.
    Processors,
    /// The memory.
    Memory,
    /// What it starts from.
    Boot,
    /// A disk, by its id.
    Disk(String),
    /// A CD-ROM drive, by its id.
    Drive(String),
    /// A network card, by its number.
    Card(usize),
    /// The screen.
    Display,
    /// The serial ports.
    Ports,
    /// The smaller devices.
    Others,
    /// The definition's text.
    Text,
}

/// How an entry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What it is.
    pub title: String,
    /// Which one, or how much.
    pub subtitle: String,
    /// Its icon's name.
    pub icon: &'static str,
}

/// The entries of a guest, in their order. One whose definition cannot be read has its text only.
pub fn items(definition: Option<&Definition>) -> Vec<Item> {
    let Some(definition) = definition else { return vec![Item::Text] };
    let mut items = vec![Item::Overview, Item::Processors, Item::Memory, Item::Boot];
    let (drives, disks): (Vec<_>, Vec<_>) = definition.disks.iter().partition(|disk| disk.cdrom);
    items.extend(disks.into_iter().map(|disk| Item::Disk(disk.id.clone())));
    items.extend(drives.into_iter().map(|drive| Item::Drive(drive.id.clone())));
    items.extend((0..definition.networks.len()).map(Item::Card));
    items.extend([Item::Display, Item::Ports, Item::Others, Item::Text]);
    items
}

/// The place of the disk or drive `id` in the definition.
pub fn place(definition: &Definition, id: &str) -> Option<usize> {
    definition.disks.iter().position(|disk| disk.id == id)
}

impl Item {
    /// How it is shown.
    pub fn label(&self, definition: Option<&Definition>) -> Label {
        let label = |title: String, subtitle: String, icon| Label { title, subtitle, icon };
        let Some(definition) = definition else {
            return label(gettext("Definition"), String::new(), "text-x-generic-symbolic");
        };
        let disk = |id| place(definition, id).and_then(|index| definition.disks.get(index));
        match self {
            Self::Overview => label(gettext("Overview"), definition.name.clone(), "help-about-symbolic"),
            Self::Processors => {
                let count = ngettext_f("{n} virtual CPU", "{n} virtual CPUs", definition.vcpus, &[]);
                label(gettext("Processors"), count, "lodge-processor-symbolic")
            }
            Self::Memory => {
                label(gettext("Memory"), wording::bytes(definition.memory.bytes()), "lodge-memory-symbolic")
            }
            Self::Boot => {
                let first = boot::tried(definition).first().map(|item| match item {
                    Self::Card(_) => gettext("The network"),
                    item => item.label(Some(definition)).subtitle,
                });
                let kernel = definition.kernel.as_ref().map(|_| gettext("A Linux kernel"));
                let subtitle = kernel.or(first).unwrap_or_default();
                label(gettext("Boot"), subtitle, "system-reboot-symbolic")
            }
            Self::Display => {
                let model = match definition.display.model {
                    DisplayModel::Vga => "VGA",
                    DisplayModel::Virtio => "virtio-gpu",
                };
                label(gettext("Display"), model.to_owned(), "video-display-symbolic")
            }
            Self::Ports => label(gettext("Serial Ports"), String::new(), "utilities-terminal-symbolic"),
            Self::Others => label(gettext("Other Devices"), String::new(), "preferences-other-symbolic"),
            Self::Disk(id) => {
                let title = gettext_f("Disk {id}", &[("id", id)]);
                label(title, disk(id).map(file_name).unwrap_or_default(), "drive-harddisk-symbolic")
            }
            Self::Drive(id) => {
                let title = gettext_f("CD-ROM Drive {id}", &[("id", id)]);
                label(title, disk(id).map(file_name).unwrap_or_default(), "media-optical-symbolic")
            }
            Self::Card(index) => {
                let title = gettext_f("Network Card {n}", &[("n", &(index + 1).to_string())]);
                let network = definition.networks.get(*index).map(wording::network);
                label(title, network.unwrap_or_default(), "network-wired-symbolic")
            }
            Self::Text => label(gettext("Definition"), gettext("As text"), "text-x-generic-symbolic"),
        }
    }
}

/// The name of what is in a disk or drive.
fn file_name(disk: &DiskDefinition) -> String {
    match disk.path.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => gettext("Empty"),
    }
}

#[cfg(test)]
mod tests {
    use lodge::manager::definition::{DiskFormat, NetworkDefinition};

    use super::*;

    #[test]
    fn every_disk_drive_and_card_has_an_entry() {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::cdrom("/a.iso"));
        guest.add_disk(DiskDefinition::new("/disks/web.img", DiskFormat::Raw));
        guest.add_disk(DiskDefinition::empty_drive());
        guest.add_network(NetworkDefinition::nat());

        let items = items(Some(&guest));
        let subtitles: Vec<_> = items.iter().map(|item| item.label(Some(&guest)).subtitle).collect();

        let drive = |id: &str| Item::Drive(id.into());
        let hardware = [Item::Disk("disk0".into()), drive("cdrom0"), drive("cdrom1"), Item::Card(0)];
        assert_eq!(items[4..8], hardware);
        assert_eq!(subtitles[4..7], ["web.img", "a.iso", "Empty"]);
    }

    #[test]
    fn a_guest_whose_definition_cannot_be_read_has_its_text() {
        assert_eq!(items(None), [Item::Text]);
    }
}
