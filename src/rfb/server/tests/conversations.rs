//! Viewers that come, look, type and go, and some that mean harm.

use super::{DEADLINE, Scene};
use crate::input::keys::from_qcode;
use crate::input::{Button, InputEvent};
use crate::rfb::client::{Client, ClientError, Event, Options, buttons};
use crate::rfb::encoding::tests::noise;
use crate::rfb::fence::Fence;
use crate::rfb::protocol::{ClientMessage, Encoding, WireRect};
use crate::rfb::server::ViewerEvent::{Connected, Disconnected, Initialized};
use crate::rfb::server::ViewerId;
use crate::screen::Surface;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// Our own client, in steps that block.
pub(super) struct Viewer {
    runtime: tokio::runtime::Runtime,
    client: Option<Client>,
    events: mpsc::Receiver<Event>,
}

impl Viewer {
    pub(super) fn connect(scene: &Scene, options: Options) -> Self {
        Self::connect_by(scene, |stream| Client::connect(stream, options))
    }

    /// One that sees the screen's memory.
    fn connect_sharing(scene: &Scene) -> Self {
        Self::connect_by(scene, |stream| Client::connect_sharing(stream, Options::local()))
    }

    fn connect_by<F>(scene: &Scene, connect: impl FnOnce(tokio::net::UnixStream) -> F) -> Self
    where
        F: Future<Output = Result<(Client, mpsc::Receiver<Event>), ClientError>>,
    {
        let (ours, theirs) = UnixStream::pair().unwrap();
        scene.server.serve(theirs).unwrap();
        ours.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, events) = runtime
            .block_on(async {
                let stream = tokio::net::UnixStream::from_std(ours).unwrap();
                connect(stream).await
            })
            .unwrap();
        Self { runtime, client: Some(client), events }
    }

    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    pub(super) fn next_event(&mut self) -> Event {
        let next = async { tokio::time::timeout(DEADLINE, self.events.recv()).await };
        self.runtime.block_on(next).expect("an event comes in time").expect("the connection lives")
    }

    /// Takes updates until the picture is as wanted.
    fn see(&mut self, picture: &Surface) {
        while !self.client().with_picture(|seen| seen == picture) {
            self.client().request_update();
            if let Event::Closed(reason) = self.next_event() {
                panic!("closed: {reason}");
            }
        }
    }

    /// Has seen everything, and waits for changes.
    pub(super) fn settle(&mut self) {
        self.client().request_update();
        while !matches!(self.next_event(), Event::Damaged(_)) {}
        self.client().request_update();
    }

    fn wait_until_closed(&mut self) {
        while !matches!(self.next_event(), Event::Closed(_)) {
            self.client().request_update();
        }
    }
}

/// A viewer that says what we want, byte by byte.
pub(super) fn connect_plainly(scene: &Scene) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    scene.server.serve(theirs).unwrap();
    ours
}

fn request(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let area = WireRect { x: 0, y: 0, width, height };
    ClientMessage::UpdateRequest { incremental: false, area }.write(&mut bytes);
    bytes
}

/// A whole conversation with every kind of message.
fn conversation() -> Vec<u8> {
    let mut bytes = b"RFB 003.008\n\x01\x01".to_vec();
    let messages = [
        ClientMessage::SetEncodings(vec![
            Encoding::ZRLE,
            Encoding::COPY_RECT,
            Encoding::QEMU_EXTENDED_KEY_EVENT,
            Encoding::FENCE,
            Encoding::CONTINUOUS_UPDATES,
        ]),
        ClientMessage::ContinuousUpdates { enable: true, area: WireRect { x: 0, y: 0, width: 640, height: 480 } },
        ClientMessage::Fence(Fence { flags: Fence::REQUEST | Fence::SYNC_NEXT, payload: vec![1; 64] }),
        ClientMessage::Fence(Fence { flags: 0, payload: vec![1; 64] }),
        ClientMessage::Key { down: true, keysym: 'a'.into() },
        ClientMessage::ExtendedKey { down: true, keysym: 0, code: 0x1D },
        ClientMessage::Pointer { buttons: 1, x: 10, y: 10 },
        ClientMessage::CutText(b"text".to_vec()),
        ClientMessage::SetDesktopSize { width: 10, height: 10 },
        ClientMessage::SetPixelFormat(crate::rfb::pixel_format::PixelFormat::BGR233),
    ];
    messages.iter().for_each(|message| message.write(&mut bytes));
    bytes.extend(request(640, 480));
    bytes
}

