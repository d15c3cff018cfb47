//! Snapshots of a guest: moments that it can go back to.
//!
//! A snapshot freezes the images of all disks that the guest writes to: from then on they are only read, and the guest goes
//! on in new images that are based on them. The definition names every image of a disk, from its own down to the base, so
//! nothing but the definition decides which files are opened. What a snapshot is lies in `snapshots.toml` in the guest's
//! folder ([`tree`]): the guest's definition of that moment, whose disks are the frozen images.
//!
//! Going back makes new images over the frozen ones. Deleting a snapshot takes it out of the tree first; then images that
//! nobody needs any more are removed, and those that only one other image is based on take that one in ([`merge`]), which
//! can be interrupted at any moment and goes on with the next change of the guest's snapshots. Files that another guest
//! needs are never touched ([`foreign`]).
//!
//! Clones are made of a [`moment`]; those that are linked to the guest keep its frozen images from being changed.
//!
//! Every change is written into a [`journal`] first: power loss leaves the old or the new state.

#![forbid(unsafe_code)]

mod error;
mod foreign;
mod guest;
pub mod journal;
mod live;
mod merge;
mod moment;
mod preview;
mod running;
pub mod tree;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::Access as FolderAccess;
use uuid::Uuid;

pub use error::SnapshotError;
pub(in crate::manager) use foreign::Foreign;
pub use moment::Moment;
pub use preview::{Kept, Merging, Preview};
pub use tree::{Snapshot, Tree};

use self::{
    guest::Guest,
    journal::{Journal, Phase, Rebase},
    tree::own_disks,
};
use super::{
    atomic_file,
    definition::{Definition, DiskDefinition, DiskFormat, Layer},
    library::{Library, LibraryError},
    paths::Paths,
    pool::Pool,
    run_lock::RunLock,
    storage::{
        self, StorageError, check, create,
        lock::{self, Access},
        new_file::NewFile,
        progress::Watch,
    },
};
use crate::{system_error::words, worker::launch::is_complete_state};

/// The snapshots, in the guest's folder.
pub const FILE: &str = "snapshots.toml";
/// Thumbnails and saved states, in the guest's folder.
const FOLDER: &str = "snapshots";
/// The longest list of snapshots, in bytes: well below what is read of a text file.
const TREE_MAX: usize = 640 << 10;

/// What operations return.
pub type Result<T = ()> = std::result::Result<T, SnapshotError>;

/// The snapshots of one person's guests. Its calls read and write files; from the user interface call them on a blocking
/// thread.
#[derive(Debug, Clone)]
pub struct Snapshots {
    library: Library,
    pool: Pool,
}

/// A snapshot to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name; without one it is counted.
    pub name: Option<String>,
    /// A person's words about it.
    pub description: String,
}

/// What of a snapshot is to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Its name.
    pub name: Option<String>,
    /// A person's words about it.
    pub description: Option<String>,
}

/// Keeps others from changing the snapshots meanwhile, and a guest that is off from being started.
struct Held {
    _lock: RunLock,
    _off: Option<RunLock>,
}

/// What an operation does.
#[derive(Debug)]
struct Change {
    create: Vec<Overlay>,
    /// The guest's new definition, if that changes.
    definition: Option<Definition>,
    tree: Tree,
    rebase: Vec<Rebase>,
    remove: Vec<PathBuf>,
}

/// An image to be made over others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Overlay {
    path: PathBuf,
    below: Vec<Layer>,
}

impl Snapshots {
    /// The snapshots of the guests in these folders.
    pub fn new(paths: &Paths) -> Self {
        Self { library: Library::new(paths.clone()), pool: Pool::default_pool(paths) }
    }

    /// All snapshots of a guest.
    pub fn tree(&self, guest: &str) -> Result<Tree> {
        self.library.read(guest)?;
        read_tree(&self.library.paths().guest_folder(guest))
    }

