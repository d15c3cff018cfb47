//! `lodgectl` from the outside: what it says, in which words, and with which status it ends.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

#[path = "cli/autostart.rs"]
mod autostart;
#[path = "cli/listening.rs"]
mod listening;
#[path = "cli/streams.rs"]
mod streams;

use std::{fs, os::unix::fs::PermissionsExt};

use common::{
    home::{Home, signal},
    kvm,
};
use serde_json::{Value, json};

/// An ISO image's beginning that says how long the whole is.
fn iso(blocks: u32) -> Vec<u8> {
    let mut image = vec![0; blocks as usize * 2048];
    image[0x8000..0x8007].copy_from_slice(b"\x01CD001\x01");
    image[0x8050..0x8054].copy_from_slice(&blocks.to_le_bytes());
    image[0x8080..0x8082].copy_from_slice(&2048u16.to_le_bytes());
    image
}

#[test]
fn a_guest_lives_its_whole_life_by_the_shell() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let created = home.done(&["create", "web", "--testcard", "--memory", "32MiB", "--start"]);
    assert!(created.contains("Created \"web\"") && created.contains("Started \"web\""), "{created}");

    let listed = home.json(&["list", "--json"]);
    assert_eq!(listed[0]["state"], "running");
    assert_eq!(listed[0]["memory"], 32 << 20);
    let prefix = &listed[0]["uuid"].as_str().unwrap()[..8];
    home.done(&["suspend", prefix]);
    assert_eq!(home.state("web"), "paused");
    home.done(&["resume", "web"]);
    assert_eq!(home.state("web"), "running");
    home.done(&["reset", "web"]);

    let picture = home.path().join("web.png");
    home.done(&["screenshot", "web", picture.to_str().unwrap()]);
    assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
    home.done(&["send-key", "web", "ctrl-alt-delete", "a"]);
    home.done(&["type", "web", "Hello", "--enter"]);
    let info = home.json(&["info", "web", "--json"]);
    assert_eq!(home.done(&["vnc", "web"]).trim(), info["sockets"]["vnc"].as_str().unwrap());
    assert_eq!(home.json(&["qmp", "web", "query-status"])["status"], "running");
    assert_eq!(home.json(&["qmp", "web", "query-name", "{}"]), json!({"name": "web"}));
    let stats = home.json(&["stats", "web", "--json"]);
    assert!(stats[0]["memory"].as_u64().unwrap() > 0, "{stats}");

    home.done(&["save", "web"]);
    assert_eq!((home.state("web").as_str(), home.json(&["list", "--json"])), ("saved", json!([])));
    assert!(home.refused(&["save", "web"]).contains("not running"));
    assert_eq!(home.done(&["start", "web", "--paused"]), "Restored \"web\"\n");
    assert_eq!(home.state("web"), "paused");
    home.done(&["resume", "web"]);
    home.done(&["managedsave", "web"]);
    home.done(&["discard-saved", "web"]);
    assert_eq!(home.state("web"), "off");
    assert!(home.done(&["discard-saved", "web"]).contains("no saved state"));
    assert_eq!(home.done(&["start", "web"]), "Started \"web\"\n");

    home.done(&["destroy", "web"]);
    assert_eq!(home.json(&["list", "--json"]), json!([]));
    assert_eq!(home.state("web"), "off");
    let deleted = home.done(&["delete", "web", "--disks"]);
    assert!(deleted.contains("web.raw"), "{deleted}");
    assert_eq!(home.json(&["list", "--all", "--json"]), json!([]));
    assert_eq!(home.json(&["trash", "list", "--json"])[0]["name"], "web");
    home.done(&["trash", "restore", "web"]);
    assert_eq!(home.state("web"), "off");
    home.done(&["delete", "web", "--disks", "--now"]);
    assert_eq!(home.json(&["trash", "list", "--json"]), json!([]));
    assert_eq!(fs::read_dir(home.path().join("data/lodge/disks")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(home.path().join("run/lodge")).unwrap().count(), 0);
}

