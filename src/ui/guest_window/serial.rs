//! The serial port's page: a terminal on the worker's serial socket, which replays what was said before.

use std::{path::PathBuf, time::Duration};

use gtk::{accessible::Property, gdk, glib, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    task::AbortHandle,
};
use vte::prelude::*;

use crate::ui::i18n::gettext;

/// How long to wait before the next try to connect.
const RETRY: Duration = Duration::from_millis(500);
/// Lines that can be scrolled back to.
const SCROLLBACK: i64 = 10_000;
/// Bytes shown at once, so that a guest that babbles leaves time for everything else.
const CHUNK: usize = 16 * 1024;

/// The page.
pub struct SerialPage {
    terminal: vte::Terminal,
    widget: gtk::ScrolledWindow,
    link: Option<SerialLink>,
}

/// A connection; it ends when this is dropped.
struct SerialLink {
    task: AbortHandle,
    handler: Option<glib::SignalHandlerId>,
    terminal: vte::Terminal,
}

enum SerialEvent {
    /// The history comes next.
    Connected,
    Output(Vec<u8>),
}

impl SerialPage {
    /// A page without a guest.
    pub fn new() -> Self {
        let terminal = vte::Terminal::builder().scrollback_lines(SCROLLBACK as u32).hexpand(true).vexpand(true).build();
        terminal.update_property(&[Property::Label(&gettext("Serial port"))]);
        terminal.add_controller(copy_and_paste(&terminal));
        let widget = gtk::ScrolledWindow::builder().child(&terminal).hscrollbar_policy(gtk::PolicyType::Never).build();
        Self { terminal, widget, link: None }
    }

    /// The page's widget.
    pub fn widget(&self) -> &gtk::ScrolledWindow {
        &self.widget
    }

    /// Gives the terminal the keyboard.
    pub fn focus(&self) {
        self.terminal.grab_focus();
    }

    /// Shows the port behind the socket at `path`.
    pub fn connect_to(&mut self, path: PathBuf) {
        if self.link.is_none() {
            self.link = Some(SerialLink::new(path, &self.terminal));
        }
    }

    /// The guest is off: what it has said stays.
    pub fn disconnect_from_guest(&mut self) {
        self.link = None;
    }
}

impl SerialLink {
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
                    SerialEvent::Connected => terminal.reset(true, true),
                    SerialEvent::Output(bytes) => terminal.feed(&bytes),
                }
            }
        });
        Self { task, handler: Some(handler), terminal: terminal.clone() }
    }
}

impl Drop for SerialLink {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(handler) = self.handler.take() {
            self.terminal.disconnect(handler);
        }
    }
}

async fn run(path: PathBuf, events: mpsc::Sender<SerialEvent>, mut input: mpsc::UnboundedReceiver<Vec<u8>>) {
    while !events.is_closed() {
        if let Ok(stream) = UnixStream::connect(&path).await {
            if events.send(SerialEvent::Connected).await.is_err() {
                return;
            }
            let (mut read, mut write) = stream.into_split();
            let mut bytes = vec![0; CHUNK];
            loop {
                tokio::select! {
                    length = read.read(&mut bytes) => match length {
                        Ok(length) if length > 0 => {
                            if events.send(SerialEvent::Output(bytes[..length].to_vec())).await.is_err() {
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

/// Control+Shift+C and Control+Shift+V, as in every terminal.
fn copy_and_paste(terminal: &vte::Terminal) -> gtk::ShortcutController {
    let controller = gtk::ShortcutController::new();
    let modifiers = gdk::ModifierType::CONTROL_MASK | gdk::ModifierType::SHIFT_MASK;
    let add = |key: gdk::Key, act: fn(&vte::Terminal)| {
        let terminal = terminal.downgrade();
        let action = gtk::CallbackAction::new(move |_, _| {
            if let Some(terminal) = terminal.upgrade() {
                act(&terminal);
            }
            glib::Propagation::Stop
        });
        let trigger = gtk::KeyvalTrigger::new(key, modifiers);
        controller.add_shortcut(gtk::Shortcut::new(Some(trigger), Some(action)));
    };
    add(gdk::Key::c, |terminal| terminal.copy_clipboard_format(vte::Format::Text));
    add(gdk::Key::v, vte::Terminal::paste_clipboard);
    controller
}
