//! The wizard's second page: the ISO image, the disk image, or the kernel with what belongs to it.

use std::path::PathBuf;

use adw::prelude::*;

use super::{
    draft::{Draft, Edit, Method},
    notes::Field,
    pages::{OnEdit, Shown, page_of},
};
use crate::ui::{
    i18n::gettext,
    widgets::{
        dropped,
        field::{self, DISK_SUFFIXES, Filter, NoteLine},
    },
};

/// The page. It shows the group of the chosen method.
pub struct MediaPage {
    /// All of it.
    pub root: adw::PreferencesPage,
    iso: FileGroup,
    image: FileGroup,
    kernel: FileGroup,
    initrd: (adw::EntryRow, NoteLine),
    command_line: (adw::EntryRow, NoteLine),
}

/// A group that begins with a file.
struct FileGroup {
    group: adw::PreferencesGroup,
    row: adw::EntryRow,
    note: NoteLine,
}

impl FileGroup {
    fn new(
        [title, description, field]: [&str; 3],
        filter: Filter<'_>,
        on_edit: &OnEdit,
        edit: fn(PathBuf) -> Edit,
    ) -> Self {
        let group = adw::PreferencesGroup::builder().title(title).description(description).build();
        let on_edit = on_edit.clone();
        let row = field::path_row(field, filter, move |path| on_edit(edit(path)));
        group.add(&row);
        let note = NoteLine::below(&row, &group);
        Self { group, row, note }
    }
}

impl MediaPage {
    /// The page; what is entered goes to `on_edit`.
    pub fn new(on_edit: &OnEdit) -> Self {
        let iso = FileGroup::new(
            [
                &gettext("Which ISO Image?"),
                &gettext("The guest sees it as a CD-ROM and starts from it."),
                &gettext("ISO image"),
            ],
            (&gettext("ISO Images"), &["iso", "img"]),
            on_edit,
            Edit::Iso,
        );
        let image = FileGroup::new(
            [
                &gettext("Which Disk Image?"),
                &gettext("The guest uses the file where it is and writes to it. It is not copied."),
                &gettext("Disk image"),
            ],
            (&gettext("Disk Images"), DISK_SUFFIXES),
            on_edit,
            Edit::Image,
        );
        let kernel = FileGroup::new(
            [
                &gettext("Which Kernel?"),
                &gettext("The guest starts with these files each time, whatever is on its disks."),
                &gettext("Linux kernel"),
            ],
            (&gettext("Linux Kernels"), &["bzImage", "vmlinux", "elf"]),
            on_edit,
            Edit::Kernel,
        );
        let initrd = field::path_row(
            &gettext("Initial RAM disk (optional)"),
            (&gettext("Initial RAM Disks"), &["img", "gz", "xz", "zst", "cpio"]),
            {
                let on_edit = on_edit.clone();
                move |path| on_edit(Edit::InitialRamDisk(path))
            },
        );
        kernel.group.add(&initrd);
        let initrd_note = NoteLine::below(&initrd, &kernel.group);
        let line = adw::EntryRow::builder().title(gettext("Command line")).activates_default(true).build();
        kernel.group.add(&line);
        let line_note = NoteLine::below(&line, &kernel.group);
        line.connect_changed({
            let on_edit = on_edit.clone();
            move |row| on_edit(Edit::CommandLine(row.text().into()))
        });
        let root = page_of(&[&iso.group, &image.group, &kernel.group]);
        dropped::accept_for(&root, &[&iso.row, &image.row, &kernel.row]);
        Self { root, iso, image, kernel, initrd: (initrd, initrd_note), command_line: (line, line_note) }
    }

    /// Fills its fields with what is suggested.
    pub fn fill(&self, draft: &Draft) {
        self.command_line.0.set_text(&draft.command_line);
    }

    /// Shows the file that was chosen elsewhere.
    pub fn show_chosen(&self, draft: &Draft) {
        let row = match draft.method {
            Method::Iso => &self.iso.row,
            Method::DiskImage => &self.image.row,
            Method::Kernel | Method::TestCard => return,
        };
        if let Some(chosen) = draft.media() {
            row.set_text(&chosen.path.to_string_lossy());
        }
    }

    /// Brings it up to date.
    pub fn show(&self, shown: &Shown<'_>) {
        for (group, method) in
            [(&self.iso, Method::Iso), (&self.image, Method::DiskImage), (&self.kernel, Method::Kernel)]
        {
            let wanted = shown.draft.method == method;
            group.group.set_visible(wanted);
            if wanted {
                group.note.show(shown.note(Field::Media), shown.tried);
            }
        }
        self.initrd.1.show(shown.note(Field::InitialRamDisk), shown.tried);
        self.command_line.1.show(shown.note(Field::CommandLine), shown.tried);
    }

    /// Where a person begins to enter, or where something is wrong.
    pub fn focus(&self, field: Option<Field>) -> &gtk::Widget {
        match field {
            Some(Field::InitialRamDisk) => self.initrd.0.upcast_ref(),
            Some(Field::CommandLine) => self.command_line.0.upcast_ref(),
            _ => {
                let groups = [&self.image, &self.kernel];
                groups.into_iter().find(|group| group.group.is_visible()).unwrap_or(&self.iso).row.upcast_ref()
            }
        }
    }
}
