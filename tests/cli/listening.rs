//! Guests whose definition shows their screen to viewers on a network.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lodge::rfb::gate::Password;
use rustix::process::{Pid, Signal, kill_process};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::common::{home::Home, kvm};

/// Longer than anything here takes on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

fn read<const LENGTH: usize>(viewer: &mut impl Read) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    viewer.read_exact(&mut bytes).unwrap();
    bytes
}

/// Comes to a gate as a viewer, and returns with which security types it is met.
fn come_to(address: &str) -> (TcpStream, Vec<u8>) {
    let mut viewer = TcpStream::connect(address).unwrap();
    viewer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(&read(&mut viewer), b"RFB 003.008\n");
    viewer.write_all(b"RFB 003.008\n").unwrap();
    let [count] = read(&mut viewer);
    let mut offered = vec![0; count.into()];
    viewer.read_exact(&mut offered).unwrap();
    (viewer, offered)
}

/// Agrees on TLS with a password, by VeNCrypt, with whoever has this certificate.
fn encrypt(mut viewer: TcpStream, certificate: &str) -> StreamOwned<ClientConnection, TcpStream> {
    viewer.write_all(&[19]).unwrap();
    let version: [u8; 2] = read(&mut viewer);
    viewer.write_all(&version).unwrap();
    let [0, 1, subtype @ ..] = read::<6>(&mut viewer) else { panic!("there is another choice") };
    viewer.write_all(&subtype).unwrap();
    assert_eq!(read(&mut viewer), [1]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), viewer)
}

/// Gives a password, and returns whether it was right.
fn log_in(viewer: &mut (impl Read + Write), password: &str) -> bool {
    let challenge = read(viewer);
    viewer.write_all(&Password::new(password).unwrap().answer(&challenge)).unwrap();
    read(viewer) == [0; 4]
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_guest_is_shown_on_the_network_from_its_start_to_its_end() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let file = home.file("password", b"secret\n");
    let listen = format!("0,no-tls,password-file={file}");
    home.done(&["create", "web", "--testcard", "--vnc", &listen, "--start"]);
    let shown = home.json(&["vnc", "web", "--json"]);
    let address = shown["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{shown}");
    assert_eq!((&shown["password"], &shown["fingerprint"]), (&"secret".into(), &serde_json::Value::Null));

    // Who knows the password sees the screen, and nobody else does.
    let (mut viewer, offered) = come_to(&address);
    assert_eq!(offered, [2]);
    viewer.write_all(&[2]).unwrap();
    assert!(log_in(&mut viewer, "secret"));
    viewer.write_all(&[1]).unwrap();
    // Its size and its pixels' format; then its name.
    read::<20>(&mut viewer);
    let mut name = vec![0; u32::from_be_bytes(read(&mut viewer)) as usize];
    viewer.read_exact(&mut name).unwrap();
    assert_eq!(String::from_utf8_lossy(&name), "web");
    let mut guesser = come_to(&address).0;
    guesser.write_all(&[2]).unwrap();
    assert!(!log_in(&mut guesser, "wrong"));
    let log = home.guest("web").join("worker.log");
    wait_for("the log does not tell of the wrong password", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("gave a wrong password"))
    });

    // A port has one owner; a guest that cannot have it does not start, and nothing of it stays.
    let port = address.rsplit(':').next().unwrap();
    home.done(&["create", "rival", "--testcard", "--vnc", port]);
    let told = format!(
        "another guest or program has port {port} of 127.0.0.1. Choose another port, or 0 for one that is free"
    );
    for refused in [home.refused(&["start", "rival"]), home.refused(&["vnc", "web", "--listen", &address])] {
        assert!(refused.contains(&told) && !refused.contains("os error"), "{refused}");
    }
    assert_eq!(home.state("rival"), "off");
    let servers = home.json(&["qmp", "web", "query-vnc-servers"]);
    assert_eq!((&servers[1]["auth"], &servers[1]["server"][0]["service"]), (&"vnc".into(), &port.into()), "{servers}");

    // It ends with the worker, however that ends.
    let pid = home.json(&["info", "web", "--json"])["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    let mut rest = Vec::new();
    let _ = viewer.read_to_end(&mut rest);
    wait_for("viewers are still met", || TcpStream::connect(&address).is_err());
    // Nobody has said that a copy may be seen.
    home.done(&["clone", "web", "copy"]);
    assert!(!fs::read_to_string(home.guest("copy").join("guest.toml")).unwrap().contains("listen"));
    // The port is free for the other one now.
    home.done(&["start", "rival"]);
    let shown = home.json(&["vnc", "rival", "--json"]);
    assert_eq!(shown["address"], address);
    assert_eq!(shown["password"].as_str().map(str::len), Some(8));
    assert_eq!(shown["fingerprint"].as_str().map(str::len), Some(95));
    let (viewer, offered) = come_to(&address);
    assert_eq!(offered, [19], "only TLS leads in");
    let mut viewer = encrypt(viewer, shown["certificate"].as_str().unwrap());
    assert!(log_in(&mut viewer, shown["password"].as_str().unwrap()));
    home.done(&["destroy", "rival"]);
    wait_for("viewers are still met", || TcpStream::connect(&address).is_err());
}

