//! The console's connection to a guest's screen: made on tokio, made again by itself when it is lost while the guest runs.

use std::{path::PathBuf, time::Duration};

use lodge::rfb::client::{Client, Event, Options};
use tokio::{net::UnixStream, sync::mpsc, task::AbortHandle};

/// How long to wait before the next try.
const RETRY: Duration = Duration::from_millis(500);

/// What the link tells.
pub enum LinkEvent {
    /// The guest's screen is there.
    Connected(Client),
    /// Something has happened on it.
    Screen(Event),
    /// It is gone; another try follows.
    Lost,
}

/// A link; it ends when this is dropped.
pub struct Link(AbortHandle);

impl Link {
    /// Connects to the socket at `path`, again and again. `told` is called on the caller's main loop.
    pub fn new(path: PathBuf, told: impl Fn(LinkEvent) + 'static) -> Self {
        let (sender, mut receiver) = mpsc::channel(8);
        let task = relm4::spawn(run(path, sender));
        relm4::spawn_local(async move {
            while let Some(event) = receiver.recv().await {
                told(event);
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(path: PathBuf, sender: mpsc::Sender<LinkEvent>) {
    loop {
        let connected = match UnixStream::connect(&path).await {
            Ok(stream) => Client::connect(stream, Options::local()).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match connected {
            Ok((client, mut events)) => {
                if sender.send(LinkEvent::Connected(client)).await.is_err() {
                    return;
                }
                while let Some(event) = events.recv().await {
                    let closed = matches!(event, Event::Closed(_));
                    if sender.send(LinkEvent::Screen(event)).await.is_err() {
                        return;
                    }
                    if closed {
                        break;
                    }
                }
                if sender.send(LinkEvent::Lost).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!("the guest's screen cannot be reached: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
