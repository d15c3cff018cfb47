//! A guest's network without any right on the host, all by `lodgectl`: by passt, and by libslirp where no interface has a route.
//! An address by DHCP, names, TCP and UDP both ways, IPv6, ports that come and go while the guest runs, and what happens when one
//! of those that carry it dies.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    home::{Home, signal},
    kvm,
    linux::{self, succeed},
    namespace,
    shell::Shell,
};

/// The host that the guest reaches: addresses of this namespace alone.
const HOST: &str = "10.99.0.1";
const HOST6: &str = "fd99::1";
/// The usual limit for what takes no time at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a guest does to get its address and its name server.
const LEASE: &str = r#"cat >/tmp/lease <<'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev eth0; ip route add default via $router; echo nameserver $dns >/etc/resolv.conf
echo "lease $ip via $router"
EOF
chmod +x /tmp/lease; ip link set eth0 up; udhcpc -i eth0 -n -q -t 30 -T 1 -s /tmp/lease"#;

fn ip(arguments: &str) {
    succeed(Command::new("ip").args(arguments.split(' ')));
}

/// What there is of a world around the guest: servers at addresses of the host, and a name server that the host is told of.
fn serve(folder: &Path) {
    ip("address add 10.99.0.1/32 dev lo");
    ip("address add fd99::1/128 dev lo nodad");
    // As most distributions have it: everybody may ping.
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
    let resolv = folder.join("resolv.conf");
    fs::write(&resolv, format!("nameserver {HOST}\n")).unwrap();
    succeed(Command::new("mount").arg("--bind").args([&resolv, Path::new("/etc/resolv.conf")]));
    let pattern = Arc::new(pattern());
    for address in [HOST, HOST6] {
        let (sent, wanted) = (Arc::clone(&pattern), Arc::clone(&pattern));
        // A guest may go in the middle of it.
        accept(address, 8, move |mut stream| drop(stream.write_all(&sent)));
        accept(address, 7, move |mut stream| {
            let mut all = Vec::new();
            let read = stream.read_to_end(&mut all);
            let verdict = if read.is_ok() && all == *wanted { "it is equal\n" } else { "it is something else\n" };
            drop(stream.write_all(verdict.as_bytes()));
        });
    }
    let names = UdpSocket::bind((HOST, 53)).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = names.recv_from(&mut query) {
            names.send_to(&address_answer(&query[..length]), from).unwrap();
        }
    });
}

/// What goes both ways: more than any buffer holds.
fn pattern() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(8 << 20).collect()
}

/// Serves connections to a port of the host, each on a thread.
fn accept(address: &str, port: u16, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let listener = TcpListener::bind((address, port)).unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// The answer to a question for an address (RFC 1035, section 4): every name is 10.1.2.3, and has none by IPv6.
fn address_answer(query: &[u8]) -> Vec<u8> {
    let question = &query[12..];
    let end = question.iter().position(|&byte| byte == 0).unwrap() + 5;
    let is_a = question[end - 4..end - 2] == [0, 1];
    let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, is_a.into(), 0, 0, 0, 0], &question[..end]].concat();
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3]);
    }
    answer
}

/// A home with the guest `web`, which has this network and runs, and its shell.
fn started(native: &Path, network: &str) -> (Home, Shell) {
    let home = Home::default();
    let root = linux::copy_root(native, home.path());
    let tools = linux::tools(home.path(), "", &["udp"]);
    let kernel = native.join("vmlinux");
    home.done(&[
        "create",
        "web",
        "--memory",
        "256MiB",
        "--disk",
        root.to_str().unwrap(),
        "--disk",
        tools.to_str().unwrap(),
        "--network",
        network,
        "--kernel",
        kernel.to_str().unwrap(),
        "--cmdline",
        linux::COMMAND_LINE,
    ]);
    home.done(&["start", "web"]);
    let mut shell = Shell::new(&home, "web");
    shell.wait_for("# ");
    (home, shell)
}

/// Asks the guest again and again until it says `wanted`.
fn ask_until(shell: &mut Shell, command: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = shell.ask(command);
        if said.lines().any(|line| line.contains(wanted) && !line.contains("echo done")) {
            return;
        }
        assert!(Instant::now() < deadline, "{command}: {said}");
    }
}

