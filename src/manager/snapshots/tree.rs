//! The snapshots of a guest as they lie in the `snapshots.toml` of its folder, and which images they need.

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::manager::definition::{Definition, DiskDefinition, Layer};

/// The version of the file's format that this program writes, and the only one it reads.
pub const VERSION: u32 = 1;
/// Shortest beginning of an id that stands for a snapshot, in characters.
const PREFIX_MIN: usize = 4;

/// All snapshots of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The version of the format, [`VERSION`].
    pub version: u32,
    /// The snapshot that the guest goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Uuid>,
    /// The snapshots, the first one made first.
    #[serde(default, rename = "snapshot", skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
    /// Images of deleted snapshots that others are still based on.
    #[serde(default, rename = "leftover", skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<Leftover>,
}

/// A moment that a guest can go back to. Its disks are those of its definition, which nobody writes to any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// What identifies it.
    pub id: Uuid,
    /// Its name, unique in the guest.
    pub name: String,
    /// A person's words about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The snapshot that the guest had gone on from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Uuid>,
    /// Whether the guest was running.
    #[serde(default)]
    pub running: bool,
    /// A picture of the screen: a file in the guest's folder for snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
    /// The state of memory and devices: a file in the guest's folder for snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The guest's definition then.
    #[serde(with = "text")]
    pub definition: Definition,
}

/// An image of a deleted snapshot that others are still based on, because it could not be merged yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leftover {
    /// The image itself, then what it is based on.
    pub layers: Vec<Layer>,
}

/// Two images that only one needs any more: what `upper` has can go into `lower`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Based on `lower`, and the only one that is.
    pub upper: Layer,
    /// An image that nothing else needs, then what it is based on.
    pub lower: Vec<Layer>,
}

/// Definitions lie in the file as the text that a guest's own definition is.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::manager::definition::Definition;

    pub fn serialize<S: Serializer>(definition: &Definition, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&definition.to_toml())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Definition, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Which guest's it is, the file does not say: it moves with the guest's name.
        Definition::from_toml(&text, "snapshot").map_err(D::Error::custom)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { version: VERSION, current: None, snapshots: Vec::new(), leftovers: Vec::new() }
    }
}

