//! Merging images of a running guest: what a disk's own image has goes into the one below it, in which the guest then goes on.
//!
//! ```text
//!   worker   copies ──▶ both images alike ──▶ completed ─────────────────────▶ goes on in the lower image
//!   here                                          └─▶ definition and tree change ──┘
//! ```
//!
//! Between completed and the end both images have all that the guest writes. So whatever ends this program or the worker, what the
//! definition names is whole, and whoever comes next sees by it how the merging ends ([`Snapshots::settle_merge`]).

#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    mem,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Guest, Held, Result, SnapshotError, Snapshots, journal,
    running::{blocking, check_files, open},
    tree::{Pair, Tree, own_disks},
};
use crate::{
    manager::{
        client::{Client, ClientError, MergeFiles},
        definition::{Definition, DiskDefinition, DiskFormat, Layer},
        library::LibraryError,
        storage::{
            StorageError, check,
            lock::{self, Access},
            progress::{self, Watch},
            qcow2::Header,
        },
        supervisor::Supervisor,
    },
    qmp::types::{BlockJobInfo, JobStatus},
};

/// How often it is asked how far the worker is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A disk of a running guest whose own image can go into the one below it.
struct LivePair {
    disk: DiskDefinition,
    pair: Pair,
}

/// Images that are open to be merged.
struct Live {
    guest: String,
    disk: String,
    pair: Pair,
    /// The image that the other one goes into, which the worker has with the same locks.
    lower: File,
    /// That one and those below it, for the worker.
    images: Vec<(File, Layer)>,
    _held: Held,
}

impl Snapshots {
    /// Merges those images of a running guest that nothing needs but the disk right above them. [`Snapshots::merge`] does the rest.
    pub async fn merge_running(&self, supervisor: &Supervisor, guest: &str, watch: Watch<'_>) -> Result {
        let client = supervisor.attach(guest).await?;
        self.settle_merge(&client, guest).await?;
        loop {
            let files = client.disk_files().await.map_err(client_error(guest))?;
            let (this, name) = (self.clone(), guest.to_owned());
            let Some(mut live) = blocking(move || this.prepare_merge(&name, &files)).await? else {
                return Ok(());
            };
            let files = MergeFiles { disk: live.disk.clone(), images: mem::take(&mut live.images) };
            let merged = match client.begin_merge(files).await.map_err(client_error(guest)) {
                Ok(()) => self.follow(&client, &live, watch).await,
                Err(error) => Err(error),
            };
            let lower_counts = self.conclude(&client, guest).await;
            if let Ok(false) = lower_counts {
                lock::only_read(&live.lower).map_err(SnapshotError::io(&live.pair.upper.path))?;
            }
            merged.and(lower_counts.map(drop))?;
        }
    }

    /// Ends a merging of which nobody takes care any more.
    pub(super) async fn settle_merge(&self, client: &Client, guest: &str) -> Result {
        if client.merges().await.map_err(client_error(guest))?.is_empty() {
            return Ok(());
        }
        let (this, name) = (self.clone(), guest.to_owned());
        let (_guest, _held) = blocking(move || this.begin(&name)).await?;
        self.conclude(client, guest).await.map(drop)
    }

    /// Ends a merging as the definition says: `true` when the guest goes on in the lower image. The caller has the lock.
    async fn conclude(&self, client: &Client, guest: &str) -> Result<bool> {
        let jobs = client.merges().await.map_err(client_error(guest))?;
        let Some(BlockJobInfo { device, x_lodge_lower, .. }) = jobs.into_iter().next() else { return Ok(false) };
        let (this, name, id) = (self.clone(), guest.to_owned(), device.clone());
        let lower_counts = blocking(move || {
            let folder = this.library.paths().guest_folder(&name);
            journal::settle_locked(&folder).map_err(SnapshotError::io(&folder))?;
            let definition = this.library.load(&name)?.definition;
            Ok(definition.disks.iter().any(|disk| disk.id == id && disk.path == x_lodge_lower))
        })
        .await?;
        let ended = match lower_counts {
            true => client.finalize_merge(&device).await,
            false => client.cancel_merge(&device).await,
        };
        ended.map(|()| lower_counts).map_err(client_error(guest))
    }

    /// Opens and locks what is to be merged next, if anything is.
    fn prepare_merge(&self, guest: &str, files: &[(String, PathBuf)]) -> Result<Option<Live>> {
        let (guest, held) = self.begin(guest)?;
        let definition = &guest.stored.definition;
        let Some(LivePair { disk, pair }) = guest.live_pair(&guest.tree, definition) else { return Ok(None) };
        check_files(&guest, files)?;
        let Some((lower, below)) = pair.lower.split_first() else { return Ok(None) };
        let direct = disk.cache.is_direct();
        let file = open(&lower.path, true, direct)?;
        // The worker has it, too, to read; its descriptor goes when it gets this one.
        if !lock::place(&file, Access::Read).map_err(StorageError::io(&lower.path))? {
            return Err(in_use(&lower.path));
        }
        if lower.format == DiskFormat::Qcow2 {
            // An earlier attempt may have been interrupted. Only reference counts change, and nobody else writes.
            check::mend_before_use(&lower.path)?;
        }
        let mut images = vec![(file.try_clone().map_err(StorageError::io(&lower.path))?, lower.clone())];
        for layer in below {
            let file = open(&layer.path, false, direct)?;
            if !lock::acquire(&file, Access::Read).map_err(StorageError::io(&layer.path))? {
                return Err(in_use(&layer.path));
            }
            images.push((file, layer.clone()));
        }
        Ok(Some(Live { guest: guest.name, disk: disk.id, pair, lower: file, images, _held: held }))
    }

