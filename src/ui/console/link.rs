//! The console's connection to a guest's screen: made on tokio, made again by itself when it is lost while the guest runs.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use lodge::{
    manager::socket,
    rfb::{
        client::{Client, ClientError, Event, Options},
        protocol::ProtocolError,
    },
};
use tokio::{sync::mpsc, task::AbortHandle};

use crate::ui::pump::pump;

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
        let (sender, receiver) = mpsc::channel(8);
        let task = relm4::spawn(run(path, sender));
        relm4::spawn_local(pump(receiver, move |event| {
            told(event);
            ControlFlow::Continue(())
        }));
        Self(task.abort_handle())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has the screen's own memory shared, unless that turns out to be of no use.
async fn run(path: PathBuf, sender: mpsc::Sender<LinkEvent>) {
    let mut sharing = true;
    loop {
        let connected = connect(&path, sharing).await;
        match connected {
            Ok((client, mut events)) => {
                if sender.send(LinkEvent::Connected(client)).await.is_err() {
                    return;
                }
                while let Some(event) = events.recv().await {
                    let closed = matches!(event, Event::Closed(_));
                    sharing &= !matches!(event, Event::Closed(ClientError::Memory(_)));
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

async fn connect(path: &Path, sharing: bool) -> Result<(Client, mpsc::Receiver<Event>), ClientError> {
    let stream = socket::connect_async(path).await.map_err(ProtocolError::Io)?;
    let options = Options { clipboard: true, ..Options::local() };
    match sharing {
        true => Client::connect_sharing(stream, options).await,
        false => Client::connect(stream, options).await,
    }
}
