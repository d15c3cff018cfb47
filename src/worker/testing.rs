//! A worker without KVM, for tests: the real driver and control server over a machine that only remembers what it was told.

#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read, Write},
    os::unix::{fs::FileExt, net::UnixStream},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    control::{ControlServer, events::EventHub},
    driver::{self, Driver, DriverHandle, Request, Wiring},
    exit_report::ExitReport,
    guest::{Guest, GuestDisk},
    launch::{Action, DiskBus},
    machine::{DiskFigures, Machine, MachineFault, SavedState},
    reporter::Reporter,
    usage::Usage,
    vdagent::VdAgent,
};
use crate::{
    input::{InputEvent, InputSink},
    qmp::codec::Decoder,
    screen::{Generation, Rect, Screen, Surface},
    vmm::{
        block::{
            errors::DiskError,
            limits::Limits,
            merge::{Merge, MergeImages},
        },
        cpu::{CpuPlace, VcpuInfo},
        devices::ide::Tray,
        machine::{CdromInfo, DiskSnapshot, GoOn, MachineEvent, NetworkInfo},
        net::{card::MacAddress, none::NoNetwork},
        snapshot::Progress,
        virtio::{
            balloon::{Balloon, BalloonHandle},
            net::{NetConfig, VirtioNet},
        },
    },
};

/// The address of the network card.
const CARD: MacAddress = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

/// A machine that does nothing but remember the calls: `resume`, `pause`, `reset`.
struct FakeMachine {
    calls: Sender<&'static str>,
    fails: Arc<Mutex<Option<&'static str>>>,
    trouble: Arc<Mutex<Option<DiskError>>>,
    limits: Limits,
    balloon: Balloon,
    network: NetworkInfo,
    cdrom: CdromInfo,
}

impl FakeMachine {
    fn called(&self, call: &'static str) -> Result<(), MachineFault> {
        // A test that does not listen does not care.
        let _ = self.calls.send(call);
        let fails = *self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        if fails == Some(call) { Err(format!("{call} fails on purpose").into()) } else { Ok(()) }
    }
}

impl Machine for FakeMachine {
    fn resume(&mut self) -> Result<(), MachineFault> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.called("resume")
    }

    fn pause(&mut self) -> Result<(), MachineFault> {
        self.called("pause")
    }

    fn save(&mut self, runs: bool) -> Result<Box<dyn SavedState>, MachineFault> {
        self.called("save")?;
        Ok(Box::new(FakeState { runs, fails: Arc::clone(&self.fails) }))
    }

    fn reset(&mut self) -> Result<(), MachineFault> {
        self.called("reset")
    }

    fn snapshot_disks(&mut self, _snapshots: Vec<DiskSnapshot>) -> Result<(), MachineFault> {
        self.called("snapshot_disks")
    }

    fn begin_merge(&mut self, _disk: &str, images: MergeImages) -> Result<Merge, MachineFault> {
        self.called("begin_merge")?;
        Ok(Merge::new(images)?)
    }

    fn end_merge(&mut self, _disk: &str, _merge: &mut Merge, go_on: GoOn) -> Result<(), MachineFault> {
        self.called(if go_on == GoOn::Lower { "end_merge_lower" } else { "end_merge_upper" })
    }

    fn grow_disk(&mut self, _disk: &str, _size: u64) -> Result<(), MachineFault> {
        self.called("grow_disk")
    }

    fn press_power_button(&mut self) {
        let _ = self.called("press_power_button");
    }

    fn balloon(&self) -> Option<BalloonHandle> {
        Some(self.balloon.handle())
    }

    fn networks(&self) -> Vec<NetworkInfo> {
        vec![self.network.clone()]
    }

    fn vcpus(&self) -> Vec<VcpuInfo> {
        vec![VcpuInfo {
            index: 0,
            thread_id: rustix::thread::gettid().as_raw_nonzero().get(),
            place: CpuPlace::default(),
            exits: 0,
        }]
    }

    fn disks(&self) -> Vec<DiskFigures> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        vec![DiskFigures { capacity: 10 << 20, trouble, limits: self.limits, ..DiskFigures::default() }]
    }

    fn limit_disk(&mut self, _disk: usize, limits: Limits) {
        self.limits = limits;
    }

    fn cdroms(&self) -> Vec<CdromInfo> {
        vec![self.cdrom.clone()]
    }
}

/// A state that is written as one word: `running` or `paused`. While [`FakeWorker::fail`] says `wait`, writing it takes for ever, but
/// it can be cancelled; with `write` it fails.
struct FakeState {
    runs: bool,
    fails: Arc<Mutex<Option<&'static str>>>,
}

