//! A port of the guest: a terminal on the worker's socket for it, which replays what was said before.

use std::{
    path::{Path, PathBuf},
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

use crate::ui::pump::rest;

/// How long to wait before the next try to connect.
const RETRY: Duration = Duration::from_millis(500);
/// Lines that can be scrolled back to.
const SCROLLBACK: u32 = 10_000;
/// Bytes shown at once, so that a guest that babbles leaves time for everything else.
const CHUNK: usize = 16 * 1024;
/// The time that the terminal has for them.
const SHOWING: Duration = Duration::from_millis(10);

/// A port and its terminal.
pub struct Port {
    terminal: vte::Terminal,
    widget: gtk::ScrolledWindow,
    link: Option<Link>,
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
        Self { terminal, widget, link: None }
    }

    /// The terminal with its scroll bar.
    pub fn widget(&self) -> &gtk::ScrolledWindow {
        &self.widget
    }

    /// The terminal.
    pub fn terminal(&self) -> &vte::Terminal {
        &self.terminal
    }

    /// Shows what is said behind the socket at `path`. `None`: the guest is off, and what it has said stays.
    pub fn connect_to(&mut self, path: Option<&Path>) {
        match path {
            Some(path) if self.link.is_none() => self.link = Some(Link::new(path.to_owned(), &self.terminal)),
            Some(_) => {}
            None => self.link = None,
        }
    }
}

impl Link {
    fn new(path: PathBuf, terminal: &vte::Terminal) -> Self {
        let (events, mut shown) = mpsc::channel(4);
        let (typed, input) = mpsc::unbounded_channel::<Vec<u8>>();
        let task = relm4::spawn(run(path, events, input)).abort_handle();
        let handler = terminal.connect_commit(move |_, text, _| {
            // Without a guest there is nobody to type to.
            let _ = typed.send(text.as_bytes().to_vec());
        });
        let weak = terminal.downgrade();
        relm4::spawn_local(async move {
            while let Some(event) = shown.recv().await {
                let Some(terminal) = weak.upgrade() else { return };
                match event {
                    Event::Connected => terminal.reset(true, true),
                    Event::Output(bytes) => terminal.feed(&bytes),
                }
                // The terminal takes whatever it is fed, and shows it later.
                rest(SHOWING).await;
            }
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