#[test]
fn viewers_see_what_is_on_the_screen_whatever_they_ask_for() {
    let scene = Scene::new(640, 480);
    let [local, remote] = [Options::local(), Options::remote()].map(|options| Viewer::connect(&scene, options));
    let mut viewers = [local, remote, Viewer::connect_sharing(&scene)];
    for seed in 0..10 {
        scene.screen.canvas.paint(|surface| *surface = noise(seed, 640 + seed as u32 % 3, 480, 20, 30));
        let picture = scene.screen.canvas.picture();

        for viewer in &mut viewers {
            viewer.see(&picture);
        }
    }
    assert_eq!(scene.server.viewers().len(), 3);
}

#[test]
fn every_change_comes_without_a_request_and_a_viewer_that_takes_none_is_not_flooded() {
    let scene = Scene::new(64, 64);
    let mut viewer = Viewer::connect(&scene, Options::local());
    viewer.settle();
    let paint = |colour| scene.screen.canvas.paint(|surface| surface.pixels.fill(colour));

    // Both are on their way before anything was asked for.
    for colour in [1, 2] {
        paint(colour);
        while !viewer.client().with_picture(|seen| seen.pixels[0] == colour) {
            assert!(matches!(viewer.next_event(), Event::Damaged(_)));
        }
    }
    // Now it has two that it has not taken: nobody looks for a third.
    scene.screen.refreshes.clear();
    paint(3);
    viewer.client().key(from_qcode("a").unwrap(), true);
    scene.devices.events.wait(|events| !events.is_empty());
    assert!(scene.screen.refreshes.wait(|_| true).is_empty());

    viewer.see(&scene.screen.canvas.picture());
    viewer.client().pause();
    viewer.client().request_update();
    paint(4);
    viewer.see(&scene.screen.canvas.picture());
}

#[test]
fn the_screen_takes_the_size_of_a_viewer_only_if_the_guest_follows() {
    let scene = Scene::new(640, 480);
    let mut viewer = Viewer::connect(&scene, Options::local());
    viewer.see(&scene.screen.canvas.picture());

    viewer.client().request_size(800, 600);
    scene.screen.canvas.paint(|surface| surface.pixels.fill(7));
    viewer.see(&scene.screen.canvas.picture());
    assert_eq!((scene.screen.canvas.picture().width, scene.screen.canvas.picture().height), (640, 480));

    scene.screen.canvas.follow_preferred_size();
    viewer.client().request_size(0, 600);
    viewer.client().request_size(800, 600);
    viewer.client().request_update();
    while !matches!(viewer.next_event(), Event::Resized { width: 800, height: 600 }) {
        viewer.client().request_update();
    }
    viewer.see(&scene.screen.canvas.picture());
}

#[test]
fn what_a_viewer_does_arrives_in_order() {
    let scene = Scene::new(101, 101);
    let viewer = Viewer::connect(&scene, Options::local());
    let (ctrl, a) = (from_qcode("ctrl").unwrap(), from_qcode("a").unwrap());

    viewer.client().key(ctrl, true);
    viewer.client().key(a, true);
    viewer.client().pointer_to(50, 100, buttons::RIGHT);

    let expected = [
        InputEvent::Key { key: ctrl, down: true },
        InputEvent::Key { key: a, down: true },
        InputEvent::Absolute { x: 16384, y: 32767 },
        InputEvent::Button { button: Button::Right, down: true },
    ];
    assert_eq!(scene.devices.events.wait(|events| events.len() >= 4), expected);
}

#[test]
fn a_viewer_is_told_how_the_guests_pointer_moves() {
    let scene = Scene::new(64, 64);
    scene.devices.follows_position.store(false, Ordering::Relaxed);
    let mut viewer = Viewer::connect(&scene, Options::local());
    let wait_for_mode = |viewer: &mut Viewer| loop {
        viewer.client().request_update();
        match viewer.next_event() {
            Event::PointerMode { follows_position } => break follows_position,
            Event::Closed(reason) => panic!("closed: {reason}"),
            _ => {}
        }
    };

    assert!(!wait_for_mode(&mut viewer));
    viewer.client().pointer_by(-5, 6, buttons::WHEEL_LEFT | buttons::EXTRA);
    let expected = [
        InputEvent::Relative { dx: -5, dy: 6 },
        InputEvent::Button { button: Button::WheelLeft, down: true },
        InputEvent::Button { button: Button::Extra, down: true },
    ];
    assert_eq!(scene.devices.events.wait(|events| events.len() >= 3), expected);

    scene.devices.follows_position.store(true, Ordering::Relaxed);
    assert!(wait_for_mode(&mut viewer));
}

