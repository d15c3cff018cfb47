//! The window where a person prefers something.

use adw::prelude::*;
use gtk::{gdk, gio};

use super::{Preferences, ReleaseKeys, TypedText, change, get, new_guests};
use crate::ui::{
    actions::{self, Action},
    backend::Backend,
    i18n::gettext,
    settings::Style,
    widgets::field,
};

/// Something that can be on or off: its title and subtitle, and where it is.
type Choice = (String, String, fn(&mut Preferences) -> &mut bool);

/// Shows the window over `parent`. `changed` is called after each change.
pub fn present(parent: &impl IsA<gtk::Window>, backend: &Backend, changed: impl Fn() + Clone + 'static) {
    let page = adw::PreferencesPage::new();
    let appearance = appearance();
    appearance.add(&graph_seconds(changed.clone()));
    page.add(&appearance);
    page.add(&new_guests::group(backend));
    for (place, (title, choices)) in groups().into_iter().enumerate() {
        let group = adw::PreferencesGroup::builder().title(title).build();
        if place == 0 {
            group.add(&release_keys());
            group.add(&typed_text());
        }
        for choice in choices {
            group.add(&switch(choice, changed.clone()));
        }
        page.add(&group);
    }
    page.set_vexpand(true);
    let content = gtk::Box::builder().orientation(gtk::Orientation::Vertical).build();
    content.append(&adw::HeaderBar::new());
    content.append(&page);
    let window = adw::Window::builder()
        .title(gettext("Preferences"))
        .transient_for(parent)
        .modal(true)
        .default_width(560)
        .default_height(700)
        .content(&content)
        .build();
    let closed = window.downgrade();
    actions::add_key(&window, gdk::Key::Escape, move || {
        if let Some(window) = closed.upgrade() {
            window.close();
        }
    });
    window.present();
}

fn groups() -> [(String, Vec<Choice>); 3] {
    [
        (
            gettext("Guest Windows"),
            vec![
                (
                    gettext("Scale to Window"),
                    gettext("A guest’s picture fills windows that are opened from now on."),
                    |preferences| &mut preferences.scale_to_window,
                ),
                (
                    gettext("Scale in Full Screen"),
                    gettext("It fills the display, also where it does not fill its window."),
                    |preferences| &mut preferences.scale_full_screen,
                ),
                (
                    gettext("Resize Guest to Window"),
                    gettext("A guest with a virtio screen is asked for a screen of its window’s size."),
                    |preferences| &mut preferences.resize_to_window,
                ),
                (
                    gettext("Shortcuts While the Guest Has the Keyboard"),
                    gettext("Those of its window, with Ctrl+Shift, act there, and the guest does not get them."),
                    |preferences| &mut preferences.window_shortcuts,
                ),
            ],
        ),
        (
            gettext("Ask First"),
            vec![
                (gettext("Before a Guest Is Forced Off"), String::new(), |preferences| {
                    &mut preferences.confirm_force_off
                }),
                (gettext("Before a Guest Is Reset"), String::new(), |preferences| &mut preferences.confirm_reset),
            ],
        ),
        (
            gettext("While Guests Run"),
            vec![
                (
                    gettext("Notifications"),
                    gettext("Tell when a guest has failed or waits for room, unless its window is in use."),
                    |preferences| &mut preferences.notify,
                ),
                (gettext("Tell of Guests That Turn Themselves Off"), String::new(), |preferences| {
                    &mut preferences.notify_ends
                }),
                (
                    gettext("Keep the Computer Awake"),
                    gettext("As long as this application is open and a guest runs."),
                    |preferences| &mut preferences.keep_awake,
                ),
            ],
        ),
    ]
}

fn switch((title, subtitle, place): Choice, changed: impl Fn() + 'static) -> adw::ActionRow {
    let on = *place(&mut get());
    let switch = gtk::Switch::builder().active(on).valign(gtk::Align::Center).build();
    let row = adw::ActionRow::builder().title(title).subtitle(subtitle).subtitle_lines(0).build();
    row.add_suffix(&switch);
    row.set_activatable_widget(Some(&switch));
    switch.connect_active_notify(move |switch| {
        change(|preferences| *place(preferences) = switch.is_active());
        changed();
    });
    row
}

