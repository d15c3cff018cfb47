//! Adding hardware and taking it out: done at once, for the guest's next start.

use lodge::manager::definition::{Definition, DiskDefinition, NetworkDefinition};
use relm4::prelude::*;

use super::{Details, DetailsCommand, draft::Draft, hardware, item::Item};
use crate::ui::{
    actions::Action,
    dialogs,
    i18n::{gettext, gettext_f},
    operations::on_tokio,
};

impl Details {
    /// Adds what the action stands for.
    pub(super) fn add(&self, action: Action, sender: &ComponentSender<Self>) {
        let (backend, place, name) = (self.backend.clone(), self.place.clone(), self.guest.name.clone());
        let commands = sender.command_sender().clone();
        let stored = self.draft.as_ref().and_then(Draft::stored);
        let before = stored.or(self.guest.definition.as_ref().ok()).cloned();
        relm4::spawn_local(async move {
            let added = match action {
                Action::AddDisk => {
                    let Some(hardware::Wanted { source, bus }) = hardware::ask_disk(&backend, &place).await else {
                        return;
                    };
                    on_tokio(async move { backend.add_disk(name, source, bus).await.map(Item::Disk) }).await
                }
                Action::AddDrive => {
                    let id = before.map(next_drive).unwrap_or_default();
                    let add = |definition: &mut Definition| definition.add_disk(DiskDefinition::empty_drive());
                    on_tokio(async move { backend.change(name, add).await.map(|()| Item::Drive(id)) }).await
                }
                _ => {
                    let index = before.map_or(0, |definition| definition.networks.len());
                    let add = |definition: &mut Definition| definition.add_network(NetworkDefinition::nat());
                    on_tokio(async move { backend.change(name, add).await.map(|()| Item::Card(index)) }).await
                }
            };
            commands.emit(DetailsCommand::Added(added));
        });
    }

    /// Takes the hardware that is shown out, after a question.
    pub(super) fn remove(&self) {
        let Some(draft) = &self.draft else { return };
        let (backend, place, name) = (self.backend.clone(), self.place.clone(), self.guest.name.clone());
        let (item, title) = (self.item.clone(), self.item.label(draft.definition()).title);
        relm4::spawn_local(async move {
            let failed = |error: anyhow::Error| {
                let heading = gettext_f("“{hardware}” Could Not Be Removed", &[("hardware", &title)]);
                dialogs::error(&place.window, &heading, &error.to_string());
            };
            let image = match &item {
                Item::Disk(id) => {
                    let (backend, name, id) = (backend.clone(), name.clone(), id.clone());
                    match on_tokio(async move { backend.preview_removal(name, id).await }).await {
                        Ok(image) => image,
                        Err(error) => return failed(error),
                    }
                }
                _ => None,
            };
            let Some(with_image) = hardware::ask_removal(&place, &title, image.as_ref()).await else { return };
            let done = on_tokio(async move {
                match item {
                    Item::Disk(id) | Item::Drive(id) => backend.remove_disk(name, id, with_image).await,
                    Item::Card(index) => {
                        let remove = move |definition: &mut Definition| {
                            if index < definition.networks.len() {
                                definition.networks.remove(index);
                            }
                        };
                        backend.change(name, remove).await
                    }
                    _ => Ok(()),
                }
            })
            .await;
            match done {
                Ok(()) => place.toast(&gettext_f("“{hardware}” was removed", &[("hardware", &title)])),
                Err(error) => failed(error),
            }
        });
    }

    /// Whether what is shown can be taken out.
    pub(super) fn can_remove(&self) -> bool {
        let there = self.draft.as_ref().is_some_and(|draft| draft.definition().is_some());
        there && matches!(self.item, Item::Disk(_) | Item::Drive(_) | Item::Card(_))
    }

    /// Something was added: shows it as soon as it is there.
    pub(super) fn added(&mut self, added: anyhow::Result<Item>, sender: &ComponentSender<Self>) {
        match added {
            Ok(item) => {
                if self.guest.state.is_active() {
                    self.place.toast(&gettext("The guest has it from its next start"));
                }
                self.awaited = Some(item);
                self.load(sender);
            }
            Err(error) => {
                let heading = gettext_f("Nothing Was Added to “{name}”", &[("name", &self.guest.name)]);
                dialogs::error(&self.place.window, &heading, &error.to_string());
            }
        }
    }
}

/// The id that a new CD-ROM drive gets.
fn next_drive(mut definition: Definition) -> String {
    definition.add_disk(DiskDefinition::empty_drive());
    definition.disks.pop().map(|drive| drive.id).unwrap_or_default()
}