#[test]
fn a_viewer_is_told_of_a_new_name() {
    let scene = Scene::new(64, 64);
    let mut viewer = Viewer::connect(&scene, Options::local());
    assert_eq!(viewer.client().name(), "desktop");
    viewer.see(&scene.screen.canvas.picture());

    scene.server.rename("other");

    loop {
        viewer.client().request_update();
        if let Event::Renamed(name) = viewer.next_event() {
            break assert_eq!(name, "other");
        }
    }
}

#[test]
fn what_a_viewer_holds_is_released_when_it_goes() {
    let scene = Scene::new(64, 64);
    let mut viewer = Viewer::connect(&scene, Options::local());
    let (ctrl, alt) = (from_qcode("ctrl").unwrap(), from_qcode("alt").unwrap());
    viewer.client().key(ctrl, true);
    viewer.client().key(alt, true);
    viewer.client().pointer_to(0, 0, buttons::LEFT);
    scene.devices.events.wait(|events| events.len() >= 4);
    scene.devices.events.clear();

    viewer.client = None;

    let expected = [
        InputEvent::Key { key: alt, down: false },
        InputEvent::Key { key: ctrl, down: false },
        InputEvent::Button { button: Button::Left, down: false },
    ];
    assert_eq!(scene.devices.events.wait(|events| events.len() >= 3), expected);
    scene.wait_for_disconnects(1);
}

#[test]
fn a_viewer_that_never_reads_delays_nobody() {
    let scene = Scene::new(1920, 1080);
    let mut slow = connect_plainly(&scene);
    slow.write_all(b"RFB 003.008\n\x01\x01").unwrap();
    // More updates than any socket's buffer takes.
    slow.write_all(&request(1920, 1080)).unwrap();
    scene.events.wait(|events| events.contains(&Initialized(ViewerId(1))));
    let mut quick = Viewer::connect(&scene, Options::local());

    for seed in 0..10 {
        scene.screen.canvas.paint(|surface| surface.pixels.fill(seed * 3));
        slow.write_all(&request(1920, 1080)).unwrap();
        quick.see(&scene.screen.canvas.picture());
    }

    assert_eq!(scene.server.viewers().len(), 2);
}

#[test]
fn whoever_wants_the_screen_alone_gets_it() {
    let scene = Scene::new(64, 64);
    let mut first = Viewer::connect(&scene, Options::local());

    let mut second = Viewer::connect(&scene, Options { shared: false, ..Options::local() });

    first.wait_until_closed();
    second.see(&scene.screen.canvas.picture());
    scene.wait_for_disconnects(1);
    assert_eq!(scene.server.viewers().len(), 1);
    assert!(!scene.server.viewers()[0].shared);
}

#[test]
fn coming_and_going_is_told_in_order() {
    let scene = Scene::new(64, 64);

    for _ in 0..2 {
        let viewer = Viewer::connect(&scene, Options::local());
        assert_eq!(scene.screen.canvas.viewers(), 1);
        drop(viewer);
        scene.events.wait(|events| matches!(events.last(), Some(Disconnected(_))));
        assert_eq!(scene.screen.canvas.viewers(), 0);
    }

    let (one, two) = (ViewerId(1), ViewerId(2));
    let events = scene.events.wait(|_| true);
    let expected =
        [Connected(one), Initialized(one), Disconnected(one), Connected(two), Initialized(two), Disconnected(two)];
    assert_eq!(events, expected);
    assert!(scene.server.viewers().is_empty());
}

#[test]
fn a_server_that_ends_leaves_nobody_behind() {
    let scene = Scene::new(1920, 1080);
    let mut stuck = connect_plainly(&scene);
    stuck.write_all(b"RFB 003.008\n\x01\x01").unwrap();
    stuck.write_all(&request(1920, 1080)).unwrap();
    let mut silent = connect_plainly(&scene);
    let mut greeting = [0; 12];
    silent.read_exact(&mut greeting).unwrap();
    let mut viewer = Viewer::connect(&scene, Options::local());
    scene.events.wait(|events| events.contains(&Initialized(ViewerId(1))));

    let Scene { screen, events, server, .. } = scene;
    drop(server);

    viewer.wait_until_closed();
    let gone = |event: &&crate::rfb::server::ViewerEvent| matches!(event, Disconnected(_));
    events.wait(|events| events.iter().filter(gone).count() == 3);
    assert_eq!(screen.canvas.viewers(), 0);
    assert_eq!(silent.read(&mut greeting).unwrap(), 0);
}

