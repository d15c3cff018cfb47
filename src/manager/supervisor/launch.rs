//! Getting everything ready that a worker needs, and starting it. The worker opens nothing by name: every file is opened
//! here and handed over by number.

use std::{
    env,
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    os::{
        fd::{OwnedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::MemfdFlags;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::{
    Begin, StartOptions, Supervisor, SupervisorError,
    companions::Companion,
    devices::{self, Sockets},
    gate::Gate,
    runtime, saved,
};
use crate::{
    manager::{
        definition::{Definition, DisplayModel, Lifecycle, Problem, Problems},
        host::{self, firmware, kvm},
        library::LibraryError,
        paths::RunningPaths,
        run_lock::RunLock,
    },
    system_error::words,
    worker::launch::{
        Action, Boot, Cdrom, Descriptors, Disk, Firmware, Graphics, LAUNCH_FD, LAUNCH_VERSION, LaunchDescription,
        ListeningScreen, Network, Restore,
    },
};

/// Names the worker's program; for tests and for those who run from a build folder.
const WORKER_VARIABLE: &str = "LODGE_WORKER";

/// A worker that is ready to be started. Dropped instead, it leaves the guest off.
pub(super) struct Launch {
    pub uuid: Uuid,
    name: String,
    worker: PathBuf,
    command: Command,
    running: RunningPaths,
    /// The saved state's size in bytes; 0 when the guest begins at power-on.
    pub state_size: u64,
    log: File,
    /// Started before the worker.
    companions: Vec<Companion>,
}

impl Supervisor {
    /// Opens and makes everything that the guest's worker needs. Nothing is left behind when that fails.
    pub(super) fn prepare(&self, name: &str, options: StartOptions) -> Result<Launch, SupervisorError> {
        let definition = self.library().load(name)?.definition;
        let refused = |(what, mend)| SupervisorError::Host { name: name.to_owned(), what, mend };
        let io_error = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| {
                refused((format!("{what}: {}", words(&error)), "Make room and make the folder writable for you".into()))
            }
        };
        let problems = definition.review(&host::limits()).errors;
        if !problems.0.is_empty() {
            return Err(SupervisorError::Unfit { name: name.to_owned(), problems });
        }

        // The lock comes first: of two who start a guest, only one opens its disks.
        let mut lock = self.take_lock(name)?;
        // Until then its snapshots could change, and with them its disks.
        self.library().settled(name)?;
        let mut definition = self.library().load(name)?.definition;
        let stored = definition.clone();
        // Where it goes on, its drives have what they had.
        if matches!(options.begin, Begin::Saved)
            && let Some(media) = saved::media(self.paths(), name)?
        {
            media.put_into(&mut definition);
        }
        let mut inherited = Inherited::default();
        let run_lock = inherited.add(lock.share().map_err(io_error("the run lock cannot be handed over"))?);
        let kvm = inherited.add(kvm::open(&self.root).map_err(|error| refused(kvm::refused(&error)))?);
        let unfit = |problems| SupervisorError::Unfit { name: name.to_owned(), problems };
        let boot = match &definition.kernel {
            Some(kernel) => Boot::Kernel(devices::open_kernel(kernel, &mut inherited).map_err(unfit)?),
            None => Boot::Firmware(Firmware {
                bios: inherited.add(self.firmware(firmware::BIOS).map_err(refused)?),
                vga_bios: inherited.add(self.firmware(vga_bios(&definition)).map_err(refused)?),
            }),
        };
        let drives = devices::open_disks(&definition, &mut inherited).map_err(unfit)?;
        if let Some(problem) = self.library().address_conflict(&definition)? {
            return Err(unfit(Problems(vec![problem])));
        }
        let (networks, mut companions) =
            devices::open_networks(self.paths(), &definition, &self.root, &mut inherited).map_err(unfit)?;
        let gate = Gate::open(self.paths(), &definition).map_err(|problem| unfit(Problems(vec![problem])))?;
        // Not before the disks are locked.
        let state = match options.begin {
            Begin::Saved => saved::open(self.paths(), &definition)?.map(|state| (state, true)),
            Begin::PowerOn => None,
            Begin::State(state) => Some((state, false)),
        };
        let state_size =
            state.as_ref().and_then(|(state, _)| state.metadata().ok()).map_or(0, |metadata| metadata.len());
        let is_own = state.as_ref().is_some_and(|(_, is_own)| *is_own);
        let restore = state.map(|(state, consume)| Restore { state: inherited.add(state), consume });
        let worker = self.worker_program().map_err(refused)?;
        let log = open_log(&self.paths().log(name)).map_err(io_error("the log cannot be written"))?;
        let mut prepared = runtime::prepare(self.paths(), name, definition.uuid, devices::wanted(&definition))
            .map_err(io_error("the runtime folder cannot be made"))?
            .map_err(|other| LibraryError::SameUuid { name: name.to_owned(), other })?;
        self.library().record(&stored)?;
        let its_log = log.try_clone().map_err(io_error("the log cannot be written"))?;
        let sockets = devices::hand_over_sockets(&definition, &mut prepared, &mut inherited);
        let running = self.paths().running(definition.uuid);
        let mut listening = None;
        if let Some(gate) = gate {
            let made = gate.companion(&running.folder);
            let (companion, control, told) = made.map_err(io_error("the screen's gate cannot be prepared"))?;
            companions.push(companion);
            listening = Some(ListeningScreen { gate: inherited.add(control), ..told });
        }
        let descriptors = Descriptors {
            kvm,
            run_lock,
            log: inherited.add(log),
            exit_report: inherited.add(prepared.exit_report),
            control: inherited.add(prepared.control),
            vnc: inherited.add(prepared.vnc),
            serial: inherited.add(prepared.serial),
        };
        let mut description = describe(&definition, descriptors, boot, drives, networks, sockets);
        description.restore = restore;
        description.listening = listening;
        description.start_paused = options.paused;
        let command = inherited
            .add_description(&description.to_json())
            .and_then(|()| command(&worker, inherited))
            .map_err(io_error("the worker cannot be prepared"))?;
        if !is_own {
            saved::remove(&self.paths().saved_state(name))?;
        }
        let (uuid, name, log) = (definition.uuid, name.to_owned(), its_log);
        Ok(Launch { uuid, name, worker, command, running, state_size, log, companions })
    }

    pub(super) fn take_lock(&self, name: &str) -> Result<RunLock, SupervisorError> {
        let path = self.paths().run_lock(name);
        match RunLock::acquire(&path) {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(SupervisorError::AlreadyRunning { name: name.to_owned() }),
            Err(source) => {
                let mend = "Make this file writable for you";
                Err(LibraryError::Io { path, source, mend }.into())
            }
        }
    }

    fn firmware(&self, file: &str) -> Result<File, (String, String)> {
        let path = firmware::find(&self.root, file).ok_or_else(|| firmware::missing(file))?;
        File::open(&path).map_err(|error| {
            (
                format!("{} cannot be read: {}", path.display(), words(&error)),
                format!("Install \"{}\" again", firmware::PACKAGE),
            )
        })
    }

    /// The worker's program: the one that was chosen, or the one beside this program.
    pub(super) fn worker_program(&self) -> Result<PathBuf, (String, String)> {
        let chosen = self.worker.clone().or_else(|| env::var_os(WORKER_VARIABLE).map(PathBuf::from));
        let beside = || env::current_exe().ok().and_then(|program| Some(program.parent()?.join("lodge-worker")));
        let path = chosen.or_else(beside).unwrap_or_else(|| "/usr/bin/lodge-worker".into());
        if path.is_file() {
            return Ok(path);
        }
        let mend = format!("Install all of Lodge's programs into one folder, or name it with {WORKER_VARIABLE}");
        Err((format!("{} is missing", path.display()), mend))
    }
}

impl Launch {
    /// Starts those who go with the worker. What they have of the guest ends with this launch, and they with it.
    pub async fn start_companions(&mut self) -> Result<(), SupervisorError> {
        for companion in self.companions.drain(..) {
            let started = match self.log.try_clone() {
                Ok(log) => companion.start(&self.worker, log).await,
                Err(error) => Err(Problem::new(
                    companion.field,
                    format!("the log cannot be written: {}. Make room", words(&error)),
                )),
            };
            let unfit = |problem| SupervisorError::Unfit { name: self.name.clone(), problems: Problems(vec![problem]) };
            started.map_err(unfit)?;
        }
        Ok(())
    }

    /// Starts the worker, in a session of its own, so that it outlives whoever started it.
    pub fn spawn(mut self) -> Result<Child, SupervisorError> {
        let refused = |what: String| SupervisorError::Host {
            name: self.name.clone(),
            what,
            mend: "Look at what is said, and install Lodge again if it is damaged".to_owned(),
        };
        let mut worker =
            self.command.spawn().map_err(|error| refused(format!("{}: {}", self.worker.display(), words(&error))))?;
        let recorded = worker.id().map_or(Ok(()), |pid| runtime::write_pid(&self.running, pid));
        if let Err(error) = recorded {
            let _ = worker.start_kill();
            return Err(refused(format!("{} cannot be written: {}", self.running.pid().display(), words(&error))));
        }
        Ok(worker)
    }
}

/// The descriptors that a worker inherits, numbered in the order in which they were opened.
#[derive(Default)]
pub(super) struct Inherited {
    descriptors: Vec<OwnedFd>,
    description: Option<OwnedFd>,
}

impl Inherited {
    /// Hands a descriptor over, and says what its number will be.
    pub fn add(&mut self, descriptor: impl Into<OwnedFd>) -> RawFd {
        self.descriptors.push(descriptor.into());
        // No process has so many descriptors that this does not fit.
        LAUNCH_FD.saturating_add(RawFd::try_from(self.descriptors.len()).unwrap_or(RawFd::MAX))
    }

    /// Hands the launch description over, as the first descriptor.
    pub fn add_description(&mut self, json: &[u8]) -> io::Result<()> {
        let mut file = File::from(rustix::fs::memfd_create("launch", MemfdFlags::CLOEXEC)?);
        file.write_all(json)?;
        file.rewind()?;
        self.description = Some(file.into());
        Ok(())
    }

    fn mappings(self) -> Vec<FdMapping> {
        let numbered = self.description.into_iter().chain(self.descriptors).zip(LAUNCH_FD..);
        numbered.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect()
    }
}

/// A program of Lodge's in the background, in a session of its own.
pub(super) fn command(worker: &Path, inherited: Inherited) -> io::Result<Command> {
    let mut command = Command::new(worker);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    // Of the environment a worker needs nothing but what is for its log and for tests.
    let kept = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with("RUST_") || name.starts_with("LODGE_"));
    command.env_clear().envs(env::vars_os().filter(|(name, _)| kept(name)));
    command.fd_mappings(inherited.mappings()).map_err(io::Error::other)?;
    // SAFETY: the closure runs between fork and exec. It only makes the system call setsid, which is safe there, and
    // allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
    Ok(command)
}

fn open_log(path: &Path) -> io::Result<File> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    log.set_len(0)?;
    Ok(log)
}

