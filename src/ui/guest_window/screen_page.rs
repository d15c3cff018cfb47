//! The console's page: the guest's screen, or what to do while there is none.

use std::{path::PathBuf, rc::Rc};

use adw::prelude::*;
use gtk::accessible::Property;

use super::full_screen_bar::FullScreenBar;
use crate::ui::{
    actions::Action,
    backend::{GuestState, GuestView},
    console::{Console, Scaling},
    i18n::{gettext, gettext_f},
    wording,
};

/// The page.
pub struct ScreenPage {
    widget: gtk::Overlay,
    console: Console,
    scrolled: gtk::ScrolledWindow,
    placeholder: adw::StatusPage,
    run: gtk::Button,
    notice: gtk::Label,
    bar: Rc<FullScreenBar>,
    connected: bool,
}

impl ScreenPage {
    /// A page without a guest. `changed` is called when the console has or has not the keyboard.
    pub fn new(changed: impl Fn(bool) + 'static) -> Self {
        let console = Console::new();
        console.update_property(&[Property::Label(&gettext("Screen of the guest"))]);
        let scrolled = gtk::ScrolledWindow::builder().child(&console).css_classes(["screen"]).build();
        let run = gtk::Button::builder()
            .label(Action::MachineRun.entry().label)
            .use_underline(true)
            .action_name(Action::MachineRun.detailed_name())
            .halign(gtk::Align::Center)
            .css_classes(["pill", "suggested-action"])
            .build();
        let placeholder = adw::StatusPage::builder().child(&run).css_classes(["screen-placeholder"]).build();
        let notice = gtk::Label::builder()
            .css_classes(["osd", "screen-notice"])
            .halign(gtk::Align::Center)
            .valign(gtk::Align::Start)
            .wrap(true)
            .lines(4)
            .ellipsize(gtk::pango::EllipsizeMode::End)
            .margin_top(12)
            .can_target(false)
            .visible(false)
            .build();
        let widget = gtk::Overlay::builder().child(&scrolled).build();
        [placeholder.upcast_ref::<gtk::Widget>(), notice.upcast_ref()]
            .into_iter()
            .for_each(|above| widget.add_overlay(above));
        let bar = FullScreenBar::new(&widget);
        let cover = placeholder.clone();
        console.connect_changed(move |console| {
            cover.set_visible(!console.has_picture());
            changed(console.is_captured());
        });
        Self { widget, console, scrolled, placeholder, run, notice, bar, connected: false }
    }

    /// The page's widget.
    pub fn widget(&self) -> &gtk::Overlay {
        &self.widget
    }

    /// Has the guest get a window's keys before the window does, while it has the keyboard.
    pub fn take_keys_of(&self, window: &impl IsA<gtk::Widget>) {
        self.console.take_keys_of(window);
    }

    /// Which of the layouts of the desktop's keyboard is in use, as far as it is known.
    pub fn layout(&self) -> u32 {
        self.console.layout()
    }

    /// Gives the console the keyboard.
    pub fn focus(&self) {
        if self.console.has_focus() {
            self.console.capture();
        } else {
            self.console.grab_focus();
        }
    }

    /// Takes the keyboard from the guest.
    pub fn let_go(&self) {
        self.console.let_go();
    }

    /// Sets whether the picture fills the window.
    pub fn set_scaled(&self, scaled: bool) {
        self.console.set_scaling(if scaled { Scaling::Fit } else { Scaling::Original });
    }

    /// Keeps the person's keys and pointer here, or no longer; returns which.
    pub fn toggle_view_only(&self, guest: &GuestView) -> bool {
        let view_only = !self.console.is_view_only();
        self.console.set_view_only(view_only);
        self.show_notice(guest);
        view_only
    }

    /// Sets whether the guest's screen is to have the size of the console.
    pub fn set_resizes_guest(&self, resizes: bool) {
        self.console.set_resizes_guest(resizes);
    }

    /// The page fills the display, or no longer.
    pub fn set_full_screen(&self, full: bool) {
        self.bar.set_full_screen(full);
    }

    /// Opens the window's menu while the page fills the display.
    pub fn open_menu(&self) {
        self.bar.open_menu();
    }

    /// Shows the guest in another state; its screen is behind the socket at `socket` while it runs.
    pub fn show(&mut self, guest: &GuestView, socket: Option<PathBuf>) {
        let active = guest.state.is_active();
        match socket.filter(|_| active) {
            Some(socket) if !self.connected => {
                self.console.connect_to(socket);
                self.connected = true;
            }
            None if self.connected => {
                self.console.disconnect_from_guest();
                self.connected = false;
            }
            _ => {}
        }
        self.bar.set_name(&guest.name);
        self.scrolled.set_visible(active);
        self.run.set_visible(!active && guest.definition.is_ok());
        self.placeholder.set_visible(!self.console.has_picture());
        self.placeholder.set_icon_name(Some(wording::guest_icon(guest)));
        self.placeholder.set_title(&gtk::glib::markup_escape_text(&wording::state(&guest.state)));
        let reason = guest.state.reason().filter(|_| !active).map(wording::sentence).unwrap_or_default();
        self.placeholder.set_description(Some(&gtk::glib::markup_escape_text(&reason)));
        self.show_notice(guest);
    }

    /// What must be known of a guest whose picture stands still, or that is only looked at.
    fn show_notice(&self, guest: &GuestView) {
        let text = match &guest.state {
            GuestState::Paused { reason: None } => Some(gettext("Paused")),
            GuestState::Paused { reason: Some(reason) } => Some(gettext_f("Paused: {reason}.", &[("reason", reason)])),
            GuestState::NotResponding => Some(gettext("The guest's process does not answer")),
            GuestState::InternalError { reason } => Some(gettext_f(
                "The guest ran into an internal error and stands still: {reason}. Reset it, or force it off.",
                &[("reason", reason)],
            )),
            state if self.console.is_view_only() && state.is_active() => {
                Some(gettext("View only: keys and the pointer do not reach the guest"))
            }
            _ => None,
        };
        self.notice.set_visible(text.is_some());
        self.notice.set_label(text.as_deref().unwrap_or_default());
    }
}
