//! Two changes of one definition at the same time: both are kept where they change different things.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manager::definition::Definition;

/// What `mine` and `theirs` make together, which both began with `base`; `None` where they change the same thing.
pub fn merge(base: &Definition, mine: &Definition, theirs: &Definition) -> Option<Definition> {
    let [one, two, three] = [base, mine, theirs].map(|definition| serde_json::to_value(definition).unwrap_or_default());
    let mut merged: Definition = serde_json::from_value(merge_values(&one, &two, &three)?).ok()?;
    let renamed = mine.name != base.name;
    merged.name.clone_from(if renamed { &mine.name } else { &theirs.name });
    Some(merged)
}

fn merge_values(base: &Value, mine: &Value, theirs: &Value) -> Option<Value> {
    if mine == base || mine == theirs {
        return Some(theirs.clone());
    }
    if theirs == base {
        return Some(mine.clone());
    }
    match (base, mine, theirs) {
        (Value::Object(base), Value::Object(mine), Value::Object(theirs)) => {
            let keys: BTreeSet<_> = [base, mine, theirs].into_iter().flat_map(|table| table.keys()).collect();
            let merged = keys.into_iter().map(|key| {
                let [base, mine, theirs] = [base, mine, theirs].map(|table| table.get(key).unwrap_or(&Value::Null));
                Some((key.clone(), merge_values(base, mine, theirs)?))
            });
            let merged: Option<Vec<_>> = merged.collect();
            Some(Value::Object(merged?.into_iter().filter(|(_, value)| !value.is_null()).collect()))
        }
        (Value::Array(base), Value::Array(mine), Value::Array(theirs)) => merge_lists(base, mine, theirs),
        _ => None,
    }
}

/// Lists of what has a name: disks by their ids, network cards by their addresses.
fn merge_lists(base: &[Value], mine: &[Value], theirs: &[Value]) -> Option<Value> {
    let mut names = Vec::new();
    for value in theirs.iter().chain(mine).chain(base) {
        let name = name_of(value)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let merged = names.into_iter().map(|name| {
        let [base, mine, theirs] = [base, mine, theirs]
            .map(|list| list.iter().find(|value| name_of(value) == Some(name)).unwrap_or(&Value::Null));
        merge_values(base, mine, theirs)
    });
    let merged: Option<Vec<_>> = merged.collect();
    Some(Value::Array(merged?.into_iter().filter(|value| !value.is_null()).collect()))
}

fn name_of(value: &Value) -> Option<&str> {
    value.get("id").or_else(|| value.get("mac"))?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::definition::{DiskBus, DiskDefinition, DiskFormat, NetworkDefinition};

    fn guest() -> Definition {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::new("/a", DiskFormat::Raw));
        guest.add_disk(DiskDefinition::cdrom("/b.iso"));
        guest.add_network(NetworkDefinition::nat());
        guest
    }

    fn merged(mine: impl Fn(&mut Definition), theirs: impl Fn(&mut Definition)) -> Option<Definition> {
        let base = guest();
        let changed = |change: &dyn Fn(&mut Definition)| {
            let mut definition = base.clone();
            change(&mut definition);
            definition
        };
        let both = merge(&base, &changed(&mine), &changed(&theirs))?;
        let mut expected = changed(&theirs);
        mine(&mut expected);
        assert_eq!(both, expected);
        Some(both)
    }

    #[test]
    fn changes_of_different_things_are_both_kept() {
        assert!(merged(|guest| guest.vcpus = 2, |guest| guest.description = "mail".into()).is_some());
        assert!(
            merged(|guest| guest.disks[0].bus = DiskBus::Ide, |guest| guest.disks[1].path = "/c.iso".into()).is_some()
        );
        assert!(
            merged(|guest| guest.disks[0].boot = Some(1), |guest| guest.disks[0].serial = Some("a".into())).is_some()
        );
        assert!(merged(|guest| guest.name = "mail".into(), |guest| guest.vcpus = 3).is_some());
        assert!(merged(|guest| guest.disks[0].limits.total_iops_sec = Some(5), |guest| guest.vcpus = 2).is_some());
    }

    #[test]
    fn what_is_added_or_removed_does_not_disturb_the_rest() {
        let add = |guest: &mut Definition| guest.add_disk(DiskDefinition::new("/c", DiskFormat::Raw));
        let remove = |guest: &mut Definition| guest.disks.retain(|disk| !disk.cdrom);

        assert!(merged(|guest| guest.disks[0].bus = DiskBus::Ide, add).is_some());
        assert!(merged(|guest| guest.disks[0].bus = DiskBus::Ide, remove).is_some());
        assert!(
            merged(|guest| guest.networks[0].queues = 2, |guest| guest.add_network(NetworkDefinition::nat())).is_some()
        );
    }

    #[test]
    fn changes_of_the_same_thing_are_not_merged() {
        assert_eq!(merged(|guest| guest.vcpus = 2, |guest| guest.vcpus = 3), None);
        assert_eq!(merged(|guest| guest.disks[1].boot = Some(1), |guest| drop(guest.disks.remove(1))), None);
        assert!(merged(|guest| guest.vcpus = 2, |guest| guest.vcpus = 2).is_some());
    }
}
