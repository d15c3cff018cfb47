//! The snapshots page: the moments that the guest can go back to, as a tree.

mod lines;
mod picture;
mod questions;
mod rail;
mod row;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use adw::prelude::*;
use gtk::{accessible::Property, gdk, gio, glib};
use uuid::Uuid;

use self::{
    lines::Node,
    row::{Request, Shown},
};
use crate::ui::{
    actions::Action,
    backend::{Backend, GuestState, GuestView, Snapshot, Tree},
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
    readings::Readings,
    widgets::text_button::TextButton,
    wording,
};

const EMPTY: &str = "empty";
const FAILED: &str = "failed";
const LIST: &str = "list";
const LOADING: &str = "loading";

/// The list of snapshots, in the guest's folder.
const FILE: &str = "snapshots.toml";

/// Whether a snapshot can be taken of a guest in this state.
pub fn can_be_taken(guest: &GuestView) -> bool {
    let state = &guest.state;
    let fits =
        matches!(state, GuestState::Off | GuestState::Crashed { .. } | GuestState::Running | GuestState::Paused { .. });
    guest.definition.is_ok() && fits
}

/// The page. Clones are the same one.
#[derive(Clone)]
pub struct SnapshotsPage(Rc<Inner>);

struct Inner {
    backend: Backend,
    place: Place,
    guest: RefCell<GuestView>,
    tree: RefCell<Tree>,
    pictures: RefCell<HashMap<Uuid, gdk::Texture>>,
    /// Tells when the list of snapshots is another one.
    monitor: RefCell<Option<gio::FileMonitor>>,
    /// An answer that is late is not shown.
    readings: Readings,
    stack: gtk::Stack,
    failed: adw::StatusPage,
    list: gtk::ListBox,
    leftovers: gtk::Box,
}

impl SnapshotsPage {
    /// The page of this guest.
    pub fn new(backend: &Backend, place: &Place, guest: &GuestView) -> Self {
        let list = gtk::ListBox::builder()
            .selection_mode(gtk::SelectionMode::None)
            .css_classes(["boxed-list", "snapshots"])
            .build();
        list.update_property(&[Property::Label(&gettext("Snapshots"))]);
        list.connect_row_activated(|_, row| {
            // The row of where the guest is now has no such action.
            let _ = row.activate_action("row.edit", None);
        });
        let failed = adw::StatusPage::builder()
            .icon_name("dialog-error-symbolic")
            .title(gettext("The Snapshots Cannot Be Read"))
            .build();
        let leftovers = gtk::Box::builder().spacing(12).visible(false).margin_top(12).build();
        let stack = gtk::Stack::builder().vhomogeneous(false).build();
        stack.add_named(&gtk::Box::default(), Some(LOADING));
        stack.add_named(&empty_page(), Some(EMPTY));
        stack.add_named(&failed, Some(FAILED));
        stack.add_named(&list_page(&list, &leftovers), Some(LIST));
        let page = Self(Rc::new(Inner {
            backend: backend.clone(),
            place: place.clone(),
            guest: RefCell::new(guest.clone()),
            tree: RefCell::default(),
            pictures: RefCell::default(),
            monitor: RefCell::default(),
            readings: Readings::default(),
            stack,
            failed,
            list,
            leftovers,
        }));
        page.fill_leftovers();
        page.watch();
        page.reload();
        page
    }

    /// The page's widget.
    pub fn widget(&self) -> &gtk::Stack {
        &self.0.stack
    }

    /// The guest has another name, definition or state.
    pub fn show(&self, guest: &GuestView) {
        let old = self.0.guest.replace(guest.clone());
        if old.name != guest.name {
            self.watch();
        }
        if old != *guest {
            self.reload();
        }
    }

    /// Asks for a name, and takes a snapshot of the guest as it is.
    pub fn take(&self) {
        let page = self.clone();
        relm4::spawn_local(async move {
            let (guest, place) = (page.guest(), &page.0.place);
            let tree = page.0.tree.borrow().clone();
            let Some((new, memory)) = questions::ask_new(&place.window, &guest, &tree).await else { return };
            let names = [("name", guest.name.as_str())];
            if memory && !page.guest().state.is_active() {
                let heading = gettext_f("No Snapshot of “{name}” Could Be Taken", &names);
                return place.complain(&heading, &wording::ended_meanwhile());
            }
            let doing = gettext_f("Taking a snapshot of “{name}”…", &names);
            let (backend, name) = (page.0.backend.clone(), guest.name.clone());
            let call = |progress| async move { backend.take_snapshot(name, new, memory, progress).await };
            match place.run_long(&doing, memory, call).await {
                Some(Ok(snapshot)) => {
                    place.toast(&gettext_f("The snapshot “{name}” was taken", &[("name", &snapshot.name)]));
                }
                Some(Err(error)) => {
                    place.complain(&gettext_f("No Snapshot of “{name}” Could Be Taken", &names), &error);
                }
                None => place.toast(&gettext("No snapshot was taken")),
            }
            page.reload();
        });
    }

