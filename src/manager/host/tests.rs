use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

/// A tree in the place of `/`.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn with(self, path: &str, content: &str) -> Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn with_cpu(self, flags: &str) -> Self {
        self.with("proc/cpuinfo", &format!("processor\t: 0\nmodel name\t: Test CPU\nflags\t\t: fpu {flags} sse\n"))
    }

    fn finding(&self, id: &str) -> Finding {
        let paths = Paths::new(self.folder.path().join("data"), self.folder.path().join("run"));
        let findings = check_below(&Root::new(self.folder.path()), &paths);
        findings.into_iter().find(|finding| finding.id == id).unwrap()
    }
}

#[test]
fn a_bare_host_lacks_what_guests_cannot_do_without_and_every_lack_can_be_mended() {
    let host = Host::new().with("etc/hostname", "bare");

    for id in ["cpu-virtualization", "kvm-device", "kernel-modules", "kvm-api", "firmware"] {
        let finding = host.finding(id);

        assert_eq!(finding.verdict, Verdict::Missing, "{finding:?}");
        assert!(!finding.mend.is_empty(), "{finding:?}");
    }
}

#[test]
fn virtualization_is_known_by_the_cpus_flags() {
    assert_eq!(Host::new().with_cpu("vmx").finding("cpu-virtualization").verdict, Verdict::Fine);
    assert!(Host::new().with_cpu("svm").finding("cpu-virtualization").detail.contains("AMD"));
    let neither = Host::new().with_cpu("vmxnet").finding("cpu-virtualization");
    assert_eq!(neither.verdict, Verdict::Missing);
    assert!(neither.mend.contains("firmware setup"));
}

#[test]
fn kvm_without_the_cpus_help_is_limited() {
    let host = Host::new().with_cpu("").with("dev/kvm", "").with("sys/module/kvm_pvm/version", "");

    assert_eq!(host.finding("cpu-virtualization").verdict, Verdict::Limited);
    assert_eq!(host.finding("kernel-modules").detail, "kvm_pvm is loaded");
    assert_eq!(host.finding("nested").verdict, Verdict::Limited);
}

#[test]
fn the_module_to_load_is_the_one_for_the_cpu() {
    assert!(Host::new().with_cpu("svm").finding("kernel-modules").mend.contains("modprobe kvm_amd"));
    assert!(Host::new().with_cpu("vmx").finding("kernel-modules").mend.contains("modprobe kvm_intel"));
}

#[test]
fn a_device_that_may_not_be_opened_names_the_group() {
    let host = Host::new().with("dev/kvm", "");
    let device = host.folder.path().join("dev/kvm");
    fs::set_permissions(&device, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&device).is_ok() {
        // Root may open everything; the words are what is tested.
        let (what, mend) = kvm::refused(&std::io::ErrorKind::PermissionDenied.into());
        assert!(what.contains("may not") && mend.contains("group kvm"));
        return;
    }

    assert!(host.finding("kvm-device").mend.contains("group kvm"));
}

#[test]
fn a_device_that_is_not_kvm_is_noticed() {
    let finding = Host::new().with("dev/kvm", "").finding("kvm-api");

    assert_eq!((finding.verdict, finding.detail.as_str()), (Verdict::Missing, "/dev/kvm is another device"));
}

#[test]
fn missing_firmware_names_the_package_and_the_file() {
    let host = Host::new().with("usr/share/seabios/bios-256k.bin", "");

    let half = host.finding("firmware");

    assert!(half.detail.contains("vgabios-stdvga.bin") && !half.detail.contains("bios-256k"), "{half:?}");
    assert!(half.mend.contains("seabios"));
    let whole = host.with("usr/share/seavgabios/vgabios-stdvga.bin", "");
    assert_eq!(whole.finding("firmware").verdict, Verdict::Fine);
}

