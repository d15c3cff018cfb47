//! A changed definition in the text that a person wrote: what has not changed stays as it stands there, with its comments,
//! its order and its way of writing amounts.

use std::mem;

use serde_json::Value as Json;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TableLike};

use super::Definition;

/// What tells the tables of an array apart when their order changes, whichever they have: disks, network cards, layers.
const IDENTITIES: [&str; 3] = ["id", "mac", "path"];

impl Definition {
    /// The text of this definition as a change of `before`, a text from which one was read.
    pub fn to_toml_after(&self, before: &str) -> String {
        let written = self.to_toml();
        self.change(before, &written).unwrap_or(written)
    }

    /// `None`: nothing that this makes of `before` has the same meaning as `written`.
    fn change(&self, before: &str, written: &str) -> Option<String> {
        let old = Self::from_toml(before, &self.name).ok()?;
        let new = Self::from_toml(written, &self.name).ok()?;
        let mut document: DocumentMut = before.parse().ok()?;
        let written: DocumentMut = written.parse().ok()?;
        let (from, to) = (serde_json::to_value(old).ok()?, serde_json::to_value(&new).ok()?);
        change_table(document.as_table_mut(), &from, &to, written.as_table());
        let text = document.to_string();
        // What is left out can get its meaning from its place.
        Self::from_toml(&text, &self.name).is_ok_and(|read| read == new).then_some(text)
    }
}

/// Makes what says `from` say `to`, which is written in `written`.
fn change_table(table: &mut dyn TableLike, from: &Json, to: &Json, written: &dyn TableLike) {
    let keys = |value: &Json| value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
    let (mut all, more): (Vec<String>, Vec<String>) = (keys(to), keys(from));
    all.extend(more.into_iter().filter(|key| to.get(key).is_none()));
    for key in all {
        let (from, to) = (&from[key.as_str()], &to[key.as_str()]);
        if from == to {
            continue;
        }
        match written.get(&key) {
            Some(item) => change_item(table, &key, (from, to), item),
            None => drop(table.remove(&key)),
        }
    }
}

fn change_item(table: &mut dyn TableLike, key: &str, (from, to): (&Json, &Json), written: &Item) {
    if let Some(written) = written.as_table_like() {
        let inner = table.entry(key).or_insert_with(toml_edit::table);
        if let Some(inner) = inner.as_table_like_mut() {
            return change_table(inner, from, to, written);
        }
    }
    match (table.get_mut(key), written) {
        (Some(Item::ArrayOfTables(tables)), Item::ArrayOfTables(written)) => {
            change_tables(tables, (elements(from), elements(to)), written);
        }
        (Some(Item::Value(value)), Item::Value(written)) => {
            let decor = value.decor().clone();
            *value = written.clone();
            *value.decor_mut() = decor;
        }
        _ => drop(table.insert(key, placed_anew(written.clone()))),
    }
}

fn change_tables(tables: &mut ArrayOfTables, (from, to): (&[Json], &[Json]), written: &ArrayOfTables) {
    let partners = partners(from, to);
    let moves = from.len() != to.len() || partners.iter().enumerate().any(|(index, partner)| *partner != Some(index));
    let mut before: Vec<_> = mem::take(tables).into_iter().map(Some).collect();
    for ((to, partner), written) in to.iter().zip(partners).zip(written) {
        let kept = partner.and_then(|index| Some((before.get_mut(index)?.take()?, from.get(index)?)));
        let table = match kept {
            None => anew(written.clone()),
            Some((mut table, from)) => {
                change_table(&mut table, from, to, written);
                if moves {
                    name(&mut table, written);
                    table = anew(table);
                }
                table
            }
        };
        tables.push(table);
    }
}

