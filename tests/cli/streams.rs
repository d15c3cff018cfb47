//! What goes through `lodgectl` while a guest runs: its serial port, terminals and viewers.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
};

use crate::common::{
    code::{HALT, boot_disk, print},
    home::Home,
    kvm, linux,
    picture::{BLUE, BLUE_CONSOLE, decode_png, plain},
};

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let home = Home::default();
    home.done(&["create", "web"]);
    let mut child = home.command(&["list", "--all"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());

    let output = child.wait_with_output().unwrap();

    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn what_is_written_to_the_serial_port_reaches_a_pipe() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let message = "spoken over the wire";
    let disk = home.path().join("speaker.img");
    let mut image = boot_disk(&[&print(message), HALT]);
    std::io::Seek::rewind(&mut image).unwrap();
    std::io::copy(&mut image, &mut fs::File::create(&disk).unwrap()).unwrap();
    home.done(&["create", "web", "--memory", "16MiB", "--disk", disk.to_str().unwrap(), "--start"]);

    home.wait_for("the guest to speak", || {
        let mut console =
            home.command(&["console", "web"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        console.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let output = console.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).contains(message)
    });
}

#[test]
fn a_linux_guests_devices_are_reached_by_the_shell() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    let home = Home::default();
    let root = linux::copy_root(&native, home.path());
    let (kernel, tools) = (native.join("vmlinux"), linux::tools(home.path(), "", &["vsock"]));
    let [kernel, root, tools] = [&kernel, &root, &tools].map(|path| path.to_str().unwrap());
    let boot = ["--kernel", kernel, "--cmdline", linux::COMMAND_LINE];
    let devices = ["--disk", root, "--disk", tools, "--network", "none", "--vsock", "cid=5"];
    home.done(&[&["create", "web", "--memory", "256MiB", "--start"], &boot[..], &devices].concat());
    let type_to = |port: &[&str], text: &str| {
        let arguments = [&["console", "web"], port].concat();
        let mut console = home.command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(console.stdin.take().unwrap(), "{text}").unwrap();
        String::from_utf8_lossy(&console.wait_with_output().unwrap().stdout).into_owned()
    };
    home.wait_for("the guest's shell", || type_to(&[], "echo up$((1+1))").contains("up2"));

    type_to(&[], "ip link set eth0 up; echo spoken at hvc0 >/dev/hvc0; cd /tmp; tar -xf /dev/vdb; ./vsock listen 22 &");
    home.wait_for("what was spoken at hvc0", || type_to(&["--hvc"], "").contains("spoken at hvc0"));
    home.wait_for("the guest to listen", || type_to(&[], "").contains("listening on port 22"));
    home.done(&["set-memory", "web", "128MiB", "--timeout", "60"]);
    home.done(&["set-link", "web", "net0", "up"]);
    let carrier = "echo carrier$(cat /sys/class/net/eth0/carrier)";
    home.wait_for("the card's carrier", || type_to(&[], carrier).contains("carrier1"));
    home.wait_for("what the guest says about its memory", || {
        let memory = home.json(&["info", "web", "--json"])["statistics"]["memory"]["guest"].clone();
        memory["total"]
            .as_u64()
            .zip(memory["available"].as_u64())
            .is_some_and(|(all, free)| free < all && all < 120 << 20)
    });
    let info = home.json(&["info", "web", "--json"]);
    let mut echo = home.command(&["vsock", "web", "22"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sent = vec![7; 1 << 20];
    let mut input = echo.stdin.take().unwrap();
    let sending = sent.clone();
    let sender = std::thread::spawn(move || input.write_all(&sending));
    let echoed = echo.wait_with_output().unwrap();
    sender.join().unwrap().unwrap();

    assert!(echoed.status.success() && echoed.stdout == sent, "{} bytes have come back", echoed.stdout.len());
    assert_eq!(info["statistics"]["memory"]["balloon"], 128 << 20);
    assert!(home.json(&["stats", "web", "--json"])[0]["guest_memory"]["total"].as_u64().is_some());
    assert!(home.done(&["info", "web"]).contains("not connected, link up"), "{info}");
    // What has listened ends when it has sent the last byte back.
    home.wait_for("nobody to listen any more", || {
        let output = home.run(&["vsock", "web", "22"]);
        String::from_utf8_lossy(&output.stderr).contains("nobody in \"web\" listens at port 22")
    });
    assert!(home.refused(&["set-link", "web", "net1", "up"]).contains("It has net0"));
    assert!(home.refused(&["set-memory", "web", "1GiB"]).contains("256 MiB"));

    // Its console is seen, and it does as its power button says.
    type_to(&[], BLUE_CONSOLE);
    let picture = home.path().join("web.png");
    home.wait_for("a blue screen", || {
        home.done(&["screenshot", "web", picture.to_str().unwrap()]);
        decode_png(&fs::read(&picture).unwrap()) == plain(1280, 800, BLUE)
    });
    let listen = "exec 9</dev/input/event0; cat /sys/class/input/event0/device/name";
    home.wait_for("the power button", || type_to(&[], listen).contains("Power Button"));
    type_to(&[], "head -c 24 <&9 >/dev/null && poweroff -f");
    home.done(&["shutdown", "web", "--timeout", "60"]);
    assert_eq!(home.state("web"), "off");
}

#[test]
fn a_terminal_leaves_the_console_by_its_key_and_is_as_before() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    home.done(&["create", "web", "--memory", "16MiB", "--start"]);
    let inside = home.command(&[]);
    let lodgectl = inside.get_program().to_str().unwrap().to_owned();
    let session = format!("stty -g; {lodgectl} console web; stty -g");
    let environment: Vec<_> =
        inside.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    // script(1) gives the session a terminal of its own.
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &session, "/dev/null"]).env_clear().envs(environment).env("SHELL", "/bin/sh");
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();

    let mut keys = terminal.stdin.take().unwrap();
    let mut shown = BufReader::new(terminal.stdout.take().unwrap()).lines();
    let before = shown.next().unwrap().unwrap();
    let connected = shown.next().unwrap().unwrap();
    assert!(connected.contains("Ctrl+] leaves"), "{connected}");
    keys.write_all(b"some words\x1d").unwrap();

    let rest: Vec<String> = shown.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("Disconnected")), "{rest:?}");
    assert_eq!(rest.last().unwrap(), &before, "the terminal's settings");
    assert!(terminal.wait().unwrap().success());
}

