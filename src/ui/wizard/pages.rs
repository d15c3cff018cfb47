//! The wizard's pages. They hold widgets only: what is entered goes to the wizard as [`Edit`]s, and what there is to show
//! comes back with [`Pages::show`].

use std::{cell::Cell, rc::Rc};

use adw::prelude::*;
use lodge::manager::{
    definition::DiskFormat,
    size::{GIB, MIB},
};

use super::{
    draft::{Draft, Edit, Method, Step, Storage},
    media::MediaPage,
    notes::{Field, Note},
    resources::ResourcesPage,
    summary::SummaryPage,
};
use crate::ui::{
    backend::Surroundings,
    i18n::{gettext, gettext_f},
    widgets::{
        dropped,
        field::{self, DISK_SUFFIXES, NoteLine, Weight},
        names::name_list,
    },
    wording,
};

/// Where the pages send what is entered.
pub type OnEdit = Rc<dyn Fn(Edit)>;

/// What the pages show.
pub struct Shown<'a> {
    /// What was entered.
    pub draft: &'a Draft,
    /// What it is judged by.
    pub around: &'a Surroundings,
    /// What is to be said about it.
    pub notes: &'a [Note],
    /// Whether the person has tried to go on.
    pub tried: bool,
}

impl Shown<'_> {
    /// The note about `field`.
    pub fn note(&self, field: Field) -> Option<(Weight, &str)> {
        let note = self.notes.iter().find(|note| note.field == field)?;
        Some((note.weight, note.text.as_str()))
    }
}

/// All pages, made once: what was entered stays in them.
pub struct Pages {
    method: MethodPage,
    media: MediaPage,
    resources: ResourcesPage,
    storage: StoragePage,
    summary: SummaryPage,
    /// Whether the fields change because the wizard fills them and not because a person does.
    filling: Rc<Cell<bool>>,
}

impl Pages {
    /// Makes them and adds them to `stack`. `on_edit` is called with what a person enters.
    pub fn new(stack: &gtk::Stack, on_edit: impl Fn(Edit) + 'static) -> Self {
        let filling = Rc::new(Cell::new(false));
        let on_edit: OnEdit = Rc::new({
            let filling = filling.clone();
            move |edit| {
                if !filling.get() {
                    on_edit(edit);
                }
            }
        });
        let pages = Self {
            method: MethodPage::new(&on_edit),
            media: MediaPage::new(&on_edit),
            resources: ResourcesPage::new(&on_edit, &filling),
            storage: StoragePage::new(&on_edit),
            summary: SummaryPage::new(&on_edit),
            filling,
        };
        for step in [Step::Method, Step::Media, Step::Resources, Step::Storage, Step::Summary] {
            stack.add_child(pages.root(step));
        }
        pages
    }

    /// The page of a step.
    pub fn root(&self, step: Step) -> &adw::PreferencesPage {
        match step {
            Step::Method => &self.method.root,
            Step::Media => &self.media.root,
            Step::Resources => &self.resources.root,
            Step::Storage => &self.storage.root,
            Step::Summary => &self.summary.root,
        }
    }

    /// Fills a page's fields with what the wizard suggests. It is not done while a person enters something: what the
    /// wizard knows is always a little behind what is being typed.
    pub fn fill(&self, step: Step, draft: &Draft) {
        self.filling.set(true);
        match step {
            Step::Method => self.method.fill(draft),
            Step::Media => self.media.fill(draft),
            Step::Resources => self.resources.fill(draft),
            Step::Storage => self.storage.fill(draft),
            Step::Summary => self.summary.fill(draft),
        }
        self.filling.set(false);
    }

    /// Shows the file that was chosen elsewhere.
    pub fn show_chosen(&self, draft: &Draft) {
        self.filling.set(true);
        self.media.show_chosen(draft);
        self.filling.set(false);
    }

