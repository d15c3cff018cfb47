//! The bar of a guest's screen that fills the display: whose screen it is, how the keyboard is let go, the window's menu, and the way
//! back. It is there for a moment at first, and slides in when the pointer comes to the display's top edge.

use std::{cell::Cell, rc::Rc, time::Duration};

use gtk::{accessible::Property, glib, pango, prelude::*};

use super::{machine_actions, release_keys};
use crate::ui::{
    actions::Action,
    i18n::{gettext, gettext_f},
};

/// How near to the edge the pointer has to come, in logical pixels.
const EDGE: f64 = 2.0;
/// How long the bar is there at first.
const GREETING: Duration = Duration::from_secs(3);

/// The bar.
pub struct FullScreenBar {
    revealer: gtk::Revealer,
    name: gtk::Label,
    keys: gtk::Label,
    menu: gtk::MenuButton,
    /// Whether the pointer is at the edge, or over the bar.
    near: Cell<bool>,
    /// Whether the screen has filled the display just now.
    greets: Cell<bool>,
    /// Whether the menu is to open as soon as there is a place for it.
    opens_menu: Cell<bool>,
}

impl FullScreenBar {
    /// A hidden one over `screen`.
    pub fn new(screen: &gtk::Overlay) -> Rc<Self> {
        let label = |class| gtk::Label::builder().css_classes([class]).ellipsize(pango::EllipsizeMode::End).build();
        let (name, keys) = (label("heading"), label("caption"));
        let menu = gtk::MenuButton::builder()
            .icon_name("open-menu-symbolic")
            .tooltip_text(Action::MachineMenu.tooltip())
            .menu_model(&machine_actions::menu())
            .build();
        menu.update_property(&[Property::Label(&Action::MachineMenu.title())]);
        let leave = gtk::Button::builder()
            .icon_name("view-restore-symbolic")
            .tooltip_text(gettext("Leave Full Screen"))
            .action_name(Action::FullScreen.detailed_name())
            .build();
        leave.update_property(&[Property::Label(&gettext("Leave Full Screen"))]);
        let buttons = gtk::Box::builder().spacing(6).build();
        buttons.append(&menu);
        buttons.append(&leave);
        let bar = gtk::CenterBox::builder().css_classes(["osd", "full-screen-bar"]).build();
        bar.set_start_widget(Some(&name));
        bar.set_center_widget(Some(&keys));
        bar.set_end_widget(Some(&buttons));
        let revealer = gtk::Revealer::builder()
            .child(&bar)
            .transition_type(gtk::RevealerTransitionType::SlideDown)
            .valign(gtk::Align::Start)
            .visible(false)
            .build();
        screen.add_overlay(&revealer);
        let bar = Rc::new(Self {
            revealer,
            name,
            keys,
            menu,
            near: Cell::default(),
            greets: Cell::default(),
            opens_menu: Cell::default(),
        });
        let revealed = Rc::downgrade(&bar);
        bar.revealer.connect_child_revealed_notify(move |_| revealed.upgrade().iter().for_each(|bar| bar.has_slid()));
        let opened = Rc::downgrade(&bar);
        if let Some(popover) = bar.menu.popover() {
            popover.connect_visible_notify(move |_| opened.upgrade().iter().for_each(|bar| bar.slide()));
        }
        let motion = gtk::EventControllerMotion::new();
        motion.set_propagation_phase(gtk::PropagationPhase::Capture);
        let (moved, left) = (Rc::downgrade(&bar), Rc::downgrade(&bar));
        motion.connect_motion(move |_, _, y| moved.upgrade().iter().for_each(|bar| bar.pointer_at(y)));
        motion.connect_leave(move |_| left.upgrade().iter().for_each(|bar| bar.pointer_at(f64::INFINITY)));
        screen.add_controller(motion);
        bar
    }

    fn pointer_at(&self, y: f64) {
        let over = self.revealer.reveals_child() && y < f64::from(self.revealer.height());
        self.near.set(y < EDGE || over);
        self.slide();
    }

    /// Whose screen it is.
    pub fn set_name(&self, name: &str) {
        self.name.set_label(name);
    }

    /// The screen fills the display, or no longer.
    pub fn set_full_screen(self: &Rc<Self>, full: bool) {
        self.keys.set_label(&gettext_f("{keys} lets the keyboard go", &[("keys", &release_keys())]));
        self.revealer.set_visible(full);
        self.greets.set(full);
        self.slide();
        if full {
            let bar = Rc::downgrade(self);
            glib::timeout_add_local_once(GREETING, move || {
                if let Some(bar) = bar.upgrade() {
                    bar.greets.set(false);
                    bar.slide();
                }
            });
        }
    }

    /// Opens the window's menu.
    pub fn open_menu(&self) {
        self.opens_menu.set(true);
        self.slide();
        self.has_slid();
    }

    fn has_slid(&self) {
        if self.revealer.is_child_revealed() && self.opens_menu.get() {
            self.menu.popup();
            self.opens_menu.set(false);
        }
    }

    fn slide(&self) {
        let menu_is_open = self.menu.popover().is_some_and(|popover| popover.is_visible());
        self.revealer.set_reveal_child(self.near.get() || self.greets.get() || self.opens_menu.get() || menu_is_open);
    }
}
