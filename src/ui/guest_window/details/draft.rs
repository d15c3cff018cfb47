//! A guest's definition while it is edited, without any widget: what was changed, what the text of it is, and what becomes of it when
//! somebody else changes the definition.

use lodge::manager::{
    definition::Definition,
    editing::{Effects, merge},
    library::Revision,
};

use crate::ui::{
    backend::{Loaded, Wanted},
    i18n::gettext_f,
};

/// See the module.
#[derive(Debug, Clone)]
pub struct Draft {
    name: String,
    revision: Revision,
    stored: Result<Definition, String>,
    edited: Option<Definition>,
    text: Option<Text>,
    /// What somebody else has made of the definition, where that does not go together with what was edited here.
    theirs: Option<Loaded>,
}

/// A text that a person has written.
#[derive(Debug, Clone)]
struct Text {
    text: String,
    /// Why it is no definition.
    problem: Option<String>,
}

/// What became of a draft when the definition was changed elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebased {
    /// Nothing was changed.
    Same,
    /// It is what the definition is now, with what was edited here.
    Taken,
    /// Both have changed the same thing.
    Conflict,
}

impl Draft {
    /// A draft without changes.
    pub fn new(loaded: Loaded) -> Self {
        let Loaded { name, revision, definition } = loaded;
        let edited = definition.as_ref().ok().cloned();
        Self { name, revision, stored: definition, edited, text: None, theirs: None }
    }

    /// The definition as it is to be; `None` when neither the stored one nor the text can be read.
    pub fn definition(&self) -> Option<&Definition> {
        self.edited.as_ref()
    }

    /// The definition as it lies in the library.
    pub fn stored(&self) -> Option<&Definition> {
        self.stored.as_ref().ok()
    }

    /// Takes over a change.
    pub fn edit(&mut self, change: impl FnOnce(&mut Definition)) {
        if let Some(definition) = &mut self.edited {
            change(definition);
            if let Some(written) = &mut self.text {
                *written = Text { text: definition.to_toml_after(&written.text), problem: None };
            }
        }
    }

    /// The definition's text.
    pub fn text(&self) -> String {
        match (&self.text, &self.edited) {
            (Some(text), _) => text.text.clone(),
            (None, Some(edited)) if self.is_changed() => edited.to_toml_after(self.revision.text()),
            (None, _) => self.revision.text().to_owned(),
        }
    }