    /// The folder of a guest's thumbnails and saved states.
    pub fn folder(&self, guest: &str) -> PathBuf {
        self.library.paths().guest_folder(guest).join(FOLDER)
    }

    /// The state of memory and devices that a snapshot has, open for reading, for the guest to be started in it.
    pub fn state(&self, guest: &str, snapshot: &Snapshot) -> Result<Option<File>> {
        let Some(name) = &snapshot.state else { return Ok(None) };
        let path = self.folder(guest).join(name);
        File::open(&path).map(Some).map_err(SnapshotError::io(&path))
    }

    /// What [`Snapshots::create`] would do.
    pub fn preview_create(&self, guest: &str, new: &NewSnapshot) -> Result<Preview> {
        let guest = self.look(guest)?;
        let (change, _) = self.plan_create(&guest, new)?;
        Ok(guest.preview(&change, Vec::new()))
    }

    /// Makes a snapshot of a guest that is off. [`Snapshots::create_running`] is for one that runs.
    pub fn create(&self, guest: &str, new: &NewSnapshot) -> Result<Snapshot> {
        let (guest, _held) = self.begin(guest)?;
        guest.check_off()?;
        self.check_not_saved(&guest)?;
        let (change, snapshot) = self.plan_create(&guest, new)?;
        mend(own_disks(&guest.stored.definition))?;
        self.carry_out(&guest, change)?;
        Ok(snapshot)
    }

    /// A guest whose memory is saved expects its disks as they are.
    fn check_not_saved(&self, guest: &Guest) -> Result {
        let state = File::open(self.library.paths().saved_state(&guest.name));
        match state.is_ok_and(|state| is_complete_state(&state).unwrap_or(false)) {
            true => Err(guest.refused("its memory is saved, which fits only its disks as they are", "Start it first")),
            false => Ok(()),
        }
    }

    fn plan_create(&self, guest: &Guest, new: &NewSnapshot) -> Result<(Change, Snapshot)> {
        let mut tree = guest.tree.clone();
        let name = match &new.name {
            Some(name) => guest.check_name(name, None)?,
            None => (1..).map(|number| format!("snapshot-{number}")).find(|name| !guest.has(name)).unwrap_or_default(),
        };
        guest.check_can_freeze()?;
        let frozen = &guest.stored.definition;
        let snapshot = Snapshot {
            id: Uuid::new_v4(),
            name,
            description: new.description.clone(),
            created: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            parent: tree.current,
            running: guest.running,
            thumbnail: None,
            state: None,
            definition: Definition { name: "snapshot".to_owned(), ..frozen.clone() },
        };
        tree.current = Some(snapshot.id);
        tree.snapshots.push(snapshot.clone());
        if tree.to_toml().len() > TREE_MAX {
            return Err(guest.refused("it has too many snapshots", "Delete some that you do not need any more"));
        }
        let (definition, create) = self.overlay(frozen.clone(), &|_| true);
        let change = Change { create, definition: Some(definition), tree, rebase: Vec::new(), remove: Vec::new() };
        Ok((change, snapshot))
    }

    /// Puts a new image over each disk that the guest writes to and that is `wanted`.
    fn overlay(
        &self,
        mut definition: Definition,
        wanted: &dyn Fn(&DiskDefinition) -> bool,
    ) -> (Definition, Vec<Overlay>) {
        let mut overlays = Vec::new();
        for disk in definition.disks.iter_mut().filter(|disk| !disk.is_read_only() && wanted(disk)) {
            let unique = Uuid::new_v4().simple().to_string();
            let unique = unique.get(..8).unwrap_or_default();
            let path = self.place(disk).join(format!("{}-{}-{unique}.qcow2", definition.name, disk.id));
            let below: Vec<Layer> = disk.layers().collect();
            overlays.push(Overlay { path: path.clone(), below: below.clone() });
            (disk.path, disk.format, disk.backing) = (path, DiskFormat::Qcow2, below);
        }
        (definition, overlays)
    }

