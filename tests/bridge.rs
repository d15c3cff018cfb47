//! A guest in a bridge of the host, all by `lodgectl`: it reaches another port of the bridge, its interface is gone when it is,
//! and what cannot be says how to mend it.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{
    home::{Home, signal},
    kvm,
    linux::{self, succeed},
    namespace,
    shell::Shell,
};

const MAC: &str = "52:54:00:12:34:56";
/// What a guest's interface is called at the host.
const INTERFACE: &str = "lodge0";

/// A computer at a port of the bridge: a namespace with one card, for as long as it lives.
struct Neighbour(Child);

impl Neighbour {
    fn new(address: &str) -> Self {
        let child = Command::new("unshare").args(["-n", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let neighbour = Self(child);
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = || fs::read_link(format!("/proc/{}/ns/net", neighbour.pid()));
        while theirs().unwrap() == own {
            std::thread::yield_now();
        }
        let pid = neighbour.pid();
        ip("link add port1 type veth peer name eth0 netns", &[&pid]);
        ip("link set port1 master br0 up", &[]);
        for arguments in ["link set eth0 up", &format!("address add {address} dev eth0")] {
            let inside = ["-t", &pid, "-n", "ip"].into_iter().chain(arguments.split(' '));
            succeed(Command::new("nsenter").args(inside));
        }
        neighbour
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn ip(arguments: &str, more: &[&str]) {
    succeed(Command::new("ip").args(arguments.split(' ')).args(more));
}

/// Whether the guest's interface is there. It belongs to this test's namespace alone.
fn has_interface() -> bool {
    fs::exists(format!("/sys/class/net/{INTERFACE}")).unwrap()
}

#[test]
fn a_guest_in_a_bridge_reaches_its_neighbour_and_leaves_no_interface_behind() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        ip("link add br0 type bridge", &[]);
        ip("link set br0 up", &[]);
        let _neighbour = Neighbour::new("10.78.0.3/24");
        let address = fs::read_to_string("/sys/class/net/br0/address").unwrap();
        let home = Home::default();
        let root = linux::copy_root(&native, home.path());
        let (kernel, network) = (native.join("vmlinux"), format!("bridge=br0,mac={MAC},queues=2"));
        let boot = ["--kernel", kernel.to_str().unwrap(), "--cmdline", "console=ttyS0 root=/dev/vda rw init=/init"];
        let create = ["create", "web", "--memory", "256MiB", "--disk", root.to_str().unwrap(), "--network", &network];

        home.done(&[&create[..], &boot].concat());
        home.done(&["start", "web"]);
        let mut shell = Shell::new(&home, "web");
        shell.wait_for("# ");
        shell.send(
            "ip link set eth0 up; ip address add 10.78.0.2/24 dev eth0; ping -c 3 10.78.0.3; echo pinged$((1+1))",
        );
        shell.wait_for("pinged2");
        let said = std::mem::take(&mut shell.said);
        let card = home.json(&["info", "web", "--json"])["statistics"]["networks"][0].clone();
        home.done(&["set-link", "web", MAC, "down"]);
        shell.send("ping -c 1 -W 1 10.78.0.3; echo pinged$((1+2))");
        shell.wait_for("pinged3");

        assert!(said.contains("3 packets received"), "{said}");
        assert!(shell.said.contains(" 0 packets received"), "{}", shell.said);
        assert_eq!(card["mac"], MAC);
        let figures =
            ["received-frames", "received-bytes", "sent-frames", "sent-bytes"].map(|name| card[name].as_u64().unwrap());
        assert!(figures.iter().all(|&figure| figure >= 3), "{card}");
        assert!(fs::exists(format!("/sys/class/net/br0/brif/{INTERFACE}")).unwrap());
        assert_eq!(fs::read_to_string("/sys/class/net/br0/address").unwrap(), address, "the bridge keeps its own");
        assert!(home.refused(&["create", "twin", "--network", &network]).contains("\"web\" has this address"));

        shell.send("poweroff -f");
        home.wait_for_state("web", "off");
        home.wait_for("the interface to go with the guest", || !has_interface());
        home.done(&["start", "web"]);
        assert!(has_interface());
        signal(&home.worker("web"), "KILL");
        home.wait_for("the interface to go with the worker", || !has_interface());
    });
}

#[test]
fn what_the_host_does_not_give_is_said_with_the_way_to_it() {
    if kvm::open().is_none() {
        return;
    }
    namespace::run(|| {
        ip("link add br0 type bridge", &[]);
        let home = Home::default();
        let long = "bridge=sixteen-letters-";
        assert!(home.refused(&["create", "long", "--network", long]).contains("too long for an interface"));
        home.done(&["create", "lost", "--memory", "16MiB", "--network", "bridge=br9"]);
        home.done(&["create", "web", "--memory", "16MiB", "--network", "bridge=br0"]);

        let missing = home.refused(&["start", "lost"]);
        install_helper(home.path(), "");
        let error = without_rights(&home, &["start", "web"]).unwrap_err();
        fs::set_permissions(home.path().join("helper"), fs::Permissions::from_mode(0o644)).unwrap();
        rustix::fs::removexattr(home.path().join("helper"), "security.capability").unwrap();
        let useless = without_rights(&home, &["start", "web"]).unwrap_err();

        assert!(missing.contains("network[0].bridge: the host has no bridge br9. Have root make it"), "{missing}");
        assert!(error.contains("network[0].bridge: root has not allowed guests in br0"), "{error}");
        assert!(useless.contains("you may not make interfaces in br0") && useless.contains("chmod u+s"), "{useless}");
        assert_eq!((home.state("web"), has_interface()), ("off".to_owned(), false));
    });
}

/// Runs `lodgectl` as root without any of root's rights: what it starts has none either, unless a file gives them.
fn without_rights(home: &Home, arguments: &[&str]) -> Result<(), String> {
    let lodgectl = home.command(arguments);
    let environment = lodgectl.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let output = Command::new("setpriv")
        .args(["--securebits=+noroot,+noroot_locked", "--inh-caps=-all", "--ambient-caps=-all"])
        .arg(lodgectl.get_program())
        .args(lodgectl.get_args())
        .env_clear()
        .envs(environment)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(()) } else { Err(error) }
}

