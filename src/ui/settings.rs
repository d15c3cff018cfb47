//! What the application remembers between runs: the windows' sizes, how the list is shown and the chosen style. It lies in
//! `$XDG_CONFIG_HOME/lodge/window.toml`; when it cannot be read or written, the application works without.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use gtk::glib;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{guest_list::View, saver::Saver};

/// No window is larger, in logical pixels.
const LARGEST: i32 = 10_000;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Light, dark, or as the system has it.
    pub style: Style,
    /// The main window's width in logical pixels.
    pub width: i32,
    /// The main window's height in logical pixels.
    pub height: i32,
    /// Whether the main window is maximized.
    pub maximized: bool,
    /// How the guest list is shown.
    pub list: View,
    /// The sizes that guests' windows had last.
    pub guest_windows: BTreeMap<Uuid, WindowSize>,
}

/// The size of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Width in logical pixels, when it is not maximized.
    pub width: i32,
    /// Height in logical pixels, when it is not maximized.
    pub height: i32,
    /// Whether it is maximized.
    pub maximized: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            style: Style::System,
            width: 840,
            height: 640,
            maximized: false,
            list: View::default(),
            guest_windows: BTreeMap::new(),
        }
    }
}

/// Light or dark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// As the system has it.
    #[default]
    System,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Style {
    /// The word for it in settings and actions.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The style of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::System, Self::Light, Self::Dark].into_iter().find(|style| style.name() == name)
    }

    /// Draws the application's windows in this style.
    pub fn apply(self) {
        adw::StyleManager::default().set_color_scheme(match self {
            Self::System => adw::ColorScheme::Default,
            Self::Light => adw::ColorScheme::ForceLight,
            Self::Dark => adw::ColorScheme::ForceDark,
        });
    }
}

impl Settings {
    /// Reads them, or gives the usual ones.
    pub fn load() -> Self {
        let mut settings = match fs::read_to_string(path()) {
            Ok(text) => toml::from_str(&text).unwrap_or_else(|error| {
                tracing::warn!("{} cannot be used: {error}", path().display());
                Self::default()
            }),
            Err(_) => Self::default(),
        };
        settings.width = settings.width.clamp(360, LARGEST);
        settings.height = settings.height.clamp(294, LARGEST);
        for size in settings.guest_windows.values_mut() {
            (size.width, size.height) = (size.width.clamp(1, LARGEST), size.height.clamp(1, LARGEST));
        }
        settings
    }

    /// Writes them from a worker thread.
    pub fn save_soon(&self) {
        static SAVER: Saver = Saver::new();
        let settings = self.clone();
        SAVER.save(move || {
            if let Err(error) = settings.save() {
                tracing::warn!("the window's settings cannot be saved: {error}");
            }
        });
    }

    /// Writes them. It touches the disk: call it when the windows are gone.
    pub fn save(&self) -> io::Result<()> {
        let path = path();
        let text = toml::to_string(self).map_err(io::Error::other)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension("toml.new");
        fs::write(&temporary, text)?;
        fs::rename(temporary, path)
    }
}

fn path() -> PathBuf {
    glib::user_config_dir().join("lodge/window.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_being_written() {
        let size = WindowSize { width: 900, height: 600, maximized: false };
        let guest_windows = [(Uuid::from_u128(1), size)].into();
        let settings = Settings { style: Style::Dark, maximized: true, guest_windows, ..Settings::default() };

        let text = toml::to_string(&settings).unwrap();

        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }

    #[test]
    fn what_is_missing_has_its_usual_value() {
        let settings: Settings = toml::from_str("style = \"light\"").unwrap();

        assert_eq!(settings, Settings { style: Style::Light, ..Settings::default() });
    }

    #[test]
    fn every_style_is_found_by_its_name() {
        for style in [Style::System, Style::Light, Style::Dark] {
            assert_eq!(Style::from_name(style.name()), Some(style));
        }
        assert_eq!(Style::from_name("pink"), None);
    }
}