/// One of several: `chosen` is called with its place.
pub(super) fn choice(
    title: &str,
    labels: &[String],
    selected: Option<usize>,
    chosen: impl Fn(usize) + 'static,
) -> adw::ComboRow {
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let row = adw::ComboRow::builder().title(title).model(&gtk::StringList::new(&labels)).build();
    field::show_chosen(&row);
    row.set_selected(selected.and_then(|place| u32::try_from(place).ok()).unwrap_or(0));
    row.connect_selected_notify(move |row| chosen(row.selected() as usize));
    row
}

fn graph_seconds(changed: impl Fn() + 'static) -> adw::ComboRow {
    let seconds = [1, 2, 5];
    let labels = [gettext("Every second"), gettext("Every 2 seconds"), gettext("Every 5 seconds")];
    let now = seconds.iter().position(|seconds| *seconds == get().graph_seconds);
    choice(&gettext("Graphs Get New Figures"), &labels, now, move |place| {
        change(|preferences| preferences.graph_seconds = seconds.get(place).copied().unwrap_or(1));
        changed();
    })
}

fn release_keys() -> adw::ComboRow {
    let title = gettext("Keys That Let the Keyboard Go");
    let row = one_of(&title, ReleaseKeys::ALL, ReleaseKeys::label, |preferences| &mut preferences.release_keys);
    row.set_subtitle(&gettext("Pressed alone, they take the keyboard back from a guest."));
    row
}

fn typed_text() -> adw::ComboRow {
    let title = gettext("Keyboard Layout of Typed Text");
    let row = one_of(&title, TypedText::ALL, TypedText::label, |preferences| &mut preferences.typed_text);
    row.set_subtitle(&gettext("The clipboard is typed for guests that have this layout."));
    row
}

/// One of `all`, which is preferred at `place`.
fn one_of<T: Copy + PartialEq + 'static, const N: usize>(
    title: &str,
    all: [T; N],
    label: fn(T) -> String,
    place: fn(&mut Preferences) -> &mut T,
) -> adw::ComboRow {
    let preferred = *place(&mut get());
    let now = all.iter().position(|one| *one == preferred);
    choice(title, &all.map(label), now, move |chosen| {
        if let Some(one) = all.get(chosen) {
            change(|preferences| *place(preferences) = *one);
        }
    })
}

/// Light or dark: what the main menu has, too.
fn appearance() -> adw::PreferencesGroup {
    let styles = [Style::System, Style::Light, Style::Dark];
    let labels = [gettext("As the System"), gettext("Light"), gettext("Dark")];
    let application = relm4::main_application();
    let name = Action::Style.entry().name;
    let chosen = application.lookup_action(name).and_then(|action| action.state());
    let chosen = chosen.and_then(|state| Style::from_name(state.str()?));
    let index = styles.iter().position(|style| Some(*style) == chosen);
    let row = choice(&gettext("Style"), &labels, index, move |place| {
        if let Some(style) = styles.get(place) {
            gio::prelude::ActionGroupExt::activate_action(&application, name, Some(&style.name().to_variant()));
        }
    });
    let group = adw::PreferencesGroup::builder().title(gettext("Appearance")).build();
    group.add(&row);
    group
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_switch_changes_something_else() {
        let changed = groups().into_iter().flat_map(|(_, choices)| choices).map(|(_, _, place)| {
            let mut preferences = Preferences::default();
            *place(&mut preferences) ^= true;
            toml::to_string(&preferences).unwrap()
        });
        let changed: Vec<_> = changed.collect();

        let different: HashSet<_> = changed.iter().collect();
        assert_eq!(different.len(), changed.len());
        assert!(!different.contains(&toml::to_string(&Preferences::default()).unwrap()));
    }
}