    fn asked(&self, request: Request, snapshot: Uuid) {
        let Some(snapshot) = self.0.tree.borrow().get(snapshot).cloned() else { return };
        let page = self.clone();
        relm4::spawn_local(async move {
            match request {
                Request::Revert => page.revert(&snapshot).await,
                Request::Edit => page.edit(&snapshot).await,
                Request::Delete => page.delete(&snapshot).await,
            }
            page.reload();
        });
    }

    async fn revert(&self, snapshot: &Snapshot) {
        let (guest, place, id) = (self.guest(), &self.0.place, snapshot.id);
        let names = [("name", snapshot.name.as_str())];
        let failed = |error| place.complain(&gettext_f("“{name}” Cannot Be Gone Back To", &names), &error);
        let (backend, name) = (self.0.backend.clone(), guest.name.clone());
        let preview = match on_tokio(async move { backend.preview_revert(name, id).await }).await {
            Ok(preview) => preview,
            Err(error) => return failed(error),
        };
        let Some(go_on) = questions::ask_revert(&place.window, &guest, snapshot, &preview).await else { return };
        let doing = gettext_f("Going back to “{name}”…", &names);
        let (backend, name) = (self.0.backend.clone(), guest.name.clone());
        match place.run_long(&doing, false, |_| async move { backend.revert(name, id, go_on).await }).await {
            Some(Err(error)) => failed(error),
            _ => place.toast(&gettext_f("The guest is as it was at “{name}”", &names)),
        }
    }

    async fn edit(&self, snapshot: &Snapshot) {
        let (place, id) = (&self.0.place, snapshot.id);
        let (tree, picture) = (self.0.tree.borrow().clone(), self.0.pictures.borrow().get(&id).cloned());
        let edit = questions::ask_words(&place.window, &tree, snapshot, picture.as_ref()).await;
        let Some(edit) = edit else { return };
        let (backend, name) = (self.0.backend.clone(), self.guest().name);
        if let Err(error) = on_tokio(async move { backend.edit_snapshot(name, id, edit).await }).await {
            let heading = gettext_f("The Snapshot “{name}” Could Not Be Changed", &[("name", &snapshot.name)]);
            place.complain(&heading, &error);
        }
    }

    async fn delete(&self, snapshot: &Snapshot) {
        let (place, id) = (&self.0.place, snapshot.id);
        let names = [("name", snapshot.name.as_str())];
        let failed = |error| place.complain(&gettext_f("The Snapshot “{name}” Could Not Be Deleted", &names), &error);
        let (backend, name) = (self.0.backend.clone(), self.guest().name);
        let preview = match on_tokio(async move { backend.preview_delete_snapshot(name, id).await }).await {
            Ok(preview) => preview,
            Err(error) => return failed(error),
        };
        if !questions::confirm_delete(&place.window, snapshot, &preview).await {
            return;
        }
        let (backend, name) = (self.0.backend.clone(), self.guest().name);
        if let Err(error) = on_tokio(async move { backend.delete_snapshot(name, id).await }).await {
            return failed(error);
        }
        self.reload();
        self.merge().await;
    }

    /// Merges the images of deleted snapshots; what cannot be merged now waits.
    async fn merge(&self) {
        let (place, guest) = (&self.0.place, self.guest());
        let names = [("name", guest.name.as_str())];
        let doing = gettext_f("Merging the disk images of “{name}”…", &names);
        let (backend, name) = (self.0.backend.clone(), guest.name.clone());
        let call = |progress| async move { backend.merge_snapshots(name, progress).await };
        // Those that are left say so on the page.
        if let Some(Err(error)) = place.run_long(&doing, true, call).await {
            place.complain(&gettext("The Disk Images Could Not Be Merged"), &error);
        }
    }

    fn guest(&self) -> GuestView {
        self.0.guest.borrow().clone()
    }

    /// Looks for changes that others make.
    fn watch(&self) {
        let file = gio::File::for_path(self.0.backend.snapshots_folder(&self.0.guest.borrow().name).join(FILE));
        let monitor = file.monitor_file(gio::FileMonitorFlags::WATCH_MOVES, gio::Cancellable::NONE);
        match monitor {
            Ok(monitor) => {
                let weak = Rc::downgrade(&self.0);
                monitor.connect_changed(move |_, _, _, _| {
                    if let Some(inner) = weak.upgrade() {
                        Self(inner).reload();
                    }
                });
                self.0.monitor.replace(Some(monitor));
            }
            Err(error) => tracing::warn!("changes of the guest's snapshots are not seen: {error}"),
        }
    }

