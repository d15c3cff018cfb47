//! What is to be said about an entry of the wizard, beside its field. The rules are the manager's; here they are put into
//! a person's language.

use lodge::manager::{definition::HostLimits, media::MediaKind, size::MIB};

use super::draft::{Chosen, Draft, Method, Step, Storage};
use crate::ui::{
    backend::Surroundings,
    dialogs::complaint_about_name,
    i18n::{gettext, gettext_f},
    judgement::{self, Inspected, facts, judge_disk},
    widgets::field::Weight,
    wording,
};

/// Where something was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The ISO image, disk image or kernel of the media page.
    Media,
    /// The kernel's initial RAM disk.
    InitialRamDisk,
    /// The kernel's command line.
    CommandLine,
    /// The memory.
    Memory,
    /// The vCPUs.
    Vcpus,
    /// How the vCPUs are arranged.
    Topology,
    /// The new disk's size.
    DiskSize,
    /// The image of an existing disk.
    Disk,
    /// The name.
    Name,
}

/// What is said about a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which field.
    pub field: Field,
    /// How much it weighs.
    pub weight: Weight,
    /// The words.
    pub text: String,
}

impl Note {
    fn new(field: Field, weight: Weight, text: String) -> Self {
        Self { field, weight, text }
    }

    /// Whether it keeps the person from going on.
    pub fn stops(&self) -> bool {
        self.weight.stops()
    }
}

/// What is to be said about the entries of a step, at most one note a field.
pub fn notes(draft: &Draft, step: Step, around: &Surroundings) -> Vec<Note> {
    match step {
        Step::Method => Vec::new(),
        Step::Media if draft.method == Method::Kernel => kernel_notes(draft),
        Step::Media => vec![media_note(draft)],
        Step::Resources => resource_notes(draft, &around.limits),
        Step::Storage => storage_note(draft, around).into_iter().collect(),
        Step::Summary => complaint_about_name(&draft.name, "", &around.names)
            .map(|text| Note::new(Field::Name, Weight::Wrong, text))
            .into_iter()
            .collect(),
    }
}

fn media_note(draft: &Draft) -> Note {
    let note = |weight, text| Note::new(Field::Media, weight, text);
    let inspected = match looked_at(Field::Media, draft.media()) {
        Ok(inspected) => inspected,
        Err(note) => return note,
    };
    let facts = facts(inspected);
    match (draft.method, inspected.media.kind) {
        (Method::Iso, MediaKind::HybridIso | MediaKind::BootableIso) => note(Weight::Fact, facts),
        (Method::Iso, MediaKind::Iso) => note(Weight::Warning, facts),
        (Method::Iso, kind) if is_disk(kind) => {
            let mend = gettext("Go back and choose “Import a disk image”.");
            note(Weight::Wrong, format!("{facts}. {mend}"))
        }
        (Method::DiskImage, MediaKind::HybridIso | MediaKind::BootableIso | MediaKind::Iso) => {
            let mend = gettext("Go back and choose “Install from an ISO image”.");
            note(Weight::Wrong, format!("{facts}. {mend}"))
        }
        _ => disk_note(Field::Media, inspected),
    }
}

fn kernel_notes(draft: &Draft) -> Vec<Note> {
    let kernel = match looked_at(Field::Media, draft.media()) {
        Ok(inspected) if matches!(inspected.media.kind, MediaKind::LinuxKernel | MediaKind::Elf) => {
            Note::new(Field::Media, Weight::Fact, facts(inspected))
        }
        Ok(inspected) => {
            let mend = gettext("This is not a kernel. Choose a Linux kernel for x86-64 (vmlinuz or vmlinux).");
            Note::new(Field::Media, Weight::Wrong, format!("{}. {mend}", facts(inspected)))
        }
        Err(note) => note,
    };
    let mut notes = vec![kernel];
    // Many kernels need none.
    if let Some(initrd) = &draft.initrd {
        notes.push(match looked_at(Field::InitialRamDisk, Some(initrd)) {
            Ok(inspected) => Note::new(Field::InitialRamDisk, Weight::Fact, facts(inspected)),
            Err(note) => note,
        });
    }
    if let Some(problems) = draft.definition().validate().err()
        && problems.about("kernel.cmdline").is_some()
    {
        let text = gettext("The command line is too long. Write at most 2,047 bytes.");
        notes.push(Note::new(Field::CommandLine, Weight::Wrong, text));
    }
    notes
}

