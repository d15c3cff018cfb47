//! Changing a guest's definition: what can be changed in a running guest is changed there at once, too, and the rest applies from
//! its next start. Both happen, or neither.

#![forbid(unsafe_code)]

mod attach;
mod disks;
mod effects;
mod growing;
mod merge;
mod showing;

use super::{
    client::{Client, ClientError},
    definition::{Definition, Problem},
    library::{LibraryError, Revision, Stored},
    supervisor::{Supervisor, SupervisorError},
};
pub use attach::attach;
pub use disks::{DiskError, Source, add_disk, reason_to_keep, remove_disk};
pub use effects::{Effects, waits};
pub use growing::grow_running;
pub use merge::merge;

/// Why a definition was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The library refused.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The worker cannot be reached.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The worker refused.
    #[error("\"{name}\": {source}")]
    Refused {
        /// The guest.
        name: String,
        /// Why.
        source: ClientError,
    },
    /// The guest has no such network card.
    #[error("\"{name}\" has no network card net{card}, {}", cards(*count))]
    NoCard {
        /// The guest.
        name: String,
        /// The card's number.
        card: usize,
        /// How many it has.
        count: usize,
    },
    /// The guest that runs does not have it yet.
    #[error("\"{name}\" has {device} from its next start only. Leave --live out, or shut it down and start it")]
    NotYet {
        /// The guest.
        name: String,
        /// The device.
        device: String,
    },
    /// Its screen cannot be shown on the network.
    #[error("\"{name}\" cannot be shown on the network: {problem}")]
    NotShown {
        /// The guest.
        name: String,
        /// Why.
        problem: Problem,
    },
    /// Its disk would lose its end.
    #[error("\"{name}\" runs: its disk can only grow. Shut it down to make the disk smaller")]
    Shrinks {
        /// The guest.
        name: String,
    },
    /// The work was given up.
    #[error("the change was given up: {0}. Try again")]
    GivenUp(#[from] tokio::task::JoinError),
}

/// How to mend it that a guest with so many cards does not have one.
fn cards(count: usize) -> String {
    match count {
        0 => "and no other. Add one below [[network]]".to_owned(),
        1 => "only net0. Name that".to_owned(),
        count => format!("only net0 to net{}. Name one of them", count - 1),
    }
}

impl Effects {
    /// Makes the running guest, which is what `before` says, what `after` says. Returns what that has done to it, or how many of
    /// its cards were switched before something failed.
    async fn apply(
        &self,
        supervisor: &Supervisor,
        client: &Client,
        before: &Definition,
        after: &Definition,
    ) -> Result<Applied, (usize, EditError)> {
        for (count, &index) in self.attached.iter().enumerate() {
            attach::switch(supervisor, client, after, index).await.map_err(|error| (count, error))?;
        }
        let failed = |error| (self.attached.len(), error);
        let refused = |source| failed(EditError::Refused { name: after.name.clone(), source });
        let mut applied = self.apply_rest(client).await.map_err(refused)?;
        applied.cut |= !self.attached.is_empty();
        // The last: where it fails it is as before.
        if self.showing {
            applied.not_shown = !showing::show(supervisor, client, before, after).await.map_err(failed)?;
        }
        Ok(applied)
    }

    async fn apply_rest(&self, client: &Client) -> Result<Applied, ClientError> {
        for (disk, limits) in &self.limits {
            client.limit_disk(disk, limits).await?;
        }
        for (card, limits) in &self.card_limits {
            client.limit_card(card, limits).await?;
        }
        let mut applied = Applied::default();
        if let Some(enable) = self.clipboard {
            applied.no_clipboard = !client.share_clipboard(enable).await? && enable;
        }
        for (card, forward, add) in &self.forwards {
            applied.cut |= client.forward(card, forward, *add).await?.restarted;
        }
        Ok(applied)
    }

    /// Changes what of it can be changed, after [`Effects::apply`] the other way round has failed half way, with so many cards switched.
    async fn try_all(&self, supervisor: &Supervisor, client: &Client, after: &Definition, switched: usize) {
        for &index in self.attached.iter().take(switched) {
            // It is as it was, or it cannot be reached any more.
            let _ = attach::switch(supervisor, client, after, index).await;
        }
        for (card, limits) in &self.card_limits {
            let _ = client.limit_card(card, limits).await;
        }
        for (disk, limits) in &self.limits {
            let _ = client.limit_disk(disk, limits).await;
        }
        if let Some(enable) = self.clipboard {
            let _ = client.share_clipboard(enable).await;
        }
        for (card, forward, add) in &self.forwards {
            let _ = client.forward(card, forward, *add).await;
        }
    }
}

/// What a change has done to the running guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether connections that it had were cut.
    pub cut: bool,
    /// Whether it gets a clipboard, but at its next start only: it was started without.
    pub no_clipboard: bool,
    /// Whether its screen is shown in another way at its next start only: its worker is of an older Lodge.
    pub not_shown: bool,
}

