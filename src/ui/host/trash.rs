//! The page of deleted guests, which can be brought back for a while.

use std::{cell::RefCell, rc::Rc};

use adw::prelude::*;
use gtk::{accessible::Property, gdk};
use lodge::manager::library::Trashed;

use crate::ui::{
    actions,
    backend::Backend,
    dialogs,
    i18n::{gettext, gettext_f, ngettext_f},
    operations::{Place, on_tokio},
    readings::Readings,
    widgets::{
        menu::{RowRequest, action_button, menu_button},
        names::name_list,
        text_button::TextButton,
    },
    wording,
};

const EMPTY: &str = "empty";
const LIST: &str = "list";

/// What a person can ask for a deleted guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// Bring it back.
    Restore,
    /// Remove it for good.
    Remove,
}

impl RowRequest for Request {
    fn name(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Remove => "remove",
        }
    }

    fn label(self) -> String {
        match self {
            Self::Restore => gettext("_Bring Back"),
            Self::Remove => gettext("_Remove for Good…"),
        }
    }
}

/// The page. Clones are the same one.
#[derive(Clone)]
pub struct TrashPage(Rc<Inner>);

struct Inner {
    backend: Backend,
    place: Place,
    stack: gtk::Stack,
    group: adw::PreferencesGroup,
    rows: RefCell<Vec<adw::ActionRow>>,
    shown: RefCell<Vec<Trashed>>,
    /// An answer that is late is not shown.
    readings: Readings,
}

impl TrashPage {
    /// The page; it is empty until [`TrashPage::reload`].
    pub fn new(backend: &Backend, place: &Place) -> Self {
        let empty = gtk::Button::builder().valign(gtk::Align::Center).build();
        empty.set_button_text(&gettext("_Remove All…"));
        let group = adw::PreferencesGroup::builder()
            .title(gettext("Deleted Guests"))
            .description(gettext("They are kept for a week, with their deleted disks."))
            .header_suffix(&empty)
            .build();
        let page = adw::PreferencesPage::new();
        page.add(&group);
        let nothing = adw::StatusPage::builder()
            .icon_name("user-trash-symbolic")
            .title(gettext("No Deleted Guests"))
            .description(gettext("Guests that you delete are here for a week, and can be brought back."))
            .build();
        let stack = gtk::Stack::builder().vhomogeneous(false).build();
        stack.add_named(&nothing, Some(EMPTY));
        stack.add_named(&page, Some(LIST));
        let inner = Inner {
            backend: backend.clone(),
            place: place.clone(),
            stack,
            group,
            rows: RefCell::default(),
            shown: RefCell::default(),
            readings: Readings::default(),
        };
        let page = Self(Rc::new(inner));
        let weak = Rc::downgrade(&page.0);
        empty.connect_clicked(move |_| {
            if let Some(inner) = weak.upgrade() {
                Self(inner).remove(None);
            }
        });
        page
    }

    /// The page's widget.
    pub fn widget(&self) -> &gtk::Stack {
        &self.0.stack
    }

    /// Looks at the deleted guests again.
    pub fn reload(&self) {
        let reading = self.0.readings.begin();
        let (weak, backend) = (Rc::downgrade(&self.0), self.0.backend.clone());
        relm4::spawn_local(async move {
            let read = on_tokio(async move { backend.trash().await }).await;
            let page = weak.upgrade().map(Self).filter(|_| reading.is_newest());
            if let (Some(page), Ok(trash)) = (page, read) {
                page.show(trash);
            }
        });
    }

    fn show(&self, trash: Vec<Trashed>) {
        let inner = &self.0;
        inner.stack.set_visible_child_name(if trash.is_empty() { EMPTY } else { LIST });
        if *inner.shown.borrow() == trash {
            return;
        }
        inner.rows.borrow_mut().drain(..).for_each(|row| inner.group.remove(&row));
        for guest in &trash {
            let row = self.row(guest);
            inner.group.add(&row);
            inner.rows.borrow_mut().push(row);
        }
        if let Some(row) = inner.rows.borrow().first() {
            name_list(row, &gettext("Deleted Guests"));
        }
        inner.shown.replace(trash);
    }