fn disk_note(field: Field, inspected: &Inspected) -> Note {
    let (weight, text) = judge_disk(inspected);
    Note::new(field, weight, text)
}

fn is_disk(kind: MediaKind) -> bool {
    use MediaKind::{BootableDisk, Disk, Qcow2, Vdi, Vhdx, Vmdk};
    matches!(kind, BootableDisk | Disk | Qcow2 | Vmdk | Vdi | Vhdx)
}

fn looked_at(field: Field, chosen: Option<&Chosen>) -> Result<&Inspected, Note> {
    let note = |weight, text| Err(Note::new(field, weight, text));
    match chosen.map(|chosen| &chosen.looked_at) {
        None => note(Weight::Missing, gettext("Choose a file, or drop one here.")),
        Some(None) => note(Weight::Waiting, gettext("Looking at the file…")),
        Some(Some(Err(reason))) => note(Weight::Wrong, reason.clone()),
        Some(Some(Ok(inspected))) => Ok(inspected),
    }
}

fn resource_notes(draft: &Draft, limits: &HostLimits) -> Vec<Note> {
    let definition = draft.definition();
    let review = definition.review(limits);
    let fields = [(Field::Memory, "memory"), (Field::Vcpus, "vcpus"), (Field::Topology, "cpu.topology")];
    let note = |(field, name)| {
        let (weight, text) = judgement::judge(&definition, &review, limits, name)?;
        Some(Note::new(field, weight, text))
    };
    fields.into_iter().filter_map(note).collect()
}

