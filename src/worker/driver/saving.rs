//! The driver's part in saving the guest's state: see [`crate::worker::saving`].

use std::fs::File;

use super::{Driver, Request};
use crate::{
    qmp::{
        message::Error,
        types::{MigrationInfo, RunState, ShutdownCause},
    },
    worker::{
        exit_report::Outcome,
        machine::MachineFault,
        saving::{Ended, Saving, Then},
    },
};

impl Driver {
    /// Begins to save the guest's state; a running one is stopped.
    pub(super) fn save(&mut self, file: File, then: Then) -> Result<(), Error> {
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

    pub(super) fn handle_saved(&mut self, outcome: Result<(), MachineFault>) {
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
}

/// The answer to what must wait until the guest's state is saved.
pub(super) fn is_being_saved() -> Error {
    Error::generic("the guest's state is being saved. wait, or cancel that with migrate_cancel")
}
