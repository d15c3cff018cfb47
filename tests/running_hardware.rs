//! A running guest has the hardware with which it was started: what was added to its definition and taken out of it since then applies
//! from its next start, and what is done to the rest is done to the right device. All by `lodgectl`, with real workers.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs::OpenOptions,
    time::{Duration, Instant},
};

use common::{home::Home, kvm};
use lodge::manager::{
    definition::{Definition, DiskDefinition, DiskFormat, NetworkDefinition},
    guests::{GuestChange, Guests, WatchLevel},
    library::Library,
    paths::Paths,
    size::Size,
    supervisor::Supervisor,
};
use serde_json::Value;

/// Longer than anything here takes on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

fn paths(home: &Home) -> Paths {
    Paths::new(home.path().join("data/lodge"), home.path().join("run/lodge"))
}

/// An ISO image without any file (ECMA-119, 8.4): its primary volume descriptor says that it has 18 blocks.
fn iso() -> Vec<u8> {
    let mut image = vec![0; 18 * 2048];
    let descriptor = &mut image[16 * 2048..];
    descriptor[..6].copy_from_slice(b"\x01CD001");
    descriptor[80..84].copy_from_slice(&18u32.to_le_bytes());
    descriptor[128..130].copy_from_slice(&2048u16.to_le_bytes());
    image
}

/// The running guest "web": a test card with a NAT card and one on an isolated network.
fn started(home: &Home) -> Definition {
    let cards = ["--network", "nat", "--network", "isolated=lab"];
    home.done(&[&["create", "web", "--testcard", "--start"][..], &cards].concat());
    Library::new(paths(home)).load("web").unwrap().definition
}

/// Changes what is stored, as the window's and the editor's changes of hardware do.
fn change(home: &Home, change: impl FnOnce(&mut Definition)) -> Definition {
    let library = Library::new(paths(home));
    let mut stored = library.load("web").unwrap();
    change(&mut stored.definition);
    library.save(&stored.definition, &stored.revision).unwrap();
    stored.definition
}

/// The worker's own names and figures of its cards.
fn links(home: &Home) -> Vec<(String, bool)> {
    let cards = home.json(&["qmp", "web", "x-lodge-statistics"])["networks"].clone();
    let link = |card: &Value| (card["mac"].as_str().unwrap().to_lowercase(), card["link"].as_bool().unwrap());
    cards.as_array().unwrap().iter().map(link).collect()
}

#[test]
fn after_a_card_was_taken_out_the_others_are_the_same_in_the_running_guest() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let before = started(&home);
    let [nat, isolated] = [0, 1].map(|index: usize| before.networks[index].mac.clone().unwrap().to_lowercase());
    change(&home, |definition| drop(definition.networks.remove(0)));

    let said = home.done(&["set-link", "web", "net0", "down"]);
    assert!(said.contains("Unplugged net0"), "{said}");
    assert_eq!(links(&home), [(nat.clone(), true), (isolated.clone(), false)]);
    let said = home.done(&["set-link", "web", &nat, "down"]);
    assert!(said.contains(&nat), "a card that was taken out has its address only: {said}");
    home.done(&["set-link", "web", "net0", "up"]);
    assert_eq!(links(&home), [(nat.clone(), false), (isolated.clone(), true)]);

    home.done(&["network", "limit", "web", "--inbound-packets-sec", "1000"]);
    home.done(&["network", "attach", "web", "net0", "none"]);
    let sources = home.json(&["qmp", "web", "x-lodge-query-networks"]);
    assert_eq!((&sources[0]["source"], &sources[1]["source"]), (&"nat".into(), &"none".into()));
    let info = home.json(&["info", "web", "--json"]);
    let ids: Vec<_> = info["connections"].as_array().unwrap().iter().map(|card| card["id"].clone()).collect();
    assert_eq!(ids, [nat.as_str(), "net0"], "by the names that the definition has for them");
    let said = home.done(&["info", "web"]);
    assert!(said.contains(&format!("net0 ({isolated}, not connected, link down")), "{said}");
    assert!(said.contains(&format!("{nat} (nat, removed from its next start)")), "{said}");
    assert!(home.refused(&["set-link", "web", "net1", "up"]).contains("It has net0"));

    // After a restart it is as its definition says.
    home.done(&["destroy", "web"]);
    home.done(&["start", "web"]);
    assert_eq!(links(&home).len(), 1);
    // Its disk goes on in another image then, and that waits for nothing.
    home.done(&["snapshot", "create", "web", "one"]);
    assert_eq!(home.json(&["info", "web", "--json"])["next_start"], Value::Null);
}