/// What comes back when `text` is sent to a port of the host, once somebody answers there.
fn echo(port: u16, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(text.as_bytes())?;
            let mut back = vec![0; text.len()];
            stream.read_exact(&mut back)?;
            Ok(String::from_utf8(back).unwrap())
        };
        match exchange() {
            Ok(back) => return back,
            Err(error) => assert!(Instant::now() < deadline, "port {port}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What comes back when a datagram is sent to a port of the host, once somebody answers there.
fn echo_datagram(port: u16, text: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut answer = [0; 512];
    loop {
        socket.send_to(text.as_bytes(), ("127.0.0.1", port)).unwrap();
        match socket.recv(&mut answer) {
            Ok(length) => return String::from_utf8(answer[..length].to_vec()).unwrap(),
            Err(error) => assert!(Instant::now() < deadline, "port {port}: {error}"),
        }
    }
}

/// The processes whose parent is `parent`, with their names.
fn children(parent: &str) -> Vec<(String, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let (number, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        (rest.split(' ').nth(1)? == parent).then(|| (number.to_owned(), name.to_owned()))
    });
    found.collect()
}

/// The guest's `lodge-nat`: the process that runs our program with a descriptor of the guest's log, and that no other one has made.
fn translators(home: &Home) -> Vec<String> {
    let log = fs::canonicalize(home.guest("web")).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter(|process| {
        let is_ours = fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe.ends_with("lodge-nat"));
        is_ours && fs::read_link(process.path().join("fd/2")).is_ok_and(|file| file.starts_with(&log))
    });
    let found: Vec<String> = found.map(|process| process.file_name().into_string().unwrap()).collect();
    let made: Vec<_> = found.iter().flat_map(|process| children(process)).map(|(process, _)| process).collect();
    found.into_iter().filter(|process| !made.contains(process)).collect()
}

/// Has the guest fetch the pattern and send it back.
fn there_and_back(shell: &mut Shell, host: &str) {
    shell.ask(&format!("nc {host} 8 >/tmp/in"));
    // passt 2023-03 does not tell a guest that has closed its direction of the other's end.
    shell.send(&format!("nc {host} 7 </tmp/in &"));
    shell.wait_for("it is equal");
    shell.ask("killall nc");
}