    /// Where the next image of a disk goes: beside its image, or into the default pool where that cannot be.
    fn place(&self, disk: &DiskDefinition) -> PathBuf {
        let is_file = fs::metadata(&disk.path).is_ok_and(|metadata| metadata.is_file());
        let beside = disk.path.parent().filter(|_| is_file);
        let writable = |folder: &&Path| rustix::fs::access(*folder, FolderAccess::WRITE_OK).is_ok();
        beside.filter(writable).unwrap_or(self.pool.folder()).to_owned()
    }

    /// What [`Snapshots::revert`] would do.
    pub fn preview_revert(&self, guest: &str, snapshot: &str) -> Result<Preview> {
        // It has to be off by then, and uses nothing any more.
        let guest = Guest { running: false, ..self.look(guest)? };
        let (change, kept) = self.plan_revert(&guest, snapshot)?;
        Ok(guest.preview(&change, kept))
    }

    /// Goes back to a snapshot. What the guest has written since its last snapshot is lost.
    pub fn revert(&self, guest: &str, snapshot: &str) -> Result<Snapshot> {
        let (guest, _held) = self.begin(guest)?;
        guest.check_off()?;
        let (change, _) = self.plan_revert(&guest, snapshot)?;
        self.carry_out(&guest, change)?;
        Ok(guest.find(snapshot)?.clone())
    }

    fn plan_revert(&self, guest: &Guest, word: &str) -> Result<(Change, Vec<Kept>)> {
        let snapshot = guest.find(word)?;
        let now = &guest.stored.definition;
        let then = Definition {
            name: now.name.clone(),
            uuid: now.uuid,
            autostart: now.autostart,
            ..snapshot.definition.clone()
        };
        let (definition, create) = self.overlay(then, &|_| true);
        let mut tree = guest.tree.clone();
        tree.current = Some(snapshot.id);
        let mut kept = Vec::new();
        for disk in own_disks(now) {
            let frozen = tree.needs(&disk.path, &|one, other| one == other);
            match disk.backing.is_empty() {
                _ if frozen => {}
                // A disk that no snapshot has: only its guest forgets it.
                true => kept.push(Kept { path: disk.path.clone(), reason: "no snapshot has this disk".to_owned() }),
                false => tree.leave(disk),
            }
        }
        let dropped = tree.drop_unneeded(&definition, &|path| guest.is_pinned(path));
        // What was saved of the memory does not fit any more.
        let saved = Some(self.library.paths().saved_state(&guest.name)).filter(|path| path.exists());
        let remove = dropped.into_iter().map(|layer| layer.path).chain(saved).collect();
        Ok((Change { create, definition: Some(definition), tree, rebase: Vec::new(), remove }, kept))
    }

    /// What [`Snapshots::delete`] and then [`Snapshots::merge`] would do.
    pub fn preview_delete(&self, guest: &str, snapshot: &str) -> Result<Preview> {
        let guest = self.look(guest)?;
        let change = self.plan_delete(&guest, snapshot)?;
        Ok(guest.preview(&change, Vec::new()))
    }

    /// Deletes a snapshot. Its images stay where others are based on them; [`Snapshots::merge`] makes them fewer.
    pub fn delete(&self, guest: &str, snapshot: &str) -> Result<Snapshot> {
        let (guest, _held) = self.begin(guest)?;
        let change = self.plan_delete(&guest, snapshot)?;
        self.carry_out(&guest, change)?;
        Ok(guest.find(snapshot)?.clone())
    }

