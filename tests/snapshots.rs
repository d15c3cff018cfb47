//! Snapshots keep what was in the disks, whatever is done in which order, and whatever ends the program meanwhile.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;
#[path = "snapshots/faulty.rs"]
mod faulty;
#[path = "snapshots/linked.rs"]
mod linked;
#[path = "snapshots/live.rs"]
mod live;
#[path = "snapshots/model.rs"]
mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    hint,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::{guest::Guest, home::Home, linux, qemu};
use fastrand::Rng;
use lodge::{
    manager::{
        definition::{Definition, DiskDefinition, DiskFormat, Layer},
        snapshots::{Edit, NewSnapshot, Snapshots},
        storage::{Access, Disks, ImageFormat, lock, source},
        supervisor::{Begin, StartOptions},
    },
    vmm::memory::GuestSlice,
};
use model::{Content, Fixture, Model, folder, open};

/// A program that is started has the locks of this one for a moment: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());
/// How many steps the comparison with a model takes, for those who have more time.
const STEPS_VARIABLE: &str = "LODGE_TEST_STEPS";
/// So many it takes otherwise.
const STEPS: u64 = 1500;
/// Disks change their size by this.
const UNIT: u64 = 64 << 10;
/// So often each operation is killed.
const KILLS: u32 = 25;

/// One step at random.
fn step(fixture: &mut Fixture, rng: &mut Rng, number: u64) {
    let names: Vec<String> = fixture.model.snapshots.keys().cloned().collect();
    let any = |rng: &mut Rng| rng.choice(&names).cloned();
    match rng.u8(0..20) {
        0..=3 if names.len() < 8 => fixture.create(&format!("s{number}")),
        4..=7 => {
            let Some(name) = any(rng) else { return };
            fixture.snapshots.revert(&fixture.name, &name).unwrap();
            fixture.model.revert(&name);
        }
        8..=11 => {
            let Some(name) = any(rng) else { return };
            fixture.delete(&name);
            // Often interrupted.
            let left = AtomicU64::new(if rng.bool() { u64::MAX } else { rng.u64(0..20) });
            let watch = |_, _| left.fetch_sub(1, Ordering::Relaxed) > 1;
            match fixture.snapshots.merge(&fixture.name, &watch) {
                Ok(done) => assert!(done),
                Err(error) => assert!(error.to_string().contains("stopped"), "{error}"),
            }
        }
        12 => {
            let Some(name) = any(rng) else { return };
            let edit = Edit { name: Some(format!("{name}'")), description: Some("more\nwords".to_owned()) };
            if name.len() > 20 {
                return;
            }
            fixture.snapshots.edit(&fixture.name, &name, &edit).unwrap();
            let content = fixture.model.snapshots.remove(&name).unwrap();
            fixture.model.snapshots.insert(format!("{name}'"), content);
            if fixture.model.parent.as_deref() == Some(&name) {
                fixture.model.parent = edit.name;
            }
        }
        13 => {
            let number = rng.usize(0..2);
            let size = fixture.model.current[number].len() as u64 + UNIT;
            if size <= 12 * UNIT {
                let disk = &fixture.definition().disks[number];
                let image = fixture.disks.open_resizable(&disk.path, Some(disk.format.into())).unwrap();
                fixture.disks.resize(&image, size, false, &|_, _| true).unwrap();
                fixture.model.current[number].resize(size as usize, 0);
            }
        }
        _ => {
            let times = rng.u32(1..4);
            fixture.scribble(rng, times);
        }
    }
}

