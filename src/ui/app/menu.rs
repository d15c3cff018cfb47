//! The application's and the main window's actions, and the main menu.

use gtk::{gio, glib, prelude::*};
use relm4::prelude::*;

use super::{App, AppMsg};
use crate::ui::{
    actions::{self, Action, Scope},
    i18n::gettext,
    settings::Style,
};

/// Adds all actions to the application and the main window. Returns the one that shows whether a search is on.
pub fn add_actions(window: &adw::ApplicationWindow, style: Style, sender: &ComponentSender<App>) -> gio::SimpleAction {
    let application = relm4::main_application();
    for action in Action::ALL {
        let input = sender.input_sender().clone();
        let activate = move || input.emit(AppMsg::Action(action));
        match action.entry().scope {
            Scope::Application if !action.has_state() => drop(action.add_to(&application, activate)),
            Scope::MainWindow if !action.has_state() => drop(action.add_to(window, activate)),
            _ => {}
        }
    }
    let search = gio::SimpleAction::new_stateful(Action::Search.entry().name, None, &false.to_variant());
    let input = sender.input_sender().clone();
    search.connect_activate(move |_, _| input.emit(AppMsg::Action(Action::Search)));
    window.add_action(&search);

    let choose_style = gio::SimpleAction::new_stateful(
        Action::Style.entry().name,
        Some(glib::VariantTy::STRING),
        &style.name().to_variant(),
    );
    let input = sender.input_sender().clone();
    choose_style.connect_activate(move |action, parameter| {
        if let Some(style) = parameter.and_then(|name| Style::from_name(name.str()?)) {
            action.set_state(&style.name().to_variant());
            input.emit(AppMsg::Style(style));
        }
    });
    application.add_action(&choose_style);
    let new_guest = gio::SimpleAction::new(NEW_GUEST, None);
    let input = sender.input_sender().clone();
    new_guest.connect_activate(move |_, _| input.emit(AppMsg::Action(Action::NewGuest)));
    application.add_action(&new_guest);
    actions::install_accelerators(&application);
    search
}

/// The application's action for a new guest, which the desktop's menu asks for.
const NEW_GUEST: &str = "new-guest";

/// Has the application that runs already make a new guest, if there is one.
pub fn asked_elsewhere(application: &adw::Application) -> Result<bool, glib::Error> {
    application.register(gio::Cancellable::NONE)?;
    let is_elsewhere = application.is_remote();
    if is_elsewhere {
        application.activate_action(NEW_GUEST, None);
        // Which only brings the other one to the front.
        application.run_with_args::<&str>(&[]);
    }
    Ok(is_elsewhere)
}

/// The main menu.
pub fn main_menu() -> gio::Menu {
    let section = |items: &[gio::MenuItem]| {
        let section = gio::Menu::new();
        items.iter().for_each(|item| section.append_item(item));
        section
    };
    let style = |label: String, style: Style| {
        let item = gio::MenuItem::new(Some(&label), None);
        item.set_action_and_target_value(Some(&Action::Style.detailed_name()), Some(&style.name().to_variant()));
        item
    };
    let styles = section(&[
        style(gettext("As the S_ystem"), Style::System),
        style(gettext("_Light"), Style::Light),
        style(gettext("_Dark"), Style::Dark),
    ]);
    let menu = gio::Menu::new();
    menu.append_section(None, &section(&[Action::TryTestCard.menu_item(), Action::HostCheck.menu_item()]));
    menu.append_section(
        None,
        &section(&[
            Action::HostUsage.menu_item(),
            Action::Storage.menu_item(),
            Action::Networks.menu_item(),
            Action::Trash.menu_item(),
        ]),
    );
    menu.append_section(None, &section(&[gio::MenuItem::new_submenu(Some(&Action::Style.entry().label), &styles)]));
    menu.append_section(
        None,
        &section(
            &[Action::Preferences, Action::Help, Action::Shortcuts, Action::About, Action::Quit].map(Action::menu_item),
        ),
    );
    menu
}
