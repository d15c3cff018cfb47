//! The driver: the one thread that owns the machine and changes its state, and the one queue from which it takes what is to
//! be done: commands of QMP clients, the machine's own reports, viewers that come and go, signals.
//!
//! ```text
//!                      ┌───────────── system_reset ─────────────┐
//!                      ▼                                        │
//!  start ──▶ prelaunch ──cont──▶ running ──stop──▶ paused ──────┤
//!                      (unless      │ ▲              │          │
//!                   start_paused)   │ └────cont──────┘          │
//!                                   │                           │
//!                                   ├─ the host's disk is full or fails ──▶ io-error ──cont──▶ running
//!                                   │                           │
//!                                   ├─ KVM cannot go on ──▶ internal-error ─┤   cont is refused in these,
//!                                   ├─ guest powers off ──▶ shutdown ───────┤   since there is nothing
//!                                   └─ guest panics ──────▶ guest-panicked ─┘   to go on with
//!
//!  running, paused, prelaunch ──migrate──▶ finish-migrate ──saved──▶ postmigrate ──cont──▶ running
//!            ▲                                   │            └─ x-lodge-save: the driver ends
//!            └───────── failed, cancelled ───────┘
//!
//!  running: the guest's reset and system_reset reset in place, it stays running.
//!  any state: quit, a signal, or an action "destroy" ──▶ the driver ends with an exit report.
//! ```
//!
//! What the guest's power-off, reset and panic lead to is the definition's `on_poweroff`, `on_reboot` and `on_crash`.

#![forbid(unsafe_code)]

mod machine_events;
mod merging;
mod saving;

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{
        Arc, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    time::Instant,
};

use serde_json::{Map, Value};

pub use self::merging::LowerImages;
use self::merging::Merging;
use super::{
    balloon::{BalloonWatch, Due},
    commands::{self, Run},
    control::events::EventHub,
    exit_report::{ExitReport, Outcome},
    guest::{Guest, GuestDisk, Media},
    machine::{Machine, MachineFault},
    reporter::Reporter,
    saving::{Ended, Saving, Then, consume},
    typing::Typist,
    usage::Usage,
    vdagent::VdAgent,
};
use crate::{
    input::InputSink,
    qmp::{
        message::Error,
        types::{BalloonInfo, RunState, ShutdownCause, TrayMoved},
    },
    rfb::server::ViewerEvent,
    system_error::words,
    vmm::{
        block::limits::Limits,
        machine::{DiskSnapshot, MachineEvent},
    },
};

/// Something for the driver to do.
pub enum Request {
    /// A QMP client's command.
    Command {
        /// What runs it.
        run: Run,
        /// Its arguments.
        arguments: Map<String, Value>,
        /// Where the result goes.
        reply: SyncSender<Result<Value, Error>>,
    },
    /// The guest's state is to be saved.
    Save {
        /// Where it goes.
        file: File,
        /// What becomes of the guest.
        then: Then,
        /// Where it is told whether that has begun.
        reply: SyncSender<Result<(), Error>>,
    },
    /// The guest's state is saved, or could not be.
    Saved(Result<(), MachineFault>),
    /// Something that a client's thread has prepared.
    Call(Box<dyn FnOnce(&mut Driver) + Send>),
    /// The machine has something to say.
    Machine(MachineEvent),
    /// The balloon has another size.
    BalloonChanged,
    /// A viewer comes or goes.
    Viewer(ViewerEvent),
    /// A signal asks the worker to end.
    Terminate {
        /// Its name.
        signal: &'static str,
    },
}

/// The way into the driver's queue, for any thread.
#[derive(Clone)]
pub struct DriverHandle {
    queue: Sender<Request>,
}

impl DriverHandle {
    /// Hands a request over; never waits. When the driver has ended nothing happens.
    pub fn send(&self, request: Request) {
        // The worker is about to end then.
        let _ = self.queue.send(request);
    }

    /// Has a command run, and waits for its result.
    pub fn execute(&self, run: Run, arguments: Map<String, Value>) -> Result<Value, Error> {
        let (reply, result) = mpsc::sync_channel(1);
        self.send(Request::Command { run, arguments, reply });
        result.recv().unwrap_or_else(|_| Err(Error::generic("the guest has ended")))
    }

