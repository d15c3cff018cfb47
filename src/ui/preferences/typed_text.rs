//! The layout that a text is typed on.

use serde::{Deserialize, Serialize};

use crate::ui::i18n::gettext;

/// The keyboard's layout that guests are taken to have when a text is typed into them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TypedText {
    /// That of the desktop.
    #[default]
    Desktop,
    /// The US layout.
    Us,
}

impl TypedText {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Desktop, Self::Us];

    /// What they are called.
    pub fn label(self) -> String {
        match self {
            Self::Desktop => gettext("As on the Desktop"),
            Self::Us => gettext("US"),
        }
    }
}
