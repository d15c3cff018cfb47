//! Why a packet's command has failed (SPC-4, section 4.5; the codes for CD-ROM drives are in MMC-5, annex F).

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Sense key, additional sense code and its qualifier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sense {
    pub key: u8,
    pub code: u8,
    pub qualifier: u8,
}

impl Sense {
    pub const NONE: Self = Self::new(0x0, 0x00, 0x00);
    pub const NO_MEDIUM: Self = Self::new(0x2, 0x3a, 0x01);
    pub const NO_MEDIUM_TRAY_OPEN: Self = Self::new(0x2, 0x3a, 0x02);
    pub const READ_ERROR: Self = Self::new(0x3, 0x11, 0x00);
    pub const BAD_COMMAND: Self = Self::new(0x5, 0x20, 0x00);
    pub const BAD_ADDRESS: Self = Self::new(0x5, 0x21, 0x00);
    pub const BAD_FIELD: Self = Self::new(0x5, 0x24, 0x00);
    pub const NOT_SAVED: Self = Self::new(0x5, 0x39, 0x00);
    pub const LOCKED: Self = Self::new(0x5, 0x53, 0x02);
    pub const MEDIUM_CHANGED: Self = Self::new(0x6, 0x28, 0x00);

    const fn new(key: u8, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier }
    }

    /// The answer to REQUEST SENSE: fixed format.
    pub fn answer(self) -> [u8; 18] {
        let mut data = [0; 18];
        data[0] = 0x70;
        data[2] = self.key;
        data[7] = 10;
        data[12] = self.code;
        data[13] = self.qualifier;
        data
    }
}
