use std::{os::unix::fs::PermissionsExt, thread};

use super::*;
use crate::manager::definition::{DiskDefinition, DiskFormat, NetworkDefinition};

struct Fixture {
    folder: tempfile::TempDir,
    library: Library,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::new(Paths::new(folder.path().join("data"), folder.path().join("run")));
    Fixture { folder, library }
}

impl Fixture {
    fn add(&self, name: &str) -> Definition {
        let definition = Definition::new(name);
        self.library.create(&definition).unwrap();
        definition
    }

    fn add_with_disk(&self, name: &str, disk: DiskDefinition) {
        let mut definition = Definition::new(name);
        definition.add_disk(disk);
        self.library.create(&definition).unwrap();
    }

    fn image(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, [0; 512]).unwrap();
        path
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.library.paths().guest_folder(name)).unwrap();
        fs::write(self.library.paths().definition(name), text).unwrap();
    }
}

#[test]
fn a_created_guest_is_listed_loaded_and_private() {
    let fixture = fixture();

    let definition = fixture.add("web");

    let listed = fixture.library.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].definition.as_ref().unwrap().definition, definition);
    let path = fixture.library.paths().definition("web");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_empty_library_lists_nothing() {
    assert!(fixture().library.list().unwrap().is_empty());
}

#[test]
fn a_name_is_given_only_once() {
    let fixture = fixture();
    fixture.add("web");

    let error = fixture.library.create(&Definition::new("web")).unwrap_err();

    assert!(matches!(error, LibraryError::Exists(_)), "{error}");
}

#[test]
fn of_many_who_create_the_same_name_at_once_one_wins() {
    let fixture = fixture();

    let winners: usize = thread::scope(|scope| {
        let tries: Vec<_> =
            (0..8).map(|_| scope.spawn(|| fixture.library.create(&Definition::new("web")).is_ok())).collect();
        tries.into_iter().map(|attempt| usize::from(attempt.join().unwrap())).sum()
    });

    assert_eq!(winners, 1);
    assert_eq!(fixture.library.names().unwrap(), ["web"]);
}

#[test]
fn a_broken_definition_harms_no_other_and_is_never_overwritten() {
    let fixture = fixture();
    let good = fixture.add("good");
    let newer = "version = 7\nnovelty = true\n";
    fixture.write("newer", newer);
    fixture.write("nonsense", "not TOML at all");
    fs::create_dir(fixture.library.paths().guest_folder("empty")).unwrap();

    let listed = fixture.library.list().unwrap();

    let states: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.definition.is_ok())).collect();
    assert_eq!(states, [("empty", false), ("good", true), ("newer", false), ("nonsense", false)]);
    let stored = fixture.library.load("good").unwrap();
    let mut intruder = good;
    intruder.name = "newer".to_owned();
    assert!(fixture.library.save(&intruder, &stored.revision).is_err());
    assert_eq!(fs::read_to_string(fixture.library.paths().definition("newer")).unwrap(), newer);
}

#[test]
fn a_change_keeps_what_a_person_wrote() {
    let fixture = fixture();
    let text = "# the shop's server\nversion = 1\nuuid = \"abcd1234-0000-4000-8000-000000000001\"\nmemory = \"1024M\" # enough\n";
    fixture.write("web", text);
    let mut stored = fixture.library.load("web").unwrap();
    stored.definition.vcpus = 2;

    let revision = fixture.library.save(&stored.definition, &stored.revision).unwrap();

    assert_eq!(revision.text(), format!("{text}vcpus = 2\n"));
    assert_eq!(fs::read_to_string(fixture.library.paths().definition("web")).unwrap(), revision.text());
}

#[test]
fn a_change_by_another_program_is_not_undone() {
    let fixture = fixture();
    fixture.add("web");
    let mine = fixture.library.load("web").unwrap();
    let mut others = fixture.library.load("web").unwrap();
    others.definition.description = "theirs".to_owned();
    fixture.library.save(&others.definition, &others.revision).unwrap();

    let error = fixture.library.save(&mine.definition, &mine.revision).unwrap_err();

    assert!(matches!(error, LibraryError::Changed(_)), "{error}");
    assert_eq!(fixture.library.load("web").unwrap().definition.description, "theirs");
}

#[test]
fn edited_text_is_kept_as_it_was_written() {
    let fixture = fixture();
    fixture.add("web");
    let stored = fixture.library.load("web").unwrap();
    let edited = format!("# my remark\n{}", stored.revision.text());

    fixture.library.save_text("web", &edited, &stored.revision).unwrap();

    assert_eq!(fs::read_to_string(fixture.library.paths().definition("web")).unwrap(), edited);
}

