//! The Linux test guest of tests/guest/ on the engine.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use lodge::{
    manager::{
        definition::{Definition, DiskDefinition, DiskFormat, KernelDefinition},
        size::Size,
    },
    vmm::{
        block::{self, Format, Image, ring::Ring},
        boot::linux::LinuxBoot,
        machine::{Boot, DiskConfig, MachineConfig, MachineEvent, ShutdownCause},
    },
};

use super::{
    guest::Guest,
    kvm,
    machine::{TestMachine, machine},
};

/// Kernel messages that a machine without faults does not cause.
const COMPLAINTS: [&str; 14] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "Call Trace",
    "ACPI Error",
    "ACPI Warning",
    "ACPI BIOS Error",
    "ACPI BIOS Warning",
    "Firmware Bug",
    "Firmware Warn",
    "nobody cared",
    "Disabling IRQ",
    "spurious",
    "I/O error",
];

/// Where tests/run.sh keeps the kernels that it has built.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    std::env::var_os("LODGE_TEST_CACHE").map(PathBuf::from).or(home.map(|home| home.join("lodge-test"))).unwrap()
}

/// The native test kernel's folder; `None`, which it says, on a user's machine that has not built it.
pub fn native() -> Option<PathBuf> {
    let folder = cache().join("guest-kernel");
    if folder.join("vmlinux").exists() && folder.join("root.ext4").exists() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: tests/run.sh builds it", folder.display());
    eprintln!("skipped: the test kernel is not built. Run: bash tests/run.sh");
    None
}

/// A copy of the root file system of the kernel in `native`, for one guest. It keeps its holes: most of it is empty.
pub fn copy_root(native: &Path, folder: &Path) -> PathBuf {
    let root = folder.join("root.ext4");
    succeed(Command::new("cp").arg("--sparse=always").args([&native.join("root.ext4"), &root]));
    root
}

/// The native test kernel's command line. On a machine that does a lot else the kernel would find that one clock is not as fast as the
/// other, and write so into the middle of what the guest says.
pub const COMMAND_LINE: &str = "console=ttyS0 root=/dev/vda rw init=/init tsc=nowatchdog";

/// In a guest's shell: `iperf3` as a client. For a moment after a test its server may still be busy with it, which it says.
pub const IPERF: &str = r#"iperf() { while iperf3 "$@" >/tmp/iperf 2>&1; grep -q 'is busy' /tmp/iperf; do usleep 10000; done; cat /tmp/iperf; }"#;

/// Memory of a guest in a worker, in bytes.
pub const WORKER_MEMORY: u64 = 512 << 20;

/// The native test kernel in a worker, changed by `change`: it gives a shell on its serial port. `None`, which it says, where
/// KVM or the kernel is missing.
pub fn start_worker(change: impl FnOnce(&mut Definition)) -> Option<(Guest, tempfile::TempDir)> {
    let native = native()?;
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let root = copy_root(&native, folder.path());
    let guest = Guest::start(|definition| {
        definition.memory = Size(WORKER_MEMORY);
        definition.disks.clear();
        definition.add_disk(DiskDefinition::new(root, DiskFormat::Raw));
        definition.kernel =
            Some(KernelDefinition { path: native.join("vmlinux"), initrd: None, cmdline: COMMAND_LINE.to_owned() });
        change(definition);
    })?;
    Some((guest, folder))
}

/// A Linux guest on the engine.
pub struct Linux {
    /// The machine.
    pub guest: TestMachine,
    /// Files of this test.
    pub folder: tempfile::TempDir,
}

impl Linux {
    /// Starts the native test kernel, which runs `commands` and powers off. Its root disk is a copy. `None`, which it says, where
    /// KVM or the kernel is missing.
    pub fn start(commands: &str, change: impl FnOnce(&mut MachineConfig)) -> Option<Self> {
        let (kvm, native) = (kvm::open()?, native()?);
        let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
        let root = copy_root(&native, folder.path());
        let command_line = format!("{COMMAND_LINE} run={}", commands.replace(' ', "~"));
        let boot = LinuxBoot { kernel: File::open(native.join("vmlinux")).unwrap(), initrd: None, command_line };
        let guest = machine(kvm, |config| {
            config.memory = 512 << 20;
            config.boot = Boot::Linux(boot);
            config.disks = vec![disk("root", &root, Format::Raw)];
            change(config);
        });
        let mut guest = Self { guest, folder };
        guest.guest.machine.resume().unwrap();
        Some(guest)
    }

