//! The worker's life from its start to its end.
//!
//! The order matters. First the launch description and its file descriptors, so that nothing else is mistaken for one of
//! them; then the log, so that what goes wrong can be told; then the sandbox; and only then the guest's disks, firmware and
//! machine, which are the guest's to shape. The control socket is served last: its greeting says that the guest is there.

use std::{
    fs::File,
    io::{self, Seek},
    os::unix::net::UnixListener,
    panic,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    control::{ControlServer, events::EventHub},
    descriptors::{Inherited, read_launch},
    driver::{self, Driver, DriverHandle, Request, Restored, Wiring},
    exit_report::{ExitReport, Outcome},
    files::{Files, GuestFiles},
    guest::{Guest, GuestDisk, Listening, Media},
    launch::{self, CacheMode, LAUNCH_FD, LaunchDescription},
    log::{LineWriter, Log},
    porter::Porter,
    process::{self, Signals},
    reporter::Reporter,
    sandbox, serial,
    usage::Usage,
    vdagent::{self, VdAgent},
};
use crate::{
    rfb,
    system_error::words,
    vmm::{
        block::{self, Durability, Format, Image, errors::ErrorPolicy, ring::Ring},
        machine::{
            CdromConfig, ConsoleConfig, DiskBus, DiskConfig, Machine, MachineConfig, Peripherals, disk_queues,
            saved_description,
        },
        virtio::console::{NamedPortConfig, PortHost},
    },
};

/// How long clients may take to get what still waits for them when the guest has ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// Names the level of the log: `error`, `warn`, `info`, `debug` or `trace`.
const LOG_VARIABLE: &str = "LODGE_LOG";

/// Anything that can go wrong before the guest runs, as a sentence for people.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the guest that the launch description tells of, to its end.
///
/// # Safety
///
/// This is the first thing that the process does, and it does it once: it takes over the file descriptors that the process
/// was started with.
pub unsafe fn run() -> ExitCode {
    // SAFETY: promised by the caller.
    let (mut inherited, json) = unsafe { (Inherited::new(), read_launch(LAUNCH_FD)) };
    let launch = match json.map_err(Failure::from).and_then(|json| Ok(LaunchDescription::from_json(&json)?)) {
        Ok(launch) => launch,
        Err(failure) => return refuse(&failure.to_string()),
    };
    let files = match Files::take(&mut inherited, &launch).and_then(|files| {
        inherited.close_others()?;
        Ok(files)
    }) {
        Ok(files) => files,
        Err(failure) => return refuse(&failure.to_string()),
    };
    let log = match Log::new(files.log) {
        Ok(log) => log,
        Err(error) => return refuse(&format!("the log cannot be used: {}", words(&error))),
    };
    start_log(&log);
    let reporter = Arc::new(Reporter::new(files.exit_report, Some(Arc::clone(&log))));
    report_panics(Arc::clone(&reporter));
    tracing::info!("{} {} starts {} ({})", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), launch.name, launch.uuid);
    let name = launch.name.clone();
    let report = run_guest(launch, files.rest, &log, &reporter).unwrap_or_else(|failure| {
        ExitReport::new(Outcome::LaunchFailed, format!("{name} could not start: {}", chain(&*failure)))
    });
    let orderly = report.outcome.is_orderly();
    if orderly {
        tracing::info!("{}", report.message);
    } else {
        tracing::error!("{}", report.message);
    }
    reporter.write(report);
    // Not before: whoever finds the lock free reads the report.
    drop(files.run_lock);
    if orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Started by hand, or by something that does not know how.
fn refuse(reason: &str) -> ExitCode {
    eprintln!(
        "error: {reason}.\nlodge-worker runs one guest of Lodge, and is started by lodge and lodgectl only. start a guest with \
         \"lodgectl start NAME\""
    );
    ExitCode::from(2)
}

fn start_log(log: &Arc<Log>) {
    let level = std::env::var(LOG_VARIABLE).ok().and_then(|level| level.parse().ok());
    let writer = Arc::clone(log);
    tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(tracing::level_filters::LevelFilter::INFO))
        .with_ansi(false)
        .with_writer(move || LineWriter::new(Arc::clone(&writer), ""))
        .init();
}

