//! Changing a guest's definition: what can be changed in a running guest is changed there at once, too, and the rest applies from
//! its next start. Both happen, or neither.

#![forbid(unsafe_code)]

mod attach;
mod disks;
mod growing;
mod merge;
mod showing;

use super::{
    client::{Client, ClientError},
    definition::{Definition, Forward, NetworkDefinition, NetworkKind, Problem},
    library::{LibraryError, Revision, Stored},
    supervisor::{Supervisor, SupervisorError},
};
use crate::worker::launch::Limits;

pub use attach::attach;
pub use disks::{DiskError, Source, add_disk, reason_to_keep, remove_disk};
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

/// What a change of a definition does to the guest while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// The disks whose limits are others, by name.
    pub limits: Vec<(String, Limits)>,
    /// The network cards whose limits are others, by name.
    pub card_limits: Vec<(String, Limits)>,
    /// The network cards that are connected to something else, by number.
    pub attached: Vec<usize>,
    /// The ports that are forwarded no longer (`false`) or from now on (`true`), with their card's name.
    pub forwards: Vec<(String, Forward, bool)>,
    /// Whether the clipboard is shared with it from now on, where that is another matter than before.
    pub clipboard: Option<bool>,
    /// Whether its screen is shown on the network in another way from now on, or no longer.
    pub showing: bool,
    /// Whether something can only change at its next start.
    pub next_start: bool,
}

impl Effects {
    /// What it does to make `after` of `before`.
    pub fn of(before: &Definition, after: &Definition) -> Self {
        let mut effects = Self::default();
        // What the running guest is like then, and what has nothing to do with it.
        let mut reached = before.clone();
        reached.name.clone_from(&after.name);
        reached.description.clone_from(&after.description);
        reached.os.clone_from(&after.os);
        reached.tags.clone_from(&after.tags);
        reached.autostart = after.autostart;
        reached.devices.clipboard = after.devices.clipboard;
        effects.clipboard = (before.devices.clipboard != after.devices.clipboard).then_some(after.devices.clipboard);
        reached.display.listen.clone_from(&after.display.listen);
        effects.showing = before.display.listen != after.display.listen;
        for disk in &mut reached.disks {
            let wanted = after.disks.iter().find(|other| other.id == disk.id).map_or(disk.limits, |other| other.limits);
            if wanted != disk.limits {
                disk.limits = wanted;
                effects.limits.push((disk.id.clone(), wanted.limits()));
            }
        }
        for (index, (card, wanted)) in reached.networks.iter_mut().zip(&after.networks).enumerate() {
            effects.add_card(index, card, wanted);
        }
        effects.next_start = reached != *after;
        effects
    }

    /// What it does to make `wanted` of card number `index`, and what the card is like then.
    fn add_card(&mut self, index: usize, card: &mut NetworkDefinition, wanted: &NetworkDefinition) {
        // Another card, of which the running guest knows nothing.
        if card.mac != wanted.mac {
            return;
        }
        let name = format!("net{index}");
        if card.limits != wanted.limits {
            card.limits = wanted.limits;
            self.card_limits.push((name.clone(), wanted.limits.limits()));
        }
        if !is_connected_alike(card, wanted) {
            *card = card.connected_to(wanted.clone());
            self.attached.push(index);
        } else if card.kind == NetworkKind::Nat {
            let gone = card.forwards.iter().filter(|forward| !wanted.forwards.contains(forward));
            self.forwards.extend(gone.map(|forward| (name.clone(), *forward, false)));
            let new = wanted.forwards.iter().filter(|forward| !card.forwards.contains(forward));
            self.forwards.extend(new.map(|forward| (name.clone(), *forward, true)));
            card.forwards.clone_from(&wanted.forwards);
        }
    }

