//! Published VNC viewers look at a screen and type: vncdotool (PyPI), TigerVNC's vncviewer and, in a browser, noVNC. They must
//! show every pixel as it is, and what they send must arrive.

#[path = "viewer/clipboard.rs"]
mod clipboard;
#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;
#[path = "viewer/guest.rs"]
mod guest;

use common::picture::decode_png;
use lodge::clipboard::GuestClipboard;
use lodge::input::{InputEvent, InputSink, keys};
use lodge::manager::{certificate::Certificate, paths::Paths};
use lodge::rfb::gate::{Gate, Password, Rules};
use lodge::rfb::server::Server;
use lodge::screen::Surface;
use lodge::screen::canvas::Canvas;
use lodge::screen::cursor::{Cursor, CursorImage};
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked at what cannot be waited for.
const GLANCE: Duration = Duration::from_millis(20);

/// Remembers what viewers do, as words: `+a`, `-a`, `+Left`, `@0.50,0.25`.
#[derive(Default)]
struct Devices {
    words: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Devices {
    /// Waits until `words` have come, one after the other.
    fn wait_for(&self, words: &str) {
        let wanted: Vec<&str> = words.split_whitespace().collect();
        let missing = |all: &mut Vec<String>| !all.windows(wanted.len()).any(|some| some == wanted);
        let all = self.words.lock().unwrap();
        let (all, timeout) = self.changed.wait_timeout_while(all, PATIENCE, missing).unwrap();
        assert!(!timeout.timed_out(), "{words:?} did not come, but {all:?}");
    }
}

impl InputSink for Devices {
    fn send(&self, events: &[InputEvent]) {
        let sign = |down: &bool| if *down { '+' } else { '-' };
        let word = |event: &InputEvent| match event {
            InputEvent::Key { key, down } => format!("{}{}", sign(down), keys::qcode(*key).unwrap_or("?")),
            InputEvent::Button { button, down } => format!("{}{button:?}", sign(down)),
            InputEvent::Absolute { x, y } => {
                format!("@{:.2},{:.2}", f64::from(*x) / 32767.0, f64::from(*y) / 32767.0)
            }
            InputEvent::Relative { dx, dy } => format!("~{dx},{dy}"),
        };
        self.words.lock().unwrap().extend(events.iter().map(word));
        self.changed.notify_all();
    }

    fn follows_position(&self) -> bool {
        true
    }
}

/// A screen that is served on a Unix socket.
struct Served {
    canvas: Arc<Canvas>,
    devices: Arc<Devices>,
    folder: tempfile::TempDir,
}

impl Served {
    fn new(width: u32, height: u32) -> Self {
        Self::with(width, height, |_| ())
    }

    /// One that shares the clipboard of a guest.
    fn sharing(width: u32, height: u32, guest: Arc<dyn GuestClipboard>) -> Self {
        Self::with(width, height, |server| server.share_clipboard(guest))
    }