#[test]
fn bad_media_are_refused_and_leave_nothing() {
    let home = Home::default();
    let folder = home.path().to_str().unwrap();
    let empty = home.file("empty.iso", b"");
    let whole = iso(40);
    let cut_off = home.file("cut-off.iso", &whole[..40_000]);
    let odd = home.file("odd.img", &[0; 1000]);
    let packed = home.file("disk.img.xz", b"\xfd7zXZ\0 and so on");
    let iso = home.file("data.iso", &whole);

    for (option, path, reason) in [
        ("--kernel", iso.as_str(), "Choose a Linux kernel"),
        ("--kernel", empty.as_str(), "empty"),
        ("--cdrom", "/nonexistent/install.iso", "No such file"),
        ("--cdrom", &empty, "is empty"),
        ("--cdrom", folder, "is a folder"),
        ("--cdrom", &cut_off, "cut off"),
        ("--cdrom", &odd, "cut off"),
        ("--disk", "/nonexistent/disk.img", "No such file"),
        ("--disk", &empty, "is empty"),
        ("--disk", folder, "is a folder"),
        ("--disk", &odd, "not whole sectors"),
        ("--disk", &packed, "compressed (xz)"),
        ("--disk", &iso, "Use it as CD-ROM"),
        ("--disk", "/dev/null", "is a device"),
        ("--disk", "size=0", "Choose a size"),
        ("--disk", "size=8000000TiB", "Choose less"),
    ] {
        let error = home.refused(&["create", "web", option, path]);

        assert!(error.contains(reason), "{option} {path}: {error}");
    }
    assert_eq!(home.json(&["list", "--all", "--json"]), json!([]));
}

#[test]
fn bad_definitions_are_refused_with_every_reason_at_once() {
    let home = Home::default();
    let long = "x".repeat(300);

    for (arguments, reasons) in [
        (&["create", "a/b"][..], &["slash"][..]),
        (&["create", "two\nlines"], &["line breaks"]),
        (&["create", ".."], &["dot"]),
        (&["create", ""], &["a name is needed"]),
        (&["create", &long], &["too long"]),
        (&["create", "web", "--memory", "0"], &["memory: 0 B is too little"]),
        (&["create", "web", "--memory", "1TiB"], &["memory: 1 TiB is more than four times"]),
        (&["create", "web", "--memory", "10000001"], &["not a whole number of MiB"]),
        (&["create", "web", "--vcpus", "1000"], &["vcpus: 1000 is not possible. Choose 1 to 254"]),
        (&["create", "web", "--vcpus", "0"], &["vcpus: 0 is not possible"]),
        (&["create", "a/b", "--vcpus", "0", "--memory", "1TiB"], &["name:", "vcpus:", "memory:"]),
    ] {
        let error = home.refused(arguments);

        assert!(reasons.iter().all(|reason| error.contains(reason)), "{arguments:?}: {error}");
    }
    assert_eq!(home.json(&["list", "--all", "--json"]), json!([]));
}

#[test]
fn a_definition_is_written_as_the_options_say() {
    let home = Home::default();

    home.done(&[
        "create",
        "web",
        "--memory",
        "64MiB",
        "--vcpus",
        "4,threads=2",
        "--cpu",
        "host,-avx2,+vmx",
        "--cpuset",
        "0-1",
        "--pin",
        "2=0",
        "--hugepages",
        "2M",
        "--video",
        "virtio",
        "--vsock",
        "cid=7",
        "--without",
        "balloon,rng",
        "--events",
        "on_crash=restart",
        "--uuid",
        "11111111-2222-4333-8444-555555555555",
        "--network",
        "bridge=br0,mac=52:54:00:00:00:0A,queues=2",
        "--network",
        "none",
    ]);

    let info = home.json(&["info", "web", "--json"]);
    assert_eq!(info["uuid"], "11111111-2222-4333-8444-555555555555");
    assert_eq!(info["cpu"]["topology"], json!({"sockets": 1, "cores": 2, "threads": 2}));
    assert_eq!((&info["cpu"]["disabled_features"], &info["cpu"]["nested"]), (&json!(["avx2"]), &json!(true)));
    assert_eq!(info["cpu"]["pinning"], json!(["0-1", "0-1", "0", "0-1"]));
    assert_eq!(info["memory_backing"], json!({"huge_pages": "2MiB", "mergeable": false, "shared": false}));
    assert_eq!((&info["display"]["model"], &info["on_crash"]), (&json!("virtio"), &json!("restart")));
    let devices = &info["devices"];
    assert_eq!((&devices["vsock"], &devices["balloon"], &devices["agent"]), (&json!(7), &json!(false), &json!(true)));
    let card = &info["network"][0];
    assert_eq!((&card["bridge"], &card["queues"]), (&json!("br0"), &json!(2)));
    assert_eq!(card["mac"], "52:54:00:00:00:0a");
    assert!(info["network"][1]["mac"].as_str().unwrap().starts_with("52:54:00:"), "{info}");
    let ports = home.json(&["console", "web", "--list", "--json"]);
    assert_eq!((&ports[1]["name"], &ports[2]["name"]), (&json!("hvc0"), &json!("org.qemu.guest_agent.0")));
    assert!(home.refused(&["console", "web", "--port", "hvc1"]).contains("ttyS0, hvc0"));
    assert!(home.refused(&["create", "two", "--vcpus", "2", "--pin", "2=0"]).contains("pinning"));
}

