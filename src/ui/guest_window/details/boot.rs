//! The page about what the guest starts from: the order of its disks, drives and network cards, and a kernel that is booted directly.

use std::{cell::RefCell, path::PathBuf, rc::Rc};

use adw::prelude::*;
use gtk::{accessible::Property, glib};
use lodge::manager::definition::{BootSource, Definition, KernelDefinition};

use super::{
    Context,
    form::{Form, Page, switch_row},
    item::Item,
};
use crate::ui::{
    i18n::{gettext, gettext_f},
    widgets::field,
};

/// The page for this definition.
pub fn page(context: &Context<'_>, definition: &Definition) -> Page {
    let mut form = Form::new(context.on_edit);
    form.applies(&gettext("Changes apply at the guest’s next start."));
    order(&mut form);
    kernel(&mut form, definition);
    form.finish()
}

/// Moves what is at `place` of the order by one, up or down.
fn shift(definition: &mut Definition, place: usize, up: bool) {
    let mut order = definition.boot_sources();
    let other = if up { place.checked_sub(1) } else { place.checked_add(1) };
    let Some(other) = other.filter(|other| *other < order.len() && place < order.len()) else { return };
    order.swap(place, other);
    arrange(definition, &order);
}

/// Has the guest start from card number `index`, too, behind everything else, or no longer.
pub fn set_card(definition: &mut Definition, index: usize, on: bool) {
    let card = BootSource::Network(index);
    let mut order = definition.boot_sources();
    order.retain(|source| *source != card);
    if on {
        order.push(card);
        arrange(definition, &order);
    } else if let Some(card) = definition.networks.get_mut(index) {
        card.boot = None;
    }
}

fn arrange(definition: &mut Definition, order: &[BootSource]) {
    for (place, source) in (1..).zip(order) {
        let boot = match *source {
            BootSource::Disk(index) => definition.disks.get_mut(index).map(|disk| &mut disk.boot),
            BootSource::Network(index) => definition.networks.get_mut(index).map(|card| &mut card.boot),
        };
        if let Some(boot) = boot {
            *boot = Some(place);
        }
    }
}

/// The entries in the order in which they are tried.
pub fn tried(definition: &Definition) -> Vec<Item> {
    let sources = definition.boot_sources().into_iter();
    let items = sources.filter_map(|source| match source {
        BootSource::Disk(index) => definition.disks.get(index).map(|disk| match disk.cdrom {
            true => Item::Drive(disk.id.clone()),
            false => Item::Disk(disk.id.clone()),
        }),
        BootSource::Network(index) => Some(Item::Card(index)),
    });
    items.collect()
}

fn order(form: &mut Form) {
    let group = form.group(&gettext("Boot Order"));
    let words = gettext(
        "The guest starts from the first one that has a system on it. Network cards are added on their own pages.",
    );
    group.set_description(Some(&words));
    let send: Rc<dyn Fn((usize, bool))> =
        form.sender(|definition: &mut Definition, (place, up)| shift(definition, place, up));
    let shown: RefCell<(Vec<Item>, Vec<adw::ActionRow>)> = RefCell::default();
    form.watch(move |now| {
        let order = tried(now.definition);
        group.set_visible(!order.is_empty());
        if shown.borrow().0 == order {
            return;
        }
        let rows = order.iter().enumerate().map(|(place, item)| {
            let label = item.label(Some(now.definition));
            let row = adw::ActionRow::builder().title(&label.title).subtitle_lines(1).build();
            row.set_subtitle(&glib::markup_escape_text(&label.subtitle));
            let icon = gtk::Image::builder().icon_name(label.icon).css_classes(["dim-label"]).build();
            icon.set_accessible_role(gtk::AccessibleRole::Presentation);
            row.add_prefix(&icon);
            for (up, possible) in [(true, place > 0), (false, place + 1 < order.len())] {
                row.add_suffix(&mover(&label.title, place, up, possible, &send));
            }
            row
        });
        let rows: Vec<_> = rows.collect();
        let old = shown.replace((order, rows));
        old.1.iter().for_each(|row| group.remove(row));
        shown.borrow().1.iter().for_each(|row| group.add(row));
    });
}

fn mover(title: &str, place: usize, up: bool, possible: bool, send: &Rc<dyn Fn((usize, bool))>) -> gtk::Button {
    let (icon, words) = match up {
        true => ("go-up-symbolic", gettext_f("Move {disk} up", &[("disk", title)])),
        false => ("go-down-symbolic", gettext_f("Move {disk} down", &[("disk", title)])),
    };
    let button = gtk::Button::builder()
        .icon_name(icon)
        .tooltip_text(&words)
        .valign(gtk::Align::Center)
        .sensitive(possible)
        .css_classes(["flat"])
        .build();
    button.update_property(&[Property::Label(&words)]);
    let send = send.clone();
    button.connect_clicked(move |_| send((place, up)));
    button
}

