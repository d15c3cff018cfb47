//! What the machine reports of itself: the end of a life of the guest, errors of the host's disks, and what KVM cannot go on with.

use std::sync::Arc;

use super::Driver;
use crate::{
    qmp::types::{BlockIoError, InternalErrorInfo, IoOperationType, RunState, ShutdownCause},
    vmm::{
        block::{
            errors::{DiskError, Verdict},
            statistics::Operation,
        },
        cpu::InternalErrorReport,
        machine::MachineEvent,
    },
    worker::{
        exit_report::{ExitReport, InternalError, Outcome},
        launch::Action,
    },
};

impl Driver {
    pub(super) fn handle_event(&mut self, event: MachineEvent) {
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
}
