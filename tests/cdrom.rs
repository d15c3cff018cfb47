//! CD-ROM drives and IDE disks: an El Torito image that is nothing else boots, Linux drives both with its own ATA driver, data
//! are the same on both sides, and the medium is changed under the guest.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use common::{
    home::Home,
    kvm,
    linux::{self, Linux, disk, succeed},
    machine::machine,
};
use lodge::vmm::{
    block::{self, Disk, Format, Image},
    machine::{CdromConfig, DiskBus, DiskConfig, MachineEvent},
};

const MIB: u64 = 1 << 20;

/// Makes an ISO image of the folder `content` with xorriso; `options` are mkisofs's.
fn iso(image: &Path, content: &Path, options: &[&str]) {
    let mut command = Command::new("xorriso");
    command.args(["-as", "mkisofs", "-quiet", "-R", "-o"]).arg(image).args(options).arg(content);
    succeed(&mut command);
}

/// An ISO image that holds one large file of noise, and one that tells its name.
fn data_iso(folder: &Path, name: &str, size: u64) -> PathBuf {
    let content = folder.join(name);
    fs::create_dir(&content).unwrap();
    fs::write(content.join("name"), name).unwrap();
    let noise = File::create(content.join("noise")).unwrap();
    std::io::copy(&mut std::io::Read::take(File::open("/dev/urandom").unwrap(), size), &mut &noise).unwrap();
    let image = folder.join(format!("{name}.iso"));
    iso(&image, &content, &["-V", name]);
    image
}

fn medium(path: &Path) -> Arc<dyn Disk> {
    let image = Image { file: File::open(path).unwrap(), format: Format::Raw };
    block::open(image, true, Vec::new()).unwrap().into()
}

fn cdrom(path: Option<&Path>) -> CdromConfig {
    CdromConfig { id: "cdrom0".to_owned(), medium: path.map(medium), bootindex: Some(0) }
}

fn ide_disk(id: &str, path: &Path) -> DiskConfig {
    DiskConfig { bus: DiskBus::Ide, ..disk(id, path, Format::Raw) }
}