    /// Brings what a page says about its fields up to date.
    pub fn show(&self, step: Step, shown: &Shown<'_>) {
        match step {
            Step::Method => {}
            Step::Media => self.media.show(shown),
            Step::Resources => {
                // Fields that nobody has touched follow the others.
                self.filling.set(true);
                self.resources.show(shown);
                self.filling.set(false);
            }
            Step::Storage => self.storage.show(shown),
            Step::Summary => self.summary.show(shown),
        }
    }

    /// Puts the keyboard where a person begins to enter, or where something is wrong.
    pub fn focus(&self, step: Step, field: Option<Field>) {
        let widget: &gtk::Widget = match (step, field) {
            (Step::Method, _) => self.method.checks[0].upcast_ref(),
            (Step::Media, field) => self.media.focus(field),
            (Step::Resources, field) => self.resources.focus(field),
            (Step::Storage, Some(Field::Disk)) => self.storage.disk.upcast_ref(),
            (Step::Storage, Some(Field::DiskSize)) => self.storage.size.upcast_ref(),
            (Step::Storage, _) => self.storage.checks[0].upcast_ref(),
            (Step::Summary, _) => self.summary.name.upcast_ref(),
        };
        widget.grab_focus();
    }
}

struct MethodPage {
    root: adw::PreferencesPage,
    checks: [gtk::CheckButton; Method::ALL.len()],
}

impl MethodPage {
    fn new(on_edit: &OnEdit) -> Self {
        let group = adw::PreferencesGroup::builder().title(gettext("How Do You Want to Begin?")).build();
        let mut leader: Option<gtk::CheckButton> = None;
        let checks = Method::ALL.map(|method| {
            let (title, subtitle, icon) = words_about_method(method);
            let (row, check) = field::radio_row(&title, &subtitle, icon, leader.as_ref());
            leader.get_or_insert_with(|| check.clone());
            let on_edit = on_edit.clone();
            check.connect_toggled(move |check| {
                if check.is_active() {
                    on_edit(Edit::Method(method));
                }
            });
            group.add(&row);
            check
        });
        Self { root: page_of(&[&group]), checks }
    }

    fn fill(&self, draft: &Draft) {
        for (check, method) in self.checks.iter().zip(Method::ALL) {
            check.set_active(method == draft.method);
        }
    }
}

/// Title, explanation and icon of a method.
pub fn words_about_method(method: Method) -> (String, String, &'static str) {
    match method {
        Method::Iso => (
            gettext("Install from an ISO image"),
            gettext("An installer or a live system that you have downloaded"),
            "media-optical-symbolic",
        ),
        Method::DiskImage => (
            gettext("Import a disk image"),
            gettext("A raw or qcow2 image with a system on it"),
            "drive-harddisk-symbolic",
        ),
        Method::Kernel => (
            gettext("Boot a Linux kernel"),
            gettext("A kernel file, with an initial RAM disk and a command line"),
            "system-run-symbolic",
        ),
        Method::TestCard => (
            gettext("Test card"),
            gettext("A built-in guest that draws, counts and echoes keys; nothing to download"),
            "lodge-card-symbolic",
        ),
    }
}

struct StoragePage {
    root: adw::PreferencesPage,
    new_group: adw::PreferencesGroup,
    disk_group: adw::PreferencesGroup,
    checks: [gtk::CheckButton; 3],
    size: gtk::SpinButton,
    format: adw::ComboRow,
    disk: adw::EntryRow,
    size_note: NoteLine,
    disk_note: NoteLine,
}

/// The storage page's choices and the formats of its list, in their order.
const STORAGES: [Storage; 3] = [Storage::New, Storage::Existing, Storage::None];
const FORMATS: [DiskFormat; 2] = [DiskFormat::Qcow2, DiskFormat::Raw];