/// A definition that was changed.
#[derive(Debug)]
pub struct Saved {
    /// The definition as it lies in the library now.
    pub stored: Stored,
    /// What the running guest has noticed of it.
    pub applied: Applied,
}

/// Makes `definition` the guest's, if nobody else has changed that since `revision` was read. Where a person has written `text`, that
/// is stored, and `definition` is what it says.
pub async fn save(
    supervisor: &Supervisor,
    definition: Definition,
    text: Option<String>,
    revision: Revision,
) -> Result<Saved, EditError> {
    let library = supervisor.library().clone();
    let name = definition.name.clone();
    definition.validate().map_err(LibraryError::from)?;
    let (guest, seen) = (name.clone(), revision.clone());
    let before = blocking(move || {
        let Some(stored) = library.load(&guest).ok().filter(|stored| stored.revision == seen) else { return Ok(None) };
        let running = library.running(&stored.definition)?;
        Ok(running.map(|running| (running, stored.definition)))
    });
    let live = match before.await? {
        Some((running, before)) => Some(Live::begin(supervisor, running, &before, &definition).await?),
        None => None,
    };
    let applied = live.as_ref().map(|live| live.applied).unwrap_or_default();
    let library = supervisor.library().clone();
    let reached = live.as_ref().map(|live| live.reached.clone());
    let stored = blocking(move || {
        // Before the library's, at which those who watch it look.
        if let Some(reached) = reached {
            library.record(&reached)?;
        }
        match text {
            Some(text) => library.save_text(&name, &text, &revision),
            None => {
                library.save(&definition, &revision)?;
                library.load(&name)
            }
        }
    })
    .await;
    if let (Err(_), Some(live)) = (&stored, live) {
        live.undo(supervisor).await;
    }
    Ok(Saved { stored: stored?, applied })
}

/// What was changed in a running guest, for what is about to be stored.
struct Live {
    /// What it ran with, and runs with now.
    running: Definition,
    reached: Definition,
    applied: Applied,
    /// Nothing where there was nothing to change.
    client: Option<Client>,
}

impl Live {
    /// Changes what can be changed at once when `after` is stored instead of `before`. Where that fails, the guest is as it was.
    async fn begin(
        supervisor: &Supervisor,
        running: Definition,
        before: &Definition,
        after: &Definition,
    ) -> Result<Self, EditError> {
        let mut reached = effects::with_live_changes(&running, &running, before, after);
        let done = Effects::between(&running, &reached);
        if !done.at_once() {
            return Ok(Self { running, reached, applied: Applied::default(), client: None });
        }
        let client = supervisor.attach(&running.name).await?;
        match done.apply(supervisor, &client, &running, &reached).await {
            Ok(applied) => {
                if applied.no_clipboard {
                    reached.devices.clipboard = running.devices.clipboard;
                }
                if applied.not_shown {
                    reached.display.listen.clone_from(&running.display.listen);
                }
                Ok(Self { running, reached, applied, client: Some(client) })
            }
            Err((switched, error)) => {
                let undone = Effects::between(&reached, &running);
                undone.try_all(supervisor, &client, &running, switched).await;
                Err(error)
            }
        }
    }

    /// Changes it back.
    async fn undo(self, supervisor: &Supervisor) {
        let Self { running, reached, client, .. } = self;
        if let Some(client) = client {
            let undone = Effects::between(&reached, &running);
            undone.try_all(supervisor, &client, &running, undone.attached.len()).await;
            if undone.showing {
                let _ = showing::show(supervisor, &client, &reached, &running).await;
            }
        }
        let library = supervisor.library().clone();
        // What could not be written is as it was.
        let _ = blocking(move || library.record(&running)).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LibraryError> + Send + 'static,
) -> Result<T, EditError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::paths::Paths;

    #[tokio::test]
    async fn a_change_by_somebody_else_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new(Paths::new(folder.path().join("data"), folder.path().join("run")));
        let definition = Definition::new("web");
        supervisor.library().create(&definition).unwrap();
        let seen = supervisor.library().load("web").unwrap();
        let mut theirs = definition.clone();
        theirs.description = "theirs".into();
        supervisor.library().save(&theirs, &seen.revision).unwrap();
        let mut mine = definition;
        mine.vcpus = 2;

        let refused = save(&supervisor, mine.clone(), None, seen.revision).await;
        let again = supervisor.library().load("web").unwrap();
        let saved = save(&supervisor, mine, None, again.revision).await.unwrap();

        assert!(matches!(refused, Err(EditError::Library(LibraryError::Changed(_)))), "{refused:?}");
        assert_eq!(again.definition.description, "theirs");
        assert_eq!((saved.stored.definition.vcpus, saved.applied), (2, Applied::default()));
    }
}
