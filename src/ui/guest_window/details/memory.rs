//! The page about the memory: how much, what lies behind it, and how much of it the running guest keeps.

use adw::prelude::*;
use lodge::manager::{
    definition::{Definition, HugePages},
    size::{MIB, Size},
};

use super::form::{Form, OnEdit, Page, row_button, set_fact};
use crate::ui::{
    backend::GuestView,
    i18n::{gettext, gettext_f},
    widgets::field,
    wording,
};

/// The page for this definition. `keep` is called with how many bytes the running guest is to keep.
pub fn page(guest: &GuestView, definition: &Definition, on_edit: &OnEdit, keep: impl Fn(u64) + 'static) -> Page {
    let mut form = Form::new(on_edit);
    balloon(&mut form, guest.hardware().unwrap_or(definition), keep);
    form.applies(&gettext("What is changed here applies at the guest’s next start."));
    let group = form.group(&gettext("Memory"));
    form.watch(move |shown| {
        let limits = &shown.around.limits;
        let (total, free) = (wording::bytes(limits.memory_total), wording::bytes(limits.memory_available));
        let text = gettext_f("The host has {total} of memory, {free} are free.", &[("total", &total), ("free", &free)]);
        group.set_description(Some(&text));
    });
    let mib = definition.memory.bytes() as f64 / MIB as f64;
    form.number("memory", &gettext("Memory"), Some(&gettext("MiB")), (mib, 256.0, 0), |definition, mib| {
        definition.memory = Size::mib(mib as u64);
    });
    backing(&mut form, definition);
    form.finish()
}

fn backing(form: &mut Form, definition: &Definition) {
    form.group(&gettext("Behind the Memory"));
    let sizes = [
        (None, gettext("None")),
        (Some(HugePages::Size2M), wording::bytes(HugePages::Size2M.bytes())),
        (Some(HugePages::Size1G), wording::bytes(HugePages::Size1G.bytes())),
    ];
    form.choice(
        "memory_backing.huge_pages",
        [&gettext("Huge Pages"), &gettext("Faster, but the host must have set them aside")],
        &sizes,
        &definition.memory_backing.huge_pages,
        |definition, size| definition.memory_backing.huge_pages = size,
    );
    form.switch(
        "memory_backing.mergeable",
        [&gettext("Merge Equal Pages"), &gettext("Saves memory of the host where guests are alike (KSM)")],
        definition.memory_backing.mergeable,
        |definition, on| definition.memory_backing.mergeable = on,
    );
    form.switch(
        "memory_backing.shared",
        [&gettext("Share With Other Programs"), &gettext("For programs of the host that serve the guest’s devices")],
        definition.memory_backing.shared,
        |definition, on| definition.memory_backing.shared = on,
    );
    form.switch(
        "devices.balloon",
        [&gettext("Balloon"), &gettext("Memory that the guest does not need goes back to the host")],
        definition.devices.balloon,
        |definition, on| definition.devices.balloon = on,
    );
}

/// What the running guest keeps of its memory.
fn balloon(form: &mut Form, hardware: &Definition, keep: impl Fn(u64) + 'static) {
    let group = form.group(&gettext("Now"));
    group.set_description(Some(&gettext("Applies at once. At its next start the guest has all of its memory again.")));
    let used = form.fact(&gettext("Memory in Use"), "");
    let left = form.fact(&gettext("Left by the Balloon"), "");
    let driver = form.fact(
        &gettext("Balloon"),
        &gettext("The guest’s system has no driver for it yet, and keeps all of its memory"),
    );
    let mib = hardware.memory.bytes() as f64 / MIB as f64;
    let adjustment = gtk::Adjustment::new(mib, 1.0, mib, 64.0, 256.0, 0.0);
    let (row, spin) = field::number_row(&gettext("The Guest Keeps"), Some(&gettext("MiB")), &adjustment, 0);
    let button = row_button(&gettext("_Set"));
    button.connect_clicked(move |_| keep(spin.value() as u64 * MIB));
    row.add_suffix(&button);
    group.add(&row);
    form.watch(move |shown| {
        let hardware = shown.guest.hardware().unwrap_or(shown.definition);
        group.set_visible(shown.guest.state.is_active() && hardware.devices.balloon);
        let most = hardware.memory.bytes() as f64 / MIB as f64;
        // It has been started with another memory since the page was made.
        if adjustment.upper() != most {
            adjustment.set_upper(most);
            adjustment.set_value(most);
        }
        let text = shown.backend.guests().with_history(&shown.guest.id, |history| {
            let latest = history.latest()?;
            let resident = wording::bytes(latest.memory);
            Some(match history.guest_memory() {
                Some(inside) => {
                    let (inside, total) = (wording::bytes(inside.used()), wording::bytes(inside.total));
                    let values = [("resident", resident.as_str()), ("inside", &inside), ("total", &total)];
                    gettext_f("{resident} of the host; inside the guest {inside} of {total}", &values)
                }
                None => gettext_f("{resident} of the host", &[("resident", &resident)]),
            })
        });
        set_fact(&used, &text.flatten().unwrap_or_default());
        let kept = shown.backend.guests().with_history(&shown.guest.id, |history| history.balloon()).flatten();
        let has_driver =
            shown.backend.guests().with_history(&shown.guest.id, |history| history.balloon_driver()).flatten();
        driver.set_visible(has_driver == Some(false));
        left.set_visible(kept.is_some() && has_driver != Some(false));
        let (kept, total) = (wording::bytes(kept.unwrap_or(0)), wording::bytes(hardware.memory.bytes()));
        set_fact(&left, &gettext_f("{used} of {total}", &[("used", &kept), ("total", &total)]));
    });
}
