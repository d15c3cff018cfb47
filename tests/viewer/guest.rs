//! A guest's screen in noVNC, in a browser, and in the memory that a viewer on the same host shares with it: both show what a
//! picture of the screen (`screendump`) shows, whatever the guest did before.

use super::common::guest::{Guest, Serial};
use super::common::picture::decode_png;
use super::{GLANCE, PATIENCE, Running, lacks_programs, open_gate_to, skipped};
use lodge::manager::client::Client as Control;
use lodge::rfb::client::{Client, Event, Options};
use lodge::rfb::gate::{Password, Rules};
use lodge::screen::Surface;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;
use tokio::sync::mpsc;

/// Where Debian has noVNC.
const NOVNC: &str = "/usr/share/novnc";

/// The test card, idle, with a way to take pictures of its screen.
struct Card {
    guest: Guest,
    serial: Serial,
    control: Control,
}

impl Card {
    fn start() -> Option<Self> {
        let guest = Guest::start(|_| {})?;
        let mut serial = guest.serial();
        serial.wait_for("ready\r\n");
        serial.ask("idle", "ok");
        let control = guest.runtime.block_on(guest.supervisor.attach(&guest.name)).unwrap();
        Some(Self { guest, serial, control })
    }

    fn picture(&self) -> Surface {
        decode_png(&self.guest.runtime.block_on(self.control.screenshot()).unwrap())
    }

    /// Waits until a viewer shows what is on the screen, which must not change meanwhile.
    fn wait_for(&self, viewer: &str, mut seen: impl FnMut() -> Option<Surface>) {
        let (deadline, picture) = (Instant::now() + PATIENCE, self.picture());
        while seen().is_none_or(|seen| seen != picture) {
            assert!(Instant::now() < deadline, "{viewer} shows something else");
            std::thread::sleep(GLANCE);
        }
    }
}

/// Our own viewer, which finds the pixels in the worker's memory.
struct Sharer<'a> {
    guest: &'a Guest,
    client: Client,
    events: mpsc::Receiver<Event>,
}

impl<'a> Sharer<'a> {
    fn connect(guest: &'a Guest) -> Self {
        let (client, events) = guest.runtime.block_on(async {
            let stream = tokio::net::UnixStream::connect(guest.paths.vnc()).await.unwrap();
            Client::connect_sharing(stream, Options::local()).await.unwrap()
        });
        client.request_update();
        Self { guest, client, events }
    }

    /// Takes so many updates.
    fn take(&mut self, updates: usize) {
        let mut left = updates;
        while left > 0 {
            let next = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
            match self.guest.runtime.block_on(next).expect("an update comes").expect("the connection lives") {
                Event::Damaged(_) => {
                    left -= 1;
                    self.client.request_update();
                }
                Event::Closed(reason) => panic!("{reason}"),
                _ => {}
            }
        }
    }

    /// What is seen, when all that has come was taken.
    fn seen(&mut self) -> Option<Surface> {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Closed(reason) => panic!("{reason}"),
                Event::Damaged(_) => self.client.request_update(),
                _ => {}
            }
        }
        Some(self.client.with_picture(Surface::clone))
    }
}

#[test]
fn shared_memory_shows_what_a_picture_of_the_screen_shows_after_storms_and_in_every_size() {
    let Some(mut card) = Card::start() else { return };
    for (mode, storm) in [("800 600 32", "plasma"), ("1280 720 32", "window"), ("640 480 16", "scroll")] {
        card.serial.ask(&format!("mode {mode}"), "ok");
        let mut viewer = Sharer::connect(&card.guest);
        card.serial.ask(&format!("storm {storm}"), "ok");
        viewer.take(20);
        card.serial.ask("stop", "ok");

        card.wait_for("the viewer", || viewer.seen());

        // The same viewer follows the size.
        card.serial.ask("mode 1024 768 32", "ok");
        card.wait_for("the viewer", || viewer.seen());
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", card.guest.pid)).unwrap();
        assert!(maps.contains("/memfd:screen"), "the worker shares nothing");
    }
}

