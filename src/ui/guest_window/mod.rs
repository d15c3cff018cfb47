//! A guest's own window.

use adw::prelude::*;
use relm4::prelude::*;

use crate::ui::{
    backend::{Backend, GuestId, GuestView},
    wording,
};

/// The window of one guest.
pub struct GuestWindow {
    guest: GuestView,
}

/// What a guest's window starts with.
pub struct GuestWindowInit {
    /// The manager.
    pub backend: Backend,
    /// The guest.
    pub guest: GuestView,
}

/// What a guest's window is told.
#[derive(Debug)]
pub enum GuestWindowMsg {
    /// Come to the front.
    Present,
    /// The guest's name, definition or state has changed.
    Changed(Box<GuestView>),
    /// The guest has a new point in its history.
    Sampled,
    /// The guest was deleted.
    Removed,
}

/// What a guest's window tells.
#[derive(Debug)]
pub enum GuestWindowOutput {
    /// It was closed.
    Closed(GuestId),
}

#[relm4::component(pub)]
impl Component for GuestWindow {
    type Init = GuestWindowInit;
    type Input = GuestWindowMsg;
    type Output = GuestWindowOutput;
    type CommandOutput = ();

    view! {
        adw::Window {
            set_default_size: (800, 600),
            #[watch]
            set_title: Some(&model.guest.name),
            connect_close_request[sender, id = model.guest.id.clone()] => move |_| {
                let _ = sender.output(GuestWindowOutput::Closed(id.clone()));
                gtk::glib::Propagation::Proceed
            },

            gtk::Box {
                set_orientation: gtk::Orientation::Vertical,
                adw::HeaderBar {},
                adw::StatusPage {
                    set_vexpand: true,
                    set_icon_name: Some("lodge-guest-symbolic"),
                    #[watch]
                    set_title: &wording::status(&model.guest),
                },
            },
        }
    }

    fn init(init: GuestWindowInit, root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let GuestWindowInit { backend: _, guest } = init;
        let model = Self { guest };
        let widgets = view_output!();
        root.present();
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: GuestWindowMsg, _sender: ComponentSender<Self>, root: &Self::Root) {
        match message {
            GuestWindowMsg::Present => root.present(),
            GuestWindowMsg::Changed(guest) => self.guest = *guest,
            GuestWindowMsg::Removed => root.close(),
            GuestWindowMsg::Sampled => {}
        }
    }
}