    fn with(width: u32, height: u32, prepare: impl FnOnce(&Server)) -> Self {
        let canvas = Arc::new(Canvas::new(width, height));
        let devices = Arc::new(Devices::default());
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(Arc::clone(&canvas) as _, Arc::clone(&devices) as _, "screen", Arc::new(|_| ()));
        prepare(&server);
        let listener = UnixListener::bind(folder.path().join("vnc.sock")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                server.serve(stream).unwrap();
            }
        });
        Self { canvas, devices, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("vnc.sock")
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An X server that is killed leaves its lock and its socket behind.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Whether a test must be skipped because something is missing, which it says; in CI that is a failure.
fn skipped(missing: &str) -> bool {
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{missing}. run resources/setup.sh");
    println!("skipped: {missing}");
    true
}

fn lacks_programs(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_missing = |program: &&&str| !std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    programs.iter().find(is_missing).is_some_and(|program| skipped(&format!("there is no {program}")))
}

/// Blocks of colour with noise between them, and its own for each seed.
fn picture(seed: u32, width: u32, height: u32) -> Surface {
    let mut surface = Surface::new(width, height);
    let mut noise = seed.wrapping_mul(0x9E37_79B9) | 1;
    for y in 0..height {
        for x in 0..width {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let block = (x / 48 + y / 32 * 7 + seed).wrapping_mul(0x0045_9F3B);
            let pixel = if y % 64 < 40 { block } else { noise };
            surface.pixels[(y * width + x) as usize] = pixel & 0x00FF_FFFF;
        }
    }
    surface
}

/// The Python that has the published clients, as resources/setup.sh makes it.
fn python() -> PathBuf {
    let cache = || match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
    };
    let venv = std::env::var_os("LODGE_TEST_VENV").map_or_else(|| cache().join("lodge-test/venv"), PathBuf::from);
    venv.join("bin/python")
}

/// Runs vncdotool's commands.
fn vncdo(served: &Served, commands: &[&str]) -> Output {
    // The venv sees the distribution's packages, and its OpenSSL does not fit the venv's Twisted. No TLS is needed here.
    let start = "import sys; sys.modules['OpenSSL'] = None; from vncdotool.command import vncdo; vncdo()";
    let mut command = Command::new(python());
    command.args(["-c", start, "--timeout=100", "-s"]).arg(served.socket()).args(commands);
    command.current_dir(served.folder.path()).stdin(Stdio::null()).output().unwrap()
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn vncdotool_captures_every_pixel() {
    if !python().exists() && skipped("there is no vncdotool") {
        return;
    }
    let served = Served::new(320, 200);
    for (seed, (width, height)) in (1..).zip([(320, 200), (1024, 768), (33, 17)]) {
        let picture = picture(seed, width, height);
        served.canvas.paint(|surface| *surface = picture.clone());

        let output = vncdo(&served, &["capture", "screen.png"]);

        assert_done(&output);
        let captured = std::fs::read(served.folder.path().join("screen.png")).unwrap();
        assert!(decode_png(&captured) == picture, "{width} by {height}");
    }
}

#[test]
fn vncdotool_draws_the_guests_pointer_itself_or_finds_it_in_the_picture() {
    if !python().exists() && skipped("there is no vncdotool") {
        return;
    }
    let served = Served::new(320, 200);
    served.canvas.paint(|surface| *surface = picture(1, 320, 200));
    // An arrow of three colours; what is not of it can be seen through.
    let arrow = |at: u32| if at % 20 <= at / 20 { 0xFF00_0000 | (at % 3) << (at % 3 * 8 + 6) } else { 0 };
    let image = CursorImage { width: 20, height: 20, hot_spot: (4, 5), pixels: (0..400).map(arrow).collect() };
    let cursor = Cursor { image: Arc::new(image), x: 200, y: 190 };
    served.canvas.point(Some(cursor.clone()));
    for (options, x, y) in [(&["move", "50", "25"][..], 200, 190), (&["--localcursor", "move", "50", "25"], 46, 20)] {
        let mut expected = served.canvas.picture();
        Cursor { x, y, ..cursor.clone() }.draw_on(&mut expected);

        assert_done(&vncdo(&served, &[options, &["capture", "screen.png"]].concat()));

        let captured = std::fs::read(served.folder.path().join("screen.png")).unwrap();
        assert!(decode_png(&captured) == expected, "{options:?}");
    }
}

#[test]
fn what_vncdotool_types_and_clicks_arrives() {
    if !python().exists() && skipped("there is no vncdotool") {
        return;
    }
    let served = Served::new(101, 101);

    assert_done(&vncdo(&served, &["type", "a/", "key", "A", "key", "ctrl-alt-del", "move", "50", "25", "click", "3"]));

    served.devices.wait_for("+a -a +slash -slash");
    served.devices.wait_for("+shift +a -shift -a");
    served.devices.wait_for("+ctrl +alt +delete -delete -alt -ctrl");
    served.devices.wait_for("@0.50,0.25 +Right -Right");
}

/// An X server without a screen anybody sees; its pixels are in a file.
struct Display {
    name: String,
    folder: tempfile::TempDir,
    _server: Running,
}

impl Display {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        // The server takes the first number that is free, and says on its standard output which.
        let server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-nocursor", "-fbdir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Running(server);
        let mut number = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&mut reader), &mut number).unwrap();
        Self { name: format!(":{}", number.trim()), folder, _server: server }
    }

    /// What is shown: the XWD file (XWDFile.h) that Xvfb keeps.
    fn screen(&self) -> Surface {
        let bytes = std::fs::read(self.folder.path().join("Xvfb_screen0")).unwrap();
        let field = |index: usize| u32::from_be_bytes(bytes[index * 4..][..4].try_into().unwrap()) as usize;
        let (header, width, height, line, colours) = (field(0), field(4), field(5), field(12), field(19));
        let row = |y: usize| &bytes[header + colours * 12 + y * line..][..width * 4];
        let pixels = (0..height)
            .flat_map(|y| row(y).chunks(4))
            .map(|pixel| u32::from_le_bytes(pixel.try_into().unwrap()) & 0x00FF_FFFF)
            .collect();
        Surface { width: width as u32, height: height as u32, pixels }
    }

    /// Waits until a picture is shown somewhere, every pixel of it, and tells where.
    fn wait_for(&self, picture: &Surface) -> (usize, usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = find(&self.screen(), picture) {
                return place;
            }
            assert!(Instant::now() < deadline, "the picture is not shown");
            std::thread::sleep(GLANCE);
        }
    }

    fn xdotool(&self, arguments: &[&str]) {
        assert_done(&Command::new("xdotool").env("DISPLAY", &self.name).args(arguments).output().unwrap());
    }
}