#[test]
fn a_broken_definition_can_be_mended_by_its_text() {
    let fixture = fixture();
    let good = Definition::new("web").to_toml();
    fixture.write("web", "memory = 3");
    let broken = fixture.library.read("web").unwrap();

    fixture.library.save_text("web", &good, &broken).unwrap();

    assert!(fixture.library.load("web").is_ok());
}

#[test]
fn guests_are_found_by_name_and_by_unique_prefix_of_their_uuid() {
    let fixture = fixture();
    let mut definition = Definition::new("web");
    definition.uuid = "abcd1234-0000-4000-8000-000000000001".parse().unwrap();
    fixture.library.create(&definition).unwrap();
    definition.name = "db".to_owned();
    definition.uuid = "abcd1299-0000-4000-8000-000000000002".parse().unwrap();
    fixture.library.create(&definition).unwrap();

    assert_eq!(fixture.library.resolve("web").unwrap(), "web");
    assert_eq!(fixture.library.resolve("ABCD1234").unwrap(), "web");
    assert!(
        matches!(fixture.library.resolve("abcd12"), Err(LibraryError::Ambiguous { names, .. }) if names.len() == 2)
    );
    assert!(matches!(fixture.library.resolve("abc"), Err(LibraryError::NotFound(_))));
    assert!(matches!(fixture.library.resolve("../guests/web"), Err(LibraryError::NotFound(_))));
}

#[test]
fn a_copied_folder_is_listed_as_a_copy_until_it_has_its_own_uuid() {
    let fixture = fixture();
    fixture.add("web");
    let text = fixture.library.read("web").unwrap();
    let folder = |name| fixture.library.paths().guest_folder(name);
    let born = |name| fs::metadata(folder(name)).unwrap().created().unwrap();
    fixture.write("a-copy", text.text());
    // The file system's clock ticks more slowly than this copies.
    while born("a-copy") == born("web") {
        fs::remove_dir_all(folder("a-copy")).unwrap();
        fixture.write("a-copy", text.text());
    }

    let listed = fixture.library.list().unwrap();

    assert!(
        matches!(&listed[0].definition, Err(LibraryError::SameUuid { name, other }) if name == "a-copy" && other == "web")
    );
    assert!(listed[1].definition.is_ok());
}

#[test]
fn a_rename_moves_everything_and_never_onto_another() {
    let fixture = fixture();
    let web = fixture.add("web");
    fixture.add("db");

    assert!(matches!(fixture.library.rename("web", "db"), Err(LibraryError::Exists(_))));
    fixture.library.rename("web", "shop").unwrap();

    let shop = fixture.library.load("shop").unwrap().definition;
    assert_eq!((shop.uuid, shop.name.as_str()), (web.uuid, "shop"));
    assert!(matches!(fixture.library.load("web"), Err(LibraryError::NotFound(_))));
}

#[test]
fn bad_names_are_refused_everywhere() {
    let fixture = fixture();
    fixture.add("web");
    for name in ["", "a/b", "..", ".hidden", "two\nlines", "bell\u{7}", "-x", " x", &"x".repeat(300)] {
        assert!(matches!(fixture.library.create(&Definition::new(name)), Err(LibraryError::Invalid(_))), "{name:?}");
        assert!(matches!(fixture.library.rename("web", name), Err(LibraryError::Invalid(_))), "{name:?}");
        assert!(matches!(fixture.library.load(name), Err(LibraryError::NotFound(_))), "{name:?}");
        assert!(matches!(fixture.library.delete(name, true), Err(LibraryError::NotFound(_))), "{name:?}");
    }
    assert_eq!(fixture.library.names().unwrap(), ["web"]);
}

#[test]
fn a_running_guest_is_neither_renamed_nor_deleted() {
    let fixture = fixture();
    fixture.add("web");
    let running = RunLock::acquire(&fixture.library.paths().run_lock("web")).unwrap().unwrap();

    assert!(matches!(fixture.library.rename("web", "shop"), Err(LibraryError::Running(_))));
    assert!(matches!(fixture.library.delete("web", false), Err(LibraryError::Running(_))));
    drop(running);
    fixture.library.delete("web", false).unwrap();
    assert!(fixture.library.names().unwrap().is_empty());
}

