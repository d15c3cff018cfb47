//! Linux's block layer over virtio disks of every format: what is written can be read back in every size of request, ranges are
//! given back and zeroed, and nothing is lost on the way to the image.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::linux::{self, Linux, direct_disk, disk, succeed};
use lodge::vmm::{
    block::{self, Format, Image, statistics::Operation},
    machine::{DiskConfig, MachineConfig},
};

const MIB: u64 = 1 << 20;
/// The size of the disks that are written to.
const SIZE: u64 = 96 * MIB;

/// Writes at random with requests of several sizes, flushes now and then, reads everything back and compares; then gives a range
/// back and zeroes another. $1 is the device.
const EXERCISE: &str = r#"
exercise() {
    name=${1#/dev/}
    fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=16 --filename="$1" --verify=crc32c --verify_fatal=1 \
        --rw=randwrite --fsync=64 --end_fsync=1 \
        --name=sectors --bs=512 --offset=0 --size=1M \
        --name=pages --bs=4k --offset=1M --size=15M \
        --name=mixed --bsrange=512-256k --offset=16M --size=16M \
        --name=large --bs=1M --offset=32M --size=32M >/tmp/fio || { echo "fio failed on $1"; cat /tmp/fio; return 1; }
    echo "$name verified $(wc -l </tmp/fio) jobs"
    fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=8 --filename="$1" --verify=crc32c --verify_fatal=1 \
        --rw=randtrimwrite --bs=64k --offset=64M --size=8M --name=trim >/tmp/fio || { cat /tmp/fio; return 1; }
    echo "$name trimmed"

    # Zeroes in the midst of noise, and a range that is given back at the end.
    dd if=/dev/urandom of="$1" bs=1M seek=72 count=8 oflag=direct 2>/dev/null
    ./zero "$1" $((73 << 20)) $((6 << 20))
    dd if="$1" bs=1M skip=73 count=6 iflag=direct 2>/dev/null | cmp -n $((6 << 20)) - /dev/zero
    echo "$name zeroed"
    dd if=/dev/urandom of="$1" bs=1M seek=80 count=16 oflag=direct 2>/dev/null
    sync
    blkdiscard -o $((80 << 20)) -l $((16 << 20)) "$1"
    echo "$name discarded"
    grep . /sys/block/$name/serial /sys/block/$name/ro /sys/block/$name/size
    echo "$name sum $(dd if="$1" bs=1M count=80 2>/dev/null | sha256sum)"
}
"#;

/// The word behind `what` in the guest's output.
fn said<'a>(text: &'a str, what: &str) -> &'a str {
    let (_, rest) = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    rest.split_whitespace().next().unwrap_or_default()
}

fn sum(path: &Path) -> String {
    succeed(Command::new("sh").arg("-c").arg("head -c 83886080 \"$0\" | sha256sum").arg(path))[..64].to_owned()
}

fn read_only(id: &str, path: &Path) -> DiskConfig {
    let image = Image { file: File::open(path).unwrap(), format: Format::Raw };
    let disk = block::open(image, true, Vec::new()).unwrap();
    DiskConfig::new(id, disk)
}

