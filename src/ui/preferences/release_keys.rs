//! The keys that take the keyboard back from a guest.

use lodge::input::{
    Key,
    keys::{LEFT_ALT, LEFT_CTRL, LEFT_META, RIGHT_CTRL},
};
use serde::{Deserialize, Serialize};

use crate::ui::i18n::gettext;

/// Keys that let the keyboard go when they are pressed together and released without another key between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseKeys {
    /// Left Control and left Alt.
    #[default]
    CtrlAlt,
    /// Left Control and the left Super key.
    CtrlSuper,
    /// Right Control.
    RightCtrl,
}

impl ReleaseKeys {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CtrlAlt, Self::CtrlSuper, Self::RightCtrl];

    /// The keys.
    pub fn keys(self) -> &'static [Key] {
        match self {
            Self::CtrlAlt => &[LEFT_CTRL, LEFT_ALT],
            Self::CtrlSuper => &[LEFT_CTRL, LEFT_META],
            Self::RightCtrl => &[RIGHT_CTRL],
        }
    }

    /// What they are called.
    pub fn label(self) -> String {
        match self {
            Self::CtrlAlt => gettext("Left Ctrl+Alt"),
            Self::CtrlSuper => gettext("Left Ctrl+Super"),
            Self::RightCtrl => gettext("Right Ctrl"),
        }
    }
}