/// Where a picture is on a screen.
fn find(screen: &Surface, picture: &Surface) -> Option<(usize, usize)> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let first = picture.row(0);
    let is_at = |x: usize, y: usize| {
        (0..height).all(|row| screen.row((y + row) as u32).get(x..x + width) == Some(picture.row(row as u32)))
    };
    (0..=screen.height as usize - height).find_map(|y| {
        let starts = screen.row(y as u32).windows(width).enumerate().filter(|(_, row)| *row == first);
        starts.map(|(x, _)| (x, y)).find(|(x, y)| is_at(*x, *y))
    })
}

/// TigerVNC's viewer, which is told how to ask for pixels.
fn vncviewer(served: &Served, display: &Display, options: &[&str]) -> Running {
    vncviewer_at(served.socket().as_os_str(), served, display, options)
}

/// As [`vncviewer`], of the screen at another place.
fn vncviewer_at(place: &OsStr, served: &Served, display: &Display, options: &[&str]) -> Running {
    let mut command = Command::new("vncviewer");
    command.env("DISPLAY", &display.name).env("HOME", served.folder.path());
    command.args([
        "-Shared",
        "-AutoSelect=0",
        "-RemoteResize=0",
        "-DotWhenNoCursor=0",
        "-AlertOnFatalError=0",
        "-ReconnectOnError=0",
    ]);
    command.args(options).arg(place);
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn tigervnc_draws_every_pixel_and_follows_changes() {
    if lacks_programs(&["vncviewer", "Xvfb"]) {
        return;
    }
    for encoding in ["ZRLE", "Raw", "Tight"].map(|name| format!("-PreferredEncoding={name}")) {
        let (served, display) = (Served::new(640, 400), Display::start());
        served.canvas.paint(|surface| *surface = picture(1, 640, 400));
        let _viewer = vncviewer(&served, &display, &[&encoding, "-NoJPEG"]);
        display.wait_for(&served.canvas.picture());

        // A console that scrolls by a line.
        served.canvas.paint(|surface| {
            surface.pixels.copy_within(640 * 16.., 0);
            surface.pixels[640 * 384..].fill(0x00AA_AAAA);
        });
        display.wait_for(&served.canvas.picture());

        served.canvas.paint(|surface| *surface = picture(2, 800, 600));
        display.wait_for(&served.canvas.picture());
    }
}

/// How far the pixels of a screen, from a place on, are from a picture's at most, on the average of each 16 by 16.
fn distance(screen: &Surface, (x, y): (usize, usize), picture: &Surface) -> u32 {
    let components = |pixel: u32| [pixel >> 16 & 0xFF, pixel >> 8 & 0xFF, pixel & 0xFF];
    let differ = |a: u32, b: u32| components(a).into_iter().zip(components(b)).map(|(a, b)| a.abs_diff(b)).sum::<u32>();
    let (mut sums, columns) = (Vec::new(), picture.width as usize / 16);
    sums.resize(columns * (picture.height as usize / 16), 0);
    for row in 0..picture.height as usize {
        let seen = &screen.row((y + row) as u32)[x..];
        for (column, (seen, wanted)) in seen.iter().zip(picture.row(row as u32)).enumerate() {
            sums[row / 16 * columns + column / 16] += differ(*seen, *wanted);
        }
    }
    sums.into_iter().max().unwrap_or(0) / (16 * 16 * 3)
}

#[test]
fn tigervnc_shows_photographs_nearly_as_they_are_and_text_exactly() {
    if lacks_programs(&["vncviewer", "Xvfb"]) {
        return;
    }
    let (served, display) = (Served::new(640, 400), Display::start());
    let text = picture(1, 640, 400);
    served.canvas.paint(|surface| *surface = text.clone());
    let _viewer = vncviewer(&served, &display, &["-PreferredEncoding=Tight", "-NoJPEG=0", "-QualityLevel=8"]);
    let place = display.wait_for(&text);

    // A sky with clouds: hardly a pixel is like another.
    let photograph = |x: u32, y: u32| (x * 255 / 640) << 16 | (y * 255 / 400) << 8 | (x * y / 97 % 64 + x % 2 * 3);
    let pixels = (0..640 * 400).map(|at| photograph(at % 640, at / 640)).collect();
    let photograph = Surface { width: 640, height: 400, pixels };
    served.canvas.paint(|surface| *surface = photograph.clone());

    let deadline = Instant::now() + PATIENCE;
    while distance(&display.screen(), place, &photograph) > 12 {
        assert!(Instant::now() < deadline, "nothing like the photograph is shown");
        std::thread::sleep(GLANCE);
    }
    assert_eq!(find(&display.screen(), &photograph), None, "it was not compressed with loss");
    served.canvas.paint(|surface| *surface = text.clone());
    display.wait_for(&text);
}

#[test]
fn what_is_done_in_tigervncs_window_arrives() {
    if lacks_programs(&["vncviewer", "Xvfb", "xdotool"]) {
        return;
    }
    let (served, display) = (Served::new(401, 401), Display::start());
    served.canvas.paint(|surface| *surface = picture(1, 401, 401));
    let _viewer = vncviewer(&served, &display, &[]);
    let (x, y) = display.wait_for(&served.canvas.picture());
    let (x, y) = ((x + 100).to_string(), (y + 200).to_string());

    // Without a window manager nobody else gives the window the keyboard.
    display.xdotool(&["search", "--onlyvisible", "--name", "screen", "windowfocus"]);
    display.xdotool(&["mousemove", &x, &y, "click", "1", "key", "a", "key", "ctrl+alt+t", "key", "Up"]);

    served.devices.wait_for("@0.25,0.50");
    served.devices.wait_for("+Left -Left");
    served.devices.wait_for("+a -a");
    served.devices.wait_for("+ctrl +alt +t");
    served.devices.wait_for("+up -up");
}

/// A gate before a screen: a port of this computer. Its task ends with the runtime.
fn open_gate(runtime: &tokio::runtime::Runtime, served: &Served, rules: Rules) -> u16 {
    open_gate_to(runtime, served.socket(), rules)
}

/// A gate before the screen behind a socket.
fn open_gate_to(runtime: &tokio::runtime::Runtime, socket: PathBuf, rules: Rules) -> u16 {
    let gate = Arc::new(Gate::new(rules));
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((viewer, address)) = listener.accept().await {
            let (gate, socket) = (Arc::clone(&gate), socket.clone());
            tokio::spawn(async move {
                let screen = tokio::net::UnixStream::connect(&socket);
                if let Err(error) = gate.serve(viewer, address.ip(), screen).await {
                    println!("a viewer has gone: {error}");
                }
            });
        }
    });
    port
}