impl SavedState for FakeState {
    fn write(&self, to: &mut dyn Write, progress: &Progress) -> Result<(), MachineFault> {
        let fails = || *self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        to.write_all(if self.runs { b"running" } else { b"paused" })?;
        while fails() == Some("wait") {
            if progress.is_cancelled() {
                return Err("writing was cancelled".into());
            }
            thread::yield_now();
        }
        if fails() == Some("write") { Err("write fails on purpose".into()) } else { Ok(()) }
    }
}

/// A screen that shows one picture.
struct FakeScreen(Surface);

impl Screen for FakeScreen {
    fn refresh(&self) -> Generation {
        1
    }

    fn look(&self, _since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        look(&self.0, self.0.bounds().as_slice());
        1
    }

    fn attach(&self) {}

    fn detach(&self) {}
}

/// A guest's input that remembers.
#[derive(Default)]
struct FakeInput(Mutex<Vec<InputEvent>>);

impl InputSink for FakeInput {
    fn send(&self, events: &[InputEvent]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
    }
}

/// What a [`FakeWorker`] is told.
pub struct FakeLaunch {
    /// See [`Guest::start_paused`].
    pub start_paused: bool,
    /// See [`Guest::on_poweroff`].
    pub on_poweroff: Action,
    /// See [`Guest::on_reboot`].
    pub on_reboot: Action,
    /// See [`Guest::on_crash`].
    pub on_crash: Action,
    /// See [`Wiring::clipboard`].
    pub clipboard: Option<Arc<VdAgent>>,
}

impl Default for FakeLaunch {
    fn default() -> Self {
        Self {
            start_paused: false,
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
            clipboard: None,
        }
    }
}

/// A worker without KVM.
pub struct FakeWorker {
    driver: DriverHandle,
    server: Arc<ControlServer>,
    calls: Receiver<&'static str>,
    fails: Arc<Mutex<Option<&'static str>>>,
    trouble: Arc<Mutex<Option<DiskError>>>,
    input: Arc<FakeInput>,
    report: File,
    thread: JoinHandle<ExitReport>,
    /// The tray of its CD-ROM drive `cdrom0`, which is empty at first.
    pub tray: Tray,
}

impl FakeWorker {
    /// Starts one whose exit report has no name.
    pub fn start(launch: FakeLaunch) -> io::Result<Self> {
        Self::start_with(launch, tempfile()?)
    }

    /// Starts one that writes its exit report to `report`.
    pub fn start_with(launch: FakeLaunch, report: File) -> io::Result<Self> {
        let (driver, queue) = driver::queue();
        let (sender, calls) = mpsc::channel();
        let fails = Arc::new(Mutex::new(None));
        let trouble = Arc::new(Mutex::new(None));
        let card = NetConfig { id: "net0".to_owned(), mac: CARD, backends: vec![Box::new(NoNetwork::new()?)] };
        let network = NetworkInfo { id: "net0".to_owned(), card: VirtioNet::new(card)?.1 };
        let report_tray = driver.clone();
        let observer = Arc::new(move |open| {
            report_tray.send(Request::Machine(MachineEvent::TrayMoved { id: "cdrom0".to_owned(), open }));
        });
        let tray = Tray::new(None, observer);
        let machine = FakeMachine {
            calls: sender,
            fails: Arc::clone(&fails),
            trouble: Arc::clone(&trouble),
            limits: Limits::default(),
            balloon: Balloon::new("balloon0")?,
            network,
            cdrom: CdromInfo { id: "cdrom0".to_owned(), tray: tray.clone(), statistics: Arc::default() },
        };
        let input = Arc::new(FakeInput::default());
        let screen = FakeScreen(Surface { width: 2, height: 1, pixels: vec![0xff0000, 0x0000ff] });
        let events = Arc::new(EventHub::default());
        let wiring = Wiring {
            guest: Arc::new(guest(&launch)),
            media: BTreeMap::new(),
            input: Arc::clone(&input) as Arc<dyn InputSink>,
            events: Arc::clone(&events),
            reporter: Arc::new(Reporter::new(report.try_clone()?, None)),
            clipboard: launch.clipboard.clone(),
            usage: Usage::open(),
            handle: driver.clone(),
            restored: None,
        };
        let server = Arc::new(ControlServer::new(driver.clone(), events, Arc::new(screen), Default::default()));
        let thread = thread::spawn(move || Driver::new(Box::new(machine), wiring).run(&queue));
        // Until the driver takes requests, so that no client sees the events of the start.
        driver.execute(|_, _| Ok(Value::Null), Map::new()).map_err(io::Error::other)?;
        Ok(Self { driver, server, calls, fails, trouble, input, report, thread, tray })
    }

