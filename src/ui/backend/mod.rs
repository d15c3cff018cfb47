//! The application's thin face on the manager: what its windows ask for, as calls that run on tokio. Nothing here knows GTK
//! and nothing in the windows knows sockets, files or processes.

mod editing;
mod host;
mod snapshots;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, bail};
use lodge::{
    input::{Key, keys::parse_combination},
    manager::{
        client::Client,
        clone::{self, NewClone},
        creation,
        definition::{Definition, HostLimits, NetworkDefinition},
        drives,
        guests::{Guests, WatchLevel},
        host::{self as host_facts, Finding, Root},
        library::{Deleted, Library},
        media::{self, Media, MediaError},
        network_screen::{Listening, NetworkScreen, Showing},
        networks,
        paths::{Paths, RunningPaths},
        pool::{Pool, Space},
        size::Size,
        supervisor::Supervisor,
    },
};
use tokio::{sync::mpsc::UnboundedReceiver, task::spawn_blocking};
use uuid::Uuid;

use super::progress::Progress;

pub use self::{
    editing::{CardFacts, ImageFacts, Loaded, PoolChoice, Removal, Wanted},
    host::{PoolView, volume_name},
    snapshots::{Edit, NewSnapshot, Preview, Snapshot, Tree},
};
pub use lodge::manager::{
    creation::NewDisk,
    guests::{GuestChange, GuestId, GuestView},
    supervisor::GuestState,
};

/// How long a guest's system may take to shut down before it is started anew.
const TIME_TO_SHUT_DOWN: Duration = Duration::from_secs(120);
/// How often it is looked whether a person has stopped what waits.
const LOOK_FOR_STOP: Duration = Duration::from_millis(100);
/// The test card guest's memory.
const TEST_CARD_MEMORY: Size = Size::mib(64);

/// The manager. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Backend {
    guests: Guests,
    library: Library,
    paths: Paths,
}

/// Something that can be done to a guest with one press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Start it, or let it go on when it is paused.
    Run,
    /// Hold it.
    Pause,
    /// Press its reset button.
    Reset,
    /// Press its power button.
    ShutDown,
    /// Pull its plug.
    ForceOff,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Run, Self::Pause, Self::Reset, Self::ShutDown, Self::ForceOff];

    /// Whether it makes sense for a guest in this state.
    pub fn allowed(self, state: &GuestState) -> bool {
        match (self, state) {
            (
                Self::Run,
                GuestState::Off | GuestState::Saved | GuestState::Crashed { .. } | GuestState::Paused { .. },
            ) => true,
            (Self::Pause | Self::ShutDown, GuestState::Running) => true,
            (Self::Reset, GuestState::Running | GuestState::Paused { .. } | GuestState::InternalError { .. }) => true,
            (Self::ForceOff, state) => state.is_active(),
            _ => false,
        }
    }
}

/// A guest to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGuest {
    /// What it is to be, without the disk of `disk`.
    pub definition: Definition,
    /// The disk that is to be made for it.
    pub disk: Option<NewDisk>,
    /// The pool's folder for that disk; else the default pool.
    pub pool: Option<PathBuf>,
    /// Whether to start it at once.
    pub start: bool,
}

/// A guest that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Which.
    pub id: GuestId,
    /// Its name.
    pub name: String,
    /// Whether it could be started, if that was asked.
    pub started: Option<Result<(), String>>,
}

/// What the wizard needs to know before it can judge what is entered.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// What the host can give to a guest.
    pub limits: HostLimits,
    /// The room in the pool of new disks.
    pub space: Option<Space>,
    /// Where that pool lies.
    pub pool: PathBuf,
    /// The names that are taken.
    pub names: Vec<String>,
    /// The host's networks that a guest can be in, each as the card that is connected to it.
    pub networks: Vec<NetworkDefinition>,
}