/// The ROM of the guest's graphics card.
fn vga_bios(definition: &Definition) -> &'static str {
    match definition.display.model {
        DisplayModel::Vga => firmware::VGA_BIOS,
        DisplayModel::Virtio => firmware::VIRTIO_VGA_BIOS,
    }
}

fn describe(
    definition: &Definition,
    descriptors: Descriptors,
    boot: Boot,
    (disks, cdroms): (Vec<Disk>, Vec<Cdrom>),
    networks: Vec<Network>,
    sockets: Sockets,
) -> LaunchDescription {
    let action = |lifecycle| match lifecycle {
        Lifecycle::Destroy => Action::Destroy,
        Lifecycle::Restart => Action::Restart,
        Lifecycle::Preserve => Action::Preserve,
    };
    LaunchDescription {
        version: LAUNCH_VERSION,
        name: definition.name.clone(),
        uuid: definition.uuid,
        memory: definition.memory.bytes(),
        memory_backing: definition.memory_backing,
        vcpus: definition.vcpus,
        cpu: definition.cpu.launched(),
        graphics: match definition.display.model {
            DisplayModel::Vga => Graphics::Vga,
            DisplayModel::Virtio => Graphics::Virtio,
        },
        video_memory: u32::try_from(definition.display.video_memory.bytes()).unwrap_or(u32::MAX),
        boot_menu: false,
        start_paused: false,
        on_poweroff: action(definition.on_poweroff),
        on_reboot: action(definition.on_reboot),
        on_crash: action(definition.on_crash),
        descriptors,
        boot,
        disks,
        cdroms,
        networks,
        entropy: definition.devices.rng,
        balloon: definition.devices.balloon,
        input: definition.devices.tablet,
        console: sockets.console,
        ports: sockets.ports,
        clipboard: definition.devices.clipboard,
        vsock: sockets.vsock,
        restore: None,
        listening: None,
    }
}