/// For each table of `to` the one of `from` that it comes from: the one of the same identity, else one that is equal, else
/// the next that is left.
fn partners(from: &[Json], to: &[Json]) -> Vec<Option<usize>> {
    let same_identity = |one: &Json, other: &Json| {
        let name = IDENTITIES.iter().find(|name| other.get(name).is_some_and(Json::is_string));
        name.is_some_and(|name| one.get(name) == other.get(name))
    };
    let mut partners = vec![None; to.len()];
    for alike in [&same_identity as &dyn Fn(&Json, &Json) -> bool, &|one, other| one == other, &|_, _| true] {
        for (index, to) in to.iter().enumerate() {
            if partners[index].is_none() {
                let free = |candidate: &usize| !partners.contains(&Some(*candidate)) && alike(&from[*candidate], to);
                partners[index] = (0..from.len()).find(free);
            }
        }
    }
    partners
}

/// Writes down a name that a table had by its place.
fn name(table: &mut Table, written: &Table) {
    if let Some((name, item)) = IDENTITIES.iter().find_map(|name| Some((*name, written.get(name)?)))
        && !table.contains_key(name)
    {
        table.insert(name, item.clone());
    }
}

/// Without its place in the text from which it was read: it stands below what is before it.
fn anew(mut table: Table) -> Table {
    table.set_position(None);
    for (_, item) in table.iter_mut() {
        *item = placed_anew(mem::take(item));
    }
    table
}

fn placed_anew(item: Item) -> Item {
    match item {
        Item::Table(table) => Item::Table(anew(table)),
        Item::ArrayOfTables(tables) => Item::ArrayOfTables(tables.into_iter().map(anew).collect()),
        other => other,
    }
}

