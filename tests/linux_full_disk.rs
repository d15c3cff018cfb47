//! Linux on disks for which the host runs out of room: it waits for room, and loses nothing. And on one that is limited.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{fs::File, os::unix::fs::OpenOptionsExt, path::Path, process::Command};

use common::{
    linux::{self, Linux, direct_disk, disk, succeed},
    namespace,
};
use lodge::vmm::{
    block::{
        Format,
        errors::Verdict,
        limits::{Limit, Limits},
    },
    machine::{DiskConfig, MachineConfig, MachineEvent, ShutdownCause},
};

const MIB: u64 = 1 << 20;
/// The host's file system, and what of it something else takes at first.
const SMALL: u64 = 24 * MIB;
const BALLAST: u64 = 21 * MIB;
/// So much room is made each time.
const STEP: u64 = MIB;

/// Writes to one disk after the other, reads everything back and compares.
const SCRIPT: &str = r#"
    for disk in vdc vdd vde; do
        fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=8 --filename=/dev/$disk --name=$disk \
            --verify=crc32c --verify_fatal=1 --rw=randwrite --bsrange=4k-256k --blockalign=4k --size=6M --fsync=32 \
            --end_fsync=1 >/tmp/$disk
        [ "$(cut -d';' -f5 /tmp/$disk)" = 0 ] && echo "$disk verified" || cat /tmp/$disk
    done
    uptime() { cut -d ' ' -f 1 /proc/uptime; }
    begun=$(uptime)
    dd if=/dev/zero of=/dev/vdf bs=64k count=64 oflag=direct 2>/dev/null
    echo "limited from $begun to $(uptime)"
"#;

/// Runs `test` in a small file system of its own.
fn on_a_small_file_system(test: impl FnOnce(&Path) + Send) {
    namespace::run(|| {
        let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
        let options = format!("size={SMALL}");
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()));
        test(folder.path());
        succeed(Command::new("umount").arg("--lazy").arg(folder.path()));
    });
}

#[test]
fn a_guest_whose_disks_are_full_waits_for_room_and_loses_nothing() {
    on_a_small_file_system(|folder| {
        let path = |name: &str| folder.join(name);
        for raw in ["raw", "direct"] {
            File::create(path(raw)).unwrap().set_len(64 * MIB).unwrap();
        }
        succeed(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(path("qcow2")).arg("64M"));
        let slow = tempfile::NamedTempFile::new().unwrap();
        slow.as_file().set_len(64 * MIB).unwrap();
        let mut ballast = BALLAST;
        succeed(Command::new("fallocate").arg("-l").arg(ballast.to_string()).arg(path("ballast")));
        let file = File::options().write(true).open(path("ballast")).unwrap();
        // Older kernels have no O_DIRECT in memory; then there are two through the page cache.
        let is_direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(path("direct")).is_ok();
        let third = if is_direct { direct_disk } else { disk };
        let change = |config: &mut MachineConfig| {
            config.disks.push(disk("raw", &path("raw"), Format::Raw));
            config.disks.push(disk("qcow2", &path("qcow2"), Format::Qcow2));
            config.disks.push(third("direct", &path("direct"), Format::Raw));
            let limits = Limits { written_bytes: Limit::of(4 * MIB), ..Limits::default() };
            config.disks.push(DiskConfig { limits, ..disk("slow", slow.path(), Format::Raw) });
        };
        let Some(mut guest) = Linux::run(SCRIPT, &[], change) else { return };

        let mut full = Vec::new();
        loop {
            match guest.guest.event() {
                MachineEvent::DiskError(error) => {
                    assert!(error.full && error.verdict == Verdict::Keep, "{error:?}");
                    guest.guest.machine.pause().unwrap();
                    full.push(error.disk);
                    // Now and then still no room.
                    if full.len() % 4 != 0 {
                        ballast = ballast.checked_sub(STEP).expect("there was room enough");
                        file.set_len(ballast).unwrap();
                    }
                    guest.guest.machine.resume().unwrap();
                }
                MachineEvent::Shutdown { cause: ShutdownCause::Acpi } => break,
                other => panic!("{other:?}: {}", guest.guest.serial.text()),
            }
        }

        let text = guest.guest.serial.text();
        for disk in ["vdc", "vdd", "vde"] {
            assert!(text.contains(&format!("{disk} verified")), "{text}");
        }
        // Each writes six times as much as is made room for at a time.
        for id in ["raw", "qcow2", "direct"] {
            assert!(full.iter().filter(|disk| *disk == id).count() >= 3, "{full:?}");
        }
        linux::assert_clean(&text);
        let disks = guest.guest.machine.disks();
        assert!(disks.iter().all(|disk| disk.drive.trouble().is_none()));
        let slow = disks.iter().find(|disk| disk.id == "slow").unwrap();
        let counts = slow.drive.statistics().counts(lodge::vmm::block::statistics::Operation::Write);
        assert_eq!(counts.bytes, 4 * MIB);
        // 4 MiB at 4 MiB a second, of which a tenth may come at once. A guest that is slow itself waits less for the disk.
        let (_, moments) = text.split_once("limited from ").unwrap();
        let moments: Vec<f64> = moments.split_whitespace().filter_map(|word| word.parse().ok()).take(2).collect();
        assert!(moments[1] - moments[0] > 0.8, "{moments:?} {counts:?}");
        drop((disks, guest));
        succeed(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(path("qcow2")));
    });
}
