//! What a guest is doing, as a person sees it.

use serde::Serialize;

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
    Paused,
    /// It is being ended.
    Stopping,
    /// Its worker lives but has not answered for some seconds.
    NotResponding,
    /// It does not run: its last run ended badly.
    Crashed {
        /// Why, for a person.
        reason: String,
    },
    /// It is paused because KVM or the engine could not go on; it can be looked at, reset or ended.
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
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::NotResponding => "not responding",
            Self::Crashed { .. } => "crashed",
            Self::InternalError { .. } => "internal error",
        }
    }

    /// Whether there is a worker.
    pub fn is_active(&self) -> bool {
        !matches!(self, Self::Off | Self::Crashed { .. })
    }

    /// What went wrong, if anything.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Crashed { reason } | Self::InternalError { reason } => Some(reason),
            _ => None,
        }
    }
}