/// Leaves a report when the worker itself fails, and ends it: half a worker is none.
fn report_panics(reporter: Arc<Reporter>) {
    panic::set_hook(Box::new(move |information| {
        let message =
            format!("the worker has failed ({information}). this is a fault of Lodge: please report it with the log");
        tracing::error!("{}\n{}", message, std::backtrace::Backtrace::force_capture());
        reporter.write(ExitReport::new(Outcome::Crash, message.replace('\n', " ")));
        std::process::abort();
    }));
}

fn run_guest(
    launch: LaunchDescription,
    mut files: GuestFiles,
    log: &Arc<Log>,
    reporter: &Arc<Reporter>,
) -> Result<ExitReport, Failure> {
    process::detach(&launch.name);
    process::save_memory();
    process::redirect_standard_streams(&log.file()?)?;
    let usage = Usage::open();
    let rings = rings(&launch);
    let signals = Signals::take()?;
    sandbox::enter()?;

    let guest = Arc::new(guest(&launch, &mut files)?);
    let media = media(&launch.cdroms, &files.media);
    let (handle, queue) = driver::queue();
    let serial = serial::Unstarted::new(files.serial)?;
    let console = files.console.map(serial::Unstarted::new).transpose()?;
    let clipboard = has_clipboard(&launch, files.restore.as_ref())?.then(VdAgent::new).transpose()?.map(Arc::new);
    clipboard.iter().for_each(|agent| agent.set_enabled(launch.clipboard));
    let agent = clipboard
        .clone()
        .map(|agent| NamedPortConfig { name: vdagent::PORT.to_owned(), host: PortHost::Program(agent) });
    let ports: Vec<_> = files.ports.into_iter().chain(agent).collect();
    let has_console = console.is_some() || !ports.is_empty();
    let terminal = console.as_ref().map(|console| Box::new(console.output()) as _);
    let peripherals = Peripherals {
        entropy: launch.entropy,
        balloon: launch.balloon,
        input: launch.input,
        console: has_console.then_some(ConsoleConfig { terminal, ports }),
        vsock: files.vsock,
        networks: files.networks,
    };
    let config = MachineConfig {
        name: launch.name,
        uuid: launch.uuid,
        memory: launch.memory,
        memory_backing: launch.memory_backing,
        vcpus: launch.vcpus,
        cpu: launch.cpu,
        boot: files.boot,
        graphics: launch.graphics,
        video_memory: launch.video_memory,
        disks: disks(launch.disks, files.disks, rings)?,
        cdroms: cdroms(launch.cdroms, files.media)?,
        peripherals,
        serial: Box::new(serial.output()),
        debug_log: Box::new(LineWriter::new(Arc::clone(log), "firmware: ")),
        boot_menu: launch.boot_menu,
    };
    let mut machine = Machine::new(files.kvm, config, machine_events(handle.clone()))?;
    let restored = match files.restore {
        Some(file) => {
            let begun = Instant::now();
            let runs = machine.restore(&mut &file)?;
            tracing::info!("the saved state was restored in {:.1} s", begun.elapsed().as_secs_f32());
            let is_consumed = launch.restore.is_some_and(|restore| restore.consume);
            Some(Restored { runs, consumed: is_consumed.then_some(file) })
        }
        None => None,
    };

    if let Some(balloon) = machine.balloon() {
        let handle = handle.clone();
        balloon.observe(move || handle.send(Request::BalloonChanged));
    }
    let (screen, input) = (machine.screen(), machine.input());
    let serial = serial.start(machine.serial_input())?;
    let console = match (console, machine.console_input()) {
        (Some(console), Some(input)) => Some(console.start(input)?),
        _ => None,
    };
    let events = Arc::new(EventHub::default());
    let viewers = viewer_events(handle.clone());
    let vnc_server = Arc::new(rfb::server::Server::new(screen.clone(), input.clone(), &guest.name, viewers));
    if let Some(agent) = clipboard.clone() {
        vnc_server.share_clipboard(agent);
    }
    let control_server = Arc::new(ControlServer::new(handle.clone(), Arc::clone(&events), screen, files.connections));
    let (control, vnc) = Porter::acceptors(files.control, files.vnc)?;
    let porter = Porter {
        control,
        vnc,
        signals,
        control_server: Arc::clone(&control_server),
        vnc_server,
        driver: handle.clone(),
    };
    porter.start()?;

    let wiring =
        Wiring { guest, media, input, events, reporter: Arc::clone(reporter), clipboard, usage, handle, restored };
    let report = Driver::new(Box::new(machine), wiring).run(&queue);
    let deadline = Instant::now() + FAREWELL;
    control_server.drain(deadline);
    serial.drain(deadline);
    if let Some(console) = console {
        console.drain(deadline);
    }
    Ok(report)
}

