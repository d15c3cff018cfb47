//! The about window.

use adw::prelude::*;

use crate::ui::{actions::Action, app::APPLICATION_ID, i18n::gettext, widgets::names::name_window};

/// Shows it over `parent`.
pub fn present(parent: Option<&gtk::Window>) {
    let window = adw::AboutWindow::builder()
        .application_name("Lodge")
        .application_icon(APPLICATION_ID)
        .version(env!("CARGO_PKG_VERSION"))
        .developer_name(gettext("The Lodge developers"))
        .comments(gettext("Virtual machines with an engine of their own: no daemon, no root."))
        .license_type(gtk::License::Gpl30)
        .translator_credits(gettext("translator-credits"))
        .modal(true)
        .build();
    window.set_transient_for(parent);
    name_window(&window, &Action::About.title());
    window.present();
}
