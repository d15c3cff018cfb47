//! Where distributions put the firmware.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::{Finding, Root};

/// SeaBIOS, the guest's firmware.
pub const BIOS: &str = "bios-256k.bin";
/// SeaVGABIOS for the standard VGA.
pub const VGA_BIOS: &str = "vgabios-stdvga.bin";
/// SeaVGABIOS for virtio-gpu.
pub const VIRTIO_VGA_BIOS: &str = "vgabios-virtio.bin";
/// iPXE's option ROMs for network cards.
pub const VIRTIO_NETWORK_ROM: &str = "pxe-virtio.rom";
/// That for the e1000.
pub const E1000_NETWORK_ROM: &str = "pxe-e1000.rom";
/// The package that has them in Debian and Ubuntu; Fedora's is `ipxe-roms-qemu`, openSUSE's `qemu-ipxe`.
pub const NETWORK_PACKAGE: &str = "ipxe-qemu";
/// The package that has both in Debian, Ubuntu and openSUSE; Fedora's second one is `seavgabios-bin`.
pub const PACKAGE: &str = "seabios";

/// Debian and Ubuntu, whose ROMs for network cards are in a folder of their own; Fedora (two packages); openSUSE, Arch and those who build QEMU.
const FOLDERS: &[&str] = &[
    "/usr/share/seabios",
    "/usr/share/seavgabios",
    "/usr/share/qemu",
    "/usr/local/share/qemu",
    "/usr/local/share/seabios",
    "/usr/lib/ipxe/qemu",
    "/usr/share/ipxe/qemu",
    "/usr/share/ipxe",
];

/// Finds a firmware file by its name. `LODGE_FIRMWARE` may name a folder that is looked at first.
pub fn find(root: &Root, file: &str) -> Option<PathBuf> {
    let chosen = std::env::var_os("LODGE_FIRMWARE").map(|folder| PathBuf::from(folder).join(file));
    let usual = FOLDERS.iter().map(|folder| root.path(folder).join(file));
    chosen.into_iter().chain(usual).find(|path| path.is_file())
}

/// What is said when a firmware file is not there, and how to mend it.
pub fn missing(file: &str) -> (String, String) {
    (
        format!("the firmware file {file} is missing"),
        if [VIRTIO_NETWORK_ROM, E1000_NETWORK_ROM].contains(&file) {
            format!(
                "Install the package \"{NETWORK_PACKAGE}\" (Fedora: \"ipxe-roms-qemu\"), or do not boot from the network"
            )
        } else {
            format!("Install the package \"{PACKAGE}\" (Fedora: \"seabios-bin\" and \"seavgabios-bin\")")
        },
    )
}

/// Whether the firmware is installed.
pub(super) fn check(root: &Root) -> Finding {
    let (id, name) = ("firmware", "Firmware");
    let absent: Vec<_> = [BIOS, VGA_BIOS].into_iter().filter(|file| find(root, file).is_none()).collect();
    if let Some(file) = absent.first() {
        let (_, mend) = missing(file);
        return Finding::missing(id, name, format!("{} not found", absent.join(" and ")), mend);
    }
    let place = find(root, BIOS).map(|path| path.display().to_string()).unwrap_or_default();
    Finding::fine(id, name, format!("SeaBIOS ({place})"))
}