#[test]
fn deleting_with_disks_keeps_what_others_use_and_what_was_only_read() {
    let fixture = fixture();
    let (own, shared, medium) = (fixture.image("own.raw"), fixture.image("shared.raw"), fixture.image("medium.iso"));
    let link = fixture.folder.path().join("link.raw");
    fs::hard_link(&shared, &link).unwrap();
    fixture.add_with_disk("other", DiskDefinition::new(&link, DiskFormat::Raw));
    let mut definition = Definition::new("web");
    for disk in [
        DiskDefinition::new(&own, DiskFormat::Raw),
        DiskDefinition::new(&shared, DiskFormat::Raw),
        DiskDefinition::cdrom(&medium),
    ] {
        definition.add_disk(disk);
    }
    fixture.library.create(&definition).unwrap();
    let preview = fixture.library.preview_delete("web").unwrap();

    let deleted = fixture.library.delete("web", true).unwrap();

    assert_eq!((&deleted.removed, &deleted.kept), (&preview.removed, &preview.kept));
    assert_eq!(deleted.removed, std::slice::from_ref(&own));
    assert!(!own.exists() && shared.exists() && medium.exists());
    assert_eq!(deleted.kept[0], (shared, "\"other\" uses it".to_owned()));
}

#[test]
fn a_disk_that_an_unreadable_guest_may_use_is_kept() {
    let fixture = fixture();
    let image = fixture.image("disk.raw");
    fixture.add_with_disk("web", DiskDefinition::new(&image, DiskFormat::Raw));
    fixture.write("broken", "version = 99");

    let deleted = fixture.library.delete("web", true).unwrap();

    assert!(deleted.removed.is_empty() && image.exists());
}

#[test]
fn what_a_crash_left_half_done_is_neither_listed_nor_kept() {
    let fixture = fixture();
    fixture.add("web");
    let left = fixture.library.paths().guests().join(".new-1234");
    fs::create_dir(&left).unwrap();

    assert_eq!(fixture.library.names().unwrap(), ["web"]);
    fixture.add("db");

    assert!(!left.exists());
}

#[test]
fn the_uuid_of_a_running_guest_cannot_be_changed() {
    let fixture = fixture();
    fixture.add("web");
    let _running = RunLock::acquire(&fixture.library.paths().run_lock("web")).unwrap().unwrap();
    let mut stored = fixture.library.load("web").unwrap();
    stored.definition.uuid = Uuid::new_v4();

    let error = fixture.library.save(&stored.definition, &stored.revision).unwrap_err();

    assert!(error.to_string().contains("uuid"), "{error}");
}

fn with_card(name: &str, card: NetworkDefinition) -> Definition {
    let mut definition = Definition::new(name);
    definition.add_network(card);
    definition
}

#[test]
fn an_address_of_another_guests_card_is_refused_and_its_owner_named() {
    let Fixture { library, folder: _folder } = fixture();
    let card = NetworkDefinition { mac: Some("52:54:00:00:00:01".into()), ..NetworkDefinition::bridge("br0") };
    library.create(&with_card("web", card.clone())).unwrap();
    library.create(&Definition::new("db")).unwrap();

    let error = library.create(&with_card("shop", card.clone())).unwrap_err().to_string();
    let stored = library.load("db").unwrap();
    let edited = Definition { networks: vec![card], ..stored.definition };
    let saved = library.save(&edited, &stored.revision);

    assert!(error.contains("network[0].mac") && error.contains("\"web\" has this address. "), "{error}");
    assert!(matches!(saved, Err(LibraryError::Invalid(_))), "{saved:?}");
    assert_eq!(library.names().unwrap(), ["db", "web"]);
}

#[test]
fn only_running_guests_of_one_network_have_a_conflict() {
    let Fixture { library, folder: _folder } = fixture();
    let card =
        |bridge: &str| NetworkDefinition { mac: Some("52:54:00:00:00:01".into()), ..NetworkDefinition::bridge(bridge) };
    library.create(&with_card("web", card("br0"))).unwrap();
    let conflict = |card| library.address_conflict(&with_card("copy", card)).unwrap().map(|problem| problem.field);

    let off = conflict(card("br0"));
    let _running = library.keep_off("web").unwrap();

    assert_eq!(off, None);
    assert_eq!(conflict(card("br0")).as_deref(), Some("network[0].mac"));
    assert_eq!(conflict(card("br1")), None);
    assert!(conflict(NetworkDefinition { mac: card("").mac, ..NetworkDefinition::tap("tap0") }).is_some());
}