impl Tree {
    /// Reads what [`Tree::to_toml`] has written.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct OnlyVersion {
            version: u32,
        }
        let one_line = |error: toml::de::Error| error.message().replace('\n', ", ");
        let OnlyVersion { version } = toml::from_str(text).map_err(one_line)?;
        if version != VERSION {
            return Err(format!("it has version {version}, and this Lodge knows {VERSION}"));
        }
        toml::from_str(text).map_err(one_line)
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string_pretty(self).unwrap_or_default();
        format!(
            "# The snapshots of a guest of Lodge. `lodgectl snapshot` changes them; do not edit this by hand.\n{body}"
        )
    }

    /// The snapshot that a person means: a name, an id, or the beginning of one.
    pub fn find(&self, word: &str) -> Option<&Snapshot> {
        let by_name = self.snapshots.iter().find(|snapshot| snapshot.name == word);
        by_name.or_else(|| {
            let prefix = word.to_ascii_lowercase();
            let mut fitting = self
                .snapshots
                .iter()
                .filter(|snapshot| prefix.len() >= PREFIX_MIN && snapshot.id.to_string().starts_with(&prefix));
            fitting.next().filter(|_| fitting.next().is_none())
        })
    }

    /// The snapshot with this id.
    pub fn get(&self, id: Uuid) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.id == id)
    }

    /// The snapshots with their depth in the tree: each before those that were made from it.
    pub fn walk(&self) -> Vec<(usize, &Snapshot)> {
        let mut found = Vec::new();
        let mut waiting: Vec<(usize, &Snapshot)> =
            self.snapshots.iter().rev().filter(|snapshot| snapshot.parent.is_none()).map(|root| (0, root)).collect();
        while let Some((depth, snapshot)) = waiting.pop() {
            found.push((depth, snapshot));
            let children = self.snapshots.iter().rev().filter(|child| child.parent == Some(snapshot.id));
            waiting.extend(children.map(|child| (depth + 1, child)));
        }
        found
    }

    /// Takes a snapshot out; those that were made from it now come from its parent. Its images stay as leftovers.
    pub fn remove(&mut self, id: Uuid) -> Option<Snapshot> {
        let index = self.snapshots.iter().position(|snapshot| snapshot.id == id)?;
        let removed = self.snapshots.remove(index);
        for child in self.snapshots.iter_mut().filter(|child| child.parent == Some(id)) {
            child.parent = removed.parent;
        }
        if self.current == Some(id) {
            self.current = removed.parent;
        }
        for disk in own_disks(&removed.definition) {
            self.leave(disk);
        }
        Some(removed)
    }

    /// Remembers the image of a disk that is no longer used as such.
    pub fn leave(&mut self, disk: &DiskDefinition) {
        let known = self.leftovers.iter().any(|leftover| leftover.path() == disk.path);
        if !known {
            self.leftovers.push(Leftover { layers: disk.layers().collect() });
        }
    }

    /// Every chain of images that is in use: each disk of the guest and of its snapshots, and the leftovers.
    fn chains(&self, current: &Definition) -> Vec<Vec<Layer>> {
        let snapshots = self.snapshots.iter().map(|snapshot| &snapshot.definition);
        let disks = std::iter::once(current).chain(snapshots).flat_map(|definition| &definition.disks);
        let leftovers = self.leftovers.iter().map(|leftover| leftover.layers.clone());
        disks.map(|disk| disk.layers().collect()).chain(leftovers).collect()
    }

    /// Whether an image is a disk's own, of the guest or of a snapshot.
    fn is_needed(&self, current: &Definition, path: &Path) -> bool {
        let snapshots = self.snapshots.iter().map(|snapshot| &snapshot.definition);
        std::iter::once(current).chain(snapshots).flat_map(|definition| &definition.disks).any(|disk| disk.path == path)
    }

    /// The images right above the one at `path`.
    pub fn above(&self, current: &Definition, path: &Path) -> Vec<Layer> {
        let mut found: Vec<Layer> = Vec::new();
        for chain in self.chains(current) {
            for (upper, lower) in chain.iter().zip(chain.iter().skip(1)) {
                if lower.path == path && !found.iter().any(|layer| layer.path == upper.path) {
                    found.push(upper.clone());
                }
            }
        }
        found
    }

    /// Forgets the leftovers that nothing is based on any more, and returns them: their files can go. `pinned`: whether
    /// somebody else needs a file.
    pub fn drop_unneeded(&mut self, current: &Definition, pinned: &dyn Fn(&Path) -> bool) -> Vec<Layer> {
        let mut dropped = Vec::new();
        loop {
            let unneeded = self.leftovers.iter().position(|leftover| {
                let path = leftover.path();
                !self.is_needed(current, path) && self.above(current, path).is_empty() && !pinned(path)
            });
            let Some(index) = unneeded else { return dropped };
            dropped.extend(self.leftovers.remove(index).layers.into_iter().next());
        }
    }

    /// The next two images that can become one.
    pub fn mergeable(&self, current: &Definition, pinned: &dyn Fn(&Path) -> bool) -> Option<Pair> {
        self.leftovers.iter().find_map(|leftover| {
            let path = leftover.path();
            let mut above = self.above(current, path);
            if above.len() != 1 || self.is_needed(current, path) || pinned(path) {
                return None;
            }
            let upper = above.pop().filter(|upper| !pinned(&upper.path))?;
            Some(Pair { upper, lower: leftover.layers.clone() })
        })
    }

    /// `upper` has gone into `lower`, which takes its place everywhere. Returns the images that were based on `upper`.
    pub fn merged(&mut self, current: &mut Definition, pair: &Pair) -> Vec<Layer> {
        let Some(lower) = pair.lower.first() else { return Vec::new() };
        let above = self.above(current, &pair.upper.path);
        let snapshots = self.snapshots.iter_mut().map(|snapshot| &mut snapshot.definition);
        for disk in std::iter::once(current).chain(snapshots).flat_map(|definition| &mut definition.disks) {
            let mut layers: Vec<Layer> = disk.layers().collect();
            layers.retain(|layer| layer.path != pair.upper.path);
            if layers.len() <= disk.backing.len() && !layers.is_empty() {
                let own = layers.remove(0);
                (disk.path, disk.format, disk.backing) = (own.path, own.format, layers);
            }
        }
        let upper_is_left = self.leftovers.iter().any(|leftover| leftover.path() == pair.upper.path);
        self.leftovers.retain(|leftover| {
            leftover.path() != if upper_is_left { pair.upper.path.as_path() } else { lower.path.as_path() }
        });
        for leftover in &mut self.leftovers {
            leftover.layers.retain(|layer| layer.path != pair.upper.path);
        }
        above
    }

    /// The disks' own images, of the guest and of its snapshots.
    pub fn own_disks_of(&self, current: &Definition) -> Vec<Layer> {
        let snapshots = self.snapshots.iter().map(|snapshot| &snapshot.definition);
        let disks = std::iter::once(current).chain(snapshots).flat_map(own_disks);
        disks.filter_map(|disk| disk.layers().next()).collect()
    }

    /// The images that are the guest's own, besides those of its current disks.
    pub fn own_files(&self) -> Vec<Layer> {
        let mut seen = BTreeSet::new();
        let snapshots = self.snapshots.iter().flat_map(|snapshot| own_disks(&snapshot.definition));
        let snapshots = snapshots.filter_map(|disk| disk.layers().next());
        let leftovers = self.leftovers.iter().filter_map(|leftover| leftover.layers.first().cloned());
        snapshots.chain(leftovers).filter(|layer| seen.insert(layer.path.clone())).collect()
    }

    /// Whether a snapshot or leftover needs the file at `path`, as far as `same` sees that two paths mean one file.
    pub fn needs(&self, path: &Path, same: &dyn Fn(&Path, &Path) -> bool) -> bool {
        let disks = self.snapshots.iter().flat_map(|snapshot| &snapshot.definition.disks);
        let leftovers = self.leftovers.iter().flat_map(|leftover| leftover.layers.iter().cloned());
        disks.flat_map(DiskDefinition::layers).chain(leftovers).any(|layer| same(&layer.path, path))
    }
}