/// A password as `vncpasswd` puts it into a file: encrypted, with a key that everybody knows.
fn password_file(served: &Served, name: &str, password: &str) -> PathBuf {
    let known = Password::new("\x17Rk\x06#NX\x07").unwrap();
    let mut padded = [0; 16];
    padded[..password.len()].copy_from_slice(password.as_bytes());
    let path = served.folder.path().join(name);
    std::fs::write(&path, &known.answer(&padded)[..8]).unwrap();
    path
}

#[test]
fn tigervnc_comes_through_the_gate_with_a_password_and_over_tls_and_not_without() {
    if lacks_programs(&["vncviewer", "Xvfb"]) {
        return;
    }
    let (served, display) = (Served::new(640, 400), Display::start());
    served.canvas.paint(|surface| *surface = picture(3, 640, 400));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let paths = Paths::new(served.folder.path(), served.folder.path());
    let certificate = Certificate::own(&paths).unwrap();
    let password = || Some(Password::new("secret").unwrap());
    let plain = open_gate(&runtime, &served, Rules { password: password(), ..Rules::default() });
    let tls = Some(certificate.acceptor().unwrap());
    let encrypted = open_gate(&runtime, &served, Rules { password: password(), tls, ..Rules::default() });
    let right = format!("-PasswordFile={}", password_file(&served, "right", "secret").display());
    let wrong = format!("-PasswordFile={}", password_file(&served, "wrong", "guess").display());
    let trust = format!("-X509CA={}", certificate.certificate.display());
    let encryption = "-SecurityTypes=X509Vnc";

    for (port, options) in [(plain, vec![right.as_str()]), (encrypted, vec![encryption, &trust, &right])] {
        let place = format!("localhost::{port}");
        let viewer = vncviewer_at(place.as_ref(), &served, &display, &options);
        display.wait_for(&served.canvas.picture());
        assert_eq!(served.canvas.viewers(), 1);
        drop(viewer);
        // What the next one shows is not to be taken for what is left of this one.
        let deadline = Instant::now() + PATIENCE;
        while served.canvas.viewers() > 0 || find(&display.screen(), &served.canvas.picture()).is_some() {
            assert!(Instant::now() < deadline, "a viewer that was ended is still there");
            std::thread::sleep(GLANCE);
        }
    }

    for (port, options) in [(plain, vec![wrong.as_str()]), (encrypted, vec![encryption, &trust, &wrong])] {
        let place = format!("localhost::{port}");
        let mut viewer = vncviewer_at(place.as_ref(), &served, &display, &options);
        viewer.0.wait().unwrap();
        assert_eq!(find(&display.screen(), &served.canvas.picture()), None);
    }
}