    fn plan_delete(&self, guest: &Guest, word: &str) -> Result<Change> {
        let snapshot = guest.find(word)?;
        let mut tree = guest.tree.clone();
        tree.remove(snapshot.id);
        // What the guest, or another snapshot, has as a disk's own is not left over.
        let needed: Vec<Layer> = tree.own_disks_of(&guest.stored.definition);
        tree.leftovers.retain(|leftover| !needed.iter().any(|layer| layer.path == leftover.path()));
        let dropped = tree.drop_unneeded(&guest.stored.definition, &|path| guest.is_pinned(path));
        let files = snapshot.thumbnail.iter().chain(&snapshot.state).map(|name| guest.folder.join(FOLDER).join(name));
        let remove = dropped.into_iter().map(|layer| layer.path).chain(files).collect();
        Ok(Change { create: Vec::new(), definition: None, tree, rebase: Vec::new(), remove })
    }

    /// Merges images that nothing needs any more but the one above them. Returns whether all are: those of a running guest are
    /// left to [`Snapshots::merge_running`].
    pub fn merge(&self, guest: &str, watch: Watch<'_>) -> Result<bool> {
        loop {
            let (guest, _held) = self.begin(guest)?;
            let definition = &guest.stored.definition;
            let Some(pair) = guest.tree.mergeable(definition, &|path| guest.is_pinned(path)) else {
                return Ok(!guest.running || guest.tree.leftovers.is_empty());
            };
            merge::merge(&pair, watch)?;
            self.carry_out(&guest, guest.merged(&pair))?;
        }
    }

    /// Gives a snapshot another name or description.
    pub fn edit(&self, guest: &str, snapshot: &str, edit: &Edit) -> Result<Snapshot> {
        let (guest, _held) = self.begin(guest)?;
        let mut changed = guest.find(snapshot)?.clone();
        if let Some(name) = &edit.name {
            changed.name = guest.check_name(name, Some(changed.id))?;
        }
        if let Some(description) = &edit.description {
            changed.description.clone_from(description);
        }
        let mut tree = guest.tree.clone();
        for snapshot in tree.snapshots.iter_mut().filter(|snapshot| snapshot.id == changed.id) {
            snapshot.clone_from(&changed);
        }
        let (create, rebase, remove) = (Vec::new(), Vec::new(), Vec::new());
        self.carry_out(&guest, Change { create, definition: None, tree, rebase, remove })?;
        Ok(changed)
    }

    /// The guest as it is.
    fn look(&self, guest: &str) -> Result<Guest> {
        let stored = self.library.load(guest)?;
        let folder = self.library.paths().guest_folder(guest);
        let tree = read_tree(&folder)?;
        let running = self.library.is_running(guest)?;
        let foreign = Foreign::of_others(&self.library, guest);
        Ok(Guest { name: guest.to_owned(), folder, stored, tree, foreign, running })
    }

    /// The guest as it is, and will be until what comes with it is dropped.
    fn begin(&self, guest: &str) -> Result<(Guest, Held)> {
        let uuid = self.library.load(guest)?.definition.uuid;
        let folder = self.library.paths().guest_folder(guest);
        let failed = SnapshotError::io(&folder);
        let Some(lock) = journal::lock(&folder).map_err(&failed)? else {
            let reason = "its snapshots are being changed at this moment";
            return Err(SnapshotError::refused(guest, reason, "Repeat the command when that is done"));
        };
        let off = match self.library.keep_off_unless_running(guest, uuid) {
            Ok(off) => Some(off),
            Err(LibraryError::Running(_)) => None,
            Err(error) => return Err(error.into()),
        };
        journal::settle_locked(&folder).map_err(&failed)?;
        let running = off.is_none();
        Ok((Guest { running, ..self.look(guest)? }, Held { _lock: lock, _off: off }))
    }

    /// Does what was planned: all of it or nothing.
    fn carry_out(&self, guest: &Guest, change: Change) -> Result {
        let create = change.create.iter().map(|overlay| overlay.path.clone()).collect();
        let mut journal = Journal::new(create, change.rebase, change.remove);
        let failed = SnapshotError::io(&guest.folder);
        journal.begin(&guest.folder).map_err(&failed)?;
        let made = self.make(guest, &change.create).and_then(|()| {
            stage(&journal, guest, change.definition.as_ref(), &change.tree)?;
            self.decide(guest, &mut journal, Phase::Done)
        });
        if let Err(error) = made {
            undo(&journal, guest);
            return Err(error);
        }
        journal.redo(&guest.folder).map_err(failed)
    }

