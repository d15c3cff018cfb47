//! The host's file system fails in the middle of an operation: that was done or was not, and what the guest has is there.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    sync::PoisonError,
};

use lodge::{
    manager::definition::Definition,
    vmm::{block::Disk, memory::GuestSlice},
};

use super::{ALONE, Content, Fixture, Home, Rng, UNIT, fs, open, qemu};

/// So often the file system fails.
const FAULTS: u64 = 70;
/// What can fail: whatever changes files but plain writes, which also wake this program's own threads.
const CALLS: &str = "pwrite64,pwritev,fsync,fdatasync,fallocate,ftruncate,copy_file_range,linkat,rename,renameat2";

/// Runs `lodgectl`, in which call number `when` of one of its threads fails.
fn with_fault(home: &Home, arguments: &[&str], error: &str, when: u64) -> Output {
    let lodgectl = home.command(arguments);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}")])
        .args(["-e", &format!("inject={CALLS}:error={error}:when={when}")])
        .arg(lodgectl.get_program())
        .args(lodgectl.get_args())
        .env_clear()
        .envs(lodgectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.output().expect("strace is missing. install it (resources/setup.sh does)")
}

/// All bytes of a guest's disks.
fn content(definition: &Definition) -> Content {
    let read = |disk: Box<dyn Disk>| {
        let mut bytes = vec![0; disk.capacity() as usize];
        disk.read(0, &[GuestSlice::from(bytes.as_mut_slice())]).unwrap();
        bytes
    };
    definition.disks.iter().map(|disk| read(open(disk, false))).collect()
}

#[test]
fn an_operation_in_which_the_file_system_fails_was_done_or_was_not() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::default();
    let mut rng = Rng::with_seed(11);
    let mut web = Fixture::new(home.path(), 8 * UNIT);
    web.create("base");
    let mut outcomes: BTreeMap<(String, bool), u32> = BTreeMap::new();
    for number in 0..FAULTS {
        web.scribble(&mut rng, 3);
        if web.model.snapshots.len() < 3 {
            web.create(&format!("w{number}"));
        }
        let names: Vec<String> = web.model.snapshots.keys().filter(|name| *name != "base").cloned().collect();
        let (new, old) = (format!("s{number}"), rng.choice(&names).cloned().unwrap_or("base".to_owned()));
        let disk = web.definition().disks[1].path.to_str().unwrap().to_owned();
        let larger = web.model.current[1].len() as u64 + 4096;
        let size = larger.to_string();
        let made = home.path().join("made.qcow2");
        let verbs: [&[&str]; 7] = [
            &["snapshot", "create", "web", &new],
            &["snapshot", "revert", "web", &old],
            &["snapshot", "delete", "web", &old],
            &["clone", "--linked", "web", "copy"],
            &["clone", "web", "copy", "--snapshot", &old],
            &["disk", "resize", &disk, &size],
            &["disk", "create", made.to_str().unwrap(), "--size", "1GiB", "--preallocate", "metadata"],
        ];
        let arguments = verbs[number as usize % verbs.len()];

        let error = if rng.bool() { "EIO" } else { "ENOSPC" };
        let output = with_fault(&home, arguments, error, 1 + rng.u64(0..6).pow(2));

        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let what = format!("{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{what}");
        let is_done = match arguments[..2] {
            ["snapshot", "create"] => web.tree().find(&new).is_some(),
            ["snapshot", "delete"] => web.tree().find(&old).is_none(),
            ["snapshot", _] => {
                let tree = web.tree();
                let parent = tree.current.and_then(|id| tree.get(id)).map(|snapshot| &snapshot.name);
                parent == Some(&old) && content(&web.definition()) == web.model.snapshots[&old]
            }
            ["disk", "resize"] => content(&web.definition())[1].len() as u64 == larger,
            ["disk", _] => made.exists(),
            _ => web.library.names().unwrap().len() > 1,
        };
        assert!(is_done || !output.status.success(), "{what}");
        match arguments[..2] {
            _ if !is_done => {}
            ["snapshot", "create"] => web.model.create(&new),
            ["snapshot", "delete"] => web.model.delete(&old, &web.tree()),
            ["snapshot", _] => web.model.revert(&old),
            ["disk", "resize"] => web.model.current[1].resize(larger as usize, 0),
            ["disk", _] => {
                assert_eq!(qemu::check(&made), (0, 0));
                fs::remove_file(&made).unwrap();
            }
            ["clone", option] => {
                let snapshot = (option == "web").then_some(&old);
                web.cloned("copy", snapshot).assert_all();
                home.done(&["delete", "copy", "--disks", "--now"]);
            }
            _ => {}
        }
        *outcomes.entry((arguments[..2].join(" "), output.status.success())).or_default() += 1;
        web.assert_all();
        // What could not be merged is merged now.
        home.done(&["snapshot", "merge", "web"]);
        web.assert_all();
        for path in web.images().difference(&web.used()) {
            // Whole images that were not given to a guest yet.
            assert_eq!(qemu::check(path), (0, 0), "{what}");
            fs::remove_file(path).unwrap();
        }
    }
    web.assert_qemu_agrees();
    println!("{outcomes:?}");
    let failed: u32 = outcomes.iter().filter(|((_, success), _)| !success).map(|(_, times)| times).sum();
    assert!(failed > 10, "{outcomes:?}");
}