/// A free port of this computer. Somebody else may take it before it is used.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// websockify, which serves noVNC's pages and relays their WebSockets to a Unix socket.
fn websockify(socket: &Path) -> (Running, u16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let port = free_port();
        let mut command = Command::new("websockify");
        command.args(["--web", NOVNC, "--unix-target"]).arg(socket).arg(format!("127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut relay = Running(command.spawn().unwrap());
        while relay.0.try_wait().unwrap().is_none() {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return (relay, port);
            }
            assert!(Instant::now() < deadline, "websockify does not listen");
            std::thread::sleep(GLANCE);
        }
        assert!(Instant::now() < deadline, "websockify does not start");
    }
}

/// Chromium, driven by tests/viewer/browser.py. It ends when this is dropped.
struct Browser {
    driver: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    fn start(profile: &Path) -> Self {
        let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/viewer/browser.py");
        let mut driver = Command::new("/usr/bin/python3")
            .arg(driver)
            .arg(profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (requests, answers) = (driver.stdin.take(), BufReader::new(driver.stdout.take().unwrap()));
        Self { driver, requests, answers }
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.requests.as_mut().unwrap(), "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "the browser has ended; what its driver said is above");
        answer.trim_end().to_owned()
    }

    fn open(&mut self, url: &str) {
        assert_eq!(self.ask(&format!("open {url}")), "ok");
    }

    /// What noVNC has drawn.
    fn seen(&mut self) -> Option<Surface> {
        let picture = self.ask("picture");
        (picture != "none").then(|| decode_png(&decode_base64(&picture)))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.driver.wait();
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.trim_end_matches('=').bytes().map(value).collect();
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0, |bits, value| bits << 6 | u32::from(*value)) << (6 * (4 - group.len()));
        bits.to_be_bytes().into_iter().skip(1).take(group.len() * 6 / 8)
    };
    letters.chunks(4).flat_map(group).collect()
}

#[test]
fn novnc_in_a_browser_draws_every_pixel_and_types() {
    if lacks_programs(&["chromium", "websockify"]) || !Path::new(NOVNC).exists() && skipped("there is no noVNC") {
        return;
    }
    let Some(mut card) = Card::start() else { return };
    let (_relay, port) = websockify(&card.guest.paths.vnc());
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Browser::start(profile.path());
    let page = format!("http://127.0.0.1:{port}/vnc_lite.html");

    browser.open(&page);
    card.wait_for("noVNC", || browser.seen());
    // Text that scrolls: nothing that noVNC would let be compressed with loss.
    let before = browser.seen();
    card.serial.ask("storm scroll", "ok");
    let deadline = Instant::now() + PATIENCE;
    while browser.seen() == before {
        assert!(Instant::now() < deadline, "noVNC does not follow: {}", browser.ask("status"));
    }
    card.serial.ask("stop", "ok");
    card.wait_for("noVNC", || browser.seen());
    card.serial.ask("mode 1024 768 32", "ok");
    card.wait_for("noVNC", || browser.seen());
    browser.ask("type a");
    card.serial.wait_for("key 1e down\r\n");
    card.serial.wait_for("key 1e up\r\n");

    // The same page, by the gate's own WebSocket, which asks for a password.
    let rules = || Rules { password: Some(Password::new("secret").unwrap()), websocket: true, ..Rules::default() };
    let gate = open_gate_to(&card.guest.runtime, card.guest.paths.vnc(), rules());
    browser.open(&format!("{page}?port={gate}&path=&password=wrong"));
    let deadline = Instant::now() + PATIENCE;
    while !browser.ask("status").contains("wrong") && !browser.ask("status").contains("Disconnected") {
        assert!(Instant::now() < deadline, "noVNC says only {}", browser.ask("status"));
        std::thread::sleep(GLANCE);
    }
    browser.open(&format!("{page}?port={gate}&path=&password=secret"));
    card.wait_for("noVNC", || browser.seen());
}
