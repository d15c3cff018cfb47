//! Hardware that is added or taken out, and disks that grow or get another image: asked for, done at once on tokio, and complained about when it fails.

use std::{cell::RefCell, rc::Rc};

use adw::prelude::*;
use lodge::manager::{
    definition::{DiskBus, DiskDefinition, DiskFormat},
    editing::Source,
    size::{GIB, MIB},
};

use crate::ui::{
    backend::{Backend, PoolChoice, Removal},
    dialogs,
    i18n::{gettext, gettext_f},
    judgement::{Inspected, judge_disk},
    operations::{Place, on_tokio},
    widgets::{
        dropped,
        field::{self, DISK_SUFFIXES, NoteLine, Weight},
        names::name_list,
    },
    wording,
};

/// What a new disk is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its image.
    pub source: Source,
    /// How it is attached.
    pub bus: DiskBus,
}

/// What was entered for a new disk.
struct Entered {
    existing: bool,
    pool: usize,
    size: u64,
    format: DiskFormat,
    path: std::path::PathBuf,
    /// What the file is, as soon as it was looked at.
    inspected: Option<Result<Inspected, String>>,
    bus: DiskBus,
}

const FORMATS: [DiskFormat; 2] = [DiskFormat::Qcow2, DiskFormat::Raw];
const BUSES: [DiskBus; 2] = [DiskBus::Virtio, DiskBus::Ide];

impl Entered {
    /// What is to be said of the image, if anything.
    fn note(&self, pools: &[PoolChoice]) -> Option<(Weight, String)> {
        if self.existing {
            return Some(match &self.inspected {
                _ if self.path.as_os_str().is_empty() => (Weight::Missing, gettext("Choose a file, or drop one here.")),
                None => (Weight::Waiting, gettext("Looking at the file…")),
                Some(Err(reason)) => (Weight::Wrong, reason.clone()),
                Some(Ok(inspected)) => judge_disk(inspected),
            });
        }
        if self.size < MIB {
            return Some((Weight::Wrong, gettext("A disk needs some room. Choose at least 1 MiB.")));
        }
        let free = pools.get(self.pool).and_then(|pool| pool.free).filter(|free| self.size > *free)?;
        let text = gettext_f(
            "Only {free} are free. The disk takes room as the guest writes: it can fill the file system.",
            &[("free", &wording::bytes(free))],
        );
        Some((Weight::Warning, text))
    }

    fn wanted(&self, pools: &[PoolChoice]) -> Option<Wanted> {
        let source = match self.existing {
            true => Source::File(self.path.clone()),
            false => {
                let pool = pools.get(self.pool)?;
                let format = if pool.only_raw { DiskFormat::Raw } else { self.format };
                Source::Volume { pool: pool.name.clone(), size: self.size, format }
            }
        };
        Some(Wanted { source, bus: self.bus })
    }
}

/// Asks for a new disk.
pub async fn ask_disk(backend: &Backend, place: &Place) -> Option<Wanted> {
    let looking = backend.clone();
    let pools = match on_tokio(async move { looking.pools().await }).await {
        Ok(pools) => pools,
        Err(error) => {
            dialogs::error(&place.window, &gettext("The Pools Cannot Be Looked At"), &error.to_string());
            return None;
        }
    };
    let dialog = dialogs::question(
        &place.window,
        &gettext("Add a Disk"),
        "",
        &gettext("_Add"),
        adw::ResponseAppearance::Suggested,
    );
    ask(backend, &dialog, &pools, false).await
}

/// Asks for another image of the disk `id`: the disk that it makes, which has its format.
pub async fn ask_image(backend: &Backend, place: &Place, id: &str) -> Option<DiskDefinition> {
    let dialog = dialogs::question(
        &place.window,
        &gettext_f("Another Image for “{disk}”", &[("disk", id)]),
        &gettext("The image that it has now is kept, and no longer used from the guest’s next start."),
        &gettext("_Choose"),
        adw::ResponseAppearance::Suggested,
    );
    let Source::File(path) = ask(backend, &dialog, &[], true).await?.source else { return None };
    let backend = backend.clone();
    let disk = on_tokio(async move { backend.disk_of(path).await }).await;
    let failed = |error: &anyhow::Error| {
        let heading = gettext_f("“{disk}” Keeps Its Image", &[("disk", id)]);
        dialogs::error(&place.window, &heading, &error.to_string());
    };
    disk.inspect_err(failed).ok()
}