    /// Like [`Linux::start`], but the guest runs a `script`, which finds `programs` of tests/guest/programs/ beside it. They come
    /// on the second disk, /dev/vdb; the disks that `change` adds are /dev/vdc and so on.
    pub fn run(script: &str, programs: &[&str], change: impl FnOnce(&mut MachineConfig)) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
        let tools = tools(folder.path(), script, programs);
        Self::start(RUN_SCRIPT, |config| {
            config.disks.push(disk("tools", &tools, Format::Raw));
            change(config);
        })
    }

    /// Waits until the guest says `wanted`, which it does before its commands end.
    pub fn wait_for(&self, wanted: &str) {
        let come = |text: &str| text.contains(wanted).then_some(true);
        let ended = |text: &str| text.contains("GUEST-DONE").then_some(false);
        let found = self.guest.serial.wait_until(wanted, |text| come(text).or_else(|| ended(text)));
        assert!(found, "the guest has ended without {wanted:?}: {}", self.guest.serial.text());
    }

    /// Waits until the guest has run its commands and has powered itself off; returns its console.
    pub fn run_to_end(&self) -> String {
        let event = self.guest.event();
        let text = self.guest.serial.text();
        assert!(matches!(event, MachineEvent::Shutdown { cause: ShutdownCause::Acpi }), "{event:?}\n{text}");
        assert!(text.contains("GUEST-DONE 0"), "{text}");
        text
    }
}

/// What the guest does with the disk that [`tools`] makes.
const RUN_SCRIPT: &str = "cd /tmp && tar -xf /dev/vdb && sh -e ./script";

/// Makes the image of a disk with `script` and with `programs`, whose source is in tests/guest/programs/: a tar archive.
pub fn tools(folder: &Path, script: &str, programs: &[&str]) -> PathBuf {
    let content = folder.join("tools");
    std::fs::create_dir(&content).unwrap();
    std::fs::write(content.join("script"), script).unwrap();
    for program in programs {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/guest/programs/{program}.c"));
        // Without libraries, of which the guest has few.
        succeed(
            Command::new("cc")
                .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
                .args([&content.join(program), &source]),
        );
    }
    let image = folder.join("tools.tar");
    succeed(Command::new("tar").arg("-C").arg(&content).arg("-cf").args([&image, Path::new(".")]));
    image
}

/// Runs a command of the host, which must succeed; returns what it has printed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A disk of the machine.
pub fn disk(id: &str, path: &Path, format: Format) -> DiskConfig {
    disk_of(id, File::options().read(true).write(true).open(path).unwrap(), format)
}

/// A disk of the machine past the host's page cache.
pub fn direct_disk(id: &str, path: &Path, format: Format) -> DiskConfig {
    disk_of(id, File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(path).unwrap(), format)
}

fn disk_of(id: &str, file: File, format: Format) -> DiskConfig {
    let disk = block::open(Image { file, format }, false, Vec::new()).unwrap();
    let rings = Ring::new().into_iter().collect();
    DiskConfig { serial: format!("serial-{id}"), rings, ..DiskConfig::new(id, disk) }
}

/// Fails when the kernel complains. A kernel that powers off calls its virtio devices broken (`virtio_dev_shutdown` of Linux 6.12),
/// and warns when the console has a last picture for the GPU then.
pub fn assert_clean(log: &str) {
    let mut is_done = false;
    let counts = |line: &&str| {
        is_done |= line.contains("GUEST-DONE");
        !(is_done && line.contains("WARNING:") && line.contains("virtgpu_vq.c"))
    };
    let complaints: Vec<_> = log
        .lines()
        .take_while(counts)
        .filter(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)))
        .collect();
    assert!(complaints.is_empty(), "the kernel complains: {complaints:#?}\n{log}");
}