#[test]
fn commands_that_make_no_sense_end_with_status_2() {
    let home = Home::default();

    for arguments in [
        &["fly"][..],
        &["create"],
        &["create", "web", "--memory", "much"],
        &["create", "web", "--vcpus", "-1"],
        &["create", "web", "--disk", "size=1G,format=vdi"],
        &["create", "web", "--network", "vpn"],
        &["create", "web", "--cpu", "Haswell"],
        &["create", "web", "--without", "disks"],
        &["set-link", "web", "net0", "sideways"],
        &["start"],
        &["list", "--some"],
        &["vnc", "web", "--listen", "70000"],
    ] {
        let output = home.run(arguments);

        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"error: "), "{arguments:?}");
    }
}

#[test]
fn every_verb_names_a_guest_that_is_not_there() {
    let home = Home::default();

    for arguments in [
        &["info", "nobody"][..],
        &["stats", "nobody"],
        &["start", "nobody"],
        &["save", "nobody"],
        &["discard-saved", "nobody"],
        &["suspend", "nobody"],
        &["resume", "nobody"],
        &["reset", "nobody"],
        &["destroy", "nobody"],
        &["delete", "nobody"],
        &["rename", "nobody", "somebody"],
        &["edit", "nobody"],
        &["tag", "nobody", "web"],
        &["screenshot", "nobody", "x.png"],
        &["send-key", "nobody", "a"],
        &["type", "nobody", "a"],
        &["console", "nobody"],
        &["vsock", "nobody", "22"],
        &["set-link", "nobody", "net0", "up"],
        &["set-memory", "nobody", "1GiB"],
        &["vnc", "nobody"],
        &["qmp", "nobody", "query-status"],
    ] {
        let error = home.refused(arguments);

        assert!(error.contains("there is no guest \"nobody\""), "{arguments:?}: {error}");
    }
}

#[test]
fn what_needs_a_running_guest_says_so() {
    let home = Home::default();
    home.done(&["create", "web"]);

    for verb in
        [&["suspend", "web"][..], &["destroy", "web"], &["type", "web", "a"], &["console", "web"], &["vnc", "web"]]
    {
        let error = home.refused(verb);

        assert!(error.contains("\"web\" is not running. Start it with"), "{verb:?}: {error}");
    }
}

#[test]
fn a_definition_that_is_not_understood_harms_no_other_and_stays_as_it_is() {
    let home = Home::default();
    home.done(&["create", "good"]);
    let unknown = fs::read_to_string(home.guest("good").join("guest.toml")).unwrap() + "\n[novelty]\nsize = 3\n";
    let unknown = unknown.replace("vcpus = 1", "vcpus = 1\ncolour = \"red\"");
    for (name, text) in [("unknown", unknown.as_str()), ("newer", "version = 9\nnovelty = true\n")] {
        fs::create_dir(home.guest(name)).unwrap();
        fs::write(home.guest(name).join("guest.toml"), text).unwrap();
    }

    let listed = home.json(&["list", "--all", "--json"]);

    let states: Vec<_> = listed.as_array().unwrap().iter().map(|guest| (&guest["name"], &guest["state"])).collect();
    assert_eq!(json!(states), json!([["good", "off"], ["newer", "broken"], ["unknown", "broken"]]));
    let reason = listed[2]["reason"].as_str().unwrap();
    assert!(reason.contains("colour") && reason.contains("novelty"), "{reason}");
    assert!(home.refused(&["start", "newer"]).contains("version 9"));
    assert!(home.refused(&["info", "unknown"]).contains("colour"));
    assert_eq!(fs::read_to_string(home.guest("unknown").join("guest.toml")).unwrap(), unknown);
    home.done(&["delete", "newer"]);
}