impl Backend {
    /// Begins to watch the guests, on the current tokio runtime.
    pub fn watch(paths: Paths) -> (Self, UnboundedReceiver<GuestChange>) {
        let (guests, changes) = Guests::watch(Supervisor::new(paths.clone()));
        (Self { guests, library: Library::new(paths.clone()), paths }, changes)
    }

    /// Takes figures of the running guests while somebody `looks` at them, and none otherwise.
    pub fn look_at_figures(&self, looks: bool) {
        self.guests.set_level(if looks { WatchLevel::Statistics } else { WatchLevel::States });
    }

    /// The live view: histories and connections.
    pub fn guests(&self) -> &Guests {
        &self.guests
    }

    /// Whether there are guests that the live view will tell of, if it has not yet.
    pub async fn has_guests(&self) -> bool {
        let library = self.library.clone();
        blocking(move || Ok(!library.names()?.is_empty())).await.unwrap_or(false)
    }

    /// Does `operation` to the guest.
    pub async fn operate(&self, operation: Operation, id: &GuestId) -> Result<()> {
        let guest = self.guests.get(id).ok_or_else(|| anyhow!("the guest is gone"))?;
        let supervisor = self.guests.supervisor();
        match operation {
            Operation::Run if !matches!(guest.state, GuestState::Paused { .. }) => {
                drop(supervisor.start(&guest.name).await?)
            }
            Operation::Run => supervisor.attach(&guest.name).await?.resume().await?,
            Operation::Pause => supervisor.attach(&guest.name).await?.pause().await?,
            Operation::Reset => supervisor.attach(&guest.name).await?.reset().await?,
            Operation::ShutDown => supervisor.attach(&guest.name).await?.press_power_button().await?,
            Operation::ForceOff => supervisor.force_off(&guest.name).await?,
        }
        Ok(())
    }

    /// Where the sockets of the running guest are.
    pub fn sockets(&self, uuid: Uuid) -> RunningPaths {
        self.paths.running(uuid)
    }

    /// Shows the running guest's screen on a network, until what is returned is dropped.
    pub async fn show_on_network(&self, uuid: Uuid, showing: Showing) -> Result<NetworkScreen> {
        Ok(NetworkScreen::open(&self.paths, self.sockets(uuid), showing).await?)
    }

    /// Where viewers on a network see the guest's screen because its definition has it so.
    pub async fn listening(&self, guest: &GuestView) -> Result<Option<Listening>> {
        let Ok(definition) = &guest.definition else { return Ok(None) };
        Ok(Listening::ask(&self.client(&guest.id)?, &self.paths, definition).await?)
    }

    /// A picture of the guest's screen: a PNG file's bytes.
    pub async fn screenshot(&self, id: &GuestId) -> Result<Vec<u8>> {
        Ok(self.client(id)?.screenshot().await?)
    }

    /// Presses keys together in the guest and lets them go: `ctrl-alt-delete`.
    pub async fn send_keys(&self, id: &GuestId, combination: &str) -> Result<()> {
        Ok(self.client(id)?.send_keys(&parse_combination(combination)?).await?)
    }

    /// Presses one stroke after the other in the guest: keys that are held together.
    pub async fn type_strokes(&self, id: &GuestId, strokes: &[Vec<Key>], progress: Progress) -> Result<()> {
        let client = self.client(id)?;
        // The shortcut that asked for it may be down there still.
        client.lift_modifiers().await?;
        match client.type_strokes(strokes, &|done, total| progress.tell(done, total)).await? {
            true => Ok(()),
            false => Err(anyhow!("it was stopped")),
        }
    }

    /// Puts an ISO image into a CD-ROM drive of the guest, or takes out what is in it.
    pub async fn change_medium(&self, name: &str, change: &drives::Change) -> Result<drives::Changed> {
        Ok(drives::change(self.guests.supervisor(), name, change).await?)
    }

    fn client(&self, id: &GuestId) -> Result<Client> {
        self.guests.client(id).ok_or_else(|| anyhow!("the guest is not running"))
    }

