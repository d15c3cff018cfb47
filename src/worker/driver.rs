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

use super::{
    balloon::{BalloonWatch, Due},
    commands::{self, Run},
    control::events::EventHub,
    exit_report::{ExitReport, InternalError, Outcome},
    guest::{Guest, GuestDisk, Media},
    launch::Action,
    machine::{Machine, MachineFault},
    reporter::Reporter,
    saving::{Ended, Saving, Then, consume},
    typing::Typist,
    usage::Usage,
};
use crate::{
    input::InputSink,
    qmp::{
        message::Error,
        types::{
            BalloonInfo, BlockIoError, InternalErrorInfo, IoOperationType, MigrationInfo, RunState, ShutdownCause,
            TrayMoved,
        },
    },
    rfb::server::ViewerEvent,
    vmm::{
        block::{
            errors::{DiskError, Verdict},
            limits::Limits,
            statistics::Operation,
        },
        cpu::InternalErrorReport,
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

    fn handle_event(&mut self, event: MachineEvent) {
        if let MachineEvent::DiskError(error) = event {
            return self.handle_disk_error(*error);
        }
        if let MachineEvent::TrayMoved { id, open } = event {
            return self.tell_of_tray(&id, open);
        }
        // One CPU's word may still be on its way when another's has already had the machine held.
        if !matches!(self.state, RunState::Running | RunState::Paused) {
            tracing::info!("the machine is held already; this comes too late: {event:?}");
            return;
        }
        match event {
            MachineEvent::Reset { cause } => {
                tracing::info!(?cause, "the guest has reset itself");
                self.finish_life(ShutdownCause::GuestReset);
            }
            MachineEvent::Shutdown { cause } => {
                tracing::info!(?cause, "the guest has powered itself off");
                self.finish_life(ShutdownCause::GuestShutdown);
            }
            MachineEvent::GuestPanicked => {
                tracing::warn!("the guest's own system has panicked");
                let action = if self.wiring.guest.on_crash == Action::Preserve { "pause" } else { "poweroff" };
                self.wiring.events.emit_with("GUEST_PANICKED", &serde_json::json!({ "action": action }));
                self.finish_life(ShutdownCause::GuestPanic);
            }
            MachineEvent::InternalError(error) => self.hold_for_internal_error(&error),
            // See above.
            MachineEvent::DiskError(_) | MachineEvent::TrayMoved { .. } => {}
        }
    }

    /// The host could not do what the guest has asked a disk for. If the request is kept, the guest stands still until `cont`.
    fn handle_disk_error(&mut self, error: DiskError) {
        let operation = if error.operation == Operation::Read { IoOperationType::Read } else { IoOperationType::Write };
        self.wiring.events.emit_with(
            "BLOCK_IO_ERROR",
            &BlockIoError {
                device: error.disk.clone(),
                node_name: error.disk,
                operation,
                action: error.verdict.name().to_owned(),
                nospace: error.full,
                reason: error.reason,
            },
        );
        // Somebody may have stopped the guest and let it go on meanwhile, so that it was served again.
        if error.verdict != Verdict::Keep || self.trouble().is_none() {
            return;
        }
        match self.state {
            RunState::Running => {
                if let Err(fault) = self.machine.pause() {
                    tracing::error!("{}", self.could_not("pause", &fault));
                }
                self.state = RunState::IoError;
                self.wiring.events.emit("STOP");
            }
            RunState::Paused => self.state = RunState::IoError,
            _ => return,
        }
        if let Some(reason) = self.reason() {
            tracing::warn!("the guest is paused: {reason}");
        }
    }

    /// Why the guest stands still although nobody has stopped it, for people.
    pub fn reason(&self) -> Option<String> {
        let (file, error) = self.trouble().filter(|_| self.state == RunState::IoError)?;
        let disk = &error.disk;
        Some(match (error.full, error.operation) {
            (true, _) => format!(
                "the host's disk is full: nothing more can be written to {file} ({disk}). Make room, then resume"
            ),
            (false, Operation::Read) => {
                format!("{file} ({disk}) cannot be read: {}. Look at the host's disk, then resume", error.reason)
            }
            (false, _) => {
                format!("{file} ({disk}) cannot be written: {}. Look at the host's disk, then resume", error.reason)
            }
        })
    }

    /// The first disk that the guest waits for, by its file's name, and what has gone wrong there.
    fn trouble(&self) -> Option<(&str, DiskError)> {
        let disks = self.wiring.guest.disks.iter().map(|disk| self.disk_now(disk)).zip(self.machine.disks());
        disks.filter_map(|(disk, figures)| Some((disk.file_name.as_str(), figures.trouble?))).next()
    }

    /// The guest has powered itself off, reset itself or panicked: does what the definition says.
    fn finish_life(&mut self, cause: ShutdownCause) {
        let guest = Arc::clone(&self.wiring.guest);
        let (action, outcome, what, held) = match cause {
            ShutdownCause::GuestReset => (guest.on_reboot, Outcome::Reset, "has reset itself", RunState::Shutdown),
            ShutdownCause::GuestPanic => {
                (guest.on_crash, Outcome::GuestPanicked, "has panicked", RunState::GuestPanicked)
            }
            _ => (guest.on_poweroff, Outcome::Shutdown, "has powered itself off", RunState::Shutdown),
        };
        match action {
            Action::Destroy => {
                self.wiring.events.emit_with("SHUTDOWN", &cause.info());
                self.end(outcome, format!("the guest {what}"));
            }
            Action::Restart => {
                if let Err(fault) = self.reset(cause) {
                    let message = self.could_not("reset", &fault);
                    self.hold(RunState::InternalError, ExitReport::new(Outcome::InternalError, message));
                }
            }
            Action::Preserve => {
                self.wiring.events.emit_with("SHUTDOWN", &cause.info());
                self.hold(held, ExitReport::new(outcome, format!("the guest {what} and is held for a look")));
            }
        }
    }

    fn hold_for_internal_error(&mut self, error: &InternalErrorReport) {
        let bytes: Vec<String> = error.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let message = format!("{error}. look at its screen, then reset it or force it off");
        tracing::error!("{error}");
        for line in error
            .registers
            .iter()
            .flat_map(|registers| registers.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
        {
            tracing::error!("{line}");
        }
        let info = InternalErrorInfo {
            message: message.clone(),
            vcpu: error.vcpu,
            suberror: error.suberror,
            rip: error.rip,
            bytes: bytes.join(" "),
        };
        let mut report = ExitReport::new(Outcome::InternalError, message);
        report.internal_error =
            Some(InternalError { vcpu: info.vcpu, suberror: info.suberror, rip: info.rip, bytes: info.bytes.clone() });
        self.hold(RunState::InternalError, report);
        self.wiring.events.emit_with("x-lodge-internal-error", &info);
    }

    /// Holds the machine as it is, in a state from which only a reset leads on, and leaves a report already now.
    fn hold(&mut self, state: RunState, report: ExitReport) {
        if let Err(fault) = self.machine.pause() {
            tracing::error!("{}", self.could_not("pause", &fault));
        }
        let was_running = self.state.is_running();
        self.state = state;
        if was_running {
            self.wiring.events.emit("STOP");
        }
        self.wiring.reporter.write(report);
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

    /// What there is to know about the guest.
    pub fn guest(&self) -> &Guest {
        &self.wiring.guest
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
            return Err(is_being_saved());
        }
        self.machine
            .snapshot_disks(snapshots)
            .map_err(|fault| Error::generic(self.could_not("exchange its disks' images", &fault)))?;
        // The old images are closed everywhere: others may read them from now on.
        for disk in self.wiring.guest.disks.iter().filter(|disk| disks.iter().any(|new| new.id == disk.id)) {
            disk.image.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        self.exchanged.extend(disks.into_iter().map(|disk| (disk.id.clone(), disk)));
        Ok(())
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
            RunState::FinishMigrate => Err(is_being_saved()),
            RunState::InternalError | RunState::Shutdown | RunState::GuestPanicked => {
                Err(Error::generic("Resetting the Virtual Machine is required"))
            }
        }
    }

    fn resume(&mut self) -> Result<(), MachineFault> {
        // From now on its saved state would not fit its disks.
        if let Some(file) = self.wiring.restored.as_ref().and_then(|restored| restored.consumed.as_ref()) {
            consume(file).map_err(|error| format!("its saved state could not be removed: {error}"))?;
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
            return Err(is_being_saved());
        }
        self.reset(ShutdownCause::HostQmpSystemReset).map_err(|fault| Error::generic(self.could_not("reset", &fault)))
    }

    /// QMP `system_powerdown`: what follows is the guest's to decide.
    pub fn system_powerdown(&mut self) {
        self.machine.press_power_button();
        self.wiring.events.emit("POWERDOWN");
    }

    /// Begins to save the guest's state; a running one is stopped.
    fn save(&mut self, file: File, then: Then) -> Result<(), Error> {
        let before = self.state;
        let runs = match before {
            RunState::FinishMigrate => return Err(is_being_saved()),
            RunState::InternalError | RunState::Shutdown | RunState::GuestPanicked => {
                return Err(Error::generic("the guest has come to an end, which is not worth saving"));
            }
            state => state.is_running(),
        };
        self.stop()?;
        let handle = self.wiring.handle.clone();
        let tell = move |outcome| handle.send(Request::Saved(outcome));
        let begun = self.machine.save(runs).and_then(|state| Ok(Saving::begin(state, file, then, before, tell)?));
        match begun {
            Ok(saving) => {
                self.state = RunState::FinishMigrate;
                self.saving = Some(saving);
                self.tell_saving();
                Ok(())
            }
            Err(fault) => {
                self.go_on_as(before);
                Err(Error::generic(self.could_not("be saved", &fault)))
            }
        }
    }

    fn handle_saved(&mut self, outcome: Result<(), MachineFault>) {
        let Some(saving) = self.saving.take() else { return };
        let (then, before) = (saving.then, saving.before);
        self.saved = Some(saving.ended(&outcome));
        self.state = RunState::Postmigrate;
        match (outcome, then) {
            (Ok(()), Then::Stay) => {}
            (Ok(()), Then::End) => {
                self.wiring.events.emit_with("SHUTDOWN", &ShutdownCause::HostQmpQuit.info());
                self.end(Outcome::Saved, "its state was saved".to_owned());
            }
            (Err(fault), _) => {
                tracing::warn!("{}", self.could_not("be saved", &fault));
                self.go_on_as(before);
            }
        }
        self.tell_saving();
    }

    /// The guest, which is stopped, does what it did before.
    fn go_on_as(&mut self, before: RunState) {
        self.state = if before.is_running() { RunState::Paused } else { before };
        if before.is_running()
            && let Err(fault) = self.resume()
        {
            tracing::error!("{}", self.could_not("go on", &fault));
        }
    }

    fn tell_saving(&self) {
        let status = self.saving_info().and_then(|info| info.status);
        self.wiring.events.emit_with("MIGRATION", &serde_json::json!({ "status": status }));
    }

    /// How the saving of the guest's state goes, or went the last time.
    pub fn saving_info(&self) -> Option<MigrationInfo> {
        let now = self.saving.as_ref().map(Saving::info);
        now.or_else(|| self.saved.as_ref().map(Ended::info))
    }

    /// Has the saving of the guest's state end, if there is one.
    pub fn cancel_saving(&mut self) {
        if let Some(saving) = &self.saving {
            saving.cancel();
        }
    }

    /// Ends the worker.
    pub fn quit(&mut self) {
        self.wiring.events.emit_with("SHUTDOWN", &ShutdownCause::HostQmpQuit.info());
        self.end(Outcome::Quit, "forced off".to_owned());
    }
}

fn is_being_saved() -> Error {
    Error::generic("the guest's state is being saved. wait, or cancel that with migrate_cancel")
}
