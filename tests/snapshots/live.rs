//! Images of a running guest are merged while it writes. Whatever is killed meanwhile, nothing is lost.

use super::*;
use crate::common::home::signal;

/// So often `lodgectl` is killed while it merges, and so often at most until that was not always at the same point.
const KILLS: u32 = 6;
const MOST_KILLS: u32 = 60;
/// So often the worker is.
const WORKER_KILLS: u64 = 2;

/// The guest counts as in the other tests, and what it has counted is flushed before it goes on: then it is there whoever is killed.
fn count_from(start: u64) -> String {
    COUNT.replace("i=0", &format!("i={start}")).replace("conv=notrunc", "conv=notrunc,fsync")
}

/// A running guest with a raw and a qcow2 disk beside that of its system.
struct Live {
    guest: Guest,
    home: Home,
    snapshots: Snapshots,
}

impl Live {
    fn definition(&self) -> Definition {
        self.guest.supervisor.library().load(&self.guest.name).unwrap().definition
    }

    /// Leaves images behind that can be merged: those of a snapshot that is deleted when the guest has gone on writing.
    fn leave(&self, name: &str) {
        let new = NewSnapshot { name: Some(name.to_owned()), description: String::new() };
        let Guest { supervisor, runtime, .. } = &self.guest;
        runtime
            .block_on(self.snapshots.create_running(supervisor, &self.guest.name, &new, false, &|_, _| true))
            .unwrap();
        self.snapshots.delete(&self.guest.name, name).unwrap();
    }

    fn merge(&self) -> Command {
        let mut command = lodgectl(&self.guest, &self.home, &["snapshot", "merge", &self.guest.name]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The images of the guest's disks, but for the first one's, which are elsewhere.
    fn images(&self) -> BTreeSet<PathBuf> {
        let files = fs::read_dir(self.home.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "raw" || kind == "qcow2")).collect()
    }

    /// Nothing is left to merge, and the guest writes to what its definition names.
    fn assert_merged(&self, when: &str) {
        assert!(self.snapshots.tree(&self.guest.name).unwrap().leftovers.is_empty());
        let definition = self.definition();
        let defined: Vec<_> = definition.disks.iter().map(|disk| (disk.id.clone(), disk.path.clone())).collect();
        let Guest { supervisor, runtime, name, .. } = &self.guest;
        let files = runtime.block_on(async { supervisor.attach(name).await.unwrap().disk_files().await.unwrap() });
        assert_eq!(files, defined, "{when}");
        assert!(definition.disks.iter().all(|disk| disk.backing.is_empty()), "{definition:?}");
        assert_eq!(self.images(), definition.disks.into_iter().skip(1).map(|disk| disk.path).collect());
    }
}

fn wait_for_shell(guest: &Guest) -> common::guest::Serial {
    let mut serial = guest.serial();
    serial.wait_for("GUEST-UP");
    serial.wait_for("# ");
    serial
}

#[test]
fn images_are_merged_under_a_running_guest_and_whoever_is_killed_nothing_is_lost() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::default();
    let mut rng = Rng::with_seed(12);
    let start = linux::start_worker(|definition| {
        for (name, format) in [("data.raw", DiskFormat::Raw), ("data.qcow2", DiskFormat::Qcow2)] {
            let path = home.path().join(name);
            qemu::img(&["create", "-q", "-f", format.name(), path.to_str().unwrap(), "64M"]);
            definition.add_disk(DiskDefinition::new(path, format));
        }
    });
    let Some((guest, _folder)) = start else { return };
    let snapshots = Snapshots::new(guest.supervisor.paths());
    let live = Live { guest, home, snapshots };
    let guest = &live.guest;
    let mut serial = wait_for_shell(guest);
    serial.send(&count_from(0));
    serial.wait_for("counting2");
    serial.send(VERIFY);
    serial.send("verify");

    // The first one is not disturbed: it says how long it takes.
    let (mut length, mut ended) = (Duration::ZERO, BTreeMap::new());
    for number in 0..MOST_KILLS {
        if number >= KILLS && ended.len() > 1 {
            break;
        }
        live.leave(&format!("s{number}"));
        let start = Instant::now();
        let mut child = live.merge().spawn().unwrap();
        let mut killed_at = None;
        if number == 0 {
            assert!(child.wait().unwrap().success());
            length = start.elapsed();
        } else {
            let moment = length.mul_f64(rng.f64() * 1.1);
            while start.elapsed() < moment {
                std::thread::sleep(Duration::from_millis(1));
            }
            killed_at = Some(moment);
            child.kill().unwrap();
            child.wait().unwrap();
            let left = live.definition().disks.iter().filter(|disk| !disk.backing.is_empty()).count();
            *ended.entry(left).or_insert(0) += 1;
            assert!(live.merge().status().unwrap().success(), "after {moment:?} of {length:?}");
            // However busy the machine becomes, some merges are interrupted and some are not.
            length = length.mul_f64(if left == 0 { 0.8 } else { 1.2 });
        }
        live.assert_merged(&format!("after a kill at {killed_at:?} of {length:?}"));
    }
    println!("disks that were not merged when lodgectl was killed, and how often: {ended:?}");
    assert!(ended.len() > 1, "always at the same point: {ended:?}");
    let said = serial.wait_for("all verified2");
    linux::assert_clean(&said);
    assert!(!said.contains("failed on vd"), "{said}");

    // Its worker is killed while it merges, and the guest starts again from what the definition names then.
    for number in 0..WORKER_KILLS {
        live.leave(&format!("w{number}"));
        let worker = guest.supervisor.pid(live.definition().uuid).unwrap();
        let mut child = live.merge().spawn().unwrap();
        std::thread::sleep(length.mul_f64(0.2 + 0.6 * rng.f64()));
        signal(&worker.to_string(), "KILL");
        child.wait().unwrap();
        guest.wait();
        let now = counts(guest, &live.definition());
        assert!(now[0] == now[1] || now[0] == now[1] + 1, "something that was written is gone: {now:?}");

        guest.runtime.block_on(guest.supervisor.start(&guest.name)).unwrap();
        let mut serial = wait_for_shell(guest);
        serial.send(VERIFY);
        serial.send("verify --verify_only");
        let said = serial.wait_for("all verified2");
        assert!(!said.contains("failed on vd"), "{said}");
        serial.send(&count_from((number + 1) * 100_000));
        serial.wait_for("counting2");
        assert!(live.merge().status().unwrap().success());
        live.assert_merged("after the worker was killed");
    }
    let mut serial = guest.serial();
    serial.send("kill %1; sync; poweroff -f");
    guest.wait();
    let disk = live.definition().disks.remove(2);
    assert_eq!(qemu::check(&disk.path).0, 0);
}