#[test]
fn what_linux_writes_to_its_disks_is_what_it_reads_and_what_is_in_the_image() {
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (raw, qcow2, fixed, direct) = (path("raw"), path("qcow2"), path("fixed"), path("direct"));
    for image in [&raw, &direct] {
        File::create(image).unwrap().set_len(SIZE).unwrap();
    }
    succeed(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&qcow2).arg(SIZE.to_string()));
    let content: Vec<u8> = (0..MIB).map(|at| (at / 512) as u8).collect();
    std::fs::write(&fixed, &content).unwrap();
    let script = format!(
        r#"{EXERCISE}
        exercise /dev/vdc
        exercise /dev/vdd
        exercise /dev/vdf
        echo "fixed ro $(cat /sys/block/vde/ro) $(dd if=/dev/vde bs=64k 2>/dev/null | sha256sum)"
        ! dd if=/dev/zero of=/dev/vde bs=512 count=1 conv=fsync 2>/dev/null
        echo "vde refuses to be written"
        grep . /sys/block/vd?/queue/discard_max_bytes /sys/block/vd?/queue/write_zeroes_max_bytes
        cat /sys/block/vdc/cache_type"#
    );
    let change = |config: &mut MachineConfig| {
        // The kernel uses one vCPU; the disks offer a queue to each of four.
        config.vcpus = 4;
        config.disks.push(disk("raw", &raw, Format::Raw));
        config.disks.push(disk("qcow2", &qcow2, Format::Qcow2));
        config.disks.push(read_only("fixed", &fixed));
        config.disks.push(direct_disk("direct", &direct, Format::Raw));
    };
    let Some(guest) = Linux::run(&script, &["zero"], change) else { return };

    let text = guest.run_to_end();

    linux::assert_clean(&text);
    for (name, id) in [("vdc", "raw"), ("vdd", "qcow2"), ("vdf", "direct")] {
        for done in ["verified 4 jobs", "trimmed", "zeroed", "discarded"] {
            assert!(text.contains(&format!("{name} {done}")), "{name} not {done}: {text}");
        }
        assert_eq!(said(&text, &format!("/sys/block/{name}/serial:")), format!("serial-{id}"));
        assert_eq!(said(&text, &format!("/sys/block/{name}/size:")), (SIZE / 512).to_string());
        assert_eq!(said(&text, &format!("/sys/block/{name}/ro:")), "0");
        for limit in ["discard", "write_zeroes"] {
            assert_ne!(said(&text, &format!("/sys/block/{name}/queue/{limit}_max_bytes:")), "0");
        }
    }
    assert_eq!(said(&text, "fixed ro "), "1");
    assert!(text.contains("vde refuses"), "{text}");
    assert_eq!(std::fs::read(&fixed).unwrap(), content);
    assert_eq!(said(&text, "vdc sum "), sum(&raw));
    assert_eq!(said(&text, "vdf sum "), sum(&direct));
    for disk in guest.guest.machine.disks().iter().filter(|disk| ["raw", "qcow2", "direct"].contains(&disk.id.as_str()))
    {
        for operation in [Operation::Read, Operation::Write, Operation::Flush, Operation::Discard] {
            let counts = disk.drive.statistics().counts(operation);
            assert!(
                counts.operations > 0 && counts.failed + counts.invalid == 0,
                "{}: {operation:?} {counts:?}",
                disk.id
            );
        }
    }
    drop(guest);

    succeed(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(&qcow2));
    let flat = path("flat");
    succeed(Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).args([&qcow2, &flat]));
    assert_eq!(said(&text, "vdd sum "), sum(&flat));
    // What was given back takes no room any more.
    let allocated = std::fs::metadata(&raw).unwrap().blocks() * 512;
    assert!(allocated <= SIZE - 16 * MIB, "{allocated} bytes of the raw image are allocated");
}

#[test]
fn requests_in_flight_survive_pauses_and_are_given_up_by_a_reset() {
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let (raw, qcow2) = (folder.path().join("raw"), folder.path().join("qcow2"));
    File::create(&raw).unwrap().set_len(SIZE).unwrap();
    succeed(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&qcow2).arg(SIZE.to_string()));
    let script = r#"
        echo "the disks are written to"
        for disk in vdc vdd; do
            fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=32 --filename=/dev/$disk --name=$disk \
                --verify=crc32c --verify_fatal=1 --rw=randwrite --bs=4k --size=12M --fsync=256 >/tmp/$disk &
        done
        wait %1
        wait %2
        echo "the disks are verified""#;
    let change = |config: &mut MachineConfig| {
        config.disks.push(disk("raw", &raw, Format::Raw));
        config.disks.push(direct_disk("qcow2", &qcow2, Format::Qcow2));
    };
    let Some(mut guest) = Linux::run(script, &[], change) else { return };
    let disks = guest.guest.machine.disks();
    let written = || disks.iter().map(|disk| disk.drive.statistics().counts(Operation::Write).operations).sum::<u64>();

    guest.wait_for("the disks are written to");
    while written() < 1000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    guest.guest.machine.reset().unwrap();
    guest.guest.serial.wait_for("the disks are written to", 2);
    let mut pauses = 0;
    while !guest.guest.serial.text().contains("GUEST-DONE") {
        guest.guest.machine.pause().unwrap();
        let before = written();
        guest.guest.machine.resume().unwrap();
        pauses += 1;
        // The next pause comes when the guest has had its turn, or has nothing more to write.
        let deadline = Instant::now() + Duration::from_millis(100);
        while written() < before + 100 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    let text = guest.run_to_end();
    assert!(text.contains("the disks are verified") && pauses > 10, "{pauses} pauses: {text}");
    linux::assert_clean(&text);
    for disk in &disks {
        for operation in [Operation::Read, Operation::Write, Operation::Flush] {
            let counts = disk.drive.statistics().counts(operation);
            assert_eq!(counts.failed + counts.invalid, 0, "{}: {operation:?} {counts:?}", disk.id);
        }
    }
}