/// Whether the guest has the clipboard's port. One that goes on has what it had, whatever was switched on or off since.
fn has_clipboard(launch: &LaunchDescription, restore: Option<&File>) -> Result<bool, Failure> {
    let Some(mut file) = restore else { return Ok(launch.clipboard) };
    let ports = saved_description(&mut file)?.ports;
    file.rewind()?;
    // States that tell nothing of it were saved when the switch could not be used while the guest ran.
    Ok(ports.map_or(launch.clipboard, |ports| ports.iter().any(|port| port == vdagent::PORT)))
}

fn guest(launch: &LaunchDescription, files: &mut GuestFiles) -> io::Result<Guest> {
    let vnc = UnixListener::from(files.vnc.try_clone()?);
    let disks = launch.disks.iter().zip(&files.disks).map(|(disk, (image, _))| GuestDisk {
        id: disk.id.clone(),
        bus: disk.bus,
        file_name: disk.file_name.clone(),
        format: disk.format.name(),
        read_only: disk.read_only,
        backing_depth: u32::try_from(disk.backing.len()).unwrap_or(u32::MAX),
        image: image.try_clone().ok().into(),
    });
    let listening = launch.listening.zip(files.gate.take()).map(|(screen, gate)| Listening { screen, gate });
    Ok(Guest {
        name: launch.name.clone(),
        uuid: launch.uuid,
        memory: launch.memory,
        start_paused: launch.start_paused,
        on_poweroff: launch.on_poweroff,
        on_reboot: launch.on_reboot,
        on_crash: launch.on_crash,
        disks: disks.collect(),
        listening: Mutex::new(listening),
        vnc_socket: vnc.local_addr()?.as_pathname().map(PathBuf::from).unwrap_or_default(),
    })
}

/// A ring for each queue of each virtio disk. Without io_uring, which some hosts forbid, requests are done one after the other.
fn rings(launch: &LaunchDescription) -> Vec<Vec<Ring>> {
    let of_a_disk = || {
        let rings = (0..disk_queues(launch.vcpus)).map(|_| Ring::new()).collect::<io::Result<Vec<_>>>();
        rings.unwrap_or_else(|error| {
            tracing::warn!(%error, "there is no io_uring: the disks are slower");
            Vec::new()
        })
    };
    let of = |disk: &launch::Disk| match disk.bus {
        launch::DiskBus::Virtio => of_a_disk(),
        // Its channel has one request at a time.
        launch::DiskBus::Ide => Vec::new(),
    };
    launch.disks.iter().map(of).collect()
}

