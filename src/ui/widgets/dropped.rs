//! Files that a person drops where one is of use.

use std::path::PathBuf;

use adw::prelude::*;
use gtk::{gdk, glib};

use crate::ui::i18n::gettext;

/// How long it is said that files were left, in seconds.
const COMPLAINT: u32 = 10;

/// A file that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is the first of several.
    pub is_one_of_several: bool,
}

impl Dropped {
    fn of(value: &glib::Value) -> Option<Self> {
        let files = value.get::<gdk::FileList>().ok()?.files();
        let path = files.iter().find_map(|file| file.path())?;
        Some(Self { path, is_one_of_several: files.len() > 1 })
    }

    /// Says there that the others were left, if there were others.
    pub fn complain(&self, toasts: &adw::ToastOverlay) {
        if self.is_one_of_several {
            let text = gettext("Only the first file was taken: drop one at a time");
            toasts.add_toast(adw::Toast::builder().title(text).timeout(COMPLAINT).build());
        }
    }
}

/// Lets files be dropped anywhere on `target`. `take` gets the first one, and says whether it is of use.
pub fn accept(target: &impl IsA<gtk::Widget>, take: impl Fn(Dropped) -> bool + 'static) {
    let drop = gtk::DropTarget::new(gdk::FileList::static_type(), gdk::DragAction::COPY);
    drop.connect_drop(move |_, value, _, _| Dropped::of(value).is_some_and(&take));
    target.add_controller(drop);
}

/// Lets files be dropped anywhere on `target`; the first one's path goes into the row that can be seen.
pub fn accept_for(target: &impl IsA<gtk::Widget>, rows: &[&adw::EntryRow]) {
    let rows: Vec<_> = rows.iter().map(|row| row.downgrade()).collect();
    accept(target, move |dropped| {
        let row = rows.iter().filter_map(glib::WeakRef::upgrade).find(|row| row.is_mapped());
        let Some(row) = row else { return false };
        row.set_text(&dropped.path.to_string_lossy());
        if let Some(toasts) = row.ancestor(adw::ToastOverlay::static_type()).and_downcast() {
            dropped.complain(&toasts);
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use gtk::gio;

    use super::*;
    use crate::ui::testing::{wait_until, with_gtk};

    /// Drops files as the desktop does.
    fn drop_on(widget: &impl IsA<gtk::Widget>, paths: &[&str]) -> bool {
        let files: Vec<_> = paths.iter().map(gio::File::for_path).collect();
        let value = glib::BoxedValue(gdk::FileList::from_array(&files).to_value());
        let controllers = widget.observe_controllers();
        let target = (0..controllers.n_items()).find_map(|n| controllers.item(n).and_downcast::<gtk::DropTarget>());
        target.expect("files can be dropped there").emit_by_name("drop", &[&value, &0.0, &0.0])
    }

    fn shows(widget: &gtk::Widget, text: &str) -> bool {
        let is_label = widget.downcast_ref::<gtk::Label>().is_some_and(|label| label.label() == text);
        is_label || std::iter::successors(widget.first_child(), |child| child.next_sibling()).any(|w| shows(&w, text))
    }

    #[test]
    fn the_first_of_several_files_is_taken_and_that_is_said() {
        with_gtk(|| {
            let row = adw::EntryRow::new();
            let group = adw::PreferencesGroup::new();
            group.add(&row);
            accept_for(&group, &[&row]);
            let toasts = adw::ToastOverlay::new();
            toasts.set_child(Some(&group));
            let window = gtk::Window::builder().child(&toasts).build();
            let hidden = drop_on(&group, &["/isos/a.iso"]);
            window.present();
            wait_until("the row can be seen", || row.is_mapped());
            let words = gettext("Only the first file was taken: drop one at a time");

            let one = (drop_on(&group, &["/isos/a.iso"]), row.text(), shows(toasts.upcast_ref(), &words));
            let two = (drop_on(&group, &["/isos/b.iso", "/isos/c.iso"]), row.text());

            assert!(!hidden, "nobody sees where it would go");
            assert_eq!(one, (true, "/isos/a.iso".into(), false));
            assert_eq!(two, (true, "/isos/b.iso".into()));
            wait_until("it is said", || shows(toasts.upcast_ref(), &words));
            window.destroy();
        });
    }
}