    /// Whether something changes in the running guest at once.
    pub fn at_once(&self) -> bool {
        !self.limits.is_empty()
            || !self.forwards.is_empty()
            || !self.card_limits.is_empty()
            || !self.attached.is_empty()
            || self.clipboard.is_some()
            || self.showing
    }

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

/// Whether both cards are connected to the same in the same way, whatever is forwarded.
fn is_connected_alike(one: &NetworkDefinition, other: &NetworkDefinition) -> bool {
    let place = |card: &NetworkDefinition| (card.source(), card.dhcp, card.backend);
    place(one) == place(other)
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
    let guest = name.clone();
    let before = blocking(move || Ok((library.load(&guest).ok(), library.is_running(&guest)?))).await?;
    let live = match before {
        (Some(before), true) if before.revision == revision => {
            let done = Effects::of(&before.definition, &definition);
            let undone = Effects::of(&definition, &before.definition);
            done.at_once().then_some((done, undone, before.definition))
        }
        _ => None,
    };
    let mut applied = Applied::default();
    let mut undo = None;
    if let Some((done, undone, before)) = live {
        let client = supervisor.attach(&name).await?;
        match done.apply(supervisor, &client, &before, &definition).await {
            Ok(done) => (applied, undo) = (done, Some((client, undone, before, definition.clone()))),
            Err((switched, error)) => {
                undone.try_all(supervisor, &client, &before, switched).await;
                return Err(error);
            }
        }
    }
    let library = supervisor.library().clone();
    let stored = blocking(move || match text {
        Some(text) => library.save_text(&name, &text, &revision),
        None => {
            library.save(&definition, &revision)?;
            library.load(&name)
        }
    })
    .await;
    if let (Err(_), Some((client, undone, before, after))) = (&stored, undo) {
        undone.try_all(supervisor, &client, &before, undone.attached.len()).await;
        if undone.showing {
            let _ = showing::show(supervisor, &client, &after, &before).await;
        }
    }
    Ok(Saved { stored: stored?, applied })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LibraryError> + Send + 'static,
) -> Result<T, EditError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        definition::{DiskDefinition, DiskFormat, ListenDefinition, NetworkDefinition},
        paths::Paths,
        size::Size,
    };

    fn guest() -> Definition {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::new("/a", DiskFormat::Raw));
        let forwards = vec!["2222:22".parse().unwrap()];
        guest.add_network(NetworkDefinition { forwards, ..NetworkDefinition::nat() });
        guest
    }

    fn effects(change: impl FnOnce(&mut Definition)) -> Effects {
        let before = guest();
        let mut after = before.clone();
        change(&mut after);
        Effects::of(&before, &after)
    }

    #[test]
    fn words_about_a_guest_do_nothing_to_it() {
        let told = effects(|guest| {
            (guest.description, guest.os, guest.tags) = ("mail".into(), Some("debian".into()), vec!["web".into()]);
        });

        assert_eq!(told, Effects::default());
    }

    #[test]
    fn limits_and_forwarded_ports_change_at_once() {
        let limited = effects(|guest| guest.disks[0].limits.total_iops_sec = Some(5));
        let forwarded = effects(|guest| guest.networks[0].forwards = vec!["8080:80".parse().unwrap()]);

        assert_eq!((limited.limits[0].0.as_str(), limited.limits[0].1.operations.rate), ("disk0", 5));
        let changes: Vec<_> =
            forwarded.forwards.iter().map(|(card, forward, add)| (card.as_str(), forward.port, *add)).collect();
        assert_eq!(changes, [("net0", 2222, false), ("net0", 8080, true)]);
        assert!(limited.at_once() && forwarded.at_once() && !limited.next_start && !forwarded.next_start);
    }

    #[test]
    fn the_clipboard_is_shared_or_not_at_once() {
        let off = effects(|guest| guest.devices.clipboard = false);
        let more = effects(|guest| (guest.devices.clipboard, guest.devices.rng) = (false, false));

        assert_eq!((off.clipboard, off.at_once(), off.next_start), (Some(false), true, false));
        assert_eq!((more.clipboard, more.at_once(), more.next_start), (Some(false), true, true));
        assert_eq!(effects(|_| {}).clipboard, None);
    }

    #[test]
    fn the_screen_is_shown_on_the_network_or_not_at_once() {
        let shown = effects(|guest| guest.display.listen = Some(ListenDefinition::at(([127, 0, 0, 1], 5901).into())));
        let more = effects(|guest| {
            guest.display.listen = Some(ListenDefinition::at(([127, 0, 0, 1], 5901).into()));
            guest.vcpus = 2;
        });

        assert_eq!((shown.showing, shown.at_once(), shown.next_start), (true, true, false));
        assert_eq!((more.showing, more.at_once(), more.next_start), (true, true, true));
        assert!(!effects(|_| {}).showing);
    }

    #[test]
    fn hardware_changes_at_the_next_start() {
        let memory = effects(|guest| guest.memory = Size::gib(3));
        let both = effects(|guest| {
            guest.vcpus = 2;
            guest.disks[0].limits.total_iops_sec = Some(5);
        });
        let other = effects(|guest| guest.networks[0] = NetworkDefinition::tap("tap0"));
        let new = effects(|guest| guest.add_disk(DiskDefinition::empty_drive()));

        assert!(memory.next_start && !memory.at_once());
        assert!(both.next_start && both.at_once());
        assert!(other.next_start && !other.at_once() && new.next_start, "another card, and one more");
    }

    #[test]
    fn a_card_is_connected_to_something_else_and_limited_at_once() {
        let moved = effects(|guest| guest.networks[0] = guest.networks[0].connected_to(NetworkDefinition::tap("tap0")));
        let limited = effects(|guest| guest.networks[0].limits.inbound_packets_sec = Some(1000));
        let booted = effects(|guest| {
            (guest.networks[0].boot, guest.networks[0].bootfile) = (Some(1), Some("boot.ipxe".into()));
        });

        assert_eq!((&moved.attached[..], moved.forwards.len(), moved.next_start), (&[0][..], 0, false));
        let [(card, limits)] = &limited.card_limits[..] else { panic!("{limited:?}") };
        assert_eq!((card.as_str(), limits.reads.rate, limited.next_start), ("net0", 1000, false));
        assert!(booted.next_start && !booted.at_once());
    }

    #[tokio::test]
    async fn a_change_by_somebody_else_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new(Paths::new(folder.path().join("data"), folder.path().join("run")));
        let definition = guest();
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