    /// Gives the guest another name.
    pub async fn rename(&self, name: String, new_name: String) -> Result<()> {
        let library = self.library.clone();
        blocking(move || Ok(library.rename(&name, &new_name)?)).await
    }

    /// Keeps the running guest's state, memory included, and ends it.
    pub async fn save_state(&self, name: &str, progress: Progress) -> Result<()> {
        Ok(self.guests.supervisor().save(name, &|done, total| progress.tell(done, total)).await?)
    }

    /// Has the guest shut down and starts it anew, unless a person stops that meanwhile. `false` when it runs on: its system ignores
    /// the power button, or needs longer.
    pub async fn reboot(&self, name: &str, stop: Progress) -> Result<bool> {
        let supervisor = self.guests.supervisor();
        let stopped = async {
            while !stop.is_stopped() {
                tokio::time::sleep(LOOK_FOR_STOP).await;
            }
        };
        let is_off = tokio::select! {
            is_off = supervisor.shut_down(name, TIME_TO_SHUT_DOWN) => is_off?,
            () = stopped => bail!("stopped"),
        };
        if is_off {
            drop(supervisor.start(name).await?);
        }
        Ok(is_off)
    }

    /// Removes the state that was kept of the guest.
    pub async fn discard_saved(&self, name: &str) -> Result<()> {
        self.guests.supervisor().discard_saved(name).await?;
        Ok(())
    }

    /// Makes a guest that is like the guest `name`.
    pub async fn clone_guest(&self, name: String, new: NewClone, progress: Progress) -> Result<()> {
        let paths = self.paths.clone();
        blocking(move || {
            clone::clone(&paths, &name, &new, &|done, total| progress.tell(done, total))?;
            Ok(())
        })
        .await
    }

    /// What would be deleted with the guest's disks, and what would be kept.
    pub async fn preview_delete(&self, name: String) -> Result<Deleted> {
        let library = self.library.clone();
        blocking(move || Ok(library.preview_delete(&name)?)).await
    }

    /// Deletes the guest, and its disks when asked.
    pub async fn delete(&self, name: String, disks: bool) -> Result<Deleted> {
        let library = self.library.clone();
        blocking(move || Ok(library.delete(&name, disks)?)).await
    }

    /// Brings a deleted guest back, with its disks.
    pub async fn restore(&self, id: Uuid) -> Result<String> {
        let library = self.library.clone();
        blocking(move || Ok(library.restore(&id.to_string(), None)?)).await
    }

    /// Makes a guest and starts it when asked. What was made before something failed is removed again.
    pub async fn create(&self, new: NewGuest) -> Result<Created> {
        let NewGuest { definition, disk, pool, start } = new;
        let pool = pool.map_or_else(|| Pool::default_pool(&self.paths), |folder| Pool::at(&folder));
        let library = self.library.clone();
        // What is only worth knowing was said at the wizard's fields.
        let create = move || Ok(creation::create(&library, &pool, definition, disk.as_slice())?.0);
        let definition = blocking(create).await?;
        let started = match start {
            true => Some(
                self.guests.supervisor().start(&definition.name).await.map(drop).map_err(|error| error.to_string()),
            ),
            false => None,
        };
        Ok(Created { id: GuestId::Known(definition.uuid), name: definition.name, started })
    }

    /// Makes a test card guest under the first free name, and starts it.
    pub async fn create_test_card(&self) -> Result<Created> {
        let taken = self.surroundings(None).await?.names;
        let mut definition = Definition::new(free_name("testcard", &taken));
        definition.memory = TEST_CARD_MEMORY;
        definition.os = Some("testcard".to_owned());
        self.create(NewGuest { definition, disk: Some(NewDisk::TestCard), pool: None, start: true }).await
    }