/// Puts a helper that may make interfaces in the place of the distribution's, and this configuration, for this test alone.
fn install_helper(folder: &Path, config: &str) {
    const HELPER: &str = "/usr/lib/qemu/qemu-bridge-helper";
    /// Of linux/capability.h, version 2 with the effective bit: CAP_NET_ADMIN.
    const MAY_MAKE: [u8; 20] = [1, 0, 0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (helper, etc) = (folder.join("helper"), folder.join("etc"));
    if !helper.exists() {
        fs::copy(HELPER, &helper).unwrap();
        rustix::fs::setxattr(&helper, "security.capability", &MAY_MAKE, rustix::fs::XattrFlags::empty()).unwrap();
        succeed(Command::new("cp").args(["-a", "/etc"]).arg(&etc));
        fs::create_dir_all(etc.join("qemu")).unwrap();
        succeed(Command::new("mount").arg("--bind").args([&helper, Path::new(HELPER)]));
        succeed(Command::new("mount").arg("--bind").args([&etc, Path::new("/etc")]));
    }
    fs::write(etc.join("qemu/bridge.conf"), config).unwrap();
}

#[test]
fn users_get_into_a_bridge_that_root_has_allowed_and_outlive_it() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        let make_bridge = || {
            ip("link add br0 type bridge", &[]);
            ip("address add 10.78.0.1/24 dev br0", &[]);
            ip("link set br0 up", &[]);
        };
        make_bridge();
        let home = Home::default();
        let root = linux::copy_root(&native, home.path());
        let kernel = native.join("vmlinux");
        let boot = ["--kernel", kernel.to_str().unwrap(), "--cmdline", "console=ttyS0 root=/dev/vda rw init=/init"];
        let create =
            ["create", "web", "--memory", "256MiB", "--disk", root.to_str().unwrap(), "--network", "bridge=br0"];
        home.done(&[&create[..], &boot].concat());

        install_helper(home.path(), "allow br7");
        let refused = without_rights(&home, &["start", "web"]).unwrap_err();
        assert!(refused.contains("Have root write \"allow br0\" into /etc/qemu/bridge.conf"), "{refused}");
        install_helper(home.path(), "allow br0");
        without_rights(&home, &["start", "web"]).unwrap();
        let mut shell = Shell::new(&home, "web");
        shell.wait_for("# ");
        shell.ask("ip link set eth0 up; ip address add 10.78.0.2/24 dev eth0");
        assert!(shell.ask("ping -c 3 -i 0.1 10.78.0.1").contains("3 packets received"), "{}", shell.said);
        let card = || home.json(&["info", "web", "--json"])["connections"][0].clone();
        let interface = card()["interface"].as_str().unwrap().to_owned();
        assert_eq!((card()["source"].clone(), card()["problem"].clone()), ("bridge=br0".into(), Default::default()));

        ip("link delete br0", &[]);
        assert!(home.done(&["info", "web"]).contains("the host has no bridge br0 any more"));
        assert!(shell.ask("ping -c 1 -W 1 10.78.0.1").contains(" 0 packets received"), "the guest goes on");
        make_bridge();
        let lost = card()["problem"].clone();
        let mend = format!("ip link set {interface} master br0");
        assert!(lost.as_str().unwrap().contains(&mend), "{lost}");
        ip(mend.strip_prefix("ip ").unwrap(), &[]);
        assert!(shell.ask("ping -c 3 -i 0.1 10.78.0.1").contains("3 packets received"), "{}", shell.said);
        assert!(card()["problem"].is_null());

        signal(&home.worker("web"), "KILL");
        let path = format!("/sys/class/net/{interface}");
        home.wait_for("the interface to go with the worker", || !fs::exists(&path).unwrap());
    });
}