    /// A new connection to the control server.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (here, there) = UnixStream::pair()?;
        self.server.serve(there)?;
        Ok(here)
    }

    /// The control server, for connections from other processes.
    pub fn server(&self) -> Arc<ControlServer> {
        Arc::clone(&self.server)
    }

    /// A client that has negotiated its capabilities.
    pub fn client(&self) -> io::Result<Client> {
        Client::negotiate(self.connect()?)
    }

    /// The machine reports something.
    pub fn report(&self, event: MachineEvent) {
        if let MachineEvent::DiskError(error) = &event {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(DiskError::clone(error));
        }
        self.driver.send(Request::Machine(event));
    }

    /// The way to the driver.
    pub fn driver(&self) -> &DriverHandle {
        &self.driver
    }

    /// From now on this call to the machine fails.
    pub fn fail(&self, call: &'static str) {
        *self.fails.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
    }

    /// The next call that the machine got.
    pub fn next_call(&self) -> Option<&'static str> {
        self.calls.recv_timeout(DEADLINE).ok()
    }

    /// What the guest's input has got, once it is so many events.
    pub fn input(&self, count: usize) -> Vec<InputEvent> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let events = self.input.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if events.len() >= count || Instant::now() > deadline {
                return events;
            }
            thread::yield_now();
        }
    }

    /// The exit report as it is in the file.
    pub fn exit_report(&self) -> Option<ExitReport> {
        let mut bytes = vec![0; 1 << 16];
        let length = self.report.read_at(&mut bytes, 0).unwrap_or(0);
        ExitReport::from_json(bytes.get(..length)?).ok()?
    }

    /// Waits for the driver's end, lets what waits for clients go out, and returns how the guest ended.
    pub fn wait(self) -> Option<ExitReport> {
        let report = self.thread.join().ok();
        self.server.drain(Instant::now() + DEADLINE);
        report
    }
}

/// A file that has no name.
fn tempfile() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("exit.json", rustix::fs::MemfdFlags::CLOEXEC)?))
}

fn guest(launch: &FakeLaunch) -> Guest {
    Guest {
        name: "fake".to_owned(),
        uuid: Uuid::from_u128(0x10d6e),
        memory: 64 << 20,
        start_paused: launch.start_paused,
        on_poweroff: launch.on_poweroff,
        on_reboot: launch.on_reboot,
        on_crash: launch.on_crash,
        disks: vec![GuestDisk {
            id: "disk0".to_owned(),
            bus: DiskBus::Virtio,
            file_name: "fake.img".to_owned(),
            format: "raw",
            read_only: false,
            backing_depth: 0,
            image: None.into(),
        }],
        listening: Mutex::default(),
        vnc_socket: "/run/lodge/vnc.sock".into(),
    }
}

/// A simple QMP client that blocks.
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    /// Events that have come while something else was waited for.
    events: VecDeque<Value>,
}

impl Client {
    /// Reads the greeting and negotiates.
    pub fn negotiate(stream: UnixStream) -> io::Result<Self> {
        let mut client = Self::greeted(stream)?;
        client.execute(json!({"execute": "qmp_capabilities"}))?;
        Ok(client)
    }

    /// Reads the greeting only.
    pub fn greeted(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut client = Self { stream, decoder: Decoder::new(), events: VecDeque::new() };
        let greeting = client.message()?;
        if greeting.get("QMP").is_none() {
            return Err(io::Error::other(format!("no greeting: {greeting}")));
        }
        Ok(client)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The socket itself.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The next message of any kind.
    pub fn message(&mut self) -> io::Result<Value> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message() {
                return message.map_err(io::Error::other);
            }
            match self.stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.decoder.push(bytes.get(..length).unwrap_or_default()),
            }
        }
    }

    /// The next response; events are put aside.
    pub fn response(&mut self) -> io::Result<Value> {
        loop {
            let message = self.message()?;
            if message.get("event").is_none() {
                return Ok(message);
            }
            self.events.push_back(message);
        }
    }

    /// The next event.
    pub fn event(&mut self) -> io::Result<Value> {
        match self.events.pop_front() {
            Some(event) => Ok(event),
            None => self.message(),
        }
    }

    /// Executes a command, written as in QMP, and returns its response.
    pub fn execute(&mut self, command: Value) -> io::Result<Value> {
        self.send(command.to_string().as_bytes())?;
        self.response()
    }

    /// Executes a command without arguments and returns what is behind `return`, or null for an error.
    pub fn ask(&mut self, command: &str) -> io::Result<Value> {
        let mut response = self.execute(json!({ "execute": command }))?;
        Ok(response.get_mut("return").map(Value::take).unwrap_or_default())
    }
}