#[test]
fn what_was_added_while_the_guest_runs_is_set_up_for_its_next_start() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    started(&home);
    let image = home.path().join("more.img");
    OpenOptions::new().create(true).truncate(true).write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
    let iso = home.file("tools.iso", &iso());
    assert_eq!(home.json(&["info", "web", "--json"])["next_start"], Value::Null, "nothing waits");
    let definition = change(&home, |definition| {
        definition.networks.insert(0, NetworkDefinition::nat());
        definition.address_networks();
        definition.add_disk(DiskDefinition::new(&image, DiskFormat::Raw));
        definition.add_disk(DiskDefinition::empty_drive());
    });
    let disk = definition.disks[definition.disks.len() - 2].id.clone();

    let later: [&[&str]; 3] = [
        &["network", "forward", "add", "web", "18022:22"],
        &["network", "attach", "web", "net0", "nat,forward=18022:22"],
        &["change-media", "web", &iso],
    ];
    for arguments in later {
        let said = home.done(arguments);
        assert!(said.contains("from its next start"), "{arguments:?}: {said}");
    }
    for arguments in [
        &["network", "limit", "web", "--inbound-packets-sec", "9"][..],
        &["disk", "limit", "web", &disk, "--total-iops-sec", "9"],
    ] {
        let output = home.run(arguments);
        let noted = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && noted.contains("from its next start"), "{arguments:?}: {noted}");
    }
    for arguments in [
        &["set-link", "web", "net0", "down"][..],
        &["network", "attach", "web", "net0", "none", "--live"],
        &["change-media", "web", "--eject", "--live"],
    ] {
        assert!(home.refused(arguments).contains("from its next start only"), "{arguments:?}");
    }
    let listed = home.json(&["network", "forward", "list", "web", "--json"]);
    assert_eq!((&listed[0]["card"], &listed[0]["backend"]), (&"net0".into(), &Value::Null));

    let stored = Library::new(paths(&home)).load("web").unwrap().definition;
    assert_eq!(stored.networks[0].forwards.len(), 1);
    assert_eq!(stored.networks[0].limits.inbound_packets_sec, Some(9));
    let limited = stored.disks.iter().find(|other| other.id == disk).unwrap();
    assert_eq!(limited.limits.total_iops_sec, Some(9));
    assert!(stored.disks.last().unwrap().has_medium());
    assert!(home.json(&["info", "web", "--json"])["next_start"].is_object());
    home.done(&["destroy", "web"]);
    home.done(&["start", "web"]);
    assert_eq!((links(&home).len(), &home.json(&["info", "web", "--json"])["next_start"]), (3, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_more_vcpus_from_its_next_start_is_measured_by_those_that_it_has() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    started(&home);
    change(&home, |definition| (definition.vcpus, definition.memory) = (2, Size::mib(128)));

    let listed = home.json(&["list", "--json"])[0].clone();
    assert_eq!((&listed["vcpus"], &listed["memory"]), (&1.into(), &(64 << 20).into()));
    let info = home.json(&["info", "web", "--json"]);
    assert_eq!((&info["vcpus"], &info["memory"]), (&1.into(), &(64 << 20).into()));
    assert_eq!((&info["next_start"]["vcpus"], &info["next_start"]["memory"]), (&2.into(), &(128 << 20).into()));
    assert!(home.done(&["info", "web"]).contains("memory 128 MiB, vCPUs 2\n"));

    // What the windows have of it, as after a restart of the application.
    let (guests, mut changes) = Guests::watch(Supervisor::new(paths(&home)));
    guests.set_level(WatchLevel::Statistics);
    let deadline = Instant::now() + PATIENCE;
    let measured = async {
        while !matches!(changes.recv().await, Some(GuestChange::Statistics))
            || guests.all()[0].running.is_none()
            || guests.with_history(&guests.all()[0].id, |history| history.latest().is_none()).unwrap()
        {
            assert!(Instant::now() < deadline);
        }
    };
    tokio::time::timeout(PATIENCE, measured).await.unwrap();
    let view = guests.all().remove(0);
    let vcpus = guests.with_history(&view.id, |history| history.latest().unwrap().vcpu_loads().len()).unwrap();
    let hardware = view.hardware().unwrap();
    assert!(vcpus <= 1, "one vCPU is measured, not {vcpus}");
    assert_eq!((hardware.vcpus, hardware.memory, view.waits()), (1, Size::mib(64), true));

    home.done(&["destroy", "web"]);
    let gone = async {
        while guests.all()[0].running.is_some() {
            changes.recv().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let view = guests.all().remove(0);
    assert_eq!((view.hardware().unwrap().vcpus, view.waits()), (2, false));
}