/// Gives a password to a gate without TLS; who comes in.
fn enter(address: &str, password: &str) -> Option<TcpStream> {
    let (mut viewer, offered) = come_to(address);
    assert_eq!(offered, [2]);
    viewer.write_all(&[2]).unwrap();
    log_in(&mut viewer, password).then_some(viewer)
}

/// Whether the other end of a connection has gone.
fn is_put_out(mut viewer: TcpStream) -> bool {
    let mut rest = [0; 64];
    loop {
        match viewer.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn a_running_guest_is_shown_as_its_definition_says_at_once() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    home.done(&["create", "web", "--testcard", "--start"]);
    let edit = |script: &str| home.command(&["edit", "web"]).env("EDITOR", script).output().unwrap();
    let apply = |script: &str| {
        let output = edit(script);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("it applies at once"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    };
    let shown = || home.json(&["vnc", "web", "--json"]);
    // By hand, as long as this runs.
    let by_hand = ["vnc", "web", "--listen", "0", "--no-password", "--json"];
    let mut by_hand = home.command(&by_hand).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(by_hand.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let hands: serde_json::Value = serde_json::from_str(&line).unwrap();
    let hands = hands["address"].as_str().unwrap();

    apply(r#"printf '[display.listen]\nport = 0\npassword = "first"\ntls = false\n' >>"#);
    let address = shown()["address"].as_str().unwrap().to_owned();
    let viewer = enter(&address, "first").expect("it is the password");

    // The same port, and another password.
    let port = address.rsplit(':').next().unwrap();
    apply(&format!("sed -i 's/^port = 0/port = {port}/; s/first/second/'"));
    assert!(is_put_out(viewer));
    assert_eq!((&shown()["address"], &shown()["password"]), (&address.as_str().into(), &"second".into()));
    assert!(enter(&address, "first").is_none());
    let viewer = enter(&address, "second").expect("it is the password");

    // A port that somebody else has: nothing changes, and what was written is kept.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    let refused = edit(&format!("sed -i 's/^port = .*/port = {taken}/'"));
    let refused = String::from_utf8(refused.stderr).unwrap();
    let told = format!("cannot be shown on the network: display.listen: another guest or program has port {taken} of");
    assert!(refused.contains(&told), "{refused}");
    let kept = refused.trim().rsplit(' ').next().unwrap();
    assert!(fs::read_to_string(kept).unwrap().contains(&format!("port = {taken}")), "{refused}");
    viewer.set_nonblocking(true).unwrap();
    assert_eq!((&viewer).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody is put out for that");
    let refused = edit("sed -i 's/^port/address = \"192.0.2.1\"\\nport/'");
    assert!(!refused.status.success());
    assert_eq!(shown()["address"], address, "new viewers come in as before");
    let definition = || fs::read_to_string(home.guest("web").join("guest.toml")).unwrap();
    assert!(definition().contains(&format!("port = {port}")) && !definition().contains("192.0.2.1"));
    drop(viewer);
    assert!(enter(&address, "second").is_some());

    apply("sed -i 's/^tls = false/tls = true/'");
    assert_eq!(come_to(&address).1, [19]);

    apply("sed -i '/^.display.listen./,$d'");
    assert!(TcpStream::connect(&address).is_err() && shown()["address"].is_null());
    assert_eq!(come_to(hands).1, [1], "who was let in by hand is there still");
    home.done(&["destroy", "web"]);
    by_hand.wait().unwrap();
}

#[test]
fn others_are_not_shown_a_screen_without_a_password() {
    let home = Home::default();

    let refused = home.refused(&["create", "web", "--testcard", "--vnc", "0.0.0.0:0,no-password"]);
    let warned = home.run(&["create", "web", "--testcard", "--vnc", "0.0.0.0:0,no-tls"]);

    assert!(refused.contains("viewers on other computers need a password"), "{refused}");
    let warned = String::from_utf8(warned.stderr).unwrap();
    assert!(warned.contains("warning") && warned.contains("others on the network can see"), "{warned}");
}
