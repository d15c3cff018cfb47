//! What is shown of the details: the page of the chosen entry, and what can be done and said about the changes.

use std::time::Duration;

use adw::prelude::*;
use relm4::prelude::*;

use super::{
    Can, Context, Details, DetailsMsg, DetailsOutput, DetailsWidgets, Shape, boot, card, devices, disk,
    draft::Draft,
    drive,
    form::Shown,
    general,
    item::{Item, items},
    memory, processors,
    text::TextPage,
};
use crate::ui::{
    backend::GuestState,
    dialogs::complaint_about_name,
    i18n::gettext,
    judgement::{judge, lacks_kernel},
    pump,
    widgets::info_bar::{InfoBarMsg, Notice},
    wording,
};

impl Details {
    /// Makes the page of the chosen entry anew.
    pub(super) fn build_page(&mut self, sender: &ComponentSender<Self>) {
        let Some(draft) = &self.draft else { return };
        let entries = items(draft.definition());
        if !entries.contains(&self.item) {
            self.item = entries[0].clone();
        }
        let input = sender.input_sender().clone();
        let (backend, place, guest, on_edit) = (&self.backend, &self.place, &self.guest, &self.on_edit);
        let context = Context { backend, place, guest, around: &self.around, on_edit };
        let page = match (&self.item, draft.definition()) {
            (Item::Overview, Some(definition)) => Shape::Form(general::page(definition, &self.on_edit)),
            (Item::Processors, Some(definition)) => Shape::Form(processors::page(definition, &self.on_edit)),
            (Item::Memory, Some(definition)) => {
                let keep = move |bytes| input.emit(DetailsMsg::Keep(bytes));
                Shape::Form(memory::page(guest, definition, &self.on_edit, keep))
            }
            (Item::Disk(id), Some(definition)) => Shape::Form(disk::page(&context, definition, id)),
            (Item::Drive(id), Some(definition)) => Shape::Form(drive::page(&context, definition, id)),
            (Item::Boot, Some(definition)) => Shape::Form(boot::page(&context, definition)),
            (Item::Card(index), Some(definition)) => Shape::Form(card::page(&context, definition, *index)),
            (Item::Display, Some(definition)) => Shape::Form(devices::display(&context, definition)),
            (Item::Ports, Some(definition)) => Shape::Form(devices::ports(&context, definition)),
            (Item::Others, Some(definition)) => Shape::Form(devices::others(&context, definition)),
            _ => Shape::Text(TextPage::new(&draft.text(), move |text| input.emit(DetailsMsg::EditText(text)))),
        };
        self.put_in(page.root().clone());
        self.page = Some(page);
        self.judge(sender);
    }

    /// Shows the page of an entry.
    pub(super) fn choose(&mut self, item: Item, sender: &ComponentSender<Self>) {
        if item != self.item {
            self.item = item;
            self.build_page(sender);
        }
    }

    /// Turns to the page where that and the entries do not fit side by side.
    pub(super) fn open(&self, widgets: &DetailsWidgets) {
        // Beside it the entries keep the keyboard, which the leaflet would give to the page.
        if self.leaflet.is_folded() {
            self.leaflet.set_visible_child(&widgets.content);
            self.focus(widgets);
        }
    }

    /// Gives the keyboard to the entries, or to the page if only that can be seen.
    pub(super) fn focus(&self, widgets: &DetailsWidgets) {
        let is_open = self.leaflet.visible_child().is_some_and(|child| child == widgets.content);
        match self.leaflet.is_folded() && is_open {
            true => _ = widgets.back.grab_focus(),
            false => self.sidebar.focus(),
        }
    }

    fn put_in(&self, page: gtk::Widget) {
        if self.bin.child().is_some() {
            return self.bin.set_child(Some(&page));
        }
        // The first one: all else has its turn between the making of a page and its layout.
        let bin = self.bin.clone();
        relm4::spawn_local(async move {
            pump::rest(Duration::ZERO).await;
            bin.set_child(Some(&page));
        });
    }

    /// Brings what is shown up to date.
    pub(super) fn show_page(&self) {
        let Some(draft) = &self.draft else { return };
        let definition = draft.definition();
        let entries = items(definition).into_iter().map(|item| {
            let label = item.label(definition);
            (item, label)
        });
        self.sidebar.show(entries.collect(), &self.item);
        match &self.page {
            Some(Shape::Form(page)) => {
                page.root().set_sensitive(draft.problem_with_text().is_none() && !self.busy);
                let Some(definition) = definition else { return };
                page.show(&Shown {
                    backend: &self.backend,
                    guest: &self.guest,
                    definition,
                    review: &self.review,
                    around: &self.around,
                });
            }
            Some(Shape::Text(page)) => page.show(draft.problem_with_text()),
            None => {}
        }
    }

    /// Tells what can be done now.
    pub(super) fn tell(&mut self, sender: &ComponentSender<Self>) {
        let changed = self.draft.as_ref().is_some_and(Draft::is_changed) && !self.busy;
        let apply = changed && self.judging == 0 && self.hindrance().is_none();
        let can = Can { apply, revert: changed, remove: self.can_remove() };
        if can != self.can {
            self.can = can;
            let _ = sender.output(DetailsOutput::Can(can));
        }
        let stale = self.draft.as_ref().is_some_and(Draft::is_stale);
        self.notice.emit(InfoBarMsg::Set(stale.then(|| Notice {
            text: gettext("Somebody else has changed the same. What you have changed here cannot be applied any more."),
            button: gettext("_Reload"),
            grave: false,
        })));
    }

    /// What keeps the changes from being applied.
    pub(super) fn hindrance(&self) -> Option<String> {
        let draft = self.draft.as_ref()?;
        if let Some(problem) = draft.problem_with_text() {
            return Some(wording::sentence(problem));
        }
        if draft.is_stale() {
            return Some(gettext("Reload the definition first."));
        }
        let definition = draft.definition()?;
        let name = complaint_about_name(&definition.name, &self.guest.name, &self.around.names);
        name.or_else(|| {
            let field = &self.review.errors.0.first()?.field;
            if field == "kernel.path" && lacks_kernel(definition) {
                return Some(gettext("Choose a Linux kernel, or switch its direct boot off."));
            }
            judge(definition, &self.review, &self.around.limits, field).map(|(_, words)| words)
        })
    }

    /// What can be said about the changes.
    pub(super) fn state_of_changes(&self) -> String {
        let Some(draft) = &self.draft else { return String::new() };
        if let Some(hindrance) = self.hindrance() {
            return hindrance;
        }
        let effects = draft.effects(self.guest.hardware());
        match (&self.guest.state, effects.at_once(), effects.next_start) {
            (GuestState::Saved, _, true) => gettext("The guest may not be able to go on from its saved state then."),
            (state, ..) if !state.is_active() => String::new(),
            (_, true, true) => gettext(
                "Connections, limits, ports, the clipboard and viewers on the network apply at once, the rest at the guest’s next start.",
            ),
            (_, _, true) => gettext("This applies at the guest’s next start."),
            (_, _, false) if effects.clipboard == Some(true) => gettext(
                "The clipboard is shared at once, or from the next start on if the guest was started without one.",
            ),
            (_, _, false) => gettext("This applies at once."),
        }
    }

    pub(super) fn title(&self) -> String {
        self.item.label(self.draft.as_ref().and_then(Draft::definition)).title
    }
}
