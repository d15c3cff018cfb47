//! What a machine is made of, as far as a state can only be restored into one of the same make.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::vmm::{cpu::Topology, machine::Graphics};

/// A machine's make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The guest's UUID, which it knows from its firmware's tables.
    pub uuid: Uuid,
    /// RAM in bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Their arrangement.
    pub topology: Topology,
    /// The graphics card.
    pub graphics: Graphics,
    /// Video memory in bytes.
    pub video_memory: u32,
    /// PCI functions: their labels by their addresses.
    pub functions: BTreeMap<String, String>,
    /// The labels of the devices that are no PCI functions.
    pub devices: Vec<String>,
    /// Disks.
    pub disks: Vec<DiskDescription>,
    /// The names of the CD-ROM drives, whatever is in them.
    #[serde(default)]
    pub drives: Vec<String>,
    /// Network cards: their names with their addresses.
    pub networks: Vec<(String, [u8; 6])>,
    /// The names of the virtio console's ports. Older states do not tell them.
    #[serde(default)]
    pub ports: Option<Vec<String>>,
}

/// A disk's make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDescription {
    /// Its name.
    pub id: String,
    /// Its size in bytes.
    pub capacity: u64,
    /// Whether the guest cannot write to it.
    pub read_only: bool,
    /// The serial number that the guest sees.
    pub serial: String,
}

impl Description {
    /// In what the machine `self` is another one than `saved`, in words; empty when it can take over its state.
    pub fn differences_from(&self, saved: &Self) -> Vec<String> {
        if self.uuid != saved.uuid {
            return vec![format!("the state is that of the guest with the UUID {}", saved.uuid)];
        }
        let mut differences = Vec::new();
        let mut compare = |what: &str, here: String, then: String| {
            if here != then {
                differences.push(format!("{what} was {then} and is {here}"));
            }
        };
        let topology = |Topology { sockets, cores, threads }: Topology| {
            format!("{sockets} sockets, {cores} cores, {threads} threads")
        };
        compare("the memory", bytes(self.memory), bytes(saved.memory));
        compare("the number of vCPUs", self.vcpus.to_string(), saved.vcpus.to_string());
        if self.vcpus == saved.vcpus {
            compare("the vCPUs' topology", topology(self.topology), topology(saved.topology));
        }
        compare("the graphics card", format!("{:?}", self.graphics), format!("{:?}", saved.graphics));
        compare("the video memory", bytes(self.video_memory.into()), bytes(saved.video_memory.into()));
        let drives = |description: &Self| match description.drives.join(" and ") {
            none if none.is_empty() => "none".to_owned(),
            names => names,
        };
        compare("the set of CD-ROM drives", drives(self), drives(saved));
        if let (Some(here), Some(then)) = (&self.ports, &saved.ports) {
            compare("the set of the console's ports", here.join(" and "), then.join(" and "));
        }
        differences.extend(self.other_devices(saved));
        differences.extend(self.other_disks(saved));
        for (id, mac) in &self.networks {
            if saved.networks.iter().any(|(known, other)| known == id && other != mac) {
                differences.push(format!("the network card {id} has another address"));
            }
        }
        differences
    }

    fn other_devices(&self, saved: &Self) -> Vec<String> {
        let labels = |description: &Self| -> Vec<(String, String)> {
            let functions = description.functions.iter().map(|(address, label)| (label.clone(), address.clone()));
            functions.chain(description.devices.iter().map(|label| (label.clone(), String::new()))).collect()
        };
        let (here, then) = (labels(self), labels(saved));
        let place = |all: &[(String, String)], label: &str| {
            all.iter().find(|(other, _)| other == label).map(|(_, place)| place.clone())
        };
        let added = here.iter().filter(|(label, _)| place(&then, label).is_none());
        let added = added.map(|(label, _)| format!("the device {label} is new"));
        let changed = then.iter().filter_map(|(label, address)| match place(&here, label) {
            None => Some(format!("the device {label} is gone")),
            Some(now) if now != *address => Some(format!("the device {label} was at {address} and is at {now}")),
            Some(_) => None,
        });
        changed.chain(added).collect()
    }

    fn other_disks(&self, saved: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for disk in &self.disks {
            // New disks are new devices, and told as such.
            let Some(then) = saved.disks.iter().find(|then| then.id == disk.id) else { continue };
            let DiskDescription { id, capacity, read_only, serial } = disk;
            if *capacity != then.capacity {
                differences.push(format!("the size of {id} was {} and is {}", bytes(then.capacity), bytes(*capacity)));
            }
            if *read_only != then.read_only {
                differences.push(format!("{id} is {}", if *read_only { "read-only now" } else { "writable now" }));
            }
            if *serial != then.serial {
                differences.push(format!("{id} has another serial number"));
            }
        }
        differences
    }
}

fn bytes(count: u64) -> String {
    match count {
        whole if whole.is_multiple_of(1 << 20) => format!("{} MiB", whole >> 20),
        other => format!("{other} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let disk = |id: &str| DiskDescription {
            id: id.to_owned(),
            capacity: 1 << 30,
            read_only: false,
            serial: String::new(),
        };
        Description {
            uuid: Uuid::from_u128(7),
            memory: 512 << 20,
            vcpus: 2,
            topology: Topology::cores(2),
            graphics: Graphics::Vga,
            video_memory: 16 << 20,
            functions: [("04.0", "virtio-disk0"), ("1f.0", "rng0")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            devices: vec!["serial0".to_owned()],
            disks: vec![disk("disk0")],
            drives: vec!["cdrom0".to_owned()],
            networks: vec![("net0".to_owned(), [1; 6])],
            ports: Some(vec!["agent".to_owned()]),
        }
    }

    fn differences(change: impl FnOnce(&mut Description)) -> String {
        let mut here = description();
        change(&mut here);
        here.differences_from(&description()).join(", ")
    }

    #[test]
    fn the_same_make_differs_in_nothing() {
        assert_eq!(differences(|_| ()), "");
    }

    #[test]
    fn what_is_different_is_named() {
        assert_eq!(differences(|here| here.memory = 1 << 30), "the memory was 512 MiB and is 1024 MiB");
        assert_eq!(differences(|here| here.disks[0].capacity = 5), "the size of disk0 was 1024 MiB and is 5 bytes");
        assert_eq!(differences(|here| here.disks[0].read_only = true), "disk0 is read-only now");
        assert_eq!(differences(|here| here.networks[0].1 = [2; 6]), "the network card net0 has another address");
        assert_eq!(differences(|here| here.devices.clear()), "the device serial0 is gone");
        assert_eq!(differences(|here| here.graphics = Graphics::Virtio), "the graphics card was Vga and is Virtio");
        let told = "the set of CD-ROM drives was cdrom0 and is none";
        assert_eq!(differences(|here| here.drives.clear()), told);
        let moved = |here: &mut Description| {
            let label = here.functions.remove("04.0").unwrap();
            here.functions.insert("05.0".to_owned(), label);
            here.functions.insert("04.0".to_owned(), "virtio-disk1".to_owned());
        };
        let told = "the device virtio-disk0 was at 04.0 and is at 05.0, the device virtio-disk1 is new";
        assert_eq!(differences(moved), told);
        let other_guest = differences(|here| (here.uuid, here.memory) = (Uuid::nil(), 5));
        assert_eq!(other_guest, format!("the state is that of the guest with the UUID {}", Uuid::from_u128(7)));
    }
}