fn kernel(form: &mut Form, definition: &Definition) {
    let group = form.group(&gettext("Kernel"));
    group.set_description(Some(&gettext("The guest starts with these files each time, whatever is on its disks.")));
    let words = gettext("Without the boot loaders of its disks");
    let (row, switch) = switch_row(&gettext("Boot a Linux Kernel Directly"), &words, definition.kernel.is_some());
    group.add(&row);
    let none =
        KernelDefinition { path: PathBuf::new(), initrd: None, cmdline: "console=ttyS0 console=tty0".to_owned() };
    let kernel = definition.kernel.clone().unwrap_or(none);
    let path = file_row(form, "kernel.path", &gettext("Linux kernel"), &kernel.path, |kernel, path| kernel.path = path);
    let initrd = kernel.initrd.clone().unwrap_or_default();
    let initrd = file_row(form, "kernel.initrd", &gettext("Initial RAM disk (optional)"), &initrd, |kernel, path| {
        kernel.initrd = Some(path).filter(|path| !path.as_os_str().is_empty());
    });
    let line = form.entry("kernel.cmdline", &gettext("Command line"), &kernel.cmdline, |definition, text| {
        if let Some(kernel) = &mut definition.kernel {
            kernel.cmdline = text;
        }
    });
    let send = form.sender(|definition: &mut Definition, kernel| definition.kernel = kernel);
    // What was entered stays in the fields while the kernel is off.
    let fields = (path.clone(), initrd.clone(), line.clone());
    switch.connect_active_notify(move |switch| {
        let (path, initrd, line) = &fields;
        let file = |row: &adw::EntryRow| field::path_of(&row.text());
        let kernel = KernelDefinition {
            path: file(path),
            initrd: Some(file(initrd)).filter(|path| !path.as_os_str().is_empty()),
            cmdline: line.text().into(),
        };
        send(switch.is_active().then_some(kernel));
    });
    form.watch(move |shown| {
        [&path, &initrd, &line].into_iter().for_each(|row| row.set_visible(shown.definition.kernel.is_some()));
    });
}

fn file_row(
    form: &mut Form,
    name: &str,
    title: &str,
    value: &std::path::Path,
    edit: fn(&mut KernelDefinition, PathBuf),
) -> adw::EntryRow {
    let row = adw::EntryRow::builder().title(title).text(value.to_string_lossy()).build();
    form.add(&row);
    form.note(name, &row);
    let send = form.sender(move |definition: &mut Definition, path| {
        if let Some(kernel) = &mut definition.kernel {
            edit(kernel, path);
        }
    });
    field::take_path(&row, (&gettext("Linux Kernels"), &["bzImage", "vmlinux", "elf", "img", "gz"]), move |path| {
        send(path)
    });
    row
}

#[cfg(test)]
mod tests {
    use lodge::manager::definition::{DiskDefinition, DiskFormat, NetworkDefinition};

    use super::*;

    #[test]
    fn what_is_moved_up_is_tried_earlier() {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::new("/a", DiskFormat::Raw));
        guest.add_disk(DiskDefinition::new("/b", DiskFormat::Raw));
        guest.add_disk(DiskDefinition::cdrom("/c.iso"));
        let order = |guest: &Definition| -> Vec<String> {
            guest.boot_order().iter().map(|disk| disk.path.display().to_string()).collect()
        };

        shift(&mut guest, 2, true);
        let once = order(&guest);
        shift(&mut guest, 0, false);
        shift(&mut guest, 0, true);
        shift(&mut guest, 2, false);

        assert_eq!(once, ["/a", "/c.iso", "/b"]);
        assert_eq!(order(&guest), ["/c.iso", "/a", "/b"]);
        assert_eq!(guest.validate(), Ok(()));
    }

    #[test]
    fn a_card_that_is_booted_from_comes_last_and_can_be_moved() {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::new("/a", DiskFormat::Raw));
        guest.add_network(NetworkDefinition::nat());

        set_card(&mut guest, 0, true);
        let added = tried(&guest);
        shift(&mut guest, 1, true);
        let moved = tried(&guest);
        set_card(&mut guest, 0, false);

        let disk = Item::Disk("disk0".to_owned());
        assert_eq!((added, moved), (vec![disk.clone(), Item::Card(0)], vec![Item::Card(0), disk.clone()]));
        assert_eq!((tried(&guest), guest.networks[0].boot), (vec![disk], None));
    }
}
