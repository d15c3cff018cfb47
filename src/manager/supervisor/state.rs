//! What a guest is doing, as a person sees it.

#![forbid(unsafe_code)]

use serde::Serialize;

use crate::{
    manager::client::ClientError,
    qmp::types::RunState,
    worker::exit_report::{ExitReport, Outcome},
};

/// Nobody reads more of why a guest stands still, in characters: its worker may say whatever it likes.
const LONGEST_REASON: usize = 500;

/// What a guest is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum GuestState {
    /// It does not run.
    #[default]
    Off,
    /// Its worker has not answered yet.
    Starting,
    /// It runs.
    Running,
    /// It is paused and can be resumed.
    Paused {
        /// Why, for a person, if it was not a person who has paused it: the host's disk is full.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It is being ended.
    Stopping,
    /// It stands still while its state is being saved.
    Saving,
    /// It does not run, and goes on from its saved state at its next start.
    Saved,
    /// Its worker lives but has not answered for some seconds.
    NotResponding,
    /// It does not run: its last run ended badly.
    Crashed {
        /// Why, for a person.
        reason: String,
    },
    /// It is held because it could not go on: KVM met what it cannot run, or the guest's own system panicked. It can be
    /// looked at, reset or ended.
    InternalError {
        /// Why, for a person: the instruction's address and bytes.
        reason: String,
    },
}

impl GuestState {
    /// The word for it in `lodgectl list`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Stopping => "stopping",
            Self::Saving => "saving",
            Self::Saved => "saved",
            Self::NotResponding => "not responding",
            Self::Crashed { .. } => "crashed",
            Self::InternalError { .. } => "internal error",
        }
    }

    /// The word for it in JSON, as [`Serialize`] writes it: without blanks.
    pub fn id(&self) -> &'static str {
        match self {
            Self::NotResponding => "not-responding",
            Self::InternalError { .. } => "internal-error",
            other => other.word(),
        }
    }

    /// Whether there is a worker.
    pub fn is_active(&self) -> bool {
        !matches!(self, Self::Off | Self::Saved | Self::Crashed { .. })
    }

    /// What went wrong, if anything.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Crashed { reason } | Self::InternalError { reason } => Some(reason),
            Self::Paused { reason } => reason.as_deref(),
            _ => None,
        }
    }

    /// Paused by a person.
    pub const PAUSED: Self = Self::Paused { reason: None };

    /// The state of a guest whose worker says `status`, and why it stands still; `report` is the one that it wrote when it could
    /// not go on.
    pub(crate) fn from_status(status: RunState, reason: Option<String>, report: Option<ExitReport>) -> Self {
        match status {
            RunState::Running => Self::Running,
            // One that has turned itself off and is kept for a look waits, too.
            RunState::Prelaunch | RunState::Paused | RunState::Postmigrate | RunState::Shutdown | RunState::IoError => {
                Self::Paused { reason: reason.map(shortened) }
            }
            RunState::FinishMigrate => Self::Saving,
            RunState::InternalError => Self::InternalError {
                reason: report.map_or_else(
                    || "KVM could not go on. Reset it or force it off".to_owned(),
                    |r| shortened(r.message),
                ),
            },
            RunState::GuestPanicked => {
                Self::InternalError { reason: "the guest's own system panicked. Reset it or force it off".to_owned() }
            }
        }
    }

    /// The state of a guest whose worker was reached and has told no status.
    pub(crate) fn without_status(error: &ClientError) -> Self {
        match error {
            // What refuses to tell has no guest any more, and is about to end.
            ClientError::Closed | ClientError::Connect(_) | ClientError::Refused { .. } => Self::Stopping,
            ClientError::Timeout { .. } | ClientError::Protocol(_) => Self::NotResponding,
        }
    }

    /// The state of a guest without a worker, by how its last run ended.
    pub(crate) fn at_rest(last: Option<ExitReport>) -> Self {
        match last {
            // A start that failed was told to whoever started it, and nothing was lost.
            Some(report) if !report.outcome.is_orderly() && report.outcome != Outcome::LaunchFailed => {
                Self::Crashed { reason: shortened(report.message) }
            }
            _ => Self::Off,
        }
    }
}

fn shortened(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(LONGEST_REASON) {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bad_end_is_a_crash() {
        let state = |outcome| GuestState::at_rest(Some(ExitReport::new(outcome, "so it was")));

        assert_eq!(state(Outcome::Shutdown), GuestState::Off);
        assert_eq!(state(Outcome::Quit), GuestState::Off);
        assert_eq!(state(Outcome::LaunchFailed), GuestState::Off);
        assert_eq!(state(Outcome::Crash), GuestState::Crashed { reason: "so it was".into() });
        assert_eq!(state(Outcome::InternalError), GuestState::Crashed { reason: "so it was".into() });
        assert_eq!(GuestState::at_rest(None), GuestState::Off);
    }

    #[test]
    fn a_worker_that_has_just_ended_its_guest_is_none_that_hangs() {
        let class = crate::qmp::message::ErrorClass::GenericError;
        let ended = ClientError::Refused { class, description: "the guest has ended".into() };
        let late = ClientError::Timeout { command: "query-status".into(), after: std::time::Duration::from_secs(5) };

        assert_eq!(GuestState::without_status(&ended), GuestState::Stopping);
        assert_eq!(GuestState::without_status(&ClientError::Closed), GuestState::Stopping);
        assert_eq!(GuestState::without_status(&late), GuestState::NotResponding);
    }

    #[test]
    fn a_state_is_named_in_json_as_it_is_written() {
        let reason = String::new;
        for state in [
            GuestState::Off,
            GuestState::Starting,
            GuestState::Running,
            GuestState::Paused { reason: Some(reason()) },
            GuestState::Stopping,
            GuestState::Saving,
            GuestState::Saved,
            GuestState::NotResponding,
            GuestState::Crashed { reason: reason() },
            GuestState::InternalError { reason: reason() },
        ] {
            assert_eq!(serde_json::to_value(&state).unwrap()["state"], state.id());
        }
    }

    #[test]
    fn a_reason_without_end_is_cut() {
        let state = GuestState::from_status(RunState::IoError, Some("ä".repeat(1 << 20)), None);

        assert_eq!(state.reason(), Some(format!("{}…", "ä".repeat(500)).as_str()));
    }

    #[test]
    fn a_guest_that_could_not_go_on_says_why() {
        let report = ExitReport::new(Outcome::InternalError, "0f 0b at 0x7c00");

        let state = GuestState::from_status(RunState::InternalError, None, Some(report));

        assert_eq!(state.reason(), Some("0f 0b at 0x7c00"));
        assert!(state.is_active());
    }
}
