//! What a person prefers. It lies in `$XDG_CONFIG_HOME/lodge/preferences.toml`; what is left out there has its usual value, and a
//! file that cannot be used is kept aside, with a word about it, when something is preferred anew.
//!
//! There is one set of them for the whole application, on GTK's thread: [`get`] and [`change`].

mod new_guests;
mod release_keys;
mod typed_text;
mod window;

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
};

use gtk::glib;
use lodge::{manager::definition::NetworkDefinition, system_error::words};
use serde::{Deserialize, Serialize};

pub use release_keys::ReleaseKeys;
pub use typed_text::TypedText;
pub use window::present;

use crate::ui::saver::Saver;

/// The version of the file that this program writes, and the newest it reads.
const VERSION: u32 = 1;

/// What is preferred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// The version of the file.
    pub version: u32,
    /// Whether a guest's picture fills a new window.
    pub scale_to_window: bool,
    /// Whether it fills the display in full screen.
    pub scale_full_screen: bool,
    /// Whether guests are asked to have the size of a new window.
    pub resize_to_window: bool,
    /// Whether the shortcuts of a guest's window act while the guest has the keyboard, and not in the guest.
    pub window_shortcuts: bool,
    /// Whether to ask before a guest is forced off.
    pub confirm_force_off: bool,
    /// Whether to ask before a guest is reset.
    pub confirm_reset: bool,
    /// Whether to tell of guests that have failed while nobody looks at them.
    pub notify: bool,
    /// Whether to tell of guests that have turned themselves off while nobody looks at them.
    pub notify_ends: bool,
    /// Whether the computer stays awake while guests run.
    pub keep_awake: bool,
    /// How often graphs get new figures, in seconds.
    pub graph_seconds: u64,
    /// What takes the keyboard back from a guest.
    pub release_keys: ReleaseKeys,
    /// The layout that a text is typed on.
    pub typed_text: TypedText,
    /// The pool that new guests get their disks in, by name.
    pub new_guest_pool: Option<String>,
    /// A card that is connected to the network that new guests are on.
    pub new_guest_network: Option<NetworkDefinition>,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            version: VERSION,
            scale_to_window: true,
            scale_full_screen: true,
            resize_to_window: true,
            window_shortcuts: false,
            confirm_force_off: true,
            confirm_reset: false,
            notify: true,
            notify_ends: true,
            keep_awake: false,
            graph_seconds: 1,
            release_keys: ReleaseKeys::default(),
            typed_text: TypedText::default(),
            new_guest_pool: None,
            new_guest_network: None,
        }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("{}", words(.0))]
    Io(#[from] io::Error),
    /// It is damaged.
    #[error("{}", .0.message())]
    Damaged(#[from] toml::de::Error),
    /// A newer Lodge has written it.
    #[error("a newer version of this program has written it")]
    Newer,
}

static SAVER: Saver = Saver::new();

thread_local! {
    static CURRENT: RefCell<Preferences> = RefCell::default();
}

/// What is preferred now.
pub fn get() -> Preferences {
    CURRENT.with_borrow(Preferences::clone)
}

/// Prefers something else from now on, and writes it down.
pub fn change(change: impl FnOnce(&mut Preferences)) {
    let preferences = CURRENT.with_borrow_mut(|current| {
        change(current);
        current.clone()
    });
    SAVER.save(move || {
        if let Err(error) = preferences.save(&path()) {
            tracing::warn!("the preferences cannot be saved: {error}");
        }
    });
}

/// Reads what was preferred. Where that is not possible the usual holds, and the reason is returned.
pub fn load() -> Result<(), Unusable> {
    let loaded = Preferences::load(&path())?;
    CURRENT.set(loaded);
    Ok(())
}

/// Where they lie.
pub fn path() -> PathBuf {
    glib::user_config_dir().join("lodge/preferences.toml")
}

impl Preferences {
    fn load(path: &Path) -> Result<Self, Unusable> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let table: toml::Table = toml::from_str(&text)?;
        if table.get("version").and_then(toml::Value::as_integer).is_some_and(|version| version > i64::from(VERSION)) {
            return Err(Unusable::Newer);
        }
        let read: Self = toml::from_str(&text)?;
        Ok(Self { version: VERSION, ..read })
    }

    fn save(&self, path: &Path) -> io::Result<()> {
        // What could not be used may be worth mending.
        if Self::load(path).is_err() {
            fs::rename(path, path.with_extension("toml.unusable"))?;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension("toml.new");
        fs::write(&temporary, toml::to_string(self).map_err(io::Error::other)?)?;
        fs::rename(temporary, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preferences.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn what_is_preferred_survives_being_written_and_nothing_is_the_usual() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lodge/preferences.toml");
        let mine = Preferences {
            notify: false,
            keep_awake: true,
            graph_seconds: 5,
            release_keys: ReleaseKeys::RightCtrl,
            typed_text: TypedText::Us,
            new_guest_pool: Some("fast".to_owned()),
            new_guest_network: Some(NetworkDefinition::bridge("br0")),
            ..Preferences::default()
        };

        assert_eq!(Preferences::load(&path).unwrap(), Preferences::default());
        mine.save(&path).unwrap();

        assert_eq!(Preferences::load(&path).unwrap(), mine);
        assert!(!path.with_extension("toml.unusable").exists());
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let (_folder, path) = written("version = 1\nnotify = false\n");

        assert_eq!(Preferences::load(&path).unwrap(), Preferences { notify: false, ..Preferences::default() });
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_and_kept_aside() {
        for text in ["notify = perhaps", "notify = 5", "version = 2", "\u{0}"] {
            let (_folder, path) = written(text);

            assert!(Preferences::load(&path).is_err(), "{text:?}");
            Preferences::default().save(&path).unwrap();

            assert_eq!(Preferences::load(&path).unwrap(), Preferences::default());
            assert_eq!(fs::read_to_string(path.with_extension("toml.unusable")).unwrap(), text);
        }
    }
}
