//! The connection to one worker, for as long as that lives: it tells of every change of state.

#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::error::RecvError,
    task::spawn_blocking,
    time::{self, Instant},
};

use super::{GuestId, table::Table, watcher::now};
use crate::manager::{
    client::{Client, ClientError, Event},
    supervisor::{GuestState, Supervisor, SupervisorError},
};

/// How long to wait before the first try to connect again, and the longest wait.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// A worker that has not answered for so long hangs.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// The state of one guest is told no more often.
const BETWEEN_CHANGES: Duration = Duration::from_millis(100);

/// Follows the guest until its worker is gone.
pub(super) async fn follow(supervisor: Supervisor, table: Arc<Table>, id: GuestId, name: String) {
    let mut retry = RETRY.0;
    let begin = Instant::now();
    let mut seen = false;
    loop {
        match supervisor.attach(&name).await {
            Ok(client) => {
                (seen, retry) = (true, RETRY.0);
                listen(&supervisor, &table, &id, &name, client).await;
            }
            Err(SupervisorError::NotRunning { .. }) => {
                table.set_state(&id, supervisor.state_at_rest(&name).await);
                table.end_figures(&id, now());
                return;
            }
            // The guest's definition is gone or damaged; the next scan says what is left of it.
            Err(SupervisorError::Library(_) | SupervisorError::Ending) => return,
            Err(SupervisorError::Client { source: ClientError::Timeout { .. } | ClientError::Protocol(_), .. }) => {
                table.set_state(&id, GuestState::NotResponding);
            }
            // Its sockets are not there yet, or it is just ending.
            Err(_) => {
                let state = match seen {
                    true => GuestState::Stopping,
                    false if begin.elapsed() < STARTS_WITHIN => GuestState::Starting,
                    false => GuestState::NotResponding,
                };
                table.set_state(&id, state);
            }
        }
        time::sleep(retry).await;
        retry = (retry * 2).min(RETRY.1);
    }
}

/// Tells of changes of state until the connection ends: of one that comes alone at once, and of many at their pace.
async fn listen(supervisor: &Supervisor, table: &Table, id: &GuestId, name: &str, client: Client) {
    let mut events = client.events();
    // After the subscription, so that nothing is missed between them.
    table.set_state(id, supervisor.state_of(name, &client).await);
    table.set_client(id, Some(client.clone()));
    // The scan that has found the guest may have come before this was written.
    let (library, guest) = (supervisor.library().clone(), name.to_owned());
    let running = spawn_blocking(move || library.running(&library.load(&guest)?.definition)).await;
    if let Ok(Ok(running)) = running {
        table.set_running(id, running);
    }
    let mut rested = Instant::now();
    let mut is_asked_to = false;
    loop {
        let event = events.recv().await;
        is_asked_to |= event.as_ref().is_ok_and(is_power_button);
        let state = match event {
            Ok(event) if is_end(&event) => {
                if is_own_end(&event) && !is_asked_to {
                    table.turns_itself_off(id);
                }
                GuestState::Stopping
            }
            Ok(event) if !changes_state(&event) => continue,
            Ok(_) | Err(RecvError::Lagged(_)) => {
                time::sleep_until(rested).await;
                // What has come until now is in the answer, but for who has asked for it.
                let next = events.resubscribe();
                let mut passed = std::mem::replace(&mut events, next);
                while let Ok(event) = passed.try_recv() {
                    is_asked_to |= is_power_button(&event);
                }
                supervisor.state_of(name, &client).await
            }
            Err(RecvError::Closed) => break,
        };
        rested = Instant::now() + BETWEEN_CHANGES;
        table.set_state(id, state);
    }
    table.set_client(id, None);
}

/// A shutdown ends the worker; where the definition keeps the machine instead, STOP follows.
fn is_end(event: &Event) -> bool {
    event.event == "SHUTDOWN"
}

/// The power button was pressed, by whomever.
fn is_power_button(event: &Event) -> bool {
    event.event == "POWERDOWN"
}

/// Whether the guest's system has turned it off: nobody has pulled the plug, and it has not failed.
fn is_own_end(event: &Event) -> bool {
    event.data.get("reason").is_some_and(|reason| reason == "guest-shutdown")
}

fn changes_state(event: &Event) -> bool {
    matches!(
        event.event.as_str(),
        "STOP" | "BLOCK_IO_ERROR" | "RESUME" | "RESET" | "GUEST_PANICKED" | "x-lodge-internal-error"
    )
}
