//! The commands that the application and `lodgectl` need, with their types.

use std::{os::fd::OwnedFd, path::Path, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use super::{Client, ClientError, DEFAULT_TIMEOUT, Event};
use crate::{
    manager::{
        host::Root,
        network::{self, Tap},
        storage::progress::Watch,
    },
    nat::Forward,
    qmp::{
        message::ErrorClass,
        types::{
            AddfdInfo, BalloonInfo, ConnectionInfo, MigrationInfo, MigrationStatistics, MigrationStatus, NetworkLimits,
            Statistics, StatusInfo,
        },
    },
    worker::launch::Limits,
};

/// How long a guest may take to be paused, with all its I/O completed.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often somebody is told how far a long operation is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// How long those who translate addresses may take to begin anew.
const TRANSLATION_TIMEOUT: Duration = Duration::from_secs(20);

/// The host's end of a network card, to be handed over.
#[derive(Debug)]
pub enum HostEnd {
    /// There is none.
    Nothing,
    /// A TAP interface.
    Tap(Tap),
    /// A process that carries the card's frames.
    Stream {
        /// The socket through which the card gets its streams.
        feed: OwnedFd,
        /// The socket for requests.
        control: OwnedFd,
    },
}

impl Client {
    /// Whether and how the guest runs (`query-status`).
    pub async fn status(&self) -> Result<StatusInfo, ClientError> {
        self.query("query-status", DEFAULT_TIMEOUT).await
    }

    /// Everything for the graphs in one request (`x-lodge-statistics`).
    pub async fn statistics(&self) -> Result<Statistics, ClientError> {
        self.statistics_within(DEFAULT_TIMEOUT).await
    }

    /// [`Client::statistics`], waiting at most `limit`.
    pub async fn statistics_within(&self, limit: Duration) -> Result<Statistics, ClientError> {
        self.query("x-lodge-statistics", limit).await
    }

    /// Pauses the guest (`stop`).
    pub async fn pause(&self) -> Result<(), ClientError> {
        self.execute("stop", Value::Null).await.map(drop)
    }

    /// Lets the guest run on (`cont`).
    pub async fn resume(&self) -> Result<(), ClientError> {
        self.execute("cont", Value::Null).await.map(drop)
    }

    /// Presses the reset button (`system_reset`).
    pub async fn reset(&self) -> Result<(), ClientError> {
        self.execute("system_reset", Value::Null).await.map(drop)
    }

    /// Presses the power button (`system_powerdown`): the guest shuts down, if its system listens.
    pub async fn press_power_button(&self) -> Result<(), ClientError> {
        self.execute("system_powerdown", Value::Null).await.map(drop)
    }

    /// Ends the guest at once (`quit`), as if its plug were pulled.
    pub async fn quit(&self) -> Result<(), ClientError> {
        self.execute("quit", Value::Null).await.map(drop)
    }

    /// Plugs the cable of a network card in (`true`) or out (`set_link`).
    pub async fn set_link(&self, card: &str, up: bool) -> Result<(), ClientError> {
        self.execute("set_link", json!({ "name": card, "up": up })).await.map(drop)
    }

    /// Limits what a network card may carry (`x-lodge-set-network-limits`).
    pub async fn limit_card(&self, card: &str, limits: &Limits) -> Result<(), ClientError> {
        let mut arguments = json!(NetworkLimits::from(limits));
        arguments["id"] = card.into();
        self.execute("x-lodge-set-network-limits", arguments).await.map(drop)
    }

    /// Shares the clipboard with the guest from now on, or no longer (`x-lodge-set-clipboard`). `false`: the guest was started
    /// without one.
    pub async fn share_clipboard(&self, enable: bool) -> Result<bool, ClientError> {
        match self.execute("x-lodge-set-clipboard", json!({ "enable": enable })).await {
            Ok(_) => Ok(true),
            // The second is what a worker of an older Lodge says.
            Err(ClientError::Refused { class: ErrorClass::DeviceNotActive | ErrorClass::CommandNotFound, .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// What each network card is connected to, what is forwarded (`x-lodge-query-networks`), and what is not as it should be: there
    /// or at the host's end.
    pub async fn connections(&self) -> Result<Vec<ConnectionInfo>, ClientError> {
        let mut infos: Vec<ConnectionInfo> = self.query("x-lodge-query-networks", TRANSLATION_TIMEOUT).await?;
        for info in infos.iter_mut().filter(|info| info.problem.is_none()) {
            info.problem = network::trouble(info, &Root::default());
        }
        Ok(infos)
    }

    /// What keeps network cards from working, each with the card's name before it.
    pub async fn network_problems(&self) -> Result<Vec<String>, ClientError> {
        let cards = self.connections().await?;
        Ok(cards.into_iter().filter_map(|card| Some(format!("{}: {}", card.id, card.problem?))).collect())
    }

    /// Forwards another port of the host to a network card (`x-lodge-network-forward-add`), or no longer does
    /// (`x-lodge-network-forward-remove`).
    pub async fn forward(&self, card: &str, forward: &Forward, add: bool) -> Result<ConnectionInfo, ClientError> {
        let command = if add { "x-lodge-network-forward-add" } else { "x-lodge-network-forward-remove" };
        let Forward { protocol, address, port, guest_port } = forward;
        let arguments = json!({
            "id": card, "protocol": protocol.name(), "address": address, "port": port, "guest-port": guest_port,
        });
        parse(command, self.execute_within(command, arguments, TRANSLATION_TIMEOUT).await?)
    }

    /// Switches a network card to the network of this host's end (`x-lodge-network-attach`).
    pub async fn attach_network(&self, card: &str, source: &str, end: HostEnd) -> Result<(), ClientError> {
        let mut handed = Vec::new();
        let mut arguments = json!({ "id": card, "source": source });
        let mut outcome = Ok(());
        let descriptors = match end {
            HostEnd::Nothing => Vec::new(),
            HostEnd::Tap(Tap { interface, queues }) => {
                arguments["interface"] = interface.into();
                queues.into_iter().map(|queue| ("queues", queue)).collect()
            }
            HostEnd::Stream { feed, control } => vec![("feed", feed), ("control", control)],
        };
        for (what, descriptor) in descriptors {
            match self.hand_over(descriptor, None).await {
                Ok(file) => {
                    match (&mut arguments[what], what) {
                        (Value::Array(queues), _) => queues.push(file.name().into()),
                        (argument, "queues") => *argument = json!([file.name()]),
                        (argument, _) => *argument = file.name().into(),
                    }
                    handed.push(file);
                }
                Err(error) => outcome = Err(error),
            }
        }
        if outcome.is_ok() {
            outcome = self.execute_within("x-lodge-network-attach", arguments, TRANSLATION_TIMEOUT).await.map(drop);
        }
        for file in handed {
            outcome = outcome.and(self.take_back(file).await.map(drop));
        }
        outcome
    }

    /// Asks the guest to keep so many bytes of its memory and to give the rest back (`balloon`); it does so as it can.
    pub async fn set_balloon(&self, bytes: u64) -> Result<(), ClientError> {
        self.execute("balloon", json!({ "value": bytes })).await.map(drop)
    }

    /// What the guest keeps of its memory, in bytes (`query-balloon`).
    pub async fn balloon(&self) -> Result<u64, ClientError> {
        Ok(self.query::<BalloonInfo>("query-balloon", DEFAULT_TIMEOUT).await?.actual)
    }

    /// Has the guest's state, memory included, written to `file`. The guest stands still meanwhile and afterwards, until it is
    /// resumed ([`Client::resume`]). `watch` is told how far it is, in bytes of memory; when that fails, or `watch` says to stop, the
    /// guest does what it did before.
    pub async fn save_state(&self, file: OwnedFd, watch: Watch<'_>) -> Result<(), ClientError> {
        self.save("migrate", file, |name| json!({ "uri": format!("file:{name}") }), watch).await
    }

    /// [`Client::save_state`] to the guest's own file, after which the worker ends: perhaps before it has answered.
    pub async fn save_and_end(&self, file: OwnedFd, watch: Watch<'_>) -> Result<(), ClientError> {
        self.save("x-lodge-save", file, |name| json!({ "filename": name }), watch).await
    }

    async fn save(
        &self,
        command: &str,
        file: OwnedFd,
        arguments: impl Fn(&str) -> Value,
        watch: Watch<'_>,
    ) -> Result<(), ClientError> {
        let file = self.hand_over(file, None).await?;
        let mut events = self.events();
        let begun = self.execute_within(command, arguments(&file.name()), PAUSE_TIMEOUT).await;
        // The worker has its own by now.
        let removed = self.take_back(file).await;
        begun?;
        if !matches!(removed, Err(ClientError::Closed)) {
            removed?;
        }
        loop {
            // The end is told by an event, and how far it is must be asked for.
            if wait_until_saved(&mut events, PROGRESS_INTERVAL).await? {
                return Ok(());
            }
            let info: MigrationInfo = match self.query("query-migrate", DEFAULT_TIMEOUT).await {
                Ok(info) => info,
                // A worker that ends has told so before.
                Err(_) if wait_until_saved(&mut events, DEFAULT_TIMEOUT).await? => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Some(MigrationStatistics { remaining, total, .. }) = info.ram
                && info.status == Some(MigrationStatus::Active)
                && !watch(total.saturating_sub(remaining), total)
            {
                self.execute("migrate_cancel", Value::Null).await?;
            }
            let refused =
                |description: String| ClientError::Refused { class: super::ErrorClass::GenericError, description };
            match info.status {
                Some(MigrationStatus::Active | MigrationStatus::Cancelling) => {}
                Some(MigrationStatus::Completed) => return Ok(()),
                Some(MigrationStatus::Cancelled) => {
                    return Err(refused("saving its state was cancelled. It goes on as before".to_owned()));
                }
                Some(MigrationStatus::Failed) | None => {
                    return Err(refused(info.error_desc.unwrap_or_else(|| "its state could not be saved".to_owned())));
                }
            }
        }
    }

    /// Hands a file to the worker, which opens nothing by name. `path` is what it is to say of it.
    pub(super) async fn hand_over(&self, file: OwnedFd, path: Option<&Path>) -> Result<HandedOver, ClientError> {
        let described = path.map_or(Value::Null, |path| json!({ "opaque": path.to_string_lossy() }));
        let added = self.request("add-fd", described, Some(file), DEFAULT_TIMEOUT).await?;
        let AddfdInfo { fdset_id, .. } = parse("add-fd", added)?;
        Ok(HandedOver(fdset_id))
    }

    /// Has the worker close it, but for what a command has made of it.
    pub(super) async fn take_back(&self, file: HandedOver) -> Result<Value, ClientError> {
        self.execute("remove-fd", json!({ "fdset-id": file.0 })).await
    }

    pub(super) async fn query<T: DeserializeOwned>(&self, command: &str, limit: Duration) -> Result<T, ClientError> {
        parse(command, self.execute_within(command, Value::Null, limit).await?)
    }
}

/// A file that the worker keeps until it is taken back or the connection ends.
pub(super) struct HandedOver(u64);

impl HandedOver {
    /// What commands call it.
    pub(super) fn name(&self) -> String {
        format!("/dev/fdset/{}", self.0)
    }
}

/// Waits for an event about the saving of a state, at most `limit`. `true`: the state is saved.
async fn wait_until_saved(events: &mut Receiver<Event>, limit: Duration) -> Result<bool, ClientError> {
    let next = async {
        loop {
            match events.recv().await {
                Ok(event) if event.event == "MIGRATION" => {
                    return Ok(event.data.get("status").is_some_and(|status| status == "completed"));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(ClientError::Closed),
            }
        }
    };
    timeout(limit, next).await.unwrap_or(Ok(false))
}

fn parse<T: DeserializeOwned>(command: &str, answer: Value) -> Result<T, ClientError> {
    serde_json::from_value(answer).map_err(|error| ClientError::Protocol(format!("{command}: {error}")))
}