/// What every back end has to do.
fn check_all_ways(home: &Home, shell: &mut Shell) {
    assert!(shell.ask(LEASE).contains("\nlease 10."), "{}", shell.said);
    ask_until(shell, "ping -c 3 -i 0.1 10.99.0.1", "3 packets received");
    ask_until(shell, "nslookup shop.test", "10.1.2.3");
    there_and_back(shell, HOST);
    // An address by router advertisement; the route comes with it.
    ask_until(shell, "ip -6 address show dev eth0 scope global; ip -6 address show dev eth0 scope site", "inet6 f");
    there_and_back(shell, HOST6);

    shell.ask("cd /tmp; tar -xf /dev/vdb; nc -ll -p 22 -e cat & nc -ll -p 80 -e cat & ( ./udp 53 & ) ");
    assert_eq!(echo(2222, "through the first port"), "through the first port");
    assert_eq!(echo_datagram(5353, "a datagram"), "a datagram");
    let taken = TcpListener::bind("127.0.0.1:8080").unwrap();
    let refused = home.refused(&["network", "forward", "add", "web", "8080:80"]);
    assert!(refused.contains("tcp port 127.0.0.1:8080 is taken"), "{refused}");
    drop(taken);
    home.done(&["network", "forward", "add", "web", "8080:80"]);
    assert_eq!(echo(8080, "through another port"), "through another port");
    assert_eq!(echo(2222, "and still through the first"), "and still through the first");
    home.done(&["network", "forward", "remove", "web", "8080:80"]);
    assert!(TcpListener::bind("127.0.0.1:8080").is_ok(), "the port is free again");
    let listed = home.json(&["network", "forward", "list", "web", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let definition = home.json(&["info", "web", "--json"])["network"][0].clone();
    assert_eq!(definition["forward"].as_array().unwrap().len(), 2, "{definition}");
    ask_until(shell, "ping -c 1 10.99.0.1", "1 packets received");
    let info = home.json(&["info", "web", "--json"]);
    let card = &info["statistics"]["networks"][0];
    assert!(card["link"] == true && card["received-bytes"].as_u64().unwrap() > 16 << 20, "{card}");
}

/// What becomes of a guest whose frames nobody takes: it goes on, and so does its network once they are taken again.
fn check_full_socket(home: &Home, shell: &mut Shell, passt: &str) {
    signal(passt, "STOP");
    // Ten times what the socket holds.
    let said = shell
        .ask(&format!("dd if=/dev/zero bs=1000 count=4000 2>/dev/null | nc -u -w 1 {HOST} 9; ping -c 1 -W 1 {HOST}"));
    assert!(said.contains("0 packets received"), "{said}");
    assert_eq!(home.state("web"), "running");
    signal(passt, "CONT");
    ask_until(shell, &format!("ping -c 1 -W 1 {HOST}"), "1 packets received");
    let said = shell.ask(&format!("nc {HOST} 8 | wc -c"));
    assert!(said.contains(&pattern().len().to_string()), "{said}");
}

/// Nothing of the guest's network outlives its worker.
fn check_end(home: &Home) {
    let [translator] = &translators(home)[..] else { panic!("{:?}", translators(home)) };
    let helpers = children(translator);
    signal(&home.worker("web"), "KILL");
    let is_there = |process: &String| fs::exists(format!("/proc/{process}/fd/0")).unwrap_or(false);
    home.wait_for("the translator to go", || !is_there(translator));
    home.wait_for("its helpers to go", || !helpers.iter().any(|(process, _)| is_there(process)));
    home.wait_for("the port to be free", || TcpListener::bind("127.0.0.1:2222").is_ok());
}

#[test]
fn by_passt_a_guest_reaches_the_world_and_is_reached() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        for arguments in [
            "link add eth0 type veth peer name wire0",
            "link set wire0 up",
            "link set eth0 up",
            "address add 10.79.0.2/24 dev eth0",
            "route add default via 10.79.0.1",
            "address add fd79::2/64 dev eth0 nodad",
            "-6 route add default via fd79::1",
        ] {
            ip(arguments);
        }
        let folder = tempfile::tempdir().unwrap();
        serve(folder.path());
        let (home, mut shell) = started(&native, "nat,forward=2222:22,forward=udp:5353:53");
        check_all_ways(&home, &mut shell);

        let info = home.json(&["info", "web", "--json"])["connections"][0].clone();
        assert_eq!(info["backend"], "passt", "{info}");
        let [translator] = &translators(&home)[..] else { panic!("{:?}", translators(&home)) };
        let [(passt, name)] = &children(translator)[..] else { panic!("{:?}", children(translator)) };
        assert!(name.starts_with("passt"), "{name}");
        check_full_socket(&home, &mut shell, passt);
        signal(passt, "KILL");
        ask_until(&mut shell, "ping -c 1 -W 1 10.99.0.1", "1 packets received");
        assert_eq!(echo(2222, "after its death"), "after its death");
        assert_ne!(children(translator)[0].0, *passt);
        check_end(&home);
    });
}

#[test]
fn without_a_route_libslirp_does_it() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        let folder = tempfile::tempdir().unwrap();
        serve(folder.path());
        let taken = TcpListener::bind("127.0.0.1:2222").unwrap();
        let home = Home::default();
        home.done(&["create", "card", "--memory", "16MiB", "--network", "nat,forward=2222:22"]);
        let refused = home.refused(&["start", "card"]);
        assert!(refused.contains("tcp port 127.0.0.1:2222 is taken"), "{refused}");
        assert_eq!(home.state("card"), "off");
        drop(taken);

        let (home, mut shell) = started(&native, "nat,forward=2222:22,forward=udp:5353:53");
        check_all_ways(&home, &mut shell);

        let info = home.json(&["info", "web", "--json"])["connections"][0].clone();
        assert_eq!(info["backend"], "slirp", "{info}");
        // The host's own programs are at the gateway's address.
        let said = shell.ask("ip route show default");
        assert!(said.contains("default via 10.0.2.2"), "{said}");
        let [translator] = &translators(&home)[..] else { panic!("{:?}", translators(&home)) };
        let [(slirp, _)] = &children(translator)[..] else { panic!("{:?}", children(translator)) };
        let status = fs::read_to_string(format!("/proc/{slirp}/status")).unwrap();
        assert!(status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nSeccomp:\t2\n"), "{status}");
        home.done(&["network", "forward", "add", "web", "8080:80"]);
        signal(slirp, "KILL");
        ask_until(&mut shell, "ping -c 1 -W 1 10.99.0.1", "1 packets received");
        assert_eq!(echo(2222, "after its death"), "after its death");
        assert_eq!(echo(8080, "by a port of later"), "by a port of later");
        assert_ne!(children(translator)[0].0, *slirp);
        check_end(&home);
    });
}