    /// Reads the snapshots and shows them.
    fn reload(&self) {
        let reading = self.0.readings.begin();
        let weak = Rc::downgrade(&self.0);
        let (backend, name) = (self.0.backend.clone(), self.guest().name);
        relm4::spawn_local(async move {
            let read = on_tokio(async move { backend.snapshots(name).await }).await;
            let Some(page) = weak.upgrade().map(Self).filter(|_| reading.is_newest()) else { return };
            match read {
                Ok(tree) => page.show_tree(tree),
                Err(error) => {
                    page.0.failed.set_description(Some(&glib::markup_escape_text(&error.to_string())));
                    page.0.stack.set_visible_child_name(FAILED);
                }
            }
        });
    }

    fn show_tree(&self, tree: Tree) {
        self.load_pictures(&tree);
        self.0.tree.replace(tree);
        self.fill();
    }

    fn load_pictures(&self, tree: &Tree) {
        let name = self.guest().name;
        self.0.pictures.borrow_mut().retain(|id, _| tree.get(*id).is_some());
        for snapshot in &tree.snapshots {
            let known = self.0.pictures.borrow().contains_key(&snapshot.id);
            let Some(path) = self.0.backend.thumbnail(&name, snapshot).filter(|_| !known) else { continue };
            let (weak, id) = (Rc::downgrade(&self.0), snapshot.id);
            relm4::spawn_local(async move {
                let loaded = relm4::spawn_blocking(move || picture::load(&path)).await;
                if let (Some(inner), Ok(Some(texture))) = (weak.upgrade(), loaded) {
                    inner.pictures.borrow_mut().insert(id, texture);
                    Self(inner).fill();
                }
            });
        }
    }

    fn fill(&self) {
        let inner = &self.0;
        let (tree, guest, pictures) = (inner.tree.borrow(), inner.guest.borrow(), inner.pictures.borrow());
        let focused = self.focused();
        while let Some(row) = inner.list.first_child() {
            inner.list.remove(&row);
        }
        for line in lines::lay_out(&tree) {
            let id = match line.node {
                Node::Snapshot(snapshot) => snapshot.id,
                Node::Now => Uuid::nil(),
            };
            let shown = Shown { guest: &guest, picture: pictures.get(&id), now: wording::now() };
            let weak = Rc::downgrade(inner);
            let row = row::row(&line, &shown, move |request| {
                if let Some(inner) = weak.upgrade() {
                    Self(inner).asked(request, id);
                }
            });
            row.set_widget_name(&id.to_string());
            inner.list.append(&row);
            if focused.as_deref() == Some(row.widget_name().as_str()) {
                row.grab_focus();
            }
        }
        inner.leftovers.set_visible(!tree.leftovers.is_empty());
        inner.stack.set_visible_child_name(if tree.snapshots.is_empty() { EMPTY } else { LIST });
    }

    /// The name of the row that has the keyboard.
    fn focused(&self) -> Option<String> {
        let focus = self.0.list.root()?.focus()?;
        let row = focus.clone().downcast::<gtk::ListBoxRow>().ok();
        let row = row.or_else(|| focus.ancestor(gtk::ListBoxRow::static_type()).and_downcast())?;
        row.is_ancestor(&self.0.list).then(|| row.widget_name().into())
    }

    fn fill_leftovers(&self) {
        let text = gettext("Images of deleted snapshots are still there. They are merged when the guest is off.");
        let label = gtk::Label::builder().label(text).wrap(true).xalign(0.0).hexpand(true).build();
        label.set_css_classes(&["caption", "dim-label"]);
        let button = gtk::Button::builder().valign(gtk::Align::Center).build();
        button.set_button_text(&gettext("_Merge Now"));
        let weak = Rc::downgrade(&self.0);
        button.connect_clicked(move |_| {
            let Some(page) = weak.upgrade().map(Self) else { return };
            relm4::spawn_local(async move {
                page.merge().await;
                page.reload();
            });
        });
        self.0.leftovers.append(&label);
        self.0.leftovers.append(&button);
    }
}

fn take_button(classes: &[&str]) -> gtk::Button {
    let button = gtk::Button::builder()
        .action_name(Action::TakeSnapshot.detailed_name())
        .css_classes(classes)
        .halign(gtk::Align::Center)
        .valign(gtk::Align::Center)
        .build();
    button.set_button_text(&Action::TakeSnapshot.entry().label);
    button
}

fn empty_page() -> adw::StatusPage {
    adw::StatusPage::builder()
        .icon_name("document-open-recent-symbolic")
        .title(gettext("No Snapshots"))
        .description(gettext(
            "A snapshot is a moment that the guest can go back to, before an update or an experiment: its disks, and its memory if it runs.",
        ))
        .child(&take_button(&["pill", "suggested-action"]))
        .build()
}

fn list_page(list: &gtk::ListBox, leftovers: &gtk::Box) -> adw::PreferencesPage {
    let group = adw::PreferencesGroup::builder()
        .title(gettext("Snapshots"))
        .description(gettext("Moments that the guest can go back to"))
        .header_suffix(&take_button(&[]))
        .build();
    group.add(list);
    group.add(leftovers);
    let page = adw::PreferencesPage::new();
    page.add(&group);
    page
}
