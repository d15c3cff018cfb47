//! What follows from what is entered.

use std::path::Path;

use super::*;
use crate::ui::wizard::testing::{around, disk, iso, qcow2};

fn draft_with(edits: impl IntoIterator<Item = Edit>) -> Draft {
    let mut draft = Draft::default();
    for edit in edits {
        draft.apply(edit, &around());
    }
    draft
}

#[test]
fn the_preferred_network_is_taken_where_it_is_there_and_nothing_else_was_chosen() {
    let preferring = |network: &NetworkDefinition| {
        let mut draft = Draft::preferring(Some(network.clone()));
        draft.follow(&around());
        draft
    };
    let (here, gone) = (NetworkDefinition::bridge("br0"), NetworkDefinition::bridge("br9"));

    let mut draft = preferring(&here);
    assert_eq!(draft.network, Some(here));
    assert_eq!(preferring(&gone).network, Some(NetworkDefinition::nat()));
    draft.apply(Edit::Network(None), &around());

    assert_eq!(draft.network, None);
}

#[test]
fn an_image_that_is_brought_along_is_installed_from_or_is_the_disk() {
    let iso = draft_with(beginning_with("/isos/debian.ISO".into()));
    let image = draft_with(beginning_with("/images/old.qcow2".into()));

    assert_eq!((iso.method, iso.iso.unwrap().path), (Method::Iso, "/isos/debian.ISO".into()));
    assert_eq!((image.method, image.image.unwrap().path), (Method::DiskImage, "/images/old.qcow2".into()));
}

#[test]
fn an_installation_has_the_new_disk_and_the_cdrom() {
    let mut draft = draft_with([Edit::Iso("/isos/debian-12.iso".into()), Edit::DiskSize(GIB)]);
    draft.looked_at(&Look::Media("/isos/debian-12.iso".into()), &Ok(iso(Some("Debian_12 amd64"))), &around());

    let guest = draft.new_guest();

    assert_eq!(guest.definition.name, "Debian 12 amd64");
    assert_eq!(
        guest.disk,
        Some(NewDisk::Empty {
            size: GIB,
            format: DiskFormat::Qcow2,
            cache: CacheMode::default(),
            bus: DiskBus::default()
        })
    );
    assert_eq!(guest.definition.disks.len(), 1);
    assert!(guest.definition.disks[0].cdrom);
    assert_eq!(guest.definition.validate(), Ok(()));
}

#[test]
fn an_imported_disk_keeps_its_format() {
    for (found, format) in [(qcow2(), DiskFormat::Qcow2), (disk(), DiskFormat::Raw)] {
        let mut draft = draft_with([Edit::Method(Method::DiskImage), Edit::Image("/images/web.img".into())]);
        draft.looked_at(&Look::Media("/images/web.img".into()), &Ok(found), &around());

        let guest = draft.new_guest();

        assert_eq!((guest.definition.disks[0].format, guest.disk), (format, None));
        assert_eq!(guest.definition.name, "web");
    }
}

#[test]
fn the_iso_and_the_disk_image_are_kept_apart_when_the_method_changes() {
    let draft = draft_with([
        Edit::Iso("/a.iso".into()),
        Edit::Method(Method::DiskImage),
        Edit::Image("/b.qcow2".into()),
        Edit::Method(Method::Iso),
    ]);

    assert_eq!(draft.media().unwrap().path, Path::new("/a.iso"));
    assert_eq!(draft.image.unwrap().path, Path::new("/b.qcow2"));
}

#[test]
fn what_was_entered_by_hand_survives_a_change_of_the_method() {
    let draft = draft_with([
        Edit::Name("my own".into()),
        Edit::Memory(777),
        Edit::Method(Method::TestCard),
        Edit::Method(Method::Iso),
    ]);

    assert_eq!((draft.name.as_str(), draft.memory_mib), ("my own", 777));
}

#[test]
fn the_arrangement_follows_the_vcpus_until_it_is_touched() {
    let mut draft = draft_with([Edit::Vcpus(4)]);
    let before = (draft.topology, draft.definition().cpu.topology);
    let touched = Topology { sockets: 2, cores: 2, threads: 1 };

    draft.apply(Edit::Topology(touched), &around());
    draft.apply(Edit::Vcpus(8), &around());

    assert_eq!(before, (Topology::cores(4), None));
    assert_eq!(draft.definition().cpu.topology, Some(touched));
}

#[test]
fn a_network_makes_a_card_with_an_address() {
    let draft = draft_with([Edit::Network(Some(Box::new(NetworkDefinition::bridge("br0"))))]);

    let cards = draft.definition().networks;

    assert_eq!(cards.len(), 1);
    assert!(cards[0].bridge.as_deref() == Some("br0") && cards[0].mac.is_some(), "{cards:?}");
}

#[test]
fn what_was_not_touched_follows_the_method() {
    let draft = draft_with([Edit::Method(Method::TestCard)]);

    // "testcard" is taken in these surroundings.
    assert_eq!((draft.name.as_str(), draft.memory_mib), ("testcard-2", 64));
}

#[test]
fn a_late_answer_about_another_file_changes_nothing() {
    let mut draft = draft_with([Edit::Iso("/a.iso".into()), Edit::Iso("/b.iso".into())]);

    draft.looked_at(&Look::Media("/a.iso".into()), &Ok(iso(None)), &around());

    assert_eq!(draft.media().unwrap().looked_at, None);
}

#[test]
fn a_kernel_comes_with_its_ram_disk_and_command_line() {
    let draft = draft_with([
        Edit::Method(Method::Kernel),
        Edit::Kernel("/boot/vmlinuz-6.1".into()),
        Edit::InitialRamDisk("/boot/initrd.img-6.1".into()),
        Edit::CommandLine("quiet".into()),
        Edit::Storage(Storage::None),
    ]);

    let guest = draft.new_guest();

    let kernel = guest.definition.kernel.clone().unwrap();
    assert_eq!((kernel.path, kernel.cmdline.as_str()), ("/boot/vmlinuz-6.1".into(), "quiet"));
    assert_eq!(kernel.initrd, Some("/boot/initrd.img-6.1".into()));
    assert_eq!((guest.disk, guest.definition.validate()), (None, Ok(())));
}

#[test]
fn suggested_names_can_always_be_used() {
    for (label, path) in [
        ("..hidden", "/x/.iso"),
        ("", "/x/\n.iso"),
        ("a/b", "/x/y.iso"),
        (&*"long ".repeat(100), "/x/y.iso"),
        ("CDROM", "/x/grub rescue.iso"),
    ] {
        let mut draft = draft_with([Edit::Iso(path.into())]);
        draft.looked_at(&Look::Media(path.into()), &Ok(iso(Some(label))), &around());

        assert_eq!(check_name(&draft.name), Ok(()), "{label:?} gave {:?}", draft.name);
    }
}