    /// Has something done that takes more than a command's arguments, and waits for its result.
    pub fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Driver) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, result) = mpsc::sync_channel(1);
        // A client that has gone needs no answer.
        self.send(Request::Call(Box::new(move |driver| drop(reply.try_send(work(driver))))));
        result.recv().unwrap_or_else(|_| Err(Error::generic("the guest has ended")))
    }
}

impl DriverHandle {
    /// Has the guest's state saved to `file`. Returns when that has begun.
    pub fn save(&self, file: File, then: Then) -> Result<(), Error> {
        let (reply, result) = mpsc::sync_channel(1);
        self.send(Request::Save { file, then, reply });
        result.recv().unwrap_or_else(|_| Err(Error::generic("the guest has ended")))
    }
}

/// A queue for a driver that is yet to be made: the machine needs the handle first.
pub fn queue() -> (DriverHandle, Receiver<Request>) {
    let (sender, receiver) = mpsc::channel();
    (DriverHandle { queue: sender }, receiver)
}

/// What a driver works with, besides the machine.
pub struct Wiring {
    /// What there is to know about the guest.
    pub guest: Arc<Guest>,
    /// What is in its CD-ROM drives.
    pub media: Media,
    /// Where keys and pointer go.
    pub input: Arc<dyn InputSink>,
    /// Who is told of events.
    pub events: Arc<EventHub>,
    /// Who writes the exit report.
    pub reporter: Arc<Reporter>,
    /// The clipboard's way into the guest, if it has one.
    pub clipboard: Option<Arc<VdAgent>>,
    /// What the worker uses of the host.
    pub usage: Usage,
    /// The way to the driver itself.
    pub handle: DriverHandle,
    /// The state in which the machine is, when that was a saved one.
    pub restored: Option<Restored>,
}

/// What there is to know about a state that was restored.
pub struct Restored {
    /// Whether the guest ran when it was saved.
    pub runs: bool,
    /// The file, when the state is worth nothing once the guest runs.
    pub consumed: Option<File>,
}

/// The driver; see the module.
pub struct Driver {
    machine: Box<dyn Machine>,
    wiring: Wiring,
    state: RunState,
    typist: Typist,
    balloon_watch: BalloonWatch,
    /// The guest's state is being saved.
    saving: Option<Saving>,
    /// How that went the last time.
    saved: Option<Ended>,
    /// The disks that have other images than at the start, by their names.
    exchanged: BTreeMap<String, GuestDisk>,
    /// The disk whose images are being merged. It ends after the machine.
    merging: Option<Merging>,
    /// Where the pointer was last put, in 1/32767 of the screen.
    pub(super) pointer: (u16, u16),
    /// The numbers of the viewers that are through their handshake.
    pub(super) viewers: Vec<u64>,
    /// The worker is to end, with this report.
    ending: Option<ExitReport>,
}

impl Driver {
    /// A driver for a machine whose virtual CPUs do not run yet.
    pub fn new(machine: Box<dyn Machine>, wiring: Wiring) -> Self {
        let state = if wiring.restored.is_some() { RunState::Paused } else { RunState::Prelaunch };
        Self {
            machine,
            wiring,
            state,
            typist: Typist::default(),
            balloon_watch: BalloonWatch::default(),
            saving: None,
            saved: None,
            exchanged: BTreeMap::new(),
            merging: None,
            pointer: (0, 0),
            viewers: Vec::new(),
            ending: None,
        }
    }

    /// Starts the guest, unless it is to wait for `cont`, and works off the queue until the worker is to end. Returns how
    /// the guest ended; by then the machine is gone.
    pub fn run(mut self, queue: &Receiver<Request>) -> ExitReport {
        let runs = self.wiring.restored.as_ref().is_none_or(|restored| restored.runs);
        if runs
            && !self.wiring.guest.start_paused
            && let Err(fault) = self.resume()
        {
            self.ending = Some(ExitReport::new(Outcome::LaunchFailed, self.could_not("start", &fault)));
        }
        loop {
            if let Some(report) = self.ending.take() {
                return report;
            }
            match self.next_request(queue) {
                Ok(request) => self.handle(request),
                Err(RecvTimeoutError::Timeout) => {}
                // The machine and the servers hold handles for as long as they live.
                Err(RecvTimeoutError::Disconnected) => {
                    return ExitReport::new(Outcome::Crash, "the worker's threads have all ended");
                }
            }
            self.do_what_is_due();
        }
    }