#[test]
fn disks_grow_while_linux_writes_to_them_and_what_is_new_reads_as_zeroes() {
    const GROWN: u64 = 3 << 30;
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (raw, qcow2, based, base) = (path("raw"), path("qcow2"), path("based"), path("base"));
    File::create(&raw).unwrap().set_len(SIZE).unwrap();
    // Small clusters: the L1 table has to move.
    let create = || {
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k"]);
        command
    };
    succeed(create().arg(&qcow2).arg(SIZE.to_string()));
    // What the longer base has behind the disk's end must never be seen.
    std::fs::write(&base, vec![0xa5; SIZE as usize + (8 << 20)]).unwrap();
    succeed(create().args(["-F", "raw", "-b"]).args([&base, &based]).arg(SIZE.to_string()));
    let script = format!(
        r#"
        for disk in vdc vdd vde; do
            fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=32 --filename=/dev/$disk --name=$disk \
                --verify=crc32c --verify_fatal=1 --rw=randwrite --bs=4k --size=16M --fsync=256 >/tmp/$disk &
        done
        echo "the disks are written to"
        for disk in vdc vdd vde; do
            while [ "$(cat /sys/block/$disk/size)" != {sectors} ]; do sleep 0.1; done
            dd if=/dev/$disk bs=1M skip={old} count=8 iflag=direct 2>/dev/null | cmp -n $((8 << 20)) - /dev/zero
            fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=8 --filename=/dev/$disk --name=end \
                --verify=crc32c --verify_fatal=1 --rw=randwrite --bs=64k --offset={end}M --size=8M >/tmp/end
            echo "$disk has grown"
        done
        wait %1
        wait %2
        wait %3
        echo "the disks are verified""#,
        sectors = GROWN / 512,
        old = SIZE / MIB,
        end = GROWN / MIB - 8,
    );
    let change = |config: &mut MachineConfig| {
        config.disks.push(disk("raw", &raw, Format::Raw));
        config.disks.push(direct_disk("qcow2", &qcow2, Format::Qcow2));
        let open = |path: &Path| File::options().read(true).write(path == based).open(path).unwrap();
        let image = |path: &Path, format| Image { file: open(path), format };
        let backing = vec![image(&base, Format::Raw)];
        config.disks.push(DiskConfig::new("based", block::open(image(&based, Format::Qcow2), false, backing).unwrap()));
    };
    let Some(mut guest) = Linux::run(&script, &[], change) else { return };

    guest.wait_for("the disks are written to");
    let machine = &mut guest.guest.machine;
    for size in [SIZE + MIB, SIZE + 6 * MIB, GROWN] {
        for id in ["raw", "qcow2", "based"] {
            machine.grow_disk(id, size).unwrap();
        }
    }
    let sizes: Vec<_> = machine.disks().iter().skip(2).map(|disk| disk.capacity).collect();
    assert!(machine.grow_disk("raw", SIZE).unwrap_err().to_string().contains("give it more"));
    assert!(machine.grow_disk("nothing", GROWN).is_err());

    let text = guest.run_to_end();
    assert_eq!(sizes, [GROWN; 3]);
    for done in ["vdc has grown", "vdd has grown", "vde has grown", "the disks are verified"] {
        assert!(text.contains(done), "{text}");
    }
    linux::assert_clean(&text);
    // What the guest has not flushed is in the images then, too.
    drop(guest);
    assert_eq!(std::fs::metadata(&raw).unwrap().len(), GROWN);
    for image in [&qcow2, &based] {
        succeed(Command::new("qemu-img").args(["check", "-q"]).arg(image));
        let info = succeed(Command::new("qemu-img").args(["info", "--output=json"]).arg(image));
        assert!(info.contains(&format!("\"virtual-size\": {GROWN}")), "{info}");
    }
}
