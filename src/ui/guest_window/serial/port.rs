//! A port of the guest: a terminal on the worker's socket for it, which replays what was said before.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use gtk::{accessible::Property, glib, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    task::AbortHandle,
};
use vte::prelude::*;

use crate::ui::pump::{drawn, rest};

/// How long to wait before the next try to connect.
const RETRY: Duration = Duration::from_millis(500);
/// Lines that can be scrolled back to.
const SCROLLBACK: u32 = 10_000;
/// Bytes shown at once, so that a guest that babbles leaves time for everything else.
const CHUNK: usize = 16 * 1024;
/// The time that the terminal has for them.
const SHOWING: Duration = Duration::from_millis(10);
/// Bytes that are kept for a terminal that was never seen: as much as the worker keeps of the end.
const HELD: usize = 1 << 20;

/// A port and its terminal.
pub struct Port {
    terminal: vte::Terminal,
    widget: gtk::ScrolledWindow,
    events: mpsc::Sender<Event>,
    link: Option<Link>,
    was_linked: bool,
}

/// A connection; it ends when this is dropped.
struct Link {
    task: AbortHandle,
    handler: Option<glib::SignalHandlerId>,
    terminal: vte::Terminal,
}

enum Event {
    /// The history comes next.
    Connected,
    Output(Vec<u8>),
}

impl Port {
    /// A port of this name, without a guest.
    pub fn new(name: &str) -> Self {
        let terminal = vte::Terminal::builder().scrollback_lines(SCROLLBACK).hexpand(true).vexpand(true).build();
        terminal.update_property(&[Property::Label(name)]);
        terminal.search_set_wrap_around(true);
        let widget = gtk::ScrolledWindow::builder().child(&terminal).hscrollbar_policy(gtk::PolicyType::Never).build();
        let (events, said) = mpsc::channel(4);
        relm4::spawn_local(show(terminal.clone(), said));
        Self { terminal, widget, events, link: None, was_linked: false }
    }

    /// The terminal with its scroll bar.
    pub fn widget(&self) -> &gtk::ScrolledWindow {
        &self.widget
    }

    /// The terminal.
    pub fn terminal(&self) -> &vte::Terminal {
        &self.terminal
    }

    /// Whether anything can have been said.
    pub fn was_linked(&self) -> bool {
        self.was_linked
    }

    /// Shows what is said behind the socket at `path`. `None`: the guest is off, and what it has said stays.
    pub fn connect_to(&mut self, path: Option<&Path>) {
        match path {
            Some(path) if self.link.is_none() => {
                self.link = Some(Link::new(path.to_owned(), &self.terminal, self.events.clone()));
                self.was_linked = true;
            }
            Some(_) => {}
            None => self.link = None,
        }
    }
}

impl Link {
    fn new(path: PathBuf, terminal: &vte::Terminal, events: mpsc::Sender<Event>) -> Self {
        let (typed, input) = mpsc::unbounded_channel::<Vec<u8>>();
        let task = relm4::spawn(run(path, events, input)).abort_handle();
        let handler = terminal.connect_commit(move |_, text, _| {
            // Without a guest there is nobody to type to.
            let _ = typed.send(text.as_bytes().to_vec());
        });
        Self { task, handler: Some(handler), terminal: terminal.clone() }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(handler) = self.handler.take() {
            self.terminal.disconnect(handler);
        }
    }
}

/// Shows what is said, as long as the port is there.
async fn show(terminal: vte::Terminal, mut said: mpsc::Receiver<Event>) {
    let mut drawn = pin!(drawn(terminal.upcast_ref()));
    let weak = terminal.downgrade();
    drop(terminal);
    // A terminal that has not got its size yet would lay out all that it is fed, and later all of it once more.
    let mut held = VecDeque::new();
    loop {
        tokio::select! {
            () = &mut drawn => break,
            event = said.recv() => match event {
                Some(Event::Connected) => held.clear(),
                Some(Event::Output(bytes)) => {
                    held.extend(bytes);
                    held.drain(..held.len().saturating_sub(HELD));
                    rest(SHOWING).await;
                }
                None => return,
            },
        }
    }
    for bytes in held.make_contiguous().chunks(CHUNK) {
        feed(&weak, bytes).await;
    }
    drop(held);
    while let Some(event) = said.recv().await {
        match event {
            Event::Connected => weak.upgrade().iter().for_each(|terminal| terminal.reset(true, true)),
            Event::Output(bytes) => feed(&weak, &bytes).await,
        }
    }
}

/// Gives a terminal bytes and the time to show them: it takes whatever it is fed, and shows it later.
async fn feed(terminal: &glib::WeakRef<vte::Terminal>, bytes: &[u8]) {
    if let Some(terminal) = terminal.upgrade() {
        terminal.feed(bytes);
    }
    rest(SHOWING).await;
}

async fn run(path: PathBuf, events: mpsc::Sender<Event>, mut input: mpsc::UnboundedReceiver<Vec<u8>>) {
    while !events.is_closed() {
        if let Ok(stream) = UnixStream::connect(&path).await {
            if events.send(Event::Connected).await.is_err() {
                return;
            }
            let (mut read, mut write) = stream.into_split();
            let mut bytes = vec![0; CHUNK];
            loop {
                tokio::select! {
                    length = read.read(&mut bytes) => match length {
                        Ok(length) if length > 0 => {
                            if events.send(Event::Output(bytes[..length].to_vec())).await.is_err() {
                                return;
                            }
                        }
                        _ => break,
                    },
                    typed = input.recv() => match typed {
                        Some(typed) if write.write_all(&typed).await.is_ok() => {}
                        _ => break,
                    },
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        net::Shutdown,
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;
    use crate::ui::testing::{wait_until, with_gtk};

    #[test]
    fn what_was_said_before_the_terminal_is_seen_is_there_then_though_the_guest_has_gone() {
        with_gtk(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("serial.sock");
            let guest = UnixListener::bind(&path).unwrap();
            let mut port = Port::new("a port");
            port.connect_to(Some(&path));
            let (mut client, _) = guest.accept().unwrap();
            fs::remove_file(&path).unwrap();
            let said = thread::spawn(move || {
                let much = b"much is said\r\n".repeat(HELD / 14);
                client.write_all(&[&much, &b"\r\n\npanic"[..]].concat()).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                // The other end is closed when all was read.
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            });
            wait_until("all is held", || said.is_finished() && port.events.capacity() == port.events.max_capacity());
            port.connect_to(None);

            let window = gtk::Window::builder().child(port.widget()).default_width(640).default_height(400).build();
            window.present();
            wait_until("the end is shown", || port.terminal().cursor_position().0 == 5);
            window.destroy();
        });
    }
}
