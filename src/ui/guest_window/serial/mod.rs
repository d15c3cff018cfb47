//! The page of the guest's serial port and its virtio terminal: a terminal each, of which one is shown, a search in what it says,
//! copy and paste.

mod port;
mod search;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use gtk::{accessible::Property, gdk, gio, prelude::*};
use lodge::manager::paths::RunningPaths;
use vte::prelude::*;

use self::{port::Port, search::Search};
use crate::ui::{actions::Action, backend::GuestView, i18n::gettext, widgets::menu};

/// The ports, in the order of their buttons.
const PORTS: usize = 2;

/// The page. Clones are the same one.
#[derive(Clone)]
pub struct SerialPage(Rc<Inner>);

struct Inner {
    widget: gtk::Box,
    ports: [RefCell<Port>; PORTS],
    buttons: [gtk::ToggleButton; PORTS],
    stack: gtk::Stack,
    /// Covers the terminals until there is a guest.
    silent: adw::StatusPage,
    search: Search,
    chosen: Cell<usize>,
    sockets: RefCell<Option<RunningPaths>>,
}

impl SerialPage {
    /// A page without a guest.
    pub fn new() -> Self {
        let names = [(gettext("Serial port"), "ttyS0"), (gettext("Virtio terminal"), "hvc0")];
        let stack = gtk::Stack::builder().vexpand(true).build();
        let switcher = gtk::Box::builder().css_classes(["linked"]).build();
        let ports = names.clone().map(|(name, _)| Port::new(&name));
        let buttons = names.map(|(name, device)| {
            let button = gtk::ToggleButton::builder().label(device).tooltip_text(&name).build();
            button.update_property(&[Property::Label(&name)]);
            switcher.append(&button);
            button
        });
        let search = Search::new(ports[0].terminal());
        let find = gtk::Button::builder()
            .icon_name("system-search-symbolic")
            .tooltip_text(Action::FindInPort.tooltip())
            .action_name(Action::FindInPort.detailed_name())
            .css_classes(["flat"])
            .hexpand(true)
            .halign(gtk::Align::End)
            .build();
        find.update_property(&[Property::Label(&Action::FindInPort.title())]);
        let bar = gtk::Box::builder().css_classes(["toolbar"]).build();
        bar.append(&switcher);
        bar.append(&find);
        let widget = gtk::Box::builder().orientation(gtk::Orientation::Vertical).build();
        widget.append(&bar);
        widget.append(search.widget());
        let silent = adw::StatusPage::builder()
            .icon_name("utilities-terminal-symbolic")
            .title(gettext("The Guest Is Off"))
            .description(gettext("What its ports say is shown here while it runs."))
            .css_classes(["background"])
            .build();
        let covered = gtk::Overlay::builder().child(&stack).build();
        covered.add_overlay(&silent);
        widget.append(&covered);
        for port in &ports {
            stack.add_child(port.widget());
            add_menu(port.terminal());
        }
        let (chosen, sockets) = (Cell::new(0), RefCell::default());
        let page = Self(Rc::new(Inner {
            widget,
            ports: ports.map(RefCell::new),
            buttons,
            stack,
            silent,
            search,
            chosen,
            sockets,
        }));
        for (index, button) in page.0.buttons.iter().enumerate() {
            let weak = Rc::downgrade(&page.0);
            button.connect_clicked(move |_| {
                if let Some(page) = weak.upgrade().map(Self) {
                    page.choose(index);
                    page.focus();
                }
            });
        }
        page.choose(0);
        page
    }

    /// The page's widget.
    pub fn widget(&self) -> &gtk::Box {
        &self.0.widget
    }

    /// Gives the terminal the keyboard.
    pub fn focus(&self) {
        self.terminal().grab_focus();
    }

    /// Shows the guest's ports; they are reached in this folder while it runs.
    pub fn show(&self, guest: &GuestView, paths: Option<RunningPaths>) {
        let has_console = guest.definition.as_ref().is_ok_and(|definition| definition.devices.console);
        self.0.buttons[1].set_sensitive(has_console);
        if paths.is_none() {
            self.0.ports.iter().for_each(|port| port.borrow_mut().connect_to(None));
        }
        self.0.sockets.replace(paths);
        self.choose(if has_console { self.0.chosen.get() } else { 0 });
        self.0.silent.set_visible(!self.0.ports.iter().any(|port| port.borrow().was_linked()));
    }

    /// Searches what the port has said.
    pub fn find(&self) {
        self.0.search.open();
    }

    /// Copies what is selected.
    pub fn copy(&self) {
        self.terminal().copy_clipboard_format(vte::Format::Text);
    }

    /// Types what the clipboard holds.
    pub fn paste(&self) {
        self.terminal().paste_clipboard();
    }

    fn terminal(&self) -> vte::Terminal {
        self.0.ports[self.0.chosen.get()].borrow().terminal().clone()
    }

    /// Shows a port. It is connected when it is shown first: what was said before comes then.
    fn choose(&self, index: usize) {
        let inner = &self.0;
        inner.chosen.set(index);
        let mut port = inner.ports[index].borrow_mut();
        if let Some(paths) = &*inner.sockets.borrow() {
            port.connect_to(Some(&[paths.serial(), paths.console()][index]));
        }
        inner.stack.set_visible_child(port.widget());
        inner.search.look_in(port.terminal());
        inner.buttons.iter().enumerate().for_each(|(other, button)| button.set_active(other == index));
    }
}

/// The menu of the second button.
fn add_menu(terminal: &vte::Terminal) {
    let click = gtk::GestureClick::builder().button(gdk::BUTTON_SECONDARY).build();
    let weak = terminal.downgrade();
    click.connect_pressed(move |_, _, x, y| {
        if let Some(terminal) = weak.upgrade() {
            let model = gio::Menu::new();
            [Action::CopyFromPort, Action::PasteIntoPort, Action::FindInPort]
                .into_iter()
                .for_each(|action| model.append_item(&action.menu_item()));
            menu::popup(&terminal, &gdk::Rectangle::new(x as i32, y as i32, 1, 1), &model);
        }
    });
    terminal.add_controller(click);
}