    /// From here on the change counts, or may count, unless the definition was changed meanwhile.
    fn decide(&self, guest: &Guest, journal: &mut Journal, phase: Phase) -> Result {
        let _library = self.library.lock()?;
        if self.library.read(&guest.name)? != guest.stored.revision {
            return Err(LibraryError::Changed(guest.name.clone()).into());
        }
        journal.enter(&guest.folder, phase).map_err(SnapshotError::io(&guest.folder))
    }

    fn make(&self, guest: &Guest, overlays: &[Overlay]) -> Result {
        for overlay in overlays {
            // Nobody else may be writing to what is frozen. A running guest's worker does, until it gets the new image.
            let _locks = if guest.running { Vec::new() } else { lock_layers(&overlay.below)? };
            make(overlay)?;
        }
        Ok(())
    }
}

/// Mends the images of disks, to which from then on nobody writes who would do that.
fn mend<'a>(mut disks: impl Iterator<Item = &'a DiskDefinition>) -> Result {
    let mend = |disk: &DiskDefinition| match disk.format {
        DiskFormat::Qcow2 => check::mend_before_use(&disk.path),
        DiskFormat::Raw => Ok(()),
    };
    Ok(disks.try_for_each(mend)?)
}

/// Gets ready what replaces the definition and the tree.
fn stage(journal: &Journal, guest: &Guest, definition: Option<&Definition>, tree: &Tree) -> Result {
    let definition = definition.map(|definition| definition.to_toml_after(guest.stored.revision.text()));
    let texts = [definition.as_deref(), Some(&tree.to_toml())];
    journal.stage(&guest.folder, texts).map_err(SnapshotError::io(&guest.folder))
}

/// Removes what was prepared.
fn undo(journal: &Journal, guest: &Guest) {
    if let Err(error) = journal.undo(&guest.folder) {
        tracing::warn!("{}: what was prepared is removed later: {error}", guest.folder.display());
    }
}

/// The snapshots in a guest's folder; none when there is no such file.
pub(in crate::manager) fn read_tree(folder: &Path) -> Result<Tree> {
    let path = folder.join(FILE);
    let text = match atomic_file::read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tree::default()),
        Err(error) => return Err(SnapshotError::Tree { path, reason: words(&error) }),
    };
    Tree::from_toml(&text).map_err(|reason| SnapshotError::Tree { path, reason })
}

/// Opens images and keeps others from changing them.
pub(in crate::manager) fn lock_layers(layers: &[Layer]) -> Result<Vec<File>> {
    let lock = |layer: &Layer| {
        let failed = StorageError::io(&layer.path);
        let file = storage::open_file(&layer.path, Access::Read).map_err(StorageError::io(&layer.path))?;
        match lock::acquire(&file, Access::Read).map_err(failed)? {
            true => Ok(file),
            false => Err(StorageError::in_use(&layer.path, "End that one first")),
        }
    };
    Ok(layers.iter().map(lock).collect::<std::result::Result<_, _>>()?)
}

/// Makes an image over others.
fn make(overlay: &Overlay) -> Result {
    let Some(below) = overlay.below.first() else { return Ok(()) };
    let folder = overlay.path.parent().unwrap_or(Path::new("/"));
    let mut new = NewFile::create(folder).map_err(StorageError::io(&overlay.path))?;
    create::fill_over(new.file(), &overlay.path, below)?;
    Ok(new.publish(&overlay.path, false).map_err(StorageError::io(&overlay.path))?)
}

#[cfg(test)]
mod tests;