#[test]
fn nested_virtualization_is_read_from_the_module() {
    let host = Host::new().with("sys/module/kvm_intel/parameters/nested", "Y\n");

    assert_eq!(host.finding("nested").verdict, Verdict::Fine);
    let host = host.with("sys/module/kvm_intel/parameters/nested", "N\n");
    assert!(host.finding("nested").mend.contains("nested=1"));
}

#[test]
fn memory_helpers_are_read_from_sysfs() {
    let host = Host::new()
        .with("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 900000 kB\n")
        .with("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
        .with("sys/kernel/mm/ksm/run", "1\n")
        .with("sys/kernel/mm/ksm/pages_sharing", "256\n");

    assert_eq!(host.finding("memory").verdict, Verdict::Fine);
    assert_eq!(host.finding("huge-pages").detail, "transparent: madvise");
    assert!(host.finding("ksm").detail.contains("1.0 MiB"));
}

#[test]
fn little_memory_and_switched_off_helpers_are_limits() {
    let host = Host::new()
        .with("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 100000 kB\n")
        .with("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n")
        .with("sys/kernel/mm/ksm/run", "0\n");

    for id in ["memory", "huge-pages", "ksm"] {
        assert_eq!(host.finding(id).verdict, Verdict::Limited, "{id}");
    }
}

#[test]
fn who_translates_addresses_depends_on_passt_and_on_a_route() {
    let passt = std::env::split_paths(&std::env::var_os("PATH").unwrap()).next().unwrap().join("passt");
    let installed = |host: Host| host.with(passt.strip_prefix("/").unwrap().to_str().unwrap(), "");
    let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let route = |flags: &str| format!("{header}eth0\t00000000\t010011AC\t{flags}\t0\t0\t0\t00000000\t0\t0\t0\n");
    let nothing = Host::new().finding("address-translation");
    let down = installed(Host::new()).with("proc/net/route", &route("0002")).finding("address-translation");
    let up = installed(Host::new()).with("proc/net/route", &route("0003")).finding("address-translation");
    let everywhere = "0".repeat(32);
    let route6 = format!("{everywhere} 00 {everywhere} 00 {everywhere} 00000400 00000001 00000000 00000003     eth0\n");
    let up6 = installed(Host::new()).with("proc/net/ipv6_route", &route6).finding("address-translation");

    assert!(nothing.verdict == Verdict::Limited && nothing.mend.contains("package \"passt\""), "{nothing:?}");
    assert!(down.verdict == Verdict::Limited && down.detail.contains("no interface"), "{down:?}");
    assert_eq!([up.verdict, up6.verdict], [Verdict::Fine; 2]);
}

#[test]
fn bridges_that_only_root_may_use_are_limited() {
    let host = || Host::new().with("proc/self/status", "CapEff:\t0000000000000000\n");
    let with_bridge = || host().with("sys/class/net/br0/bridge/forward_delay", "0");
    let root = with_bridge().with("proc/self/status", "CapEff:\t0000000000001000\n");
    let helper = "usr/lib/qemu/qemu-bridge-helper";

    assert_eq!([host(), root].map(|host| host.finding("bridges").verdict), [Verdict::Fine; 2]);
    let missing = with_bridge().finding("bridges");
    assert!(missing.verdict == Verdict::Limited && missing.mend.contains("qemu-system-common"), "{missing:?}");
    let plain = with_bridge().with(helper, "").finding("bridges");
    assert!(plain.detail.contains("may not make interfaces") && plain.mend.contains("chmod u+s"), "{plain:?}");
    if rustix::process::geteuid().is_root() {
        let host = with_bridge().with(helper, "");
        fs::set_permissions(host.folder.path().join(helper), fs::Permissions::from_mode(0o4755)).unwrap();
        let closed = host.finding("bridges");
        assert!(closed.mend.contains("write \"allow br0\" into /etc/qemu/bridge.conf"), "{closed:?}");
        assert_eq!(host.with("etc/qemu/bridge.conf", "allow br0").finding("bridges").verdict, Verdict::Fine);
    }
}