fn storage_note(draft: &Draft, around: &Surroundings) -> Option<Note> {
    match draft.storage {
        Storage::None => None,
        Storage::Existing => Some(match looked_at(Field::Disk, draft.disk.as_ref()) {
            Ok(inspected) => disk_note(Field::Disk, inspected),
            Err(note) => note,
        }),
        Storage::New => {
            let note = |weight, text| Some(Note::new(Field::DiskSize, weight, text));
            let free = around.space.map_or(u64::MAX, |space| space.free);
            let free_text = wording::bytes(free);
            if draft.disk_size < MIB {
                note(Weight::Wrong, gettext("A disk needs some room. Choose at least 1 MiB."))
            } else if draft.disk_size > free {
                let text = gettext_f(
                    "Only {free} are free. The disk takes room as the guest writes: it can fill the file system.",
                    &[("free", &free_text)],
                );
                note(Weight::Warning, text)
            } else {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lodge::manager::{definition::Topology, media::Media, size::GIB};

    use super::*;
    use crate::ui::wizard::{
        draft::{Edit, Look},
        testing::{around, disk, iso, qcow2},
    };

    fn said(edits: impl IntoIterator<Item = Edit>, step: Step) -> Vec<(Field, Weight)> {
        let mut draft = Draft::default();
        draft.follow(&around());
        for edit in edits {
            draft.apply(edit, &around());
        }
        notes(&draft, step, &around()).into_iter().map(|note| (note.field, note.weight)).collect()
    }

    fn said_of_media(method: Method, result: Result<Inspected, String>) -> Note {
        let mut draft = Draft::default();
        draft.apply(Edit::Method(method), &around());
        draft.apply(Edit::Iso("/f".into()), &around());
        draft.apply(Edit::Image("/f".into()), &around());
        draft.apply(Edit::Kernel("/f".into()), &around());
        draft.looked_at(&Look::Media("/f".into()), &result, &around());
        notes(&draft, Step::Media, &around()).remove(0)
    }

    #[test]
    fn without_a_file_the_media_page_stops_but_does_not_scold() {
        assert_eq!(said([], Step::Media), [(Field::Media, Weight::Missing)]);
        assert_eq!(said([Edit::Iso("/f".into())], Step::Media), [(Field::Media, Weight::Waiting)]);
    }

    #[test]
    fn a_file_of_no_use_is_wrong_with_the_managers_words() {
        let note = said_of_media(Method::Iso, Err("/f is empty. Download it again".into()));

        assert_eq!((note.weight, note.text.as_str()), (Weight::Wrong, "/f is empty. Download it again"));
    }

    #[test]
    fn only_a_kernel_is_a_kernel() {
        let mut kernel = disk();
        kernel.media.kind = MediaKind::LinuxKernel;

        assert_eq!(said_of_media(Method::Kernel, Ok(kernel)).weight, Weight::Fact);
        assert_eq!(said_of_media(Method::Kernel, Ok(disk())).weight, Weight::Wrong);
    }

    #[test]
    fn the_kind_of_a_good_file_is_shown_with_its_label() {
        let note = said_of_media(Method::Iso, Ok(iso(Some("GRUB"))));

        assert_eq!(note.weight, Weight::Fact);
        assert!(note.text.contains("ISO image") && note.text.contains("“GRUB”"), "{}", note.text);
    }

    #[test]
    fn an_iso_is_no_disk_and_a_disk_is_no_iso() {
        assert_eq!(said_of_media(Method::DiskImage, Ok(iso(None))).weight, Weight::Wrong);
        assert_eq!(said_of_media(Method::Iso, Ok(qcow2())).weight, Weight::Wrong);
        assert_eq!(said_of_media(Method::DiskImage, Ok(qcow2())).weight, Weight::Fact);
    }

    #[test]
    fn a_foreign_format_says_how_to_convert_it() {
        for (kind, mend) in [(MediaKind::Vmdk, "Import Image"), (MediaKind::Vdi, "qemu-img convert")] {
            let foreign = Inspected { media: Media { kind, ..disk().media }, users: Vec::new() };

            let note = said_of_media(Method::DiskImage, Ok(foreign));

            assert!(note.stops() && note.text.contains(mend), "{}", note.text);
        }
    }

    #[test]
    fn a_disk_that_another_guest_uses_is_warned_of() {
        let shared = Inspected { users: vec!["web".into()], ..qcow2() };

        let note = said_of_media(Method::DiskImage, Ok(shared));

        assert!(note.weight == Weight::Warning && note.text.contains("“web”"), "{note:?}");
    }

    #[test]
    fn memory_and_vcpus_are_judged_by_what_the_host_has() {
        let judge = |memory_mib, vcpus| said([Edit::Memory(memory_mib), Edit::Vcpus(vcpus)], Step::Resources);

        assert_eq!(judge(1024, 1), []);
        assert_eq!(judge(0, 0), [(Field::Memory, Weight::Wrong), (Field::Vcpus, Weight::Wrong)]);
        assert_eq!(judge(10 << 10, 6), [(Field::Memory, Weight::Warning), (Field::Vcpus, Weight::Warning)]);
        assert_eq!(judge(1 << 20, 1000), [(Field::Memory, Weight::Wrong), (Field::Vcpus, Weight::Wrong)]);
    }

    #[test]
    fn an_arrangement_of_other_vcpus_is_wrong() {
        let arrange = |sockets, vcpus| {
            let topology = Topology { sockets, cores: 2, threads: 1 };
            said([Edit::Topology(topology), Edit::Vcpus(vcpus)], Step::Resources)
        };

        assert_eq!(arrange(2, 4), []);
        assert_eq!(arrange(2, 3), [(Field::Topology, Weight::Wrong)]);
        assert_eq!(arrange(0, 4), [(Field::Topology, Weight::Wrong)]);
    }

    #[test]
    fn a_disk_larger_than_the_pool_is_warned_of() {
        assert_eq!(said([Edit::DiskSize(GIB)], Step::Storage), []);
        assert_eq!(said([Edit::DiskSize(900 * GIB)], Step::Storage), [(Field::DiskSize, Weight::Warning)]);
        assert_eq!(said([Edit::DiskSize(0)], Step::Storage), [(Field::DiskSize, Weight::Wrong)]);
        assert_eq!(said([Edit::Storage(Storage::None)], Step::Storage), []);
        assert_eq!(said([Edit::Storage(Storage::Existing)], Step::Storage), [(Field::Disk, Weight::Missing)]);
    }

    #[test]
    fn names_that_are_taken_or_impossible_are_wrong() {
        for name in ["", "testcard", "a/b", "a\nb", " a", &"x".repeat(300)] {
            assert_eq!(said([Edit::Name(name.into())], Step::Summary), [(Field::Name, Weight::Wrong)], "{name:?}");
        }
        assert_eq!(said([Edit::Name("web".into())], Step::Summary), []);
    }
}
