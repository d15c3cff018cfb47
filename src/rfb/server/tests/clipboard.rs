//! Viewers that copy and paste, and a guest that does.

use super::conversations::{Viewer, connect_plainly};
use super::{Log, Scene};
use crate::clipboard::{GuestClipboard, HostClipboard, MAX_TEXT};
use crate::rfb::client::{Event, Options};
use crate::rfb::protocol::{ClientMessage, Encoding, MAX_CUT_TEXT};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// What the server asks of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Offer(bool),
    Request,
    Provide(Option<String>),
}

/// A guest that remembers what it was asked.
struct Guest {
    asked: Log<Asked>,
    has_text: AtomicBool,
    host: Mutex<Option<Weak<dyn HostClipboard>>>,
}

impl GuestClipboard for Guest {
    fn connect(&self, host: Weak<dyn HostClipboard>) {
        *self.host.lock().unwrap() = Some(host);
    }

    fn offer(&self, offered: bool) {
        self.asked.extend([Asked::Offer(offered)]);
    }

    fn request(&self) -> bool {
        let has_text = self.has_text.load(Ordering::Relaxed);
        self.asked.extend(has_text.then_some(Asked::Request));
        has_text
    }

    fn provide(&self, text: Option<&str>) {
        self.asked.extend([Asked::Provide(text.map(str::to_owned))]);
    }
}

impl Guest {
    fn host(&self) -> Arc<dyn HostClipboard> {
        self.host.lock().unwrap().as_ref().and_then(Weak::upgrade).unwrap()
    }

    fn offer(&self, offered: bool) {
        self.has_text.store(offered, Ordering::Relaxed);
        self.host().offer(offered);
    }

    /// Waits until it was asked all this since the last time, and nothing else.
    fn expect(&self, asked: &[Asked]) {
        assert_eq!(self.asked.wait(|all| all.len() >= asked.len()), asked);
        self.asked.clear();
    }
}

fn scene() -> (Scene, Arc<Guest>) {
    let scene = Scene::new(64, 64);
    let guest = Arc::new(Guest { asked: Log::new(), has_text: AtomicBool::new(false), host: Mutex::default() });
    scene.server.share_clipboard(Arc::clone(&guest) as _);
    (scene, guest)
}

impl Viewer {
    /// One that shares the clipboard and has been greeted.
    fn sharing_clipboard(scene: &Scene) -> Self {
        let mut viewer = Self::connect(scene, Options { clipboard: true, ..Options::local() });
        viewer.settle();
        viewer
    }

    /// The next event that is about a clipboard.
    fn clipboard(&mut self) -> Event {
        loop {
            let event = self.next_event();
            match event {
                Event::Closed(reason) => panic!("{reason}"),
                Event::Damaged(_) | Event::PointerMode { .. } | Event::Cursor(_) => {}
                event => return event,
            }
        }
    }

    fn expect_text(&mut self, text: &str) {
        let event = self.clipboard();
        assert!(matches!(&event, Event::ClipboardProvided(provided) if provided == text), "{event:?}");
    }
}

/// A viewer without the extension.
fn plain(scene: &Scene, encodings: &[Encoding]) -> UnixStream {
    let mut viewer = connect_plainly(scene);
    let mut said = b"RFB 003.008\n\x01\x01".to_vec();
    ClientMessage::SetEncodings(encodings.to_vec()).write(&mut said);
    viewer.write_all(&said).unwrap();
    // Version, security, the screen's size and format, its name.
    viewer.read_exact(&mut vec![0; 12 + 2 + 4 + 24 + b"desktop".len()]).unwrap();
    viewer
}

fn expect_plain(viewer: &mut UnixStream, text: &[u8]) {
    let mut message = vec![0; 8 + text.len()];
    viewer.read_exact(&mut message).unwrap();
    assert_eq!(message, [&[3, 0, 0, 0][..], &(text.len() as u32).to_be_bytes(), text].concat());
}

#[test]
fn the_guests_text_goes_to_who_asks_for_it() {
    let (scene, guest) = scene();
    let [mut asks, mut does_not] = [Viewer::sharing_clipboard(&scene), Viewer::sharing_clipboard(&scene)];

    guest.offer(true);
    for viewer in [&mut asks, &mut does_not] {
        assert!(matches!(viewer.clipboard(), Event::ClipboardOffered(true)));
    }
    asks.client().request_clipboard();
    guest.expect(&[Asked::Request]);
    guest.host().provide(Some("first\nsecond 🦀".into()));
    asks.expect_text("first\nsecond 🦀");

    // The one that has not asked hears of the end next; one that comes late can ask for what there is.
    guest.offer(false);
    assert!(matches!(does_not.clipboard(), Event::ClipboardOffered(false)));
    guest.offer(true);
    let mut late = Viewer::sharing_clipboard(&scene);
    late.client().request_clipboard();
    guest.expect(&[Asked::Request]);
    guest.host().provide(Some("x".repeat(MAX_TEXT).into()));
    late.expect_text(&"x".repeat(MAX_TEXT));
}

