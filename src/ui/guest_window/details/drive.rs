//! The page about a CD-ROM drive: what is in it. The disc is changed at once, in the running guest too.

use adw::prelude::*;
use lodge::manager::definition::Definition;

use super::{
    Context,
    form::{Form, Page, row_button},
    item,
};
use crate::ui::{guest_window::disc, i18n::gettext};

/// The page of the drive `id`.
pub fn page(context: &Context<'_>, definition: &Definition, id: &str) -> Page {
    let mut form = Form::new(context.on_edit);
    let Some(drive) = item::place(definition, id).and_then(|index| definition.disks.get(index)) else {
        return form.finish();
    };
    let group = form.group(&gettext("Disc"));
    let (at_once, later) = (
        gettext("It is changed at once, and stays so at the guest’s next start."),
        gettext("The guest has it from its next start."),
    );
    let (id, words) = (drive.id.clone(), group.clone());
    form.watch(move |shown| {
        let waits = shown.guest.state.is_active() && !shown.guest.has_disk(&id);
        words.set_description(Some(if waits { &later } else { &at_once }));
    });
    let medium = if drive.has_medium() { drive.path.display().to_string() } else { gettext("Empty") };
    let row = form.fact(&gettext("In the Drive"), &medium);
    let insert = row_button(&gettext("_Insert…"));
    let eject = row_button(&gettext("_Eject"));
    eject.set_visible(drive.has_medium());
    row.add_suffix(&insert);
    row.add_suffix(&eject);
    let (backend, place, guest, id) =
        (context.backend.clone(), context.place.clone(), context.guest.clone(), drive.id.clone());
    insert.connect_clicked(move |_| disc::insert(&backend, &place, &guest, Some(id.clone())));
    let (backend, place, guest, id) =
        (context.backend.clone(), context.place.clone(), context.guest.clone(), drive.id.clone());
    eject.connect_clicked(move |_| disc::eject(&backend, &place, &guest, Some(id.clone())));
    form.removal(&gettext("_Remove Drive…"));
    form.finish()
}