/// Asks in `dialog` for a new disk, or for its image if that is there already for certain.
async fn ask(backend: &Backend, dialog: &adw::MessageDialog, pools: &[PoolChoice], existing: bool) -> Option<Wanted> {
    dialog.set_default_response(Some(dialogs::ACCEPT));
    let entered = Rc::new(RefCell::new(Entered {
        existing,
        pool: 0,
        size: 20 * GIB,
        format: DiskFormat::Qcow2,
        path: std::path::PathBuf::new(),
        inspected: None,
        bus: DiskBus::default(),
    }));
    let fields = Rc::new(DiskFields::new(pools));
    [&fields.kinds, &fields.attachment].iter().for_each(|group| group.set_visible(!existing));
    dialog.set_extra_child(Some(&fields.toasts));
    fields.connect(backend, &entered, pools, dialog);
    fields.show(&entered.borrow(), pools, dialog);
    let accepted = dialogs::choose(dialog).await;
    let wanted = entered.borrow().wanted(pools);
    wanted.filter(|_| accepted)
}

/// The widgets of the dialog for a new disk.
struct DiskFields {
    toasts: adw::ToastOverlay,
    kinds: adw::PreferencesGroup,
    checks: [gtk::CheckButton; 2],
    new: adw::PreferencesGroup,
    pool: adw::ComboRow,
    size: gtk::SpinButton,
    format: adw::ComboRow,
    file: adw::PreferencesGroup,
    path: adw::EntryRow,
    attachment: adw::PreferencesGroup,
    bus: adw::ComboRow,
    notes: [NoteLine; 2],
}

/// Takes over what is in a field.
type Change = dyn Fn(&DiskFields, &mut Entered);

impl DiskFields {
    fn new(pools: &[PoolChoice]) -> Self {
        let root = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(18).width_request(420).build();
        let kinds = adw::PreferencesGroup::new();
        let (new_row, new_check) =
            field::radio_row(&gettext("Create a disk"), &gettext("A new, empty one"), "list-add-symbolic", None);
        let (file_row, file_check) = field::radio_row(
            &gettext("Choose a disk image"),
            &gettext("A raw or qcow2 image that is there already"),
            "drive-harddisk-symbolic",
            Some(&new_check),
        );
        new_check.set_active(true);
        kinds.add(&new_row);
        kinds.add(&file_row);
        name_list(&new_row, &gettext("Add a Disk"));
        let combo = |title: String, words: &[&str]| {
            adw::ComboRow::builder().title(title).model(&gtk::StringList::new(words)).build()
        };
        let new = adw::PreferencesGroup::new();
        let names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let pool = combo(gettext("Pool"), &names);
        new.add(&pool);
        name_list(&pool, &gettext("New Disk"));
        let adjustment = gtk::Adjustment::new(20.0, 0.0, 1e6, 1.0, 10.0, 0.0);
        let (size_row, size) = field::number_row(&gettext("Size"), Some(&gettext("GiB")), &adjustment, 1);
        new.add(&size_row);
        let size_note = NoteLine::below(&size, &new);
        let format = combo(gettext("Format"), &FORMATS.map(DiskFormat::name));
        new.add(&format);
        let file = adw::PreferencesGroup::new();
        let path = adw::EntryRow::builder().title(gettext("Disk image")).build();
        file.add(&path);
        name_list(&path, &gettext("Existing Disk"));
        let path_note = NoteLine::below(&path, &file);
        let attachment = adw::PreferencesGroup::new();
        let bus = combo(gettext("Bus"), &["virtio", "IDE"]);
        bus.set_subtitle(&gettext("IDE is slower, for systems without a driver for virtio"));
        attachment.add(&bus);
        name_list(&bus, &gettext("Attachment"));
        [&kinds, &new, &file, &attachment].into_iter().for_each(|group| root.append(group));
        dropped::accept_for(&file, &[&path]);
        let checks = [new_check, file_check];
        let toasts = adw::ToastOverlay::new();
        toasts.set_child(Some(&root));
        Self {
            toasts,
            kinds,
            checks,
            new,
            pool,
            size,
            format,
            file,
            path,
            attachment,
            bus,
            notes: [size_note, path_note],
        }
    }

