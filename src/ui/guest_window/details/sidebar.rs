//! The list of what the guest consists of.

use std::{cell::RefCell, rc::Rc};

use gtk::{accessible::Property, pango, prelude::*};

use super::item::{Item, Label};
use crate::ui::i18n::gettext;

/// The list.
pub struct Sidebar {
    list: gtk::ListBox,
    shown: Rc<RefCell<Vec<(Item, Label)>>>,
}

impl Sidebar {
    /// An empty list; `chosen` is called with what a person chooses, `opened` when one is pressed.
    pub fn new(chosen: impl Fn(Item) + 'static, opened: impl Fn() + 'static) -> Self {
        let list = gtk::ListBox::builder().css_classes(["navigation-sidebar"]).build();
        list.update_property(&[Property::Label(&gettext("Hardware"))]);
        let shown: Rc<RefCell<Vec<(Item, Label)>>> = Rc::default();
        let items = shown.clone();
        list.connect_row_selected(move |_, row| {
            let index = row.and_then(|row| usize::try_from(row.index()).ok());
            // Not while the list is filled.
            let Ok(items) = items.try_borrow() else { return };
            let item = index.and_then(|index| items.get(index)).map(|(item, _)| item.clone());
            drop(items);
            if let Some(item) = item {
                chosen(item);
            }
        });
        list.connect_row_activated(move |_, _| opened());
        Self { list, shown }
    }

    /// The widget.
    pub fn list(&self) -> &gtk::ListBox {
        &self.list
    }

    /// Shows these entries, of which one is chosen.
    pub fn show(&self, entries: Vec<(Item, Label)>, chosen: &Item) {
        let mut shown = self.shown.borrow_mut();
        let same = shown.len() == entries.len() && shown.iter().zip(&entries).all(|(old, new)| old.0 == new.0);
        let place = entries.iter().position(|(item, _)| item == chosen).unwrap_or_default() as i32;
        if same {
            for (index, (old, new)) in shown.iter().zip(&entries).enumerate() {
                if let Some(row) = self.list.row_at_index(index as i32).filter(|_| old.1 != new.1) {
                    fill(&row, &new.1);
                }
            }
        } else {
            let had_focus = self.list.focus_child().is_some();
            while let Some(row) = self.list.row_at_index(0) {
                self.list.remove(&row);
            }
            for (_, label) in &entries {
                let row = gtk::ListBoxRow::new();
                fill(&row, label);
                self.list.append(&row);
            }
            if had_focus && let Some(row) = self.list.row_at_index(place) {
                row.grab_focus();
            }
        }
        *shown = entries;
        self.list.select_row(self.list.row_at_index(place).as_ref());
    }

    /// Gives the chosen entry the keyboard.
    pub fn focus(&self) {
        match self.list.selected_row() {
            Some(row) => row.grab_focus(),
            None => self.list.grab_focus(),
        };
    }
}

fn fill(row: &gtk::ListBoxRow, label: &Label) {
    let line = |text: &str, classes: &[&str]| {
        gtk::Label::builder()
            .label(text)
            .xalign(0.0)
            .ellipsize(pango::EllipsizeMode::End)
            .css_classes(classes.iter().copied().map(str::to_owned).collect::<Vec<_>>())
            .build()
    };
    let texts = gtk::Box::builder()
        .orientation(gtk::Orientation::Vertical)
        .hexpand(true)
        // Beside the middle of the icon, where there is one line only.
        .valign(gtk::Align::Center)
        .build();
    let lines = [line(&label.title, &[]), line(&label.subtitle, &["caption", "dim-label"])];
    lines[1].set_visible(!label.subtitle.is_empty());
    lines.iter().for_each(|line| texts.append(line));
    let image = gtk::Image::builder().icon_name(label.icon).build();
    image.set_accessible_role(gtk::AccessibleRole::Presentation);
    let content = gtk::Box::builder().spacing(12).margin_top(6).margin_bottom(6).build();
    content.append(&image);
    content.append(&texts);
    row.set_child(Some(&content));
    let words = match label.subtitle.is_empty() {
        true => label.title.clone(),
        false => format!("{}, {}", label.title, label.subtitle),
    };
    // Only where something cannot be read: a tooltip lies over the next entry.
    content.set_has_tooltip(true);
    let (told, lines) = (words.clone(), lines.map(|line| line.downgrade()));
    content.connect_query_tooltip(move |_, _, _, _, tooltip| {
        tooltip.set_text(Some(&told));
        lines.iter().filter_map(|line| line.upgrade()).any(|line| line.layout().is_ellipsized())
    });
    row.update_property(&[Property::Label(&words)]);
}