    /// Takes over what a person has written.
    pub fn set_text(&mut self, text: String) {
        let name = self.edited.as_ref().map_or_else(|| self.name.clone(), |definition| definition.name.clone());
        if text == self.revision.text() {
            self.text = None;
            self.edited = self.stored().cloned().map(|definition| Definition { name, ..definition });
            return;
        }
        let uuid = self.stored().map(|definition| definition.uuid);
        let problem = match Definition::from_toml(&text, &name) {
            Ok(definition) if uuid.is_some_and(|uuid| uuid != definition.uuid) => Some(gettext_f(
                "uuid: it stays {uuid}. The guest is known by it, and its network cards have their addresses from it. A clone has another one",
                &[("uuid", &uuid.unwrap_or_default().to_string())],
            )),
            Ok(definition) => {
                self.edited = Some(definition);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        self.text = Some(Text { text, problem });
    }

    /// Why the text is no definition.
    pub fn problem_with_text(&self) -> Option<&str> {
        match (&self.text, &self.stored) {
            (Some(text), _) => text.problem.as_deref(),
            (None, Err(problem)) => Some(problem),
            (None, Ok(_)) => None,
        }
    }

    /// Whether there is anything to apply.
    pub fn is_changed(&self) -> bool {
        self.text.is_some() || self.edited.as_ref() != self.stored()
    }

    /// Whether somebody else has changed the same thing.
    pub fn is_stale(&self) -> bool {
        self.theirs.is_some()
    }

    /// What applying it does to the guest while it runs, with this hardware.
    pub fn effects(&self, hardware: Option<&Definition>) -> Effects {
        let Some((before, after)) = self.stored().zip(self.definition()) else { return Effects::default() };
        Effects::of(hardware.unwrap_or(before), before, after)
    }

    /// What the library is to store.
    pub fn wanted(&self) -> Option<Wanted> {
        let (definition, revision) = (self.edited.clone()?, self.revision.clone());
        Some(Wanted { definition, text: self.text.as_ref().map(|text| text.text.clone()), revision })
    }

    /// Forgets what was edited.
    pub fn revert(&mut self) {
        let stored =
            Loaded { name: self.name.clone(), revision: self.revision.clone(), definition: self.stored.clone() };
        *self = Self::new(self.theirs.take().unwrap_or(stored));
    }

    /// The definition was changed, here or elsewhere: keeps what was edited where that goes together.
    pub fn rebase(&mut self, loaded: Loaded) -> Rebased {
        if loaded.revision == self.revision && loaded.definition == self.stored {
            return Rebased::Same;
        }
        if !self.is_changed() || loaded.definition.is_ok() && loaded.definition.as_ref().ok() == self.edited.as_ref() {
            *self = Self::new(loaded);
            return Rebased::Taken;
        }
        let merged = match (self.stored(), &self.edited, &loaded.definition, &self.text) {
            (Some(base), Some(mine), Ok(theirs), None) => merge(base, mine, theirs),
            _ => None,
        };
        match merged {
            Some(merged) => {
                *self = Self { edited: Some(merged), ..Self::new(loaded) };
                Rebased::Taken
            }
            None => {
                self.theirs = Some(loaded);
                Rebased::Conflict
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lodge::manager::{library::Library, paths::Paths, size::Size};

    use super::*;

    /// A definition as the library has it.
    fn loaded(change: impl FnOnce(&mut Definition)) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::new(Paths::new(folder.path().join("data"), folder.path().join("run")));
        let mut definition = Definition::new("web");
        definition.uuid = uuid::Uuid::from_u128(7);
        change(&mut definition);
        library.create(&definition).unwrap();
        Loaded { name: "web".into(), revision: library.read("web").unwrap(), definition: Ok(definition) }
    }

    #[test]
    fn what_is_edited_back_is_no_change() {
        let mut draft = Draft::new(loaded(|_| ()));

        draft.edit(|guest| guest.vcpus = 2);
        let changed = draft.is_changed();
        draft.edit(|guest| guest.vcpus = 1);

        assert!(changed && !draft.is_changed());
        assert_eq!(draft.effects(None), Effects::default());
    }

    #[test]
    fn the_text_says_what_was_edited_and_edits_what_it_says() {
        let mut draft = Draft::new(loaded(|_| ()));
        draft.edit(|guest| guest.vcpus = 2);
        let text = draft.text();

        draft.set_text(text.replace("vcpus = 2", "vcpus = 3"));
        let good = (draft.definition().unwrap().vcpus, draft.problem_with_text().map(str::to_owned));
        draft.set_text(text.replace("vcpus = 2", "vcpus = many"));

        assert!(text.contains("vcpus = 2"), "{text}");
        assert_eq!(good, (3, None));
        assert!(draft.problem_with_text().unwrap().contains("many"));
        assert_eq!(draft.definition().unwrap().vcpus, 3);
    }

    #[test]
    fn the_uuid_stays_whatever_is_written() {
        let mut draft = Draft::new(loaded(|_| ()));
        let (text, uuid) = (draft.text(), draft.definition().unwrap().uuid);

        draft.set_text(text.replace(&uuid.to_string(), &uuid::Uuid::from_u128(8).to_string()));
        let problem = draft.problem_with_text().map(str::to_owned);
        draft.set_text(text.replace("vcpus = 1", "vcpus = 2"));

        assert!(problem.unwrap().contains(&uuid.to_string()));
        assert_eq!((draft.definition().unwrap().uuid, draft.definition().unwrap().vcpus), (uuid, 2));
        assert_eq!(draft.problem_with_text(), None);
    }

    #[test]
    fn what_a_person_has_written_stays_beside_what_is_edited() {
        let mut draft = Draft::new(loaded(|_| ()));
        draft.set_text(draft.text() + "# for the mail\n");

        draft.edit(|guest| guest.vcpus = 2);

        let text = draft.text();
        assert!(text.contains("vcpus = 2") && text.ends_with("# for the mail\n"), "{text}");
        assert_eq!(draft.wanted().unwrap().text, Some(text));
    }

    #[test]
    fn a_change_elsewhere_joins_what_was_edited_here() {
        let mut draft = Draft::new(loaded(|_| ()));
        draft.edit(|guest| guest.vcpus = 2);

        let rebased = draft.rebase(loaded(|guest| guest.memory = Size::gib(3)));

        assert_eq!(rebased, Rebased::Taken);
        let definition = draft.definition().unwrap();
        assert_eq!((definition.vcpus, definition.memory), (2, Size::gib(3)));
        assert!(draft.is_changed() && !draft.is_stale());
    }

    #[test]
    fn a_change_of_the_same_thing_elsewhere_is_never_overwritten() {
        let mut draft = Draft::new(loaded(|_| ()));
        let before = draft.wanted().unwrap().revision;
        draft.edit(|guest| guest.vcpus = 2);

        let rebased = draft.rebase(loaded(|guest| guest.vcpus = 3));

        assert_eq!((rebased, draft.is_stale()), (Rebased::Conflict, true));
        // With this one the library refuses.
        assert_eq!(draft.wanted().unwrap().revision, before);
        draft.revert();
        assert_eq!((draft.definition().unwrap().vcpus, draft.is_changed(), draft.is_stale()), (3, false, false));
    }

    #[test]
    fn a_definition_that_cannot_be_read_is_mended_by_its_text() {
        let sound = loaded(|_| ());
        let text = sound.revision.text().to_owned();
        let mut draft = Draft::new(Loaded { definition: Err("vcpus: 0 is not possible".into()), ..sound });

        let before = (draft.definition().is_some(), draft.problem_with_text().is_some());
        draft.set_text(text.replace("vcpus = 1", "vcpus = 2"));

        assert_eq!(before, (false, true));
        assert_eq!((draft.definition().unwrap().vcpus, draft.problem_with_text()), (2, None));
    }
}