impl Leftover {
    /// The image.
    pub fn path(&self) -> &Path {
        self.layers.first().map_or(Path::new(""), |layer| &layer.path)
    }
}

/// The disks of a guest that it writes to: what a snapshot freezes.
pub fn own_disks(definition: &Definition) -> impl Iterator<Item = &DiskDefinition> {
    definition.disks.iter().filter(|disk| !disk.is_read_only())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::definition::DiskFormat;

    fn layer(path: &str) -> Layer {
        Layer { path: path.into(), format: DiskFormat::Qcow2 }
    }

    /// A guest whose disk has these images.
    fn guest(images: &[&str]) -> Definition {
        let mut guest = Definition::new("web");
        let mut layers = images.iter().map(|path| layer(path));
        let own = layers.next().unwrap();
        guest.add_disk(DiskDefinition { backing: layers.collect(), ..DiskDefinition::new(own.path, own.format) });
        guest
    }

    fn add(tree: &mut Tree, name: &str, images: &[&str]) -> Uuid {
        let id = Uuid::new_v4();
        let parent = tree.current.replace(id);
        tree.snapshots.push(Snapshot {
            id,
            name: name.to_owned(),
            description: String::new(),
            created: 1,
            parent,
            running: false,
            thumbnail: None,
            state: None,
            definition: Definition { name: "snapshot".to_owned(), ..guest(images) },
        });
        id
    }

    fn free(_: &Path) -> bool {
        false
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let mut tree = Tree::default();
        add(&mut tree, "first", &["/a"]);
        add(&mut tree, "second 'quoted' \"\"\"", &["/b", "/a"]);
        tree.leftovers.push(Leftover { layers: vec![layer("/x"), layer("/a")] });

        let read = Tree::from_toml(&tree.to_toml()).unwrap();

        assert_eq!(read, tree);
        assert_eq!(Tree::from_toml(&Tree::default().to_toml()).unwrap(), Tree::default());
    }

    #[test]
    fn another_version_is_refused_before_anything_else() {
        let error = Tree::from_toml("version = 2\nnovelty = 1\n").unwrap_err();

        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_snapshot_is_found_by_its_name_or_the_beginning_of_its_id() {
        let mut tree = Tree::default();
        let id = add(&mut tree, "first", &["/a"]);

        assert_eq!(tree.find("first").unwrap().id, id);
        assert_eq!(tree.find(&id.to_string()[..8].to_uppercase()).unwrap().id, id);
        assert!(tree.find("second").is_none() && tree.find(&id.to_string()[..2]).is_none());
    }

    #[test]
    fn children_come_after_their_parents_and_go_to_their_grandparents() {
        let mut tree = Tree::default();
        let first = add(&mut tree, "first", &["/a"]);
        let second = add(&mut tree, "second", &["/b", "/a"]);
        add(&mut tree, "third", &["/c", "/b", "/a"]);
        tree.current = Some(first);
        add(&mut tree, "branch", &["/d", "/a"]);
        let names = |tree: &Tree| {
            tree.walk().iter().map(|(depth, snapshot)| format!("{depth}{}", snapshot.name)).collect::<Vec<_>>()
        };
        assert_eq!(names(&tree), ["0first", "1second", "2third", "1branch"]);

        tree.remove(second);

        assert_eq!(names(&tree), ["0first", "1third", "1branch"]);
        assert_eq!(tree.leftovers, [Leftover { layers: vec![layer("/b"), layer("/a")] }]);
    }

    #[test]
    fn an_image_that_nothing_is_based_on_goes_and_so_does_what_only_that_one_needed() {
        let mut tree = Tree::default();
        let first = add(&mut tree, "first", &["/a"]);
        let second = add(&mut tree, "second", &["/b", "/a"]);
        let current = guest(&["/d", "/a"]);
        tree.leftovers.push(Leftover { layers: vec![layer("/c"), layer("/b"), layer("/a")] });
        tree.remove(second);

        let dropped = tree.drop_unneeded(&current, &free);

        assert_eq!(dropped, [layer("/c"), layer("/b")]);
        assert!(tree.leftovers.is_empty() && tree.get(first).is_some());
    }

    #[test]
    fn what_another_guest_needs_stays() {
        let mut tree = Tree::default();
        tree.leftovers.push(Leftover { layers: vec![layer("/b"), layer("/a")] });
        let pinned = |path: &Path| path == Path::new("/b");

        assert_eq!(tree.drop_unneeded(&guest(&["/d", "/a"]), &pinned), []);
        assert_eq!(tree.mergeable(&guest(&["/c", "/b", "/a"]), &pinned), None, "nothing goes into it");
        tree.leftovers = vec![Leftover { layers: vec![layer("/a")] }];
        assert_eq!(tree.mergeable(&guest(&["/b", "/a"]), &pinned), None, "it goes into nothing");
    }

    #[test]
    fn the_only_image_above_one_that_nobody_needs_goes_into_it() {
        let mut tree = Tree::default();
        let first = add(&mut tree, "first", &["/a"]);
        add(&mut tree, "second", &["/b", "/a"]);
        let mut current = guest(&["/c", "/b", "/a"]);
        assert_eq!(tree.mergeable(&current, &free), None);
        tree.remove(first);

        let pair = tree.mergeable(&current, &free).unwrap();
        let above = tree.merged(&mut current, &pair);

        assert_eq!(pair, Pair { upper: layer("/b"), lower: vec![layer("/a")] });
        assert_eq!(above, [layer("/c")]);
        assert_eq!(current.disks, guest(&["/c", "/a"]).disks);
        assert_eq!(tree.snapshots[0].definition.disks, guest(&["/a"]).disks);
        assert_eq!((tree.leftovers.len(), tree.mergeable(&current, &free)), (0, None));
    }

    #[test]
    fn leftovers_above_each_other_become_one() {
        let mut tree = Tree::default();
        let first = add(&mut tree, "first", &["/a"]);
        let second = add(&mut tree, "second", &["/b", "/a"]);
        let mut current = guest(&["/c", "/b", "/a"]);
        tree.remove(first);
        tree.remove(second);

        let mut pairs = Vec::new();
        while let Some(pair) = tree.mergeable(&current, &free) {
            tree.merged(&mut current, &pair);
            pairs.push(pair.upper);
        }

        assert_eq!(pairs, [layer("/b"), layer("/c")]);
        assert_eq!(current.disks, guest(&["/a"]).disks);
        assert!(tree.leftovers.is_empty());
    }
}