#[test]
fn guests_are_renamed_once_and_never_onto_another() {
    let home = Home::default();
    home.done(&["create", "web"]);
    home.done(&["create", "db"]);
    let uuid = home.json(&["info", "web", "--json"])["uuid"].clone();

    assert!(home.refused(&["rename", "web", "db"]).contains("already a guest \"db\""));
    assert!(home.refused(&["rename", "web", "a/b"]).contains("slash"));
    home.done(&["rename", "web", "shop"]);

    assert_eq!(home.json(&["info", "shop", "--json"])["uuid"], uuid);
    assert!(home.refused(&["create", "shop"]).contains("already a guest \"shop\""));
}

#[test]
fn an_edit_is_checked_before_it_is_taken_and_never_lost() {
    let home = Home::default();
    home.done(&["create", "web", "--memory", "64MiB", "--without", "network"]);
    let edit = |script: &str| home.command(&["edit", "web"]).env("EDITOR", script).output().unwrap();

    assert!(edit("sed -i 's/64 MiB/128 MiB/'").status.success());
    assert_eq!(home.json(&["info", "web", "--json"])["memory"], 128 << 20);
    let unchanged = edit("true");
    assert!(String::from_utf8(unchanged.stdout).unwrap().contains("unchanged"));

    let refused = edit("sed -i 's/vcpus = 1/vcpus = 0\\ncolour = 7/'");
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("vcpus (line 7)") && error.contains("colour (line 8)"), "{error}");
    let kept = error.trim_end().rsplit(' ').next().unwrap();
    assert!(fs::read_to_string(kept).unwrap().contains("vcpus = 0"));
    assert_eq!(home.json(&["info", "web", "--json"])["vcpus"], 1);

    let appended = edit(r#"printf '\n[[network]]\nkind = "none"\n' >>"#);
    assert!(appended.status.success(), "{}", String::from_utf8_lossy(&appended.stderr));
    assert_eq!(home.json(&["info", "web", "--json"])["network"].as_array().unwrap().len(), 1);
    assert_eq!(edit("false").status.code(), Some(1));
}

#[test]
fn disks_are_made_imported_and_kept_where_others_use_them() {
    let home = Home::default();
    let image = home.file("disk.img", &[0; 4096]);
    home.done(&["create", "one", "--disk", "size=1GiB", "--disk", "size=1GiB,format=raw", "--disk", &image]);
    home.done(&["create", "two", "--disk", &image]);

    let info = home.json(&["info", "one", "--json"]);
    let formats: Vec<_> = info["disk"].as_array().unwrap().iter().map(|disk| disk["format"].clone()).collect();
    assert_eq!(json!(formats), json!(["raw", "qcow2", "raw"]));
    let deleted = home.done(&["delete", "one", "--disks"]);

    assert!(deleted.contains("Kept") && deleted.contains("\"two\" uses it"), "{deleted}");
    assert!(fs::exists(&image).unwrap());
    assert_eq!(fs::read_dir(home.path().join("data/lodge/disks")).unwrap().count(), 0);
}

#[test]
fn pools_and_what_is_in_them_are_managed_by_the_shell() {
    let home = Home::default();
    let image = home.file("old.img", &[7; 4096]);
    let folder = home.path().join("more");

    home.done(&["pool", "add", "more", "--path", folder.to_str().unwrap()]);
    home.done(&["volume", "create", "more", "web", "--size", "1GiB"]);
    home.done(&["volume", "resize", "more", "web", "+1GiB"]);
    home.done(&["volume", "import", "more", &image, "--from-format", "raw", "--name", "old"]);
    home.done(&["create", "one", "--disk", folder.join("web.qcow2").to_str().unwrap()]);

    let pools = home.json(&["pool", "list", "--json"]);
    assert_eq!((&pools[0]["name"], &pools[1]["path"]), (&json!("default"), &json!(folder)));
    let volumes = home.json(&["volume", "list", "more", "--json"]);
    let facts = |volume: &Value| (volume["name"].clone(), volume["format"].clone(), volume["capacity"].clone());
    assert_eq!(facts(&volumes[0]), (json!("old.raw"), json!(null), json!(4096)));
    assert_eq!(facts(&volumes[1]), (json!("web.qcow2"), json!("qcow2"), json!(2u64 << 30)));
    assert_eq!(volumes[1]["users"][0]["guest"], "one");
    assert!(home.refused(&["volume", "delete", "more", "web"]).contains("a disk of \"one\""));
    home.done(&["volume", "delete", "more", "old"]);
    assert_eq!(home.json(&["pool", "info", "more", "--json"])["volumes"], 1);
    home.done(&["pool", "remove", "more"]);
    assert!(
        home.refused(&["volume", "list", "more"]).contains("no pool \"more\"") && folder.join("web.qcow2").exists()
    );

    let shown = home.done(&["disk", "limit", "one", "disk0", "--total-bytes-sec", "50MiB", "--write-iops-sec", "100"]);
    assert!(shown.contains("50 MiB"), "{shown}");
    home.done(&["disk", "limit", "one", "disk0", "--write-iops-sec", "0"]);
    let limits = home.json(&["disk", "limit", "one", "disk0", "--json"])["limits"].clone();
    assert_eq!((&limits["total_bytes_sec"], &limits["write_iops_sec"]), (&json!("50 MiB"), &json!(null)));
    assert!(home.refused(&["disk", "limit", "one", "disk0", "--read-bytes-sec", "1MiB"]).contains("together"));
}

