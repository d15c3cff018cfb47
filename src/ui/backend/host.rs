//! What the host's window asks for: the places where disks lie, networks, deleted guests.

use std::path::Path;

use anyhow::Result;
use lodge::manager::{
    editing,
    host::{self as host_facts, Counters, Demand, MergingSwitch, Root},
    library::Trashed,
    networks::{self, NetworkChoice},
    pool::{
        NewVolume, PoolInfo, Pools, Target, Volume,
        volumes::{Import, NewSize},
    },
    storage::{
        Access, Disks,
        qcow2::{check::Report, repair::Repair},
    },
};
use uuid::Uuid;

use super::{Backend, GuestId, GuestView, blocking};
use crate::ui::progress::Progress;

/// A pool with what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// The pool and its room.
    pub info: PoolInfo,
    /// Its volumes; none where it cannot be used.
    pub volumes: Vec<Volume>,
}

impl Backend {
    /// What the host's kernel counts.
    pub async fn host_counters(&self) -> Result<Counters> {
        blocking(|| Ok(Counters::read(&Root::default()))).await
    }

    /// How the host's keeping equal pages once can be switched here, if at all.
    pub async fn merging_switch(&self) -> Option<MergingSwitch> {
        blocking(|| Ok(MergingSwitch::find(&Root::default()))).await.ok().flatten()
    }

    /// Switches it; `false` when an administrator was asked for and did not answer.
    pub async fn switch_merging(&self, way: MergingSwitch, on: bool) -> Result<bool> {
        blocking(move || Ok(way.set(on)?)).await
    }

    /// All pools, the default one first.
    pub async fn pools_with_volumes(&self) -> Result<Vec<PoolView>> {
        self.with_pools(|pools| {
            let view = |pool| {
                let info = pools.describe(pool);
                let usable = info.problem.is_none();
                let volumes = if usable { pools.volumes(&info.pool.name)? } else { Vec::new() };
                Ok(PoolView { info, volumes })
            };
            pools.list()?.into_iter().map(view).collect()
        })
        .await
    }

    /// The LVM volume groups of the host; none where LVM cannot be used.
    pub async fn volume_groups(&self) -> Vec<String> {
        self.with_pools(|pools| Ok(pools.volume_groups())).await.unwrap_or_default()
    }

    /// Adds a pool.
    pub async fn add_pool(&self, name: String, target: Target) -> Result<()> {
        self.with_pools(move |pools| Ok(pools.add(&name, target).map(drop)?)).await
    }

    /// Forgets a pool. What is in it stays.
    pub async fn remove_pool(&self, name: String) -> Result<()> {
        self.with_pools(move |pools| Ok(pools.remove(&name).map(drop)?)).await
    }

    /// Makes an empty volume.
    pub async fn create_volume(&self, pool: String, new: NewVolume) -> Result<()> {
        self.with_pools(move |pools| Ok(pools.create_volume(&pool, &new).map(drop)?)).await
    }

    /// Makes a volume larger, to `size` bytes.
    pub async fn grow_volume(&self, pool: String, volume: String, size: u64, progress: Progress) -> Result<()> {
        let name = (pool.clone(), volume.clone());
        let path = self.with_pools(move |pools| Ok(pools.volume(&name.0, &name.1)?.path)).await?;
        if editing::grow_running(self.guests.supervisor(), &path, NewSize::Whole(size)).await?.is_some() {
            return Ok(());
        }
        let grow = move |pools: Pools| {
            let watch = |done, total| progress.tell(done, total);
            Ok(pools.resize_volume(&pool, &volume, NewSize::Whole(size), false, &watch).map(drop)?)
        };
        self.with_pools(grow).await
    }

    /// Deletes a volume that nobody needs.
    pub async fn delete_volume(&self, pool: String, volume: String) -> Result<()> {
        self.with_pools(move |pools| Ok(pools.delete_volume(&pool, &volume).map(drop)?)).await
    }

    /// Copies an image into a pool.
    pub async fn import_volume(&self, pool: String, import: Import, progress: Progress) -> Result<()> {
        let watched = move |pools: Pools| {
            let watch = |done, total| progress.tell(done, total);
            Ok(pools.import_volume(&pool, &import, &watch).map(drop)?)
        };
        self.with_pools(watched).await
    }

    /// Checks the structures of a volume, and mends them when asked.
    pub async fn check_volume(&self, volume: Volume, mend: bool, progress: Progress) -> Result<Report> {
        let disks = Disks::new(&self.paths);
        blocking(move || {
            let (access, repair) = if mend { (Access::Write, Some(Repair::All)) } else { (Access::Read, None) };
            let image = disks.open(&volume.path, volume.format, access)?;
            Ok(disks.check(&image, repair, &|done, total| progress.tell(done, total))?)
        })
        .await
    }

    /// The networks that guests can be on.
    pub async fn networks(&self) -> Result<Vec<NetworkChoice>> {
        let library = self.library.clone();
        blocking(move || Ok(networks::choices(&library, &Root::default())?)).await
    }

    /// The guests that were deleted and can be brought back, the last one first.
    pub async fn trash(&self) -> Result<Vec<Trashed>> {
        let library = self.library.clone();
        blocking(move || Ok(library.trash())).await
    }

    /// Removes a deleted guest, or all of them, for good.
    pub async fn empty_trash(&self, only: Option<Uuid>) -> Result<()> {
        let library = self.library.clone();
        blocking(move || Ok(library.empty_trash(only.map(|id| id.to_string()).as_deref()).map(drop)?)).await
    }

    /// What running guests may take of the host's memory once `started` run, too.
    pub async fn memory_demand(&self, started: &[GuestView]) -> Result<Demand> {
        let used =
            |id: &GuestId| self.guests.with_history(id, |history| history.latest().map(|point| point.memory)).flatten();
        let memory = |guest: &GuestView| guest.hardware().map(|hardware| hardware.memory.bytes());
        let running = self.guests.all().into_iter().filter(|guest| guest.state.is_active());
        let running = running.filter_map(|guest| Some((memory(&guest)?, used(&guest.id).unwrap_or_default())));
        let starting = started.iter().filter_map(|guest| Some((memory(guest)?, 0)));
        let guests: Vec<_> = running.chain(starting).collect();
        blocking(move || Ok(Demand::of(guests, host_facts::limits().memory_available))).await
    }

    async fn with_pools<T: Send + 'static>(&self, work: impl FnOnce(Pools) -> Result<T> + Send + 'static) -> Result<T> {
        let paths = self.paths.clone();
        blocking(move || work(Pools::new(&paths))).await
    }
}

/// The name that a volume made from the file at `path` gets: that of the file, without its ending.
pub fn volume_name(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