impl StoragePage {
    fn new(on_edit: &OnEdit) -> Self {
        let group = adw::PreferencesGroup::builder().title(gettext("Which Disk?")).build();
        let mut leader: Option<gtk::CheckButton> = None;
        let checks = STORAGES.map(|storage| {
            let (title, subtitle, icon) = match storage {
                Storage::New => (gettext("Create a disk"), gettext("A new, empty one"), "list-add-symbolic"),
                Storage::Existing => (
                    gettext("Choose a disk image"),
                    gettext("A raw or qcow2 image that is there already"),
                    "drive-harddisk-symbolic",
                ),
                Storage::None => (gettext("No disk"), gettext("For live systems"), "media-optical-symbolic"),
            };
            let (row, check) = field::radio_row(&title, &subtitle, icon, leader.as_ref());
            leader.get_or_insert_with(|| check.clone());
            let on_edit = on_edit.clone();
            check.connect_toggled(move |check| {
                if check.is_active() {
                    on_edit(Edit::Storage(storage));
                }
            });
            group.add(&row);
            check
        });

        let new_group = adw::PreferencesGroup::new();
        let adjustment = gtk::Adjustment::new(20.0, 0.0, 1e6, 1.0, 10.0, 0.0);
        let (size_row, size) = field::number_row(&gettext("Size"), Some(&gettext("GiB")), &adjustment, 1);
        new_group.add(&size_row);
        let formats = gtk::StringList::new(&["qcow2", "raw"]);
        let format = adw::ComboRow::builder()
            .title(gettext("Format"))
            .subtitle(gettext("qcow2 can hold snapshots, raw is the fastest"))
            .model(&formats)
            .build();
        new_group.add(&format);
        name_list(&size_row, &gettext("New Disk"));
        let size_note = NoteLine::below(&size, &new_group);
        size.connect_value_changed({
            let on_edit = on_edit.clone();
            move |spin| on_edit(Edit::DiskSize((spin.value() * GIB as f64 / MIB as f64).round() as u64 * MIB))
        });
        format.connect_selected_notify({
            let on_edit = on_edit.clone();
            move |row| {
                if let Some(format) = FORMATS.get(row.selected() as usize) {
                    on_edit(Edit::DiskFormat(*format));
                }
            }
        });

        let disk_group = adw::PreferencesGroup::new();
        let images = gettext("Disk Images");
        let disk = field::path_row(&gettext("Disk image"), (&images, DISK_SUFFIXES), {
            let on_edit = on_edit.clone();
            move |path| on_edit(Edit::Disk(path))
        });
        disk_group.add(&disk);
        name_list(&disk, &gettext("Existing Disk"));
        let disk_note = NoteLine::below(&disk, &disk_group);
        let root = page_of(&[&group, &new_group, &disk_group]);
        dropped::accept_for(&disk_group, &[&disk]);
        Self { root, new_group, disk_group, checks, size, format, disk, size_note, disk_note }
    }

    fn fill(&self, draft: &Draft) {
        for (check, storage) in self.checks.iter().zip(STORAGES) {
            check.set_active(storage == draft.storage);
        }
        self.size.set_value(draft.disk_size as f64 / GIB as f64);
        let selected = FORMATS.iter().position(|format| *format == draft.disk_format).unwrap_or_default();
        self.format.set_selected(selected as u32);
    }

    fn show(&self, shown: &Shown<'_>) {
        let draft = shown.draft;
        self.new_group.set_visible(draft.storage == Storage::New);
        self.disk_group.set_visible(draft.storage == Storage::Existing);
        let pool = shown.around.pool.display().to_string();
        let text = match shown.around.space {
            Some(space) => {
                let free = wording::bytes(space.free);
                gettext_f("{free} are free in {pool}.", &[("free", &free), ("pool", &pool)])
            }
            None => gettext_f("The disk is made in {pool}.", &[("pool", &pool)]),
        };
        self.new_group.set_description(Some(&text));
        self.size_note.show(shown.note(Field::DiskSize), shown.tried);
        self.disk_note.show(shown.note(Field::Disk), shown.tried);
    }
}

/// A page with these groups.
pub fn page_of(groups: &[&adw::PreferencesGroup]) -> adw::PreferencesPage {
    let page = adw::PreferencesPage::new();
    groups.iter().for_each(|group| page.add(*group));
    page
}
