//! From which drive the firmware is to boot.
//!
//! SeaBIOS tries one disk only. So those that have something to boot now come before those that have nothing: a guest with an
//! empty disk begins from its installation CD, and from its disk once something is installed there.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::vmm::{
    block::{Disk, SECTOR},
    boot::firmware::BootPlace,
    devices::ide::Tray,
    memory::GuestSlice,
};

/// The last bytes of a boot sector.
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// Where a CD's boot record is, and how it begins: type 0, "CD001", version 1, and who has the rest (El Torito 1.0, figure 7).
const BOOT_RECORD: u64 = 17 * 2048;
const EL_TORITO: &[u8] = b"\0CD001\x01EL TORITO SPECIFICATION";

/// A drive to boot from.
pub struct BootDrive {
    /// Where it is.
    pub place: BootPlace,
    /// Its rank, the lowest first.
    pub bootindex: u32,
    /// What is in it.
    pub content: Content,
}

/// What is in a drive.
pub enum Content {
    /// A disk.
    Disk(Arc<dyn Disk>),
    /// The CD of the moment, if any.
    Cdrom(Tray),
    /// A network, of which only trying tells.
    Network,
}

impl Content {
    /// Whether there is something to boot. This says nothing of an image's format, which its definition knows.
    fn boots(&self) -> bool {
        match self {
            Self::Network => true,
            Self::Disk(disk) => sector(&**disk, 0).is_some_and(|sector| sector.ends_with(&BOOT_SIGNATURE)),
            Self::Cdrom(tray) => tray
                .medium()
                .and_then(|medium| sector(&*medium, BOOT_RECORD))
                .is_some_and(|sector| sector.starts_with(EL_TORITO)),
        }
    }
}

fn sector(disk: &dyn Disk, offset: u64) -> Option<[u8; SECTOR as usize]> {
    let mut sector = [0; SECTOR as usize];
    let end = offset.checked_add(SECTOR)?;
    let read = disk.capacity() >= end && disk.read(offset, &[GuestSlice::from(sector.as_mut_slice())]).is_ok();
    read.then_some(sector)
}

/// The places of all drives, the first to try first. Drives of one index keep the order of their places.
pub fn now(drives: &[BootDrive]) -> Vec<BootPlace> {
    let mut order: Vec<_> = drives.iter().map(|drive| (!drive.content.boots(), drive.bootindex, drive.place)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;
    use crate::vmm::{
        block::{self, Format, Image},
        pci::PciAddress,
    };

    fn disk(file: &File) -> Arc<dyn Disk> {
        let image = Image { file: file.try_clone().unwrap(), format: Format::Raw };
        block::open(image, false, Vec::new()).unwrap().into()
    }

    fn file(size: u64, offset: u64, content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(content, offset).unwrap();
        file
    }

    fn place(slot: u8) -> BootPlace {
        BootPlace::Function(PciAddress::new(slot, 0))
    }

    fn drive(slot: u8, bootindex: u32, boots: bool) -> BootDrive {
        let file = file(4096, 510, if boots { &BOOT_SIGNATURE } else { &[] });
        BootDrive { place: place(slot), bootindex, content: Content::Disk(disk(&file)) }
    }

    #[test]
    fn disks_are_tried_by_their_index() {
        assert_eq!(now(&[drive(4, 2, true), drive(5, 1, true)]), [place(5), place(4)]);
    }

    #[test]
    fn a_network_comes_in_its_place_but_before_an_empty_disk() {
        let network = |bootindex| BootDrive { place: place(25), bootindex, content: Content::Network };

        assert_eq!(now(&[drive(4, 0, true), network(1)]), [place(4), place(25)]);
        assert_eq!(now(&[drive(4, 1, true), network(0)]), [place(25), place(4)]);
        assert_eq!(now(&[drive(4, 0, false), network(1)]), [place(25), place(4)]);
    }

    #[test]
    fn a_cd_that_boots_comes_before_an_empty_disk_until_it_is_taken_out() {
        let cd = file(64 << 10, BOOT_RECORD, EL_TORITO);
        let tray = Tray::new(Some(disk(&cd)), Arc::new(|_| ()));
        let drives =
            [drive(4, 0, false), BootDrive { place: place(5), bootindex: 1, content: Content::Cdrom(tray.clone()) }];
        let with_cd = now(&drives);

        tray.open(false).unwrap();

        assert_eq!((with_cd, now(&drives)), (vec![place(5), place(4)], vec![place(4), place(5)]));
    }

    #[test]
    fn a_disk_comes_first_as_soon_as_something_is_installed_on_it() {
        let file = file(4096, 0, &[]);
        let empty = BootDrive { place: place(4), bootindex: 1, content: Content::Disk(disk(&file)) };
        let drives = [empty, drive(5, 2, true)];
        let before = now(&drives);

        file.write_all_at(&BOOT_SIGNATURE, 510).unwrap();

        assert_eq!((before, now(&drives)), (vec![place(5), place(4)], vec![place(4), place(5)]));
    }
}
