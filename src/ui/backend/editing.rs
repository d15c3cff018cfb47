//! What the details of a guest ask of the manager.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use lodge::manager::{
    creation,
    definition::{Definition, DiskBus, DiskDefinition, DiskFormat, Forward, HostLimits, Protocol, Review},
    editing::{self, Saved, Source},
    library::{Library, LibraryError, Revision},
    paths::Paths,
    pool::{Pool, PoolEntry, Pools, Target, volumes::NewSize},
    storage::Disks,
};
use tokio::net::{TcpListener, UdpSocket};

use super::{Backend, GuestId, blocking};

/// Why there is nothing to see of hardware, or to do with it.
const NOT_YET: &str = "the running guest does not have this card yet";

/// A definition as it lies in the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The guest's name.
    pub name: String,
    /// Its text.
    pub revision: Revision,
    /// What the text says, or why it cannot be read.
    pub definition: Result<Definition, String>,
}

/// A definition as it is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// All of it, with the name that it is to have.
    pub definition: Definition,
    /// The text, where a person has written it.
    pub text: Option<String>,
    /// What it was made from.
    pub revision: Revision,
}

/// What a running guest's card is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFacts {
    /// Whether the cable is plugged in.
    pub link: bool,
    /// The address in use: the guest can set another one than it was given.
    pub mac: String,
    /// The IP address, where it is known.
    pub address: Option<String>,
    /// Who carries its frames.
    pub backend: String,
    /// The host's interface.
    pub interface: Option<String>,
    /// What keeps it from working.
    pub problem: Option<String>,
}

/// What an image holds and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFacts {
    /// The disk's size, in bytes.
    pub size: u64,
    /// What the image takes of its file system, in bytes.
    pub allocated: u64,
}

/// A pool that a new disk can lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolChoice {
    /// Its name.
    pub name: String,
    /// What is free in it, in bytes, where that is known.
    pub free: Option<u64>,
    /// Whether its volumes are raw always.
    pub only_raw: bool,
}

/// What becomes of the image of a disk that is taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The image.
    pub path: PathBuf,
    /// Why it has to be kept; without a reason it may be deleted.
    pub kept: Option<String>,
}

/// The pool of this name where that is a folder, else the default one.
pub(super) fn folder_pool(paths: &Paths, name: Option<&str>) -> Pool {
    match name.and_then(|name| Pools::new(paths).find(name).ok()).map(|pool| pool.target) {
        Some(Target::Path(folder)) => Pool::at(&folder),
        _ => Pool::default_pool(paths),
    }
}

impl Backend {
    /// The definition of `name` as it is now.
    pub async fn load(&self, name: String) -> Result<Loaded> {
        let library = self.library.clone();
        blocking(move || Ok(load(&library, &name)?)).await
    }

    /// Judges a definition by what this host has.
    pub async fn review(&self, definition: Definition, limits: HostLimits) -> Result<Review> {
        blocking(move || Ok(definition.review(&limits))).await
    }

    /// Changes the definition of the guest `name`, at once where it runs and that is possible. It gets its new name last.
    pub async fn save(&self, name: String, wanted: Wanted) -> Result<Saved> {
        let Wanted { mut definition, text, revision } = wanted;
        let new_name = std::mem::replace(&mut definition.name, name.clone());
        let mut saved = editing::save(self.guests.supervisor(), definition, text, revision).await?;
        if new_name != name {
            self.rename(name, new_name.clone()).await?;
            saved.stored.definition.name = new_name;
        }
        Ok(saved)
    }

    /// Asks the running guest to keep so many bytes of its memory and to give the rest back. Returns whether it has a driver for that.
    pub async fn keep_memory(&self, id: &GuestId, bytes: u64) -> Result<bool> {
        let client = self.client(id)?;
        client.set_balloon(bytes).await?;
        Ok(client.statistics().await?.memory.balloon_driver != Some(false))
    }

    /// What the running guest's card, which its definition has as number `index`, is like.
    pub async fn card(&self, id: &GuestId, index: usize) -> Result<CardFacts> {
        let (client, name) = (self.client(id)?, self.name_of_card(id, index)?);
        let cards = client.statistics().await?.networks;
        let card = cards.into_iter().find(|card| card.id == name);
        let card = card.ok_or_else(|| anyhow!(NOT_YET))?;
        let connection = client.connections().await?.into_iter().find(|connection| connection.id == name);
        let isolated = connection.as_ref().and_then(|connection| connection.isolated.as_ref());
        Ok(CardFacts {
            link: card.link,
            mac: card.mac,
            address: isolated.and_then(|network| network.address.clone()),
            backend: connection.as_ref().map(|connection| connection.backend.clone()).unwrap_or_default(),
            interface: connection.as_ref().and_then(|connection| connection.interface.clone()),
            problem: connection.and_then(|connection| connection.problem),
        })
    }

    /// Plugs the cable of the running guest's card, which its definition has as number `index`, in or out.
    pub async fn plug(&self, id: &GuestId, index: usize, up: bool) -> Result<()> {
        Ok(self.client(id)?.set_link(&self.name_of_card(id, index)?, up).await?)
    }