#[test]
fn viewers_that_know_only_tcp_are_relayed_on_this_computer_alone() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    home.done(&["create", "web", "--memory", "16MiB", "--start"]);
    let mut relay = home.command(&["vnc", "web", "--listen", "0", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let said = serde_json::from_str::<serde_json::Value>(&said).unwrap();
    let address = said["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert_eq!(said["password"].as_str().map(str::len), Some(8), "{said}");

    let mut greetings = [[0; 12]; 2];
    let mut viewers = [TcpStream::connect(&address).unwrap(), TcpStream::connect(&address).unwrap()];
    for (viewer, greeting) in viewers.iter_mut().zip(&mut greetings) {
        viewer.read_exact(greeting).unwrap();
    }

    assert_eq!(&greetings, &[*b"RFB 003.008\n"; 2]);
    let mut offered = [0; 2];
    viewers[0].write_all(b"RFB 003.008\n").unwrap();
    viewers[0].read_exact(&mut offered).unwrap();
    assert_eq!(offered, [1, 2], "nothing but the password leads in");
    let refused = home.refused(&["vnc", "web", "--listen", "[::]:0", "--no-password"]);
    assert!(refused.contains("need a password"), "{refused}");
    home.done(&["destroy", "web"]);
    assert!(relay.wait().unwrap().success(), "the relay ends with its guest");
}