    fn row(&self, guest: &Trashed) -> adw::ActionRow {
        let subtitle = about(guest, wording::now());
        let row = adw::ActionRow::builder()
            .use_markup(false)
            .title(&guest.name)
            .subtitle(&subtitle)
            .title_lines(1)
            .tooltip_text(&guest.name)
            .focusable(true)
            .build();
        row.update_property(&[Property::Label(&format!("{}, {subtitle}", guest.name))]);
        let (weak, guest) = (Rc::downgrade(&self.0), guest.clone());
        let name = guest.name.clone();
        let asked = move |request| {
            let Some(page) = weak.upgrade().map(Self) else { return };
            match request {
                Request::Restore => page.restore(&guest),
                Request::Remove => page.remove(Some(&guest)),
            }
        };
        let menu = menu_button(&row, &name, &[Request::Restore, Request::Remove], &asked);
        let label = gettext_f("Bring back {name}", &[("name", &name)]);
        row.add_suffix(&action_button("edit-undo-symbolic", &gettext("Bring Back"), &label, "row.restore"));
        row.add_suffix(&menu);
        actions::add_key(&row, gdk::Key::Delete, move || asked(Request::Remove));
        row
    }

    fn restore(&self, guest: &Trashed) {
        let (page, guest) = (self.clone(), guest.clone());
        relm4::spawn_local(async move {
            let (place, backend, id) = (&page.0.place, page.0.backend.clone(), guest.id);
            let names = [("name", guest.name.as_str())];
            match on_tokio(async move { backend.restore(id).await }).await {
                Ok(_) => place.toast(&gettext_f("“{name}” is back", &names)),
                Err(error) => place.complain(&gettext_f("“{name}” Could Not Be Brought Back", &names), &error),
            }
            page.reload();
        });
    }

    /// Removes a guest, or all, after a question.
    fn remove(&self, only: Option<&Trashed>) {
        let heading = match only {
            Some(guest) => gettext_f("Remove “{name}” for Good?", &[("name", &guest.name)]),
            None => gettext("Remove All Deleted Guests for Good?"),
        };
        let (page, only) = (self.clone(), only.map(|guest| guest.id));
        relm4::spawn_local(async move {
            let (place, backend) = (&page.0.place, page.0.backend.clone());
            let message = match only {
                Some(_) => gettext("It cannot be brought back then, and the disks that were deleted with it are gone."),
                None => {
                    gettext("They cannot be brought back then, and the disks that were deleted with them are gone.")
                }
            };
            if !dialogs::confirm(&place.window, &heading, &message, &gettext("_Remove")).await {
                return;
            }
            if let Err(error) = on_tokio(async move { backend.empty_trash(only).await }).await {
                place.complain(&gettext("The Deleted Guests Could Not Be Removed"), &error);
            }
            page.reload();
        });
    }
}

/// When it was deleted, and what went with it.
fn about(guest: &Trashed, now: u64) -> String {
    // Translators: when a guest was deleted, today or on another day, as strftime has it.
    let when = wording::moment_as(
        guest.deleted,
        now,
        &gettext("Deleted today, %H:%M"),
        &gettext("Deleted on %-d %B %Y, %H:%M"),
    );
    if guest.disks.is_empty() {
        return format!("{when} · {}", gettext("without disks"));
    }
    let count = u32::try_from(guest.disks.len()).unwrap_or(u32::MAX);
    let size = wording::bytes(guest.allocated);
    let disks = ngettext_f("with {n} disk, {size}", "with {n} disks, {size}", count, &[("size", &size)]);
    format!("{when} · {disks}")
}

#[cfg(test)]
mod tests {
    use gtk::glib;

    use super::*;

    #[test]
    fn a_deleted_guest_says_what_went_with_it() {
        let guest = Trashed {
            id: uuid::Uuid::nil(),
            name: "web".to_owned(),
            uuid: None,
            deleted: 0,
            disks: vec!["/d/web.qcow2".into()],
            allocated: 3 << 30,
        };

        let noon = glib::DateTime::from_local(2026, 11, 21, 12, 0, 0.0).unwrap().to_unix() as u64;
        let today = Trashed { deleted: noon, ..guest.clone() };
        assert_eq!(about(&today, noon + 60), "Deleted today, 12:00 · with 1 disk, 3\u{a0}GiB");
        assert!(about(&today, noon + 24 * 3600).starts_with("Deleted on 21 November 2026, 12:00 · "));
        assert!(about(&Trashed { disks: Vec::new(), ..guest }, 1 << 32).ends_with("· without disks"));
    }
}