/// A guest's life of many steps; `seed` decides which.
fn live(seed: u64, steps: u64) {
    let folder = folder();
    let mut rng = Rng::with_seed(seed);
    let mut fixture = Fixture::new(folder.path(), 5 * UNIT);
    for number in 0..steps {
        step(&mut fixture, &mut rng, number);
        if number % 10 == 9 {
            fixture.assert_all();
            fixture.assert_no_file_is_lost_or_left();
        }
    }
    fixture.assert_all();
    fixture.assert_qemu_agrees();
    // Without its snapshots the guest has what it had at last, in the images that it began with.
    for name in fixture.model.snapshots.keys().cloned().collect::<Vec<_>>() {
        fixture.delete(&name);
    }
    assert!(fixture.snapshots.merge(&fixture.name, &|_, _| true).unwrap());
    fixture.assert_all();
    fixture.assert_qemu_agrees();
    let paths: Vec<_> = fixture.definition().disks.iter().map(|disk| disk.path.clone()).collect();
    assert_eq!(paths, ["web.raw", "web.qcow2"].map(|name| fixture.paths.disks().join(name)));
    fixture.assert_no_file_is_lost_or_left();
}

#[test]
fn every_disk_and_every_snapshot_has_what_the_model_has_after_thousands_of_steps() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let steps = std::env::var(STEPS_VARIABLE).ok().and_then(|steps| steps.parse().ok()).unwrap_or(STEPS);
    std::thread::scope(|scope| {
        let lives: Vec<_> = (0..2).map(|seed| scope.spawn(move || live(seed, steps / 2))).collect();
        for life in lives {
            life.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// Runs the operation and kills it after `moment`. Whether it was done by then does not matter.
fn kill(home: &Home, arguments: &[&str], moment: Duration) {
    let start = Instant::now();
    let mut command = home.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A sleep would be too coarse: the steps are some microseconds apart.
    while start.elapsed() < moment {
        hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_operation_that_is_killed_was_done_or_was_not() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::default();
    let mut rng = Rng::with_seed(7);
    let mut fixture = Fixture::new(home.path(), 16 * UNIT);
    fixture.create("base");
    let (mut whole, mut done) = (BTreeMap::new(), BTreeMap::new());
    for number in 0..KILLS * 3 {
        fixture.scribble(&mut rng, 3);
        let name = format!("s{number}");
        let names: Vec<String> = fixture.model.snapshots.keys().filter(|name| *name != "base").cloned().collect();
        let verb = match number % 3 {
            _ if names.is_empty() => "create",
            0 => "create",
            1 => "revert",
            _ => "delete",
        };
        let name = if verb == "create" { name } else { rng.choice(&names).unwrap().clone() };
        let arguments = ["snapshot", verb, "web", &name];
        // The first of each kind is not disturbed: it says how long they take.
        let length = whole.get(verb).copied();
        let (before, start) = (fixture.model.clone(), Instant::now());
        match length {
            None => drop(home.done(&arguments)),
            Some(length) => kill(&home, &arguments, Duration::mul_f64(length, rng.f64().powi(2) * 1.2)),
        }
        whole.entry(verb).or_insert(start.elapsed());

        // The next one who looks finds it done or not.
        let definition = fixture.definition();
        let tree = fixture.tree();
        let is_done = match verb {
            "create" => tree.find(&name).is_some(),
            "delete" => tree.find(&name).is_none(),
            // Going back makes new images, also to where the guest was.
            _ => {
                let parent = tree.current.and_then(|id| tree.get(id)).map(|snapshot| &snapshot.name);
                let as_then = |definition: &Definition| {
                    let content = definition.disks.iter().map(|disk| {
                        let disk = open(disk, false);
                        let mut bytes = vec![0; disk.capacity() as usize];
                        disk.read(0, &[GuestSlice::from(bytes.as_mut_slice())]).unwrap();
                        bytes
                    });
                    content.collect::<Content>() == before.snapshots[&name]
                };
                parent == Some(&name) && as_then(&definition)
            }
        };
        match verb {
            _ if !is_done => {}
            "create" => fixture.model.create(&name),
            "delete" => fixture.model.delete(&name, &tree),
            _ => fixture.model.revert(&name),
        }
        *done.entry((verb, is_done)).or_insert(0) += 1;
        // However busy the machine becomes, some are interrupted and some are not.
        if let (Some(_), Some(length)) = (length, whole.get_mut(verb)) {
            *length = length.mul_f64(if is_done { 0.9 } else { 1.2 });
        }
        fixture.assert_all();
        fixture.assert_no_file_is_lost_or_left();
    }
    home.done(&["snapshot", "merge", "web"]);
    fixture.assert_all();
    fixture.assert_qemu_agrees();
    for verb in ["create", "revert", "delete"] {
        assert!(done.contains_key(&(verb, false)), "never interrupted: {done:?}");
    }
}

/// The guest counts on and on in both of its disks, first in one and then in the other.
const COUNT: &str = "count() { i=0; while :; do i=$((i+1)); printf '%-512s' $i >/tmp/count; for disk in vdb vdc; do \
                     dd if=/tmp/count of=/dev/$disk bs=512 seek=100000 oflag=direct conv=notrunc 2>/tmp/dd \
                     && dd if=/dev/$disk of=/tmp/back bs=512 skip=100000 count=1 iflag=direct 2>>/tmp/dd && cmp /tmp/count /tmp/back \
                     || { echo count failed on vd; cat /tmp/dd; }; \
                     done; done; }; count & echo counting$((1+1))";
/// It writes and reads back what it has written, elsewhere in both disks. `$1` says what is done.
const VERIFY: &str = "verify() { for disk in vdb vdc; do fio --output-format=terse --ioengine=libaio --direct=1 \
                      --iodepth=16 --filename=/dev/$disk --name=$disk --verify=crc32c --verify_fatal=1 --rw=randwrite --bs=4k \
                      --size=12M --fsync=64 $1 >/tmp/$disk || { echo failed on $disk; dmesg | tail -5; }; done; echo all verified$((1+1)); }";

/// How far the guest's count is in each of the disks.
fn counts(guest: &Guest, definition: &Definition) -> Vec<u64> {
    let disks = Disks::new(guest.supervisor.paths());
    let count = |disk: &DiskDefinition| {
        let open = |layer: Layer| disks.open(&layer.path, Some(ImageFormat::from(layer.format)), Access::Read).unwrap();
        let mut images = disk.layers().map(open);
        let mut source = source::open(images.next().unwrap(), images.collect()).unwrap();
        let mut sector = vec![0; 512];
        source.read(100_000 * 512, &mut sector).unwrap();
        String::from_utf8(sector).unwrap().trim_matches([' ', '\0']).parse().unwrap_or(0)
    };
    definition.disks.iter().skip(1).map(count).collect()
}

/// `lodgectl` for the guest's folders.
fn lodgectl(guest: &Guest, home: &Home, arguments: &[&str]) -> Command {
    let link = |variable: &str, target: &Path| {
        let folder = home.path().join(variable);
        fs::create_dir_all(&folder).unwrap();
        // It may be there already.
        let _ = std::os::unix::fs::symlink(target, folder.join("lodge"));
        folder
    };
    let paths = guest.supervisor.paths();
    let mut command = home.command(arguments);
    command.env("XDG_DATA_HOME", link("d", paths.data())).env("XDG_RUNTIME_DIR", link("r", paths.runtime()));
    command
}

#[test]
fn a_running_guest_loses_nothing_and_each_snapshot_has_all_disks_at_one_point() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::default();
    let mut rng = Rng::with_seed(9);
    let start = linux::start_worker(|definition| {
        for (name, format) in [("data.raw", DiskFormat::Raw), ("data.qcow2", DiskFormat::Qcow2)] {
            let path = home.path().join(name);
            qemu::img(&["create", "-q", "-f", format.name(), path.to_str().unwrap(), "64M"]);
            definition.add_disk(DiskDefinition::new(path, format));
        }
    });
    let Some((guest, _folder)) = start else { return };
    let (snapshots, library) = (Snapshots::new(guest.supervisor.paths()), guest.supervisor.library());
    let definition = || library.load(&guest.name).unwrap().definition;
    let mut serial = guest.serial();
    serial.wait_for("GUEST-UP");
    serial.wait_for("# ");
    serial.send(COUNT);
    serial.wait_for("counting2");
    serial.send(VERIFY);
    // However long that takes, it goes on at each snapshot, or waits to go on.
    serial.send("verify; read go; verify");

    let client = guest.runtime.block_on(guest.supervisor.attach(&guest.name)).unwrap();
    let (mut last, mut length) = (vec![0, 0], Duration::ZERO);
    for number in 0..3 {
        let start = Instant::now();
        let name = format!("s{number}");
        let new = NewSnapshot { name: Some(name.clone()), description: String::new() };
        guest
            .runtime
            .block_on(snapshots.create_running(&guest.supervisor, &guest.name, &new, number == 1, &|_, _| true))
            .unwrap();
        length = start.elapsed();
        let tree = snapshots.tree(&guest.name).unwrap();
        let snapshot = tree.find(&name).unwrap();
        let now = counts(&guest, &snapshot.definition);
        assert!(now[0] == now[1] || now[0] == now[1] + 1, "not at one point: {now:?}");
        assert!(now[1] >= last[1], "{now:?} after {last:?}");
        last = now;
        assert!(snapshots.folder(&guest.name).join(snapshot.thumbnail.as_ref().unwrap()).exists());
        // What is frozen is read by others, and written by nobody.
        for disk in &snapshot.definition.disks {
            let file = File::options().read(true).write(true).open(&disk.path).unwrap();
            assert!(lock::acquire(&file, Access::Read).unwrap(), "{}", disk.path.display());
            let file = File::options().read(true).write(true).open(&disk.path).unwrap();
            assert!(!lock::acquire(&file, Access::Write).unwrap(), "{}", disk.path.display());
        }
    }
    // A clone of a running guest is one of its snapshots.
    let clone = |arguments: &[&str]| {
        let start: &[&str] = &["clone", "--linked", &guest.name, "copy"];
        lodgectl(&guest, &home, &[start, arguments].concat()).output().unwrap()
    };
    let (refused, made) = (clone(&[]), clone(&["--snapshot", "s2"]));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--snapshot"), "{refused:?}");
    assert!(made.status.success(), "{made:?}");
    let of_s2 = snapshots.tree(&guest.name).unwrap().find("s2").unwrap().definition.clone();
    assert_eq!(counts(&guest, &library.load("copy").unwrap().definition), counts(&guest, &of_s2));
    // Whenever the program is killed, the definition names the images that the guest writes to.
    for number in 0..10 {
        let name = format!("k{number}");
        let mut command = lodgectl(&guest, &home, &["snapshot", "create", &guest.name, &name]);
        let start = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moment = length.mul_f64(rng.f64() * 1.5);
        while start.elapsed() < moment {
            hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let defined: Vec<_> = definition().disks.into_iter().map(|disk| (disk.id, disk.path)).collect();
        assert_eq!(guest.runtime.block_on(client.disk_files()).unwrap(), defined, "after {moment:?}");
    }
    serial.send("go");
    let said = serial.wait_for("all verified2") + &serial.wait_for("all verified2");
    linux::assert_clean(&said);
    assert!(!said.contains("failed on vd"), "{said}");
    // What was written through all of it is there, also for a guest that starts from the images.
    serial.send("kill %1; sync; poweroff -f");
    guest.wait();
    let tree = snapshots.tree(&guest.name).unwrap();
    assert!(tree.snapshots.len() >= 3);
    for snapshot in &tree.snapshots {
        let now = counts(&guest, &snapshot.definition);
        assert!(now[0] == now[1] || now[0] == now[1] + 1, "{} is not at one point: {now:?}", snapshot.name);
    }
    for disk in
        definition().disks.iter().flat_map(DiskDefinition::layers).filter(|disk| disk.format == DiskFormat::Qcow2)
    {
        assert_eq!(qemu::check(&disk.path).0, 0, "{}", disk.path.display());
    }
    // In its memory it goes on where it was, over the disks of that moment: it still counts and verifies.
    let s1 = snapshots.revert(&guest.name, "s1").unwrap();
    let before = counts(&guest, &definition());
    let begin = Begin::State(snapshots.state(&guest.name, &s1).unwrap().unwrap());
    let options = StartOptions { begin, paused: false };
    guest.runtime.block_on(guest.supervisor.start_with(&guest.name, options)).unwrap();
    let mut serial = guest.serial();
    serial.send("go");
    let said = serial.wait_for("all verified2");
    linux::assert_clean(&said);
    assert!(!said.contains("failed on vd"), "{said}");
    serial.send("kill %1; sync; poweroff -f");
    guest.wait();
    assert!(counts(&guest, &definition()) > before);
    snapshots.delete(&guest.name, "s1").unwrap();
    assert!(snapshots.merge(&guest.name, &|_, _| true).unwrap());
    guest.runtime.block_on(guest.supervisor.start(&guest.name)).unwrap();
    let mut serial = guest.serial();
    serial.wait_for("GUEST-UP");
    serial.wait_for("# ");
    serial.send(VERIFY);
    serial.send("verify --verify_only");
    let said = serial.wait_for("all verified2");
    assert!(!said.contains("failed on vd"), "{said}");
}

#[test]
fn a_full_file_system_loses_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::default();
    let folder = home.path().join("small");
    fs::create_dir_all(&folder).unwrap();
    let script = r#"
        mount -t tmpfs -o size=6m tmpfs . && cd "$PWD" || exit 77
        export XDG_DATA_HOME="$PWD"
        ctl() { "$LODGECTL" "$@" || echo "REFUSED: $*"; }
        head -c 1M /dev/urandom >disk.raw
        ctl create web --disk ./disk.raw --memory 64MiB >/dev/null
        ctl snapshot create web one
        new=$(ls web-disk0-*.qcow2)
        qemu-io -f qcow2 -c 'write -P 7 0 1M' "$new" >/dev/null
        qemu-img convert -f qcow2 -O raw "$new" ../before.raw
        head -c 8M /dev/zero >filler 2>/dev/null
        ctl snapshot create web two
        ctl clone --linked web copy
        ctl snapshot revert web one
        ctl snapshot list web
        ctl list --all
        ls -A . lodge/guests/web
        qemu-img compare -f qcow2 -F raw "$new" ../before.raw
        rm filler
        head -c $(($(stat -f -c '%a * %S' .) - 131072)) /dev/zero >filler
        ctl snapshot delete web one
        qemu-img compare -f raw -F raw disk.raw ../before.raw
        ls -A . lodge/guests/web
    "#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .current_dir(&folder)
        .envs(home.command(&[]).get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    let output = command.env("LODGECTL", env!("CARGO_BIN_EXE_lodgectl")).output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() && fs::metadata("/proc/self").unwrap().uid() != 0 && told.contains("unshare") {
        println!("skipped: only root has file systems of its own");
        return;
    }

    let refused = told.lines().filter_map(|line| line.strip_prefix("REFUSED: "));
    let refused: Vec<_> =
        refused.map(|verb| verb.trim_start_matches("snapshot ").trim_start_matches("clone --linked web ")).collect();
    assert_eq!(refused, ["create web two", "copy", "revert web one"], "{told}");
    let errors: Vec<_> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.iter().all(|error| error.contains("Make room")), "{told}");
    assert_eq!(told.matches("Images are identical.").count(), 2, "{told}");
    assert!(!told.contains(".journal") && !told.contains(".next"), "{told}");
    let left: Vec<_> = told.lines().rev().take_while(|line| !line.starts_with(".:")).collect();
    assert!(!left.iter().any(|line| line.contains("web-disk0")), "merged: {told}");
}
