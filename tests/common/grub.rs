//! GRUB on a disk, laid out as `grub-install` does: the boot sector, the core image between it and the first partition, and the
//! modules in the file system.
//!
//! The core image holds only what finds the modules: GRUB unpacks it with LZMA, which takes half a minute with `linux.mod` and
//! what belongs to it where KVM emulates ring 0.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
};

use super::linux::succeed;

/// Where the package grub-pc-bin has GRUB's parts.
const PARTS: &str = "/usr/lib/grub/i386-pc";
/// Where the modules are in the file system.
const MODULES: &str = "boot/grub/i386-pc";
/// How much of the boot sector is code; the partition table follows.
const BOOT_CODE: usize = 440;
const SECTOR: u64 = 512;

/// What tells at the serial port how far GRUB is.
const TELLING: [&str; 3] = ["serial", "terminal", "echo"];

/// Copies `modules`, and those that they need, into the file system below `root`.
pub fn copy_modules(root: &Path, modules: &[&str]) {
    let (from, to) = (Path::new(PARTS), root.join(MODULES));
    fs::create_dir_all(&to).unwrap();
    let list = fs::read_to_string(from.join("moddep.lst")).expect("the package grub-pc-bin is missing");
    let needs = |module: &str| {
        let line = list.lines().find_map(|line| line.strip_prefix(module)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("GRUB has no module {module}")).split_whitespace().map(str::to_owned)
    };
    let mut wanted: Vec<_> = modules.iter().chain(&TELLING).map(|&module| module.to_owned()).collect();
    while let Some(module) = wanted.pop() {
        let file = format!("{module}.mod");
        if !to.join(&file).exists() {
            fs::copy(from.join(&file), to.join(&file)).unwrap();
            wanted.extend(needs(&module));
        }
    }
}

/// Makes `disk` boot by GRUB, which runs `script` and tells each line of it at the serial port before. The first partition begins at byte
/// `partition` and has an ext2 file system.
pub fn install(disk: &Path, partition: u64, script: &str) {
    let folder = tempfile::Builder::new().prefix("grub").tempdir().unwrap();
    let (config, core) = (folder.path().join("grub.cfg"), folder.path().join("core.img"));
    let telling = TELLING.map(|module| format!("insmod {module}\n")).concat() + "serial\nterminal_output serial\n";
    let told = script.lines().map(|line| format!("echo GRUB: {line}\n{line}\n"));
    fs::write(&config, telling + &told.collect::<String>()).unwrap();
    succeed(
        Command::new("grub-mkimage")
            .args(["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-c"])
            .arg(&config)
            .arg("-o")
            .arg(&core)
            .args(["biosdisk", "part_msdos", "ext2"]),
    );
    let core = fs::read(core).unwrap();
    assert!(SECTOR + core.len() as u64 <= partition, "GRUB has no room before the partition");
    // The boot sector goes on at the second one, and that one at those behind it.
    let boot = fs::read(Path::new(PARTS).join("boot.img")).unwrap();
    let image = File::options().write(true).open(disk).unwrap();
    image.write_all_at(&boot[..BOOT_CODE], 0).unwrap();
    image.write_all_at(&core, SECTOR).unwrap();
}
