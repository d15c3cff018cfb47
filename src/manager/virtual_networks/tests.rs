use super::*;

fn network(name: &str, bridge: &str, subnet: &str) -> VirtualNetwork {
    let (name, bridge, subnet) = (name.to_owned(), bridge.to_owned(), subnet.parse().unwrap());
    VirtualNetwork { name, bridge, subnet, autostart: false }
}

#[test]
fn a_network_survives_its_file() {
    let network = network("default", "virbr7", "192.168.122.0/24");

    assert_eq!(VirtualNetwork::from_toml(&network.to_toml(), "default").unwrap(), network);
    let started = VirtualNetwork { autostart: true, ..network.clone() };
    assert_eq!(VirtualNetwork::from_toml(&started.to_toml(), "default").unwrap(), started);
    assert_eq!(network.gateway().to_string(), "192.168.122.1");
    let newer = network.to_toml().replace("version = 1", "version = 2");
    assert!(VirtualNetwork::from_toml(&newer, "default").unwrap_err().contains("version 2"));
    let more = format!("{}novelty = true\n", network.to_toml());
    assert!(VirtualNetwork::from_toml(&more, "default").unwrap_err().contains("novelty"));
}

#[test]
fn what_would_meet_something_else_is_refused() {
    let default = network("default", "lodgebr0", "192.168.122.0/24");
    let refused = |bridge: &str, subnet: &str| {
        network("more", bridge, subnet).check(std::slice::from_ref(&default)).unwrap_err().to_string()
    };

    assert!(network("more", "lodgebr1", "192.168.123.0/24").check(std::slice::from_ref(&default)).is_ok());
    assert!(refused("lodgebr0", "10.0.0.0/24").contains("the network \"default\""));
    assert!(
        refused("lodgebr1", "192.168.0.0/16").contains("meets 192.168.122.0/24, which the network \"default\" has")
    );
    assert!(refused("lodgebr1", "8.8.8.0/24").contains("private subnet"));
    for bridge in ["", "a b", "semi;colon", "quo\"te", "sixteen-letters-"] {
        assert!(refused(bridge, "10.0.0.0/24").contains("no name of a bridge"), "{bridge}");
    }
    for name in ["", "../etc", "a b", "a;b"] {
        assert!(VirtualNetworks::default().load(name).unwrap_err().to_string().contains("no name"), "{name}");
    }
}

#[test]
fn the_first_free_subnet_and_bridge_are_chosen() {
    let others = [network("default", "lodgebr0", "192.168.122.0/24")];
    let taken = [("192.168.123.64/26".parse().unwrap(), "eth0".to_owned())];
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("sys/class/net/lodgebr1")).unwrap();

    assert_eq!(definition::free_subnet(&others, &taken).unwrap().to_string(), "192.168.124.0/24");
    assert_eq!(definition::free_bridge(&others, &Root::new(root.path())), "lodgebr2");
    let all = [("192.168.0.0/16".parse().unwrap(), "eth0".to_owned())];
    assert!(matches!(definition::free_subnet(&[], &all), Err(VirtualNetworkError::NoSubnet)));
}

#[test]
fn the_state_is_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let networks = VirtualNetworks::new(&Root::new(folder.path()));
    let network = network("default", "lodgebr0", "192.168.122.0/24");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("etc/lodge/networks/default.toml", &network.to_toml());
    write("etc/lodge/networks/broken.toml", "version = 1");
    assert_eq!(networks.list(), std::slice::from_ref(&network));
    assert_eq!(networks.state(&network), NetworkState::Stopped);

    write("sys/class/net/lodgebr0/bridge/forward_delay", "0");
    assert_eq!(networks.state(&network), NetworkState::Stopped, "it is somebody else's");
    write("sys/class/net/lodgebr0/ifalias", "Lodge's network default\n");
    assert_eq!(networks.state(&network), NetworkState::Damaged { missing: vec!["dnsmasq".to_owned()] });
    let config = folder.path().join("run/lodge/networks/default/dnsmasq.conf");
    write("run/lodge/networks/default/dnsmasq.pid", "77\n");
    write("proc/77/cmdline", "something else");
    assert!(matches!(networks.state(&network), NetworkState::Damaged { .. }));
    write("proc/77/cmdline", &format!("dnsmasq\0--conf-file={}\0", config.display()));
    assert_eq!(networks.state(&network), NetworkState::Running);

    write("run/lodge/networks/default/dnsmasq.leases", "1763727877 52:54:00:00:00:01 192.168.122.7 web *\nduid x\n");
    let lease =
        Lease { mac: "52:54:00:00:00:01".into(), address: "192.168.122.7".into(), hostname: Some("web".into()) };
    assert_eq!(networks.leases(&network), [lease]);
}