    /// What the guest's worker calls the card that the definition has as number `index`.
    fn name_of_card(&self, id: &GuestId, index: usize) -> Result<String> {
        let place = self.guests.get(id).and_then(|guest| guest.place_of_card(index));
        place.map(|place| format!("net{place}")).ok_or_else(|| anyhow!(NOT_YET))
    }

    /// Whether the host's port that `forward` begins at can be had; why not.
    pub async fn port_is_free(&self, forward: &Forward) -> Result<()> {
        match forward.protocol {
            Protocol::Tcp => drop(TcpListener::bind(forward.host()).await?),
            Protocol::Udp => drop(UdpSocket::bind(forward.host()).await?),
        }
        Ok(())
    }

    /// What the image at `path` holds and takes.
    pub async fn image(&self, path: PathBuf, format: DiskFormat) -> Result<ImageFacts> {
        let disks = Disks::new(&self.paths);
        blocking(move || {
            let info = disks.info(&path, Some(format.into()))?;
            Ok(ImageFacts { size: info.virtual_size, allocated: info.allocated })
        })
        .await
    }

    /// Gives a disk `size` bytes, which are more than it has.
    pub async fn grow(&self, path: PathBuf, format: DiskFormat, size: u64) -> Result<()> {
        if editing::grow_running(self.guests.supervisor(), &path, NewSize::Whole(size)).await?.is_some() {
            return Ok(());
        }
        let disks = Disks::new(&self.paths);
        blocking(move || {
            let image = disks.open_resizable(&path, Some(format.into()))?;
            disks.resize(&image, size, false, &|_, _| true)?;
            Ok(())
        })
        .await
    }

    /// The names of the pools that are folders, the default one first.
    pub async fn folder_pools(&self) -> Result<Vec<String>> {
        let pools = Pools::new(&self.paths);
        blocking(move || {
            let folders = pools.list()?.into_iter().filter(|pool| matches!(pool.target, Target::Path(_)));
            Ok(folders.map(|pool| pool.name).collect())
        })
        .await
    }

    /// The pools that a new disk can lie in.
    pub async fn pools(&self) -> Result<Vec<PoolChoice>> {
        let pools = Pools::new(&self.paths);
        blocking(move || {
            let choice = |entry: PoolEntry| {
                let only_raw = matches!(entry.target, Target::VolumeGroup(_));
                let info = pools.describe(entry);
                PoolChoice { name: info.pool.name, free: info.free, only_raw }
            };
            Ok(pools.list()?.into_iter().map(choice).collect())
        })
        .await
    }

    /// The disk that the existing image at `path` makes.
    pub async fn disk_of(&self, path: PathBuf) -> Result<DiskDefinition> {
        blocking(move || Ok(creation::import(path)?.0)).await
    }

    /// Gives the guest a disk, from its next start. Returns its id.
    pub async fn add_disk(&self, name: String, source: Source, bus: DiskBus) -> Result<String> {
        let (library, pools) = (self.library.clone(), Pools::new(&self.paths));
        blocking(move || Ok(editing::add_disk(&library, &pools, &name, &source, bus)?)).await
    }

    /// What would become of the image of a disk that is taken out.
    pub async fn preview_removal(&self, name: String, id: String) -> Result<Option<Removal>> {
        let (library, pools) = (self.library.clone(), Pools::new(&self.paths));
        blocking(move || {
            let definition = library.load(&name)?.definition;
            let path = definition.disks.iter().find(|disk| disk.id == id).map(|disk| disk.path.clone());
            let kept = editing::reason_to_keep(&library, &pools, &definition, &id);
            Ok(path.map(|path| Removal { path, kept }))
        })
        .await
    }

    /// Takes a disk or drive out of the guest, from its next start; with its image if `image` says so.
    pub async fn remove_disk(&self, name: String, id: String, image: bool) -> Result<()> {
        let (library, pools) = (self.library.clone(), Pools::new(&self.paths));
        blocking(move || Ok(editing::remove_disk(&library, &pools, &name, &id, image)?)).await
    }

    /// Changes what the definition of `name` is at this moment, for the guest's next start.
    pub async fn change(&self, name: String, change: impl FnOnce(&mut Definition) + Send + 'static) -> Result<()> {
        let library = self.library.clone();
        blocking(move || {
            let mut stored = library.load(&name)?;
            change(&mut stored.definition);
            library.save(&stored.definition, &stored.revision)?;
            Ok(())
        })
        .await
    }
}

fn load(library: &Library, name: &str) -> Result<Loaded, LibraryError> {
    let (revision, definition) = match library.load(name) {
        Ok(stored) => (stored.revision, Ok(stored.definition)),
        Err(error @ LibraryError::Definition { .. }) => (library.read(name)?, Err(error.to_string())),
        Err(error) => return Err(error),
    };
    Ok(Loaded { name: name.to_owned(), revision, definition })
}