#[test]
fn a_request_that_a_new_text_has_overtaken_is_not_answered_by_it() {
    let (scene, guest) = scene();
    let mut viewer = Viewer::sharing_clipboard(&scene);
    guest.offer(true);
    viewer.clipboard();
    viewer.client().request_clipboard();
    guest.expect(&[Asked::Request]);

    guest.offer(true);
    guest.host().provide(Some("nobody waits for this".into()));
    assert!(matches!(viewer.clipboard(), Event::ClipboardOffered(true)));
    viewer.client().request_clipboard();
    guest.expect(&[Asked::Request]);
    guest.host().provide(None);

    assert!(matches!(viewer.clipboard(), Event::ClipboardOffered(false)));
}

#[test]
fn the_guest_gets_the_text_of_who_had_some_last_when_it_asks() {
    let (scene, guest) = scene();
    let [first, mut second] = [Viewer::sharing_clipboard(&scene), Viewer::sharing_clipboard(&scene)];

    first.client().provide_clipboard("nobody has asked for this");
    first.client().offer_clipboard(true);
    guest.expect(&[Asked::Offer(true)]);
    second.client().offer_clipboard(true);
    guest.expect(&[Asked::Offer(true)]);
    guest.host().request();
    assert!(matches!(second.clipboard(), Event::ClipboardRequested));
    second.client().provide_clipboard("Grüße\n");
    guest.expect(&[Asked::Provide(Some("Grüße\n".to_owned()))]);

    // It is the guest's turn: who had text has none for it any more.
    guest.offer(true);
    guest.host().request();
    guest.expect(&[Asked::Provide(None)]);
    first.client().offer_clipboard(true);
    guest.expect(&[Asked::Offer(true)]);
    while !matches!(second.clipboard(), Event::ClipboardOffered(false)) {}
    first.client().offer_clipboard(false);
    guest.expect(&[Asked::Offer(false)]);

    second.client().offer_clipboard(true);
    guest.expect(&[Asked::Offer(true)]);
    drop(second);
    guest.expect(&[Asked::Offer(false)]);
}

#[test]
fn viewers_without_the_extension_get_and_give_latin1_at_once() {
    let (scene, guest) = scene();
    let mut viewer = plain(&scene, &[Encoding::RAW]);
    let mut said = Vec::new();
    ClientMessage::CutText(b"Gr\xFC\xDFe\r\n".to_vec()).write(&mut said);

    viewer.write_all(&said).unwrap();
    guest.expect(&[Asked::Offer(true)]);
    guest.host().request();
    guest.expect(&[Asked::Provide(Some("Grüße\n".to_owned()))]);

    guest.offer(true);
    guest.expect(&[Asked::Request]);
    guest.host().provide(Some("x".repeat(MAX_CUT_TEXT as usize + 1).into()));
    guest.offer(true);
    guest.expect(&[Asked::Request]);
    guest.host().provide(Some("zurück 🦀".into()));
    expect_plain(&mut viewer, b"zur\xFCck ?");
}

#[test]
fn who_is_to_have_no_clipboard_has_none() {
    let (scene, guest) = scene();
    let mut viewer = plain(&scene, &[Encoding::NO_CLIPBOARD, Encoding::EXTENDED_CLIPBOARD]);
    let mut said = Vec::new();
    ClientMessage::CutText(b"text".to_vec()).write(&mut said);
    ClientMessage::Clipboard(crate::rfb::clipboard::ClipboardMessage::Notify { text: true }).write(&mut said);
    viewer.write_all(&said).unwrap();

    guest.offer(true);
    guest.host().provide(Some("secret".into()));

    // The answer to something else comes next.
    said.clear();
    ClientMessage::ContinuousUpdates {
        enable: false,
        area: crate::rfb::protocol::WireRect { x: 0, y: 0, width: 1, height: 1 },
    }
    .write(&mut said);
    viewer.write_all(&said).unwrap();
    let mut answer = [0];
    viewer.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [crate::rfb::protocol::END_OF_CONTINUOUS_UPDATES]);
    assert!(guest.asked.wait(|_| true).is_empty());
}