#[test]
fn the_host_is_told_in_words_and_in_json() {
    let home = Home::default();
    let findings = home.run(&["host", "check", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&findings.stdout).unwrap();

    for finding in findings.as_array().unwrap() {
        let mended = finding["mend"] != "";
        assert_eq!(finding["verdict"] != "fine", mended, "{finding}");
    }
    assert!(home.json(&["host", "info", "--json"])["memory_total"].as_u64().unwrap() > 0);
    assert!(home.done(&["host", "info"]).contains("Memory"));
}

#[test]
fn guests_that_may_take_more_memory_than_is_left_are_started_with_a_warning() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();

    let output = home.run(&["create", "big", "--testcard", "--memory", &format!("{}MiB", total >> 10), "--start"]);
    let again = home.run(&["start", "big"]);

    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{warnings}");
    assert!(warnings.contains("warning: running guests may take "), "{warnings}");
    assert_eq!(again.status.code(), Some(1), "what is refused is refused as before");
    home.done(&["destroy", "big"]);
}

#[test]
fn a_worker_that_is_missing_is_named() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    home.done(&["create", "web"]);

    let output = home.command(&["start", "web"]).env("LODGE_WORKER", "/nonexistent/lodge-worker").output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent/lodge-worker is missing"));
}

#[test]
fn one_guest_that_refuses_keeps_none_of_the_others() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    for name in ["one", "two"] {
        home.done(&["create", name, "--memory", "16MiB"]);
    }

    let output = home.run(&["start", "one", "nobody", "two"]);

    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("\"nobody\"") && stderr.contains("1 of 3"), "{stderr}");
    assert_eq!((home.state("one"), home.state("two")), ("running".to_owned(), "running".to_owned()));
}

#[test]
fn a_worker_that_hangs_hangs_no_verb() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    home.done(&["create", "web", "--memory", "16MiB", "--start"]);

    signal(&home.worker("web"), "STOP");

    assert_eq!(home.state("web"), "not-responding");
    assert!(home.refused(&["suspend", "web"]).contains("has not answered"));
    home.done(&["destroy", "web"]);
    assert_eq!(home.state("web"), "off");
}

#[test]
fn completions_and_manual_pages_are_written() {
    let home = Home::default();

    for shell in ["bash", "zsh", "fish"] {
        assert!(home.done(&["generate", "completions", shell]).contains("screenshot"), "{shell}");
    }
    assert!(home.done(&["generate", "man"]).contains(".TH lodgectl 1"));
    assert!(home.done(&["generate", "man", "create"]).contains(".TH lodgectl-create 1"));
    assert!(home.refused(&["generate", "man", "fly"]).contains("\"fly\""));
}

#[test]
fn what_a_definition_may_say_is_what_the_engine_can_do() {
    use lodge::{manager::definition, vmm::machine};

    assert_eq!(definition::MAX_VCPUS, machine::MAX_VCPUS);
    let (allowed, possible) = (definition::MAX_DISKS, machine::MAX_DISKS);
    assert!(allowed <= possible, "{allowed} disks are allowed, {possible} are possible");
    assert_eq!(lodge::manager::size::MIB, machine::MIN_MEMORY);
}

#[test]
fn a_runtime_folder_with_a_long_path_works() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let long = home.path().join("r".repeat(100)).join("n".repeat(100));
    fs::create_dir_all(&long).unwrap();
    fs::set_permissions(&long, fs::Permissions::from_mode(0o700)).unwrap();
    let run = |arguments: &[&str]| {
        let output = home.command(arguments).env("XDG_RUNTIME_DIR", &long).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };

    run(&["create", "web", "--memory", "16MiB", "--start"]);
    run(&["suspend", "web"]);
    run(&["destroy", "web"]);
}