    fn next_request(&self, queue: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        match self.typist.next().into_iter().chain(self.balloon_watch.next()).min() {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(time) => queue.recv_timeout(time.saturating_duration_since(Instant::now())),
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Command { run, arguments, reply } => {
                // A client that has gone needs no answer.
                let _ = reply.try_send(run(self, arguments));
            }
            Request::Save { file, then, reply } => {
                let _ = reply.try_send(self.save(file, then));
            }
            Request::Saved(outcome) => self.handle_saved(outcome),
            Request::Call(call) => call(self),
            Request::Machine(event) => self.handle_event(event),
            Request::BalloonChanged => self.balloon_watch.changed(Instant::now()),
            Request::Viewer(event) => self.handle_viewer(event),
            Request::Terminate { signal } => {
                self.wiring.events.emit_with("SHUTDOWN", &ShutdownCause::HostSignal.info());
                self.end(Outcome::Terminated, format!("forced off: the worker was ended by {signal}"));
            }
        }
    }

    fn handle_viewer(&mut self, event: ViewerEvent) {
        let (name, id) = match event {
            ViewerEvent::Connected(id) => ("VNC_CONNECTED", id),
            ViewerEvent::Initialized(id) => {
                self.viewers.push(id.0);
                ("VNC_INITIALIZED", id)
            }
            ViewerEvent::Disconnected(id) => {
                self.viewers.retain(|&number| number != id.0);
                ("VNC_DISCONNECTED", id)
            }
        };
        let data = commands::viewer_event_data(&self.wiring.guest, id.0);
        self.wiring.events.emit_with(name, &data);
    }

    /// Does what was put off to this moment.
    fn do_what_is_due(&mut self) {
        while let Some(events) = self.typist.due(Instant::now()) {
            self.wiring.input.send(&events);
        }
        while let Some(due) = self.balloon_watch.due(Instant::now()) {
            let Some(balloon) = self.machine.balloon() else { return };
            match due {
                Due::Tell => {
                    let actual = self.wiring.guest.memory.saturating_sub(balloon.actual_after_change());
                    self.wiring.events.emit_with("BALLOON_CHANGE", &BalloonInfo { actual });
                }
                Due::Ask => balloon.request_statistics(),
            }
        }
    }

    /// A tray has moved.
    pub fn tell_of_tray(&self, id: &str, open: bool) {
        self.wiring
            .events
            .emit_with("DEVICE_TRAY_MOVED", &TrayMoved { device: id.to_owned(), id: id.to_owned(), tray_open: open });
    }

    fn end(&mut self, outcome: Outcome, message: String) {
        self.ending = Some(ExitReport::new(outcome, message));
    }

    fn could_not(&self, what: &str, fault: &MachineFault) -> String {
        format!("the machine of {} could not {what}: {fault}", self.wiring.guest.name)
    }