fn disks(
    disks: Vec<launch::Disk>,
    files: Vec<(File, Vec<File>)>,
    rings: Vec<Vec<Ring>>,
) -> Result<Vec<DiskConfig>, Failure> {
    let mut configs = Vec::with_capacity(disks.len());
    for ((disk, (file, below)), rings) in disks.into_iter().zip(files).zip(rings) {
        let formats = disk.backing.iter().map(|below| format(below.format));
        let backing = below.into_iter().zip(formats).map(|(file, format)| Image { file, format }).collect();
        let opened = block::open(Image { file, format: format(disk.format) }, disk.read_only, backing)
            .map_err(|error| format!("{} ({}): {}", disk.id, disk.file_name, chain(&error)))?;
        configs.push(DiskConfig {
            id: disk.id,
            bus: match disk.bus {
                launch::DiskBus::Virtio => DiskBus::Virtio,
                launch::DiskBus::Ide => DiskBus::Ide,
            },
            disk: opened.into(),
            serial: disk.serial,
            bootindex: disk.bootindex,
            durability: match disk.cache {
                CacheMode::Writeback | CacheMode::None => Durability::OnFlush,
                CacheMode::Writethrough => Durability::OnWrite,
                CacheMode::Unsafe => Durability::Never,
            },
            errors: ErrorPolicy { write: disk.error_policy, read: disk.rerror_policy },
            limits: disk.limits,
            rings,
        });
    }
    Ok(configs)
}

fn cdroms(cdroms: Vec<launch::Cdrom>, media: Vec<Option<File>>) -> Result<Vec<CdromConfig>, Failure> {
    let open = |(cdrom, file): (launch::Cdrom, Option<File>)| {
        let launch::Cdrom { id, medium, bootindex } = cdrom;
        let medium = match (medium, file) {
            (Some(medium), Some(file)) => {
                let opened = block::open(Image { file, format: format(medium.format) }, true, Vec::new());
                Some(opened.map_err(|error| format!("{id} ({}): {}", medium.file_name, chain(&error)))?.into())
            }
            _ => None,
        };
        Ok(CdromConfig { id, medium, bootindex })
    };
    cdroms.into_iter().zip(media).map(open).collect()
}

/// What is known of the media in the CD-ROM drives.
fn media(cdroms: &[launch::Cdrom], files: &[Option<File>]) -> Media {
    let described = cdroms.iter().zip(files).filter_map(|(cdrom, file)| {
        let medium = cdrom.medium.as_ref()?;
        let image = file.as_ref().and_then(|file| file.try_clone().ok());
        let disk = GuestDisk::medium(&cdrom.id, medium.file_name.clone(), medium.format.name(), image);
        Some((cdrom.id.clone(), disk))
    });
    described.collect()
}

fn format(format: launch::DiskFormat) -> Format {
    match format {
        launch::DiskFormat::Raw => Format::Raw,
        launch::DiskFormat::Qcow2 => Format::Qcow2,
    }
}

fn machine_events(driver: DriverHandle) -> crate::vmm::machine::EventSink {
    Arc::new(move |event| driver.send(Request::Machine(event)))
}

fn viewer_events(driver: DriverHandle) -> rfb::server::Observer {
    Arc::new(move |event| driver.send(Request::Viewer(event)))
}

/// An error with all that led to it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    /// Tells this test that it is to fail, and where the report goes.
    const VARIABLE: &str = "LODGE_TEST_FAILING_WORKER";

    /// In a process of its own: this program again, with this test only.
    #[test]
    fn a_thread_that_fails_ends_the_worker_with_a_report() {
        if let Some(path) = std::env::var_os(VARIABLE) {
            report_panics(Arc::new(Reporter::new(File::create(path).unwrap(), None)));
            let thread = std::thread::spawn(|| panic!("one thing\nand another"));
            panic!("the worker has outlived its thread: {:?}", thread.join());
        }
        let report = tempfile::NamedTempFile::new().unwrap();
        let mut failing = Command::new(std::env::current_exe().unwrap());
        failing.args(["--exact", "worker::run::tests::a_thread_that_fails_ends_the_worker_with_a_report"]);

        let output = failing.env(VARIABLE, report.path()).output().unwrap();

        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let report = ExitReport::from_json(&std::fs::read(report.path()).unwrap()).unwrap().unwrap();
        assert_eq!(report.outcome, Outcome::Crash);
        assert!(report.message.contains("one thing and another"), "{}", report.message);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the disk could not be opened")]
        struct Outer(#[source] io::Error);

        let error = Outer(io::Error::other("it is on fire"));

        assert_eq!(chain(&error), "the disk could not be opened: it is on fire");
    }
}
