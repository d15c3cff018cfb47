//! What the details of a guest ask of the manager.

use anyhow::Result;
use lodge::manager::{
    definition::{Definition, HostLimits, Review},
    editing::{self, Saved},
    library::{Library, LibraryError, Revision},
};

use super::{Backend, GuestId, blocking};

/// A definition as it lies in the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The guest's name.
    pub name: String,
    /// Its text.
    pub revision: Revision,
    /// What the text says, or why it cannot be read.
    pub definition: Result<Definition, String>,
}

/// A definition as it is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// All of it, with the name that it is to have.
    pub definition: Definition,
    /// The text, where a person has written it.
    pub text: Option<String>,
    /// What it was made from.
    pub revision: Revision,
}

impl Backend {
    /// The definition of `name` as it is now.
    pub async fn load(&self, name: String) -> Result<Loaded> {
        let library = self.library.clone();
        blocking(move || Ok(load(&library, &name)?)).await
    }

    /// Judges a definition by what this host has.
    pub async fn review(&self, definition: Definition, limits: HostLimits) -> Result<Review> {
        blocking(move || Ok(definition.review(&limits))).await
    }

    /// Changes the definition of the guest `name`, at once where it runs and that is possible. It gets its new name last.
    pub async fn save(&self, name: String, wanted: Wanted) -> Result<Saved> {
        let Wanted { mut definition, text, revision } = wanted;
        let new_name = std::mem::replace(&mut definition.name, name.clone());
        let mut saved = editing::save(self.guests.supervisor(), definition, text, revision).await?;
        if new_name != name {
            self.rename(name, new_name.clone()).await?;
            saved.stored.definition.name = new_name;
        }
        Ok(saved)
    }

    /// Asks the running guest to keep so many bytes of its memory and to give the rest back.
    pub async fn keep_memory(&self, id: &GuestId, bytes: u64) -> Result<()> {
        Ok(self.client(id)?.set_balloon(bytes).await?)
    }
}

fn load(library: &Library, name: &str) -> Result<Loaded, LibraryError> {
    let (revision, definition) = match library.load(name) {
        Ok(stored) => (stored.revision, Ok(stored.definition)),
        Err(error @ LibraryError::Definition { .. }) => (library.read(name)?, Err(error.to_string())),
        Err(error) => return Err(error),
    };
    Ok(Loaded { name: name.to_owned(), revision, definition })
}