    fn connect(
        self: &Rc<Self>,
        backend: &Backend,
        entered: &Rc<RefCell<Entered>>,
        pools: &[PoolChoice],
        dialog: &adw::MessageDialog,
    ) {
        let refresh: Rc<dyn Fn()> = Rc::new({
            let (fields, entered, pools, dialog) =
                (Rc::downgrade(self), entered.clone(), pools.to_vec(), dialog.downgrade());
            move || {
                if let Some((fields, dialog)) = fields.upgrade().zip(dialog.upgrade()) {
                    fields.show(&entered.borrow(), &pools, &dialog);
                }
            }
        });
        let on = |change: Box<Change>| {
            let (fields, entered, refresh) = (Rc::downgrade(self), entered.clone(), refresh.clone());
            move || {
                if let Some(fields) = fields.upgrade() {
                    change(&fields, &mut entered.borrow_mut());
                    refresh();
                }
            }
        };
        let changed = on(Box::new(|fields, entered| entered.existing = fields.checks[1].is_active()));
        self.checks[1].connect_toggled(move |_| changed());
        let changed = on(Box::new(|fields, entered| entered.pool = fields.pool.selected() as usize));
        self.pool.connect_selected_notify(move |_| changed());
        let changed = on(Box::new(|fields, entered| entered.size = bytes(&fields.size)));
        self.size.connect_value_changed(move |_| changed());
        let changed = on(Box::new(|fields, entered| {
            entered.format = FORMATS.get(fields.format.selected() as usize).copied().unwrap_or_default();
        }));
        self.format.connect_selected_notify(move |_| changed());
        let changed = on(Box::new(|fields, entered| {
            entered.bus = BUSES.get(fields.bus.selected() as usize).copied().unwrap_or_default();
        }));
        self.bus.connect_selected_notify(move |_| changed());
        let (backend, entered) = (backend.clone(), entered.clone());
        field::take_path(&self.path, (&gettext("Disk Images"), DISK_SUFFIXES), move |path| {
            path.clone_into(&mut entered.borrow_mut().path);
            entered.borrow_mut().inspected = None;
            refresh();
            let (backend, entered, refresh) = (backend.clone(), entered.clone(), refresh.clone());
            relm4::spawn_local(async move {
                let looked = path.clone();
                let inspected = Inspected::of(on_tokio(async move { backend.inspect(looked).await }).await);
                if entered.borrow().path == path {
                    entered.borrow_mut().inspected = Some(inspected);
                    refresh();
                }
            });
        });
    }

    fn show(&self, entered: &Entered, pools: &[PoolChoice], dialog: &adw::MessageDialog) {
        self.new.set_visible(!entered.existing);
        self.file.set_visible(entered.existing);
        let pool = pools.get(entered.pool);
        self.format.set_visible(pool.is_none_or(|pool| !pool.only_raw));
        if let Some(pool) = pool {
            let free = pool.free.map(|free| gettext_f("{free} are free", &[("free", &wording::bytes(free))]));
            self.pool.set_subtitle(&free.unwrap_or_default());
        }
        let note = entered.note(pools);
        let shown = note.as_ref().map(|(weight, text)| (*weight, text.as_str()));
        self.notes[usize::from(entered.existing)].show(shown, false);
        dialog.set_response_enabled(dialogs::ACCEPT, note.is_none_or(|(weight, _)| !weight.stops()));
    }
}

fn bytes(size: &gtk::SpinButton) -> u64 {
    (size.value() * GIB as f64 / MIB as f64).round() as u64 * MIB
}

/// Asks whether to take the hardware out. `None` when it stays, else whether its image goes with it.
pub async fn ask_removal(place: &Place, title: &str, image: Option<&Removal>) -> Option<bool> {
    let dialog = dialogs::question(
        &place.window,
        &gettext_f("Remove “{hardware}”?", &[("hardware", title)]),
        &gettext("The guest does not have it any more from its next start."),
        &gettext("_Remove"),
        adw::ResponseAppearance::Destructive,
    );
    dialog.set_default_response(Some(dialogs::CANCEL));
    let check = gtk::CheckButton::with_mnemonic(&gettext("_Delete its image too"));
    if let Some(image) = image {
        let list = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(6).build();
        let path = image.path.display().to_string();
        match &image.kept {
            None => {
                list.append(&check);
                list.append(&dialogs::path_label(&path));
            }
            Some(reason) => {
                let text = gettext_f("{path} is kept: {reason}", &[("path", &path), ("reason", reason)]);
                list.append(&dialogs::path_label(&text));
            }
        }
        dialog.set_extra_child(Some(&list));
    }
    dialogs::choose(&dialog).await.then(|| check.is_active())
}

/// Asks how large the disk is to be and makes it so; `done` is called when it is.
pub fn grow(backend: &Backend, place: &Place, disk: &DiskDefinition, done: impl Fn() + 'static) {
    let (backend, place, disk) = (backend.clone(), place.clone(), disk.clone());
    relm4::spawn_local(async move {
        let failed = |error: anyhow::Error| {
            let heading = gettext_f("“{disk}” Could Not Be Grown", &[("disk", &disk.id)]);
            dialogs::error(&place.window, &heading, &error.to_string());
        };
        let (looking, path, format) = (backend.clone(), disk.path.clone(), disk.format);
        let size = match on_tokio(async move { looking.image(path, format).await }).await {
            Ok(image) => image.size,
            Err(error) => return failed(error),
        };
        let Some(wanted) = dialogs::ask_size(&place.window, &disk.id, size).await else { return };
        let (path, format) = (disk.path.clone(), disk.format);
        match on_tokio(async move { backend.grow(path, format, wanted).await }).await {
            Ok(()) => {
                place.toast(&gettext("The disk has grown. Its partitions are as large as before"));
                done();
            }
            Err(error) => failed(error),
        }
    });
}