#[test]
fn a_conversation_cut_off_anywhere_hurts_nobody() {
    let scene = Scene::new(640, 480);
    let whole = conversation();
    for length in 0..=whole.len() {
        let mut viewer = connect_plainly(&scene);
        viewer.write_all(&whole[..length]).unwrap();
        viewer.shutdown(Shutdown::Write).unwrap();
        // The server's end of the connection closes too.
        viewer.read_to_end(&mut Vec::new()).unwrap();
    }
    scene.wait_for_disconnects(whole.len() + 1);

    let events = scene.devices.events.wait(|_| true);
    let count = |wanted: bool| {
        let is = |event: &&InputEvent| matches!(event, InputEvent::Key { down, .. } | InputEvent::Button { down, .. } if *down == wanted);
        events.iter().filter(is).count()
    };
    assert!(count(true) > 0);
    assert_eq!(count(true), count(false));
    assert_eq!(scene.screen.canvas.viewers(), 0);
    Viewer::connect(&scene, Options::local()).see(&scene.screen.canvas.picture());
}

#[test]
fn garbage_ends_only_the_connection_that_it_comes_from() {
    let scene = Scene::new(640, 480);
    let mut viewer = Viewer::connect(&scene, Options::local());
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..100 {
        let mut bytes = if round % 2 == 0 { b"RFB 003.008\n\x01\x01".to_vec() } else { Vec::new() };
        bytes.extend((0..random.usize(..2000)).map(|_| random.u8(..)));
        let _ = connect_plainly(&scene).write_all(&bytes);
        // There must not be more viewers at once than a server takes.
        scene.wait_for_disconnects(round + 1);
    }

    scene.screen.canvas.paint(|surface| surface.pixels.fill(7));

    viewer.see(&scene.screen.canvas.picture());
}

#[test]
fn more_viewers_than_anyone_has_are_refused() {
    let scene = Scene::new(64, 64);
    let viewers: Vec<UnixStream> = (0..64).map(|_| connect_plainly(&scene)).collect();

    let (_ours, theirs) = UnixStream::pair().unwrap();
    assert!(scene.server.serve(theirs).is_err());

    drop(viewers);
    scene.wait_for_disconnects(64);
    connect_plainly(&scene);
}

#[test]
fn nothing_is_looked_at_while_nobody_asks() {
    let scene = Scene::new(64, 64);
    let mut viewer = Viewer::connect(&scene, Options { continuous: false, ..Options::local() });
    scene.screen.canvas.paint(|surface| surface.pixels.fill(6));
    viewer.see(&scene.screen.canvas.picture());
    scene.screen.refreshes.clear();

    // It has had its update and has not asked for another.
    scene.screen.canvas.paint(|surface| surface.pixels.fill(7));
    viewer.client().key(from_qcode("a").unwrap(), true);
    scene.devices.events.wait(|events| !events.is_empty());
    assert!(scene.screen.refreshes.wait(|_| true).is_empty());

    viewer.see(&scene.screen.canvas.picture());
}

#[test]
fn an_unchanged_screen_is_looked_at_seldom_until_somebody_types() {
    let scene = Scene::new(64, 64);
    let mut viewer = Viewer::connect(&scene, Options::local());
    viewer.settle();
    let last_gap = |refreshes: &[std::time::Instant]| match refreshes {
        [.., a, b] => Some(b.duration_since(*a)),
        _ => None,
    };

    scene.screen.refreshes.wait(|refreshes| last_gap(refreshes) > Some(Duration::from_millis(100)));
    scene.screen.refreshes.clear();
    viewer.client().key(from_qcode("a").unwrap(), true);

    // A gap that is shorter than those of a viewer at rest can only come from the key.
    let gaps = |refreshes: &[std::time::Instant]| {
        refreshes.windows(2).any(|pair| last_gap(pair) < Some(Duration::from_millis(60)))
    };
    scene.screen.refreshes.wait(gaps);
}
