//! The first page: what the guest is called, what it is for, what it does now, and what happens when it ends.

use adw::prelude::*;
use gtk::accessible::Property;
use lodge::manager::definition::{Definition, Lifecycle, parse_tags};

use super::{
    form::{Form, OnEdit, Page},
    now::Now,
};
use crate::ui::{
    dialogs::complaint_about_name,
    i18n::gettext,
    widgets::field::{NoteLine, Weight},
};

/// The page for this definition.
pub fn page(definition: &Definition, on_edit: &OnEdit) -> Page {
    let mut form = Form::new(on_edit);
    let now = Now::new();
    form.adopt(now.group());
    form.watch(move |shown| now.show(shown.backend, shown.guest));

    let group = form.group(&gettext("Guest"));
    let name = adw::EntryRow::builder().title(gettext("Name")).text(&definition.name).build();
    group.add(&name);
    let line = NoteLine::below(&name, &group);
    let send = form.sender(|definition: &mut Definition, name| definition.name = name);
    name.connect_changed(move |row| send(row.text().into()));
    let row = name.clone();
    form.watch(move |shown| {
        let active = shown.guest.state.is_active();
        row.set_sensitive(!active);
        let complaint = complaint_about_name(&shown.definition.name, &shown.guest.name, &shown.around.names);
        let hint = active.then(|| gettext("The name can be changed while the guest is off."));
        let wrong = complaint.as_deref().map(|text| (Weight::Wrong, text));
        line.show(wrong.or(hint.as_deref().map(|text| (Weight::Fact, text))), true);
    });
    form.entry(
        "os",
        &gettext("Operating system (a word like debian)"),
        definition.os.as_deref().unwrap_or_default(),
        |definition, text| definition.os = Some(text).filter(|text| !text.is_empty()),
    );
    form.entry(
        "tags",
        &gettext("Tags (words to group and search by)"),
        &definition.tags.join(", "),
        |definition, text| {
            definition.tags = parse_tags(&text);
        },
    );
    form.switch(
        "autostart",
        [&gettext("Start at Login"), &gettext("The guest is started when you log in to this computer.")],
        definition.autostart,
        |definition, on| definition.autostart = on,
    );
    form.fact("UUID", &definition.uuid.to_string());
    description(&mut form, definition);
    endings(&mut form, definition);
    form.finish()
}

fn description(form: &mut Form, definition: &Definition) {
    let title = gettext("Description");
    let group = form.group(&title);
    let text = gtk::TextView::builder()
        .wrap_mode(gtk::WrapMode::WordChar)
        .accepts_tab(false)
        .css_classes(["card", "description"])
        .height_request(72)
        .build();
    text.buffer().set_text(&definition.description);
    text.update_property(&[Property::Label(&title)]);
    group.add(&text);
    form.note("description", &text);
    let send = form.sender(|definition: &mut Definition, text| definition.description = text);
    text.buffer().connect_changed(move |buffer| {
        let (start, end) = buffer.bounds();
        send(buffer.text(&start, &end, false).into());
    });
}

fn endings(form: &mut Form, definition: &Definition) {
    let group = form.group(&gettext("Endings"));
    let applies = gettext("Changes apply at the guest’s next start.");
    form.watch(move |shown| group.set_description(shown.guest.state.is_active().then_some(applies.as_str())));
    let options = |words: [String; 3]| -> Vec<_> {
        [Lifecycle::Destroy, Lifecycle::Restart, Lifecycle::Preserve].into_iter().zip(words).collect()
    };
    let words = options([gettext("It is off"), gettext("It starts again"), gettext("It stays as it is, paused")]);
    form.choice(
        "on_poweroff",
        [&gettext("When the Guest Turns Itself Off"), ""],
        &words,
        &definition.on_poweroff,
        |definition, what| definition.on_poweroff = what,
    );
    form.choice(
        "on_reboot",
        [&gettext("When the Guest Restarts Itself"), ""],
        &words,
        &definition.on_reboot,
        |definition, what| definition.on_reboot = what,
    );
    form.choice(
        "on_crash",
        [&gettext("When the Guest Crashes"), ""],
        &words,
        &definition.on_crash,
        |definition, what| {
            definition.on_crash = what;
        },
    );
}