fn elements(array: &Json) -> &[Json] {
    array.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        definition::{CacheMode, DiskDefinition, DiskFormat, EXAMPLE, KernelDefinition, Layer, NetworkDefinition},
        size::Size,
    };

    fn read(text: &str) -> Definition {
        Definition::from_toml(text, "web").unwrap()
    }

    /// The example after `change`, which must mean what it should.
    fn changed(change: impl FnOnce(&mut Definition)) -> String {
        rewritten(EXAMPLE, change)
    }

    fn rewritten(text: &str, change: impl FnOnce(&mut Definition)) -> String {
        let mut guest = read(text);
        change(&mut guest);
        let after = guest.to_toml_after(text);
        assert_eq!(read(&after), guest, "{after}");
        after
    }

    /// The lines of `text` that `other` does not have.
    fn only_in<'a>(text: &'a str, other: &str) -> Vec<&'a str> {
        text.lines().filter(|line| !other.lines().any(|known| known == *line)).collect()
    }

    #[test]
    fn what_does_not_change_is_not_touched() {
        assert_eq!(changed(|_| {}), EXAMPLE);
    }

    #[test]
    fn a_changed_value_keeps_its_comment_and_everything_else_its_place() {
        let after = changed(|guest| {
            guest.memory = Size::gib(3);
            guest.disks[0].limits.total_iops_sec = Some(7);
            guest.networks[0].forwards[0].port = 2223;
            guest.cpu.pinning = vec!["1".to_owned()];
        });

        let new = [
            "memory = \"3 GiB\"",
            "pinning = [\"1\"]        # for each vCPU the host's CPUs; else any",
            "total_iops_sec = 7",
        ];
        assert_eq!(only_in(&after, EXAMPLE)[..2], new[..2]);
        assert_eq!(only_in(&after, EXAMPLE)[2..], [new[2], "port = 2223"]);
        assert_eq!(after.lines().count(), EXAMPLE.lines().count());
    }

    #[test]
    fn what_is_set_for_the_first_time_stands_in_its_table_and_what_is_usual_stays_unwritten() {
        let text = "version = 1 # the first\nuuid = \"abcd1234-0000-4000-8000-000000000001\"\nmemory = 1073741824\n\n\
                    # the disk\n[[disk]]\npath = \"/web.raw\"\nformat = \"raw\"\n\n# the cable\n[[network]]\nkind = \"nat\"\n";

        let after = rewritten(text, |guest| {
            guest.os = Some("debian".to_owned());
            guest.disks[0].cache = CacheMode::None;
            guest.disks[0].limits.total_iops_sec = Some(100);
            guest.cpu.nested = true;
            guest.kernel =
                Some(KernelDefinition { path: "/vmlinuz".into(), initrd: None, cmdline: "quiet".to_owned() });
        });

        let new = only_in(&after, text);
        assert_eq!(only_in(text, &after), [""; 0]);
        assert_eq!(new.len(), 9, "{after}");
        assert!(
            after.contains("format = \"raw\"\ncache = \"none\"\n\n[disk.limits]\ntotal_iops_sec = 100\n"),
            "{after}"
        );
        assert!(after.contains("[cpu]\nnested = true\n"), "{after}");
    }

    #[test]
    fn what_is_taken_out_goes_with_its_comment_and_nothing_else_does() {
        let after = changed(|guest| {
            guest.kernel = None;
            guest.devices.vsock = None;
            guest.disks.remove(1);
            guest.networks.retain(|network| network.bridge.is_none());
        });

        let gone = only_in(EXAMPLE, &after);
        assert!(gone.iter().any(|line| line.contains("/srv/old.raw")));
        assert!(gone.iter().any(|line| line.contains("# The guest's address for vsock.")));
        assert!(!gone.iter().any(|line| line.contains("install.iso") || line.contains("uuidgen")), "{gone:?}");
        assert_eq!(only_in(&after, EXAMPLE).iter().filter(|line| !line.starts_with("id =")).count(), 4, "the MACs");
    }

    #[test]
    fn what_had_its_name_from_its_place_is_named_when_that_changes() {
        let after = changed(|guest| {
            guest.disks.remove(0);
        });

        let ids: Vec<_> = read(&after).disks.iter().map(|disk| disk.id.clone()).collect();
        assert_eq!(ids, ["disk1", "cdrom0"]);
        assert!(after.contains("# or \"\", for an empty drive"), "{after}");
    }

    #[test]
    fn disks_are_added_and_change_places_with_their_comments() {
        let after = changed(|guest| {
            guest.disks.swap(0, 2);
            guest.add_disk(DiskDefinition::new("/srv/new.qcow2", DiskFormat::Qcow2));
            guest.add_network(NetworkDefinition::bridge("br1"));
        });

        assert_eq!(only_in(EXAMPLE, &after), [""; 0]);
        let place = |what: &str| after.find(what).unwrap();
        assert!(place("install.iso") < place("old.raw") && place("old.raw") < place("shop.qcow2"));
        assert!(place("shop-first.raw") < place("new.qcow2") && place("new.qcow2") < place("[[network]]"));
    }

    #[test]
    fn a_snapshot_puts_a_layer_under_a_disk_and_takes_no_comment_away() {
        let after = changed(|guest| {
            let disk = &mut guest.disks[0];
            disk.backing.insert(0, Layer { path: disk.path.clone(), format: disk.format });
            disk.path = "/srv/shop-1.qcow2".into();
        });

        assert_eq!(only_in(EXAMPLE, &after), [""; 0]);
        assert_eq!(after.matches("[[disk.backing]]").count(), 3);
    }

    #[test]
    fn inline_tables_and_dotted_keys_are_changed_too() {
        let text = "version = 1\nuuid = \"abcd1234-0000-4000-8000-000000000001\"\nmemory = \"1GiB\"\ncpu.nested = true # deep\n\
                    display = { model = \"virtio\" } # wide\n\
                    disk = [{ path = \"/a\", format = \"raw\" }] # short\n";

        let after = rewritten(text, |guest| {
            guest.cpu.nested = false;
            guest.display.video_memory = Size::mib(32);
        });
        let more = rewritten(text, |guest| guest.add_disk(DiskDefinition::new("/b", DiskFormat::Raw)));

        assert!(after.contains("cpu.nested = false # deep") && after.contains("32 MiB") && after.contains("# wide"));
        assert!(more.contains("# deep"), "{more}");
    }

    #[test]
    fn a_text_that_says_nothing_is_replaced() {
        let guest = read(EXAMPLE);

        assert_eq!(guest.to_toml_after("nonsense"), guest.to_toml());
    }
}