    /// The guest's state.
    pub fn state(&self) -> RunState {
        self.state
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &dyn Machine {
        &*self.machine
    }

    /// Gives a disk other limits; `false` if there is none of this name.
    pub fn limit_disk(&mut self, id: &str, limits: Limits) -> bool {
        let found = self.wiring.guest.disks.iter().position(|disk| disk.id == id);
        if let Some(index) = found {
            self.machine.limit_disk(index, limits);
        }
        found.is_some()
    }

    /// Gives a disk `size` bytes, more than it has.
    pub fn grow_disk(&mut self, id: &str, size: u64) -> Result<(), Error> {
        if self.saving.is_some() {
            return Err(saving::is_being_saved());
        }
        self.check_not_merging()?;
        self.machine.grow_disk(id, size).map_err(|fault| Error::generic(self.could_not("make its disk larger", &fault)))
    }

    /// What there is to know about the guest.
    pub fn guest(&self) -> &Guest {
        &self.wiring.guest
    }

    /// The clipboard's way into the guest, if it has one.
    pub fn clipboard(&self) -> Option<&VdAgent> {
        self.wiring.clipboard.as_deref()
    }

    /// What is in the guest's CD-ROM drives.
    pub fn media(&mut self) -> &mut Media {
        &mut self.wiring.media
    }

    /// Where keys and pointer go.
    pub fn input(&self) -> &dyn InputSink {
        &*self.wiring.input
    }

    /// Has the guest go on in new images of its disks, and tells of them from now on as `disks`.
    pub fn snapshot_disks(&mut self, snapshots: Vec<DiskSnapshot>, disks: Vec<GuestDisk>) -> Result<(), Error> {
        if self.saving.is_some() {
            return Err(saving::is_being_saved());
        }
        self.check_not_merging()?;
        self.machine
            .snapshot_disks(snapshots)
            .map_err(|fault| Error::generic(self.could_not("exchange its disks' images", &fault)))?;
        disks.into_iter().for_each(|disk| self.has_exchanged(disk));
        Ok(())
    }

    /// A disk has another image now.
    fn has_exchanged(&mut self, disk: GuestDisk) {
        // The old image is closed everywhere: others may read it from now on.
        for old in self.wiring.guest.disks.iter().filter(|old| old.id == disk.id) {
            old.image.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        self.exchanged.insert(disk.id.clone(), disk);
    }

    /// A disk as it is now: its image may be another one than at the start.
    pub fn disk_now<'a>(&'a self, disk: &'a GuestDisk) -> &'a GuestDisk {
        self.exchanged.get(&disk.id).unwrap_or(disk)
    }

    /// What the worker uses of the host.
    pub fn usage(&self) -> &Usage {
        &self.wiring.usage
    }

    /// Keys that take time.
    pub fn typist(&mut self) -> &mut Typist {
        &mut self.typist
    }

    /// When the balloon is looked at.
    pub fn balloon_watch(&mut self) -> &mut BalloonWatch {
        &mut self.balloon_watch
    }

    /// Lets the guest run, from `prelaunch` or `paused`.
    pub fn cont(&mut self) -> Result<(), Error> {
        match self.state {
            RunState::Running => Ok(()),
            RunState::Prelaunch | RunState::Paused | RunState::IoError | RunState::Postmigrate => {
                self.resume().map_err(|fault| Error::generic(self.could_not("go on", &fault)))
            }
            RunState::FinishMigrate => Err(saving::is_being_saved()),
            RunState::InternalError | RunState::Shutdown | RunState::GuestPanicked => {
                Err(Error::generic("Resetting the Virtual Machine is required"))
            }
        }
    }

    fn resume(&mut self) -> Result<(), MachineFault> {
        // From now on its saved state would not fit its disks.
        if let Some(file) = self.wiring.restored.as_ref().and_then(|restored| restored.consumed.as_ref()) {
            consume(file).map_err(|error| format!("its saved state could not be removed: {}", words(&error)))?;
        }
        self.wiring.restored = None;
        self.machine.resume()?;
        self.state = RunState::Running;
        self.wiring.events.emit("RESUME");
        Ok(())
    }

    /// Stops a running guest.
    pub fn stop(&mut self) -> Result<(), Error> {
        if self.state.is_running() {
            self.machine.pause().map_err(|fault| Error::generic(self.could_not("pause", &fault)))?;
            self.state = RunState::Paused;
            self.wiring.events.emit("STOP");
        }
        Ok(())
    }

    /// Resets the machine. A running one runs on, any other is in `prelaunch` afterwards, as QEMU has it.
    pub fn reset(&mut self, cause: ShutdownCause) -> Result<(), MachineFault> {
        self.machine.reset()?;
        self.typist.clear();
        if !self.state.is_running() {
            self.state = RunState::Prelaunch;
        }
        self.wiring.events.emit_with("RESET", &cause.info());
        Ok(())
    }

    /// QMP `system_reset`.
    pub fn system_reset(&mut self) -> Result<(), Error> {
        if self.saving.is_some() {
            return Err(saving::is_being_saved());
        }
        self.reset(ShutdownCause::HostQmpSystemReset).map_err(|fault| Error::generic(self.could_not("reset", &fault)))
    }

    /// QMP `system_powerdown`: what follows is the guest's to decide.
    pub fn system_powerdown(&mut self) {
        self.machine.press_power_button();
        self.wiring.events.emit("POWERDOWN");
    }

    /// Ends the worker.
    pub fn quit(&mut self) {
        self.wiring.events.emit_with("SHUTDOWN", &ShutdownCause::HostQmpQuit.info());
        self.end(Outcome::Quit, "forced off".to_owned());
    }
}