    /// What the host check finds.
    pub async fn host_check(&self) -> Result<Vec<Finding>> {
        let paths = self.paths.clone();
        blocking(move || Ok(host_facts::check(&paths))).await
    }

    /// What the file at `path` is, and which guests use it as a disk.
    pub async fn inspect(&self, path: PathBuf) -> Result<(Result<Media, MediaError>, Vec<String>)> {
        let library = self.library.clone();
        blocking(move || {
            let uses = |definition: &Definition| definition.disks.iter().any(|disk| !disk.cdrom && disk.path == path);
            let users = library.list()?.into_iter().filter_map(|entry| Some((entry.name, entry.definition.ok()?)));
            let users = users.filter(|(_, stored)| uses(&stored.definition)).map(|(name, _)| name).collect();
            Ok((media::inspect(&path), users))
        })
        .await
    }

    /// What the file at `path` is as a kernel's initial RAM disk.
    pub async fn inspect_initial_ram_disk(&self, path: PathBuf) -> Result<Result<Media, MediaError>> {
        blocking(move || Ok(media::inspect_initial_ram_disk(&path))).await
    }

    /// What the wizard judges by until [`Backend::surroundings`] has answered: nothing is limited.
    pub fn surroundings_without_looking(&self) -> Surroundings {
        let limits = HostLimits {
            memory_total: u64::MAX,
            memory_available: u64::MAX,
            cpus: u32::MAX,
            max_vcpus: u32::MAX,
            address_bits: 64,
        };
        let names = self.guests.all().into_iter().map(|guest| guest.name).collect();
        let pool = Pool::default_pool(&self.paths).folder().to_owned();
        Surroundings { limits, space: None, pool, names, networks: Vec::new() }
    }

    /// What the wizard judges by. New disks lie in the pool of this name, where that is a folder, else in the default pool.
    pub async fn surroundings(&self, pool: Option<String>) -> Result<Surroundings> {
        let (library, paths) = (self.library.clone(), self.paths.clone());
        blocking(move || {
            let pool = editing::folder_pool(&paths, pool.as_deref());
            Ok(Surroundings {
                limits: host_facts::limits(),
                space: pool.space().ok(),
                pool: pool.folder().to_owned(),
                names: library.names()?,
                networks: networks::choices(&library, &Root::default())?
                    .into_iter()
                    .filter(|choice| choice.problem.is_none())
                    .map(|choice| choice.card)
                    .collect(),
            })
        })
        .await
    }
}

/// `stem`, or with a number behind it when that is taken.
pub fn free_name(stem: &str, taken: &[String]) -> String {
    let is_free = |name: &String| !taken.contains(name);
    let numbered = || (2..).map(|number| format!("{stem}-{number}")).find(is_free);
    Some(stem.to_owned()).filter(is_free).or_else(numbered).unwrap_or_default()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_off_can_only_be_run() {
        for state in [GuestState::Off, GuestState::Crashed { reason: "it was killed".into() }] {
            let allowed: Vec<_> = Operation::ALL.into_iter().filter(|operation| operation.allowed(&state)).collect();

            assert_eq!(allowed, [Operation::Run]);
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_the_first_free_number() {
        let taken = ["web".to_owned(), "web-2".to_owned()];

        assert_eq!(free_name("mail", &taken), "mail");
        assert_eq!(free_name("web", &taken), "web-3");
    }

    #[test]
    fn a_guest_that_hangs_can_be_forced_off() {
        for state in [GuestState::NotResponding, GuestState::Starting, GuestState::Stopping] {
            assert!(Operation::ForceOff.allowed(&state));
            assert!(!Operation::Pause.allowed(&state));
        }
    }

    #[test]
    fn after_an_internal_error_a_guest_can_be_reset_but_not_run_on() {
        let state = GuestState::InternalError { reason: "emulation failed".into() };

        assert!(Operation::Reset.allowed(&state) && Operation::ForceOff.allowed(&state));
        assert!(!Operation::Run.allowed(&state));
    }
}