fn sum(path: &Path) -> String {
    succeed(Command::new("sha256sum").arg(path)).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn an_image_that_only_a_cd_drive_boots_boots_from_it() {
    let Some(kvm) = kvm::open() else { return };
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let content = folder.path().join("cd");
    fs::create_dir(&content).unwrap();
    fs::write(content.join("hello"), "a file of the CD\n").unwrap();
    let config = folder.path().join("grub.cfg");
    fs::write(&config, "serial\nterminal_output serial\ncat (cd)/hello\n").unwrap();
    let modules = ["biosdisk", "iso9660", "serial", "terminal", "cat"];
    succeed(
        Command::new("grub-mkimage")
            .args(["-O", "i386-pc-eltorito", "-p", "/", "-c"])
            .arg(&config)
            .arg("-o")
            .arg(content.join("boot.img"))
            .args(modules),
    );
    let image = folder.path().join("boot.iso");
    iso(&image, &content, &["-b", "boot.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
    // No boot record for disks.
    assert_eq!(fs::read(&image).unwrap()[..512], [0; 512]);

    let mut guest = machine(kvm, |config| {
        let empty = File::create_new(folder.path().join("empty")).unwrap();
        empty.set_len(MIB).unwrap();
        // In front of the CD, but there is nothing on it.
        config.disks = vec![DiskConfig { bootindex: Some(0), ..ide_disk("disk0", &folder.path().join("empty")) }];
        config.cdroms = vec![CdromConfig { bootindex: Some(1), ..cdrom(Some(&image)) }];
    });
    guest.machine.resume().unwrap();

    guest.serial.wait_for("a file of the CD", 1);
}

/// What Linux does with a CD and an IDE disk. The tools' disk is /dev/vdb.
const FIRST: &str = r#"
echo "model $(cat /sys/block/sda/device/model) and $(cat /sys/block/sr0/device/model)"
dd if=/dev/sr0 of=/dev/null bs=64k 2>&1
echo "cd $(dd if=/dev/sr0 bs=64k 2>/dev/null | sha256sum)"
mkdir -p /tmp/cd
mount -t iso9660 -o ro /dev/sr0 /tmp/cd
echo "noise $(sha256sum </tmp/cd/noise)"
fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=4 --filename=/dev/sda --verify=crc32c --verify_fatal=1 \
    --rw=randwrite --fsync=32 --end_fsync=1 --name=pages --bs=4k --size=4M \
    --name=mixed --bsrange=512-256k --offset=4M --size=8M >/tmp/fio || { cat /tmp/fio; exit 1; }
dd if=/dev/urandom of=/dev/sda bs=1M count=4 seek=12 oflag=direct 2>/dev/null
sync
echo "disk $(dd if=/dev/sda bs=1M 2>/dev/null | sha256sum)"
echo "modes $(cat /sys/class/ata_device/dev*/dma_mode | sort -u)"
# While it is mounted the tray stays closed.
echo MOUNTED
read go
umount /tmp/cd
echo CHANGE ME
read go
until grep -q second /tmp/cd/name 2>/dev/null; do
    umount /tmp/cd 2>/dev/null || true
    mount -t iso9660 -o ro /dev/sr0 /tmp/cd 2>/dev/null || usleep 50000
done
echo "other $(sha256sum </tmp/cd/noise)"
umount /tmp/cd
./eject /dev/sr0
echo EJECTED
"#;

const SECOND: &str = r#"
echo "disk $(dd if=/dev/sda bs=1M 2>/dev/null | sha256sum)"
echo "drive: $(dd if=/dev/sr0 of=/dev/null count=1 2>&1 | head -1)"
"#;

/// The word behind `what` in the guest's output.
fn said<'a>(text: &'a str, what: &str) -> &'a str {
    let (_, rest) = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    rest.split_whitespace().next().unwrap_or_default()
}

#[test]
fn linux_reads_cds_writes_ide_disks_and_notices_a_changed_medium() {
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let (first, second) = (data_iso(folder.path(), "first", 8 * MIB), data_iso(folder.path(), "second", MIB));
    let image = folder.path().join("ide.raw");
    File::create_new(&image).unwrap().set_len(16 * MIB).unwrap();
    let run = |script: &str, cd: Option<&Path>| {
        Linux::run(script, &["eject"], |config| {
            config.disks.push(ide_disk("ide", &image));
            config.cdroms = vec![cdrom(cd)];
        })
    };

    let Some(guest) = run(FIRST, Some(&first)) else { return };
    let go_on = || assert_eq!(guest.guest.machine.serial_input().enqueue(b"go\n"), 3);
    guest.wait_for("MOUNTED");
    let tray = guest.guest.machine.cdroms().remove(0).tray;
    assert!(tray.open(false).is_err() && tray.info().locked, "a mounted CD is locked in");
    go_on();
    guest.wait_for("CHANGE ME");
    tray.open(false).unwrap();
    tray.exchange(Some(medium(&second)));
    tray.close();
    go_on();
    guest.wait_for("EJECTED");
    assert!(matches!(guest.guest.event(), MachineEvent::TrayMoved { open: true, .. }));
    assert!(tray.info().open);
    let text = guest.run_to_end();
    drop(guest);

    assert!(text.contains("model LODGE HARDDISK"), "{text}");
    assert_eq!(said(&text, "\nmodes "), "XFER_MW_DMA_2");
    assert_eq!(said(&text, "\ncd "), sum(&first));
    assert_eq!(said(&text, "\nnoise "), sum(&folder.path().join("first/noise")));
    assert_eq!(said(&text, "\nother "), sum(&folder.path().join("second/noise")));
    assert_eq!(said(&text, "\ndisk "), sum(&image));
    linux::assert_clean(&text);

    let Some(guest) = run(SECOND, None) else { return };
    let again = guest.run_to_end();
    assert_eq!(said(&again, "\ndisk "), sum(&image));
    assert!(again.contains("drive: dd: can't open '/dev/sr0': No medium found"), "{again}");
}

#[test]
fn the_medium_is_changed_with_lodgectl_now_and_for_the_next_start() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let isos = ["first", "second"].map(|name| data_iso(home.path(), name, 64 << 10).to_str().unwrap().to_owned());
    let [first, second] = isos.each_ref().map(String::as_str);
    let disk = "size=1MiB,format=raw,bus=ide";
    home.done(&["create", "web", "--testcard", "--cdrom", first, "--cdrom", "none", "--disk", disk, "--start"]);
    let drives = || {
        let blocks = home.json(&["qmp", "web", "query-block"]);
        let drives = blocks.as_array().unwrap().iter().filter(|block| block["removable"] == true);
        drives.map(|drive| drive["inserted"]["file"].as_str().unwrap_or("empty").to_owned()).collect::<Vec<_>>()
    };
    let defined = || {
        let info = home.done(&["info", "web"]);
        let lines = info.lines().filter_map(|line| line.strip_prefix("CD-ROM"));
        lines.map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!((drives(), defined()), (vec![first.into(), "empty".into()], vec![first.to_owned(), "empty".into()]));
    assert!(home.done(&["info", "web"]).contains("ide"));
    home.done(&["change-media", "web", second]);
    assert_eq!((drives()[0].as_str(), defined()[0].as_str()), (second, second));
    home.done(&["change-media", "web", first, "--live"]);
    home.done(&["change-media", "web", first, "--drive", "cdrom1"]);
    assert_eq!((drives(), defined()), (vec![first.into(), first.into()], vec![second.to_owned(), first.into()]));
    // What is in the drives is part of a saved state, whatever the definition says.
    home.done(&["save", "web"]);
    home.done(&["start", "web"]);
    assert_eq!((drives(), defined()), (vec![first.into(), first.into()], vec![second.to_owned(), first.into()]));
    home.done(&["change-media", "web", "--eject"]);
    assert_eq!((drives()[0].as_str(), defined()[0].as_str()), ("empty", "empty"));
    assert_eq!(home.json(&["qmp", "web", "query-block"])[2]["tray_open"], true);
    assert!(home.refused(&["change-media", "web", first, "--drive", "disk0"]).contains("It has cdrom0, cdrom1"));
    assert!(home.refused(&["change-media", "web", "/nonexistent.iso"]).contains("No such file"));

    home.done(&["destroy", "web"]);
    home.done(&["change-media", "web", second]);
    fs::remove_file(second).unwrap();
    let refused = home.refused(&["start", "web"]);
    assert!(refused.contains(second) && refused.contains("Put it back"), "{refused}");
    home.done(&["change-media", "web", "--eject"]);
    home.done(&["start", "web"]);
}