    /// Waits until the worker has copied everything, and makes the lower image the one that counts.
    async fn follow(&self, client: &Client, live: &Live, watch: Watch<'_>) -> Result {
        let failed = client_error(&live.guest);
        let path = live.pair.lower.first().map(|lower| lower.path.clone()).unwrap_or_default();
        let file = live.lower.try_clone().map_err(StorageError::io(&path))?;
        let locked = blocking(move || Ok(lock::acquire(&file, Access::Write).map_err(StorageError::io(&path))?));
        if !locked.await? {
            return Err(in_use(&live.pair.upper.path));
        }
        client.resume_merge(&live.disk).await.map_err(&failed)?;
        loop {
            let jobs = client.merges().await.map_err(&failed)?;
            let job = jobs.into_iter().find(|job| job.device == live.disk);
            let ended = |reason: Option<String>| {
                let reason = reason.unwrap_or_else(|| "somebody has cancelled the merging of its disk".to_owned());
                SnapshotError::refused(&live.guest, reason, "Look at the disk with the images, and repeat the command")
            };
            match job {
                Some(BlockJobInfo { status: JobStatus::Ready, .. }) => break,
                Some(BlockJobInfo { status: JobStatus::Running, offset, len, .. }) => {
                    progress::step(watch, offset, len).map_err(StorageError::io(&live.pair.upper.path))?;
                }
                Some(job) => return Err(ended(job.error)),
                None => return Err(ended(None)),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        client.complete_merge(&live.disk).await.map_err(&failed)?;
        let (this, name, pair) = (self.clone(), live.guest.clone(), live.pair.clone());
        blocking(move || this.count_lower(&name, &pair)).await
    }

    /// From now on the lower image is the disk's own. Both have the same.
    fn count_lower(&self, guest: &str, merged: &Pair) -> Result {
        // The definition may have been edited meanwhile.
        let guest = self.look(guest)?;
        let pair = guest.live_pair(&guest.tree, &guest.stored.definition).map(|live| live.pair);
        let pair = pair.filter(|pair| pair == merged).ok_or_else(|| LibraryError::Changed(guest.name.clone()))?;
        let change = guest.merged(&pair);
        self.carry_out(&guest, change)?;
        self.library.record_images(&guest.name);
        Ok(())
    }
}

impl Guest {
    /// The next two images that can become one, if this is what becomes of the guest.
    pub(super) fn next_merge(&self, tree: &Tree, definition: &Definition) -> Option<Pair> {
        let at_rest = tree.mergeable(definition, &|path| self.is_pinned(path));
        at_rest.or_else(|| self.live_pair(tree, definition).map(|live| live.pair))
    }

    /// The next two images of the running guest that can: a disk's own and the one below it.
    fn live_pair(&self, tree: &Tree, definition: &Definition) -> Option<LivePair> {
        let pair = |disk: &DiskDefinition| {
            let is_of_pair = |path: &Path| disk.layers().take(2).any(|layer| layer.path == path);
            let pinned = |path: &Path| !is_of_pair(path) || self.foreign.reason(path).is_some();
            let pair = tree.mergeable(definition, &pinned)?;
            (pair.upper.path == disk.path && pair.lower == disk.backing && fits(&pair)).then_some(pair)
        };
        let mut disks = own_disks(definition).filter(|_| self.running);
        disks.find_map(|disk| Some(LivePair { disk: disk.clone(), pair: pair(disk)? }))
    }
}

/// Whether the worker can merge these: the disk has one size, and what is not in the upper image does not move in the lower one.
fn fits(pair: &Pair) -> bool {
    let header = |path: &Path| {
        let header = Header::read(&File::open(path).ok()?).ok()?;
        (header.check_walkable().is_ok() && !header.has_external_data()).then_some(header)
    };
    let (Some(lower), Some(upper)) = (pair.lower.first(), header(&pair.upper.path)) else { return false };
    match lower.format {
        DiskFormat::Raw => fs::metadata(&lower.path).is_ok_and(|file| file.is_file() && file.len() == upper.size),
        DiskFormat::Qcow2 => header(&lower.path)
            .is_some_and(|lower| lower.size == upper.size && lower.cluster_size() <= upper.cluster_size()),
    }
}

fn client_error(guest: &str) -> impl Fn(ClientError) -> SnapshotError + use<> {
    let guest = guest.to_owned();
    move |source| SnapshotError::Client { guest: guest.clone(), source }
}

fn in_use(path: &Path) -> SnapshotError {
    StorageError::in_use(path, "End that one, and repeat the command").into()
}
