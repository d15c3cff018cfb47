//! Makes a guest.

use adw::prelude::*;
use relm4::prelude::*;

use crate::ui::backend::{Backend, GuestId};

pub struct Wizard {}
pub struct WizardInit {
    pub backend: Backend,
    pub parent: gtk::Window,
}
#[derive(Debug)]
pub enum WizardOutput {
    Closed,
    Created { id: GuestId, started: bool },
}
#[relm4::component(pub)]
impl SimpleComponent for Wizard {
    type Init = WizardInit;
    type Input = ();
    type Output = WizardOutput;
    view! { adw::Window { set_title: Some("x"), connect_close_request[sender] => move |_| { let _ = sender.output(WizardOutput::Closed); gtk::glib::Propagation::Proceed } } }
    fn init(init: WizardInit, root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let model = Self {};
        let widgets = view_output!();
        root.set_transient_for(Some(&init.parent));
        root.present();
        ComponentParts { model, widgets }
    }
}
