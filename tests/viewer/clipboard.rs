//! Text on its way between the programs of two displays: one is a guest's, where SPICE's own agent runs, the other that of a
//! person who looks at the guest with TigerVNC.

use super::{Display, GLANCE, PATIENCE, Running, Served, lacks_programs, picture, vncviewer};
use lodge::vmm::virtio::console::PortProgram;
use lodge::worker::vdagent::VdAgent;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

/// Stands for the guest's port: the agent takes a socket as well.
fn serve_port(path: &Path, agent: &Arc<VdAgent>) {
    let (listener, agent) = (UnixListener::bind(path).unwrap(), Arc::clone(agent));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            agent.guest_opened(true);
            // It ends when the agent's daemon does.
            let _ = relay(stream, &agent);
            agent.guest_opened(false);
        }
    });
}

fn relay(mut stream: UnixStream, agent: &VdAgent) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        while let length @ 1.. = agent.take_output(&mut buffer) {
            stream.write_all(&buffer[..length])?;
        }
        let news = agent.news();
        // SAFETY: the event lives as long as the agent.
        let event = unsafe { BorrowedFd::borrow_raw(news.as_raw_fd()) };
        let mut waits = [PollFd::new(&stream, PollFlags::IN), PollFd::new(&event, PollFlags::IN)];
        poll(&mut waits, None)?;
        let [heard, told] = waits.map(|wait| !wait.revents().is_empty());
        if told {
            news.read()?;
        }
        if heard {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                length => agent.receive(&buffer[..length]),
            }
        }
    }
}

impl Display {
    fn start_there(&self, program: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new(program);
        command.args(arguments).env("DISPLAY", &self.name).env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
        Running(command.env("NO_AT_BRIDGE", "1").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Puts a text on the clipboard, until another program takes it.
    fn copy(&self, text: &str) -> Running {
        let mut command = Command::new("xclip");
        command.args(["-selection", "clipboard", "-quiet"]).env("DISPLAY", &self.name);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Running(child)
    }

    /// What is pasted; nothing if that takes long.
    fn paste(&self) -> Vec<u8> {
        let mut command = Command::new("timeout");
        command.args(["10", "xclip", "-o", "-selection", "clipboard", "-target", "UTF8_STRING"]);
        command.env("DISPLAY", &self.name).stderr(Stdio::null()).output().unwrap().stdout
    }
}

/// Copies a text on one display until it can be pasted on another: of what was copied before it has begun no program knows.
fn share(text: &str, from: &Display, to: &Display) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let _copied = from.copy(text);
        for _ in 0..10 {
            let pasted = to.paste();
            if pasted == text.as_bytes() {
                return;
            }
            assert!(Instant::now() < deadline, "{:?} is pasted", String::from_utf8_lossy(&pasted));
            std::thread::sleep(GLANCE);
        }
    }
}

#[test]
fn text_goes_between_spices_agent_and_tigervnc() {
    if lacks_programs(&["vncviewer", "Xvfb", "xclip", "xdotool", "spice-vdagent"]) {
        return;
    }
    let agent = Arc::new(VdAgent::new().unwrap());
    let served = Served::sharing(320, 240, Arc::clone(&agent) as _);
    let [port, socket] = ["port", "agent"].map(|name| served.folder.path().join(name));
    serve_port(&port, &agent);
    let [port, socket] = [&port, &socket].map(|path| path.to_str().unwrap());
    let (guest, person) = (Display::start(), Display::start());
    // The pointer's device is a file; no session manager is asked who is logged in.
    let daemon = ["-x", "-X", "-f", "-u", "/dev/null", "-s", port, "-S", socket];
    let _daemon = guest.start_there("/usr/sbin/spice-vdagentd", &daemon);
    let deadline = Instant::now() + PATIENCE;
    while !Path::new(socket).exists() {
        assert!(Instant::now() < deadline, "the agent's daemon does not begin");
        std::thread::sleep(GLANCE);
    }
    let _agent = guest.start_there("spice-vdagent", &["-x", "-s", port, "-S", socket]);
    served.canvas.paint(|surface| *surface = picture(1, 320, 240));
    let _viewer = vncviewer(&served, &person, &["-SetPrimary=0", "-SendPrimary=0"]);
    person.wait_for(&served.canvas.picture());
    // It shares only while its window has the keyboard, which nobody gives it without a window manager.
    person.xdotool(&["search", "--onlyvisible", "--name", "screen", "windowfocus"]);

    share("vom Gast\nzum Wirt 🐧", &guest, &person);
    share(&"vom Wirt\nzum Gast 🦀".repeat(1000), &person, &guest);
    share("und zurück", &guest, &person);
}
