//! What a viewer understands, waits for and must be told.

use crate::rfb::protocol::Encoding;
use crate::screen::Rect;

/// What a viewer understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Encodings {
    /// How it wants its pixels.
    pub pixels: PixelEncoding,
    /// How much photographs may lose, 9 (least) to 0, if they may.
    pub quality: Option<u32>,
    /// How hard to compress, 0 to 9, if it has an opinion.
    pub compression_level: Option<u32>,
    /// It can copy from its own screen.
    pub copy_rect: bool,
    /// It understands the end of an update of unknown length.
    pub last_rect: bool,
    /// It can follow a change of size.
    pub desktop_size: bool,
    /// It can follow a change of size and ask for one.
    pub extended_desktop_size: bool,
    /// It can follow a change of name.
    pub desktop_name: bool,
    /// It can send scan codes.
    pub extended_keys: bool,
    /// Its pointer has side buttons.
    pub extended_buttons: bool,
    /// It can send movement.
    pub pointer_motion: bool,
    /// It can draw the guest's pointer by itself, when it is told so how that looks.
    pub cursor: Option<CursorKind>,
    /// It answers fences.
    pub fences: bool,
    /// It can take updates that it has not requested.
    pub continuous_updates: bool,
    /// How it is told to move its pointer to where the guest's is, if it can.
    pub pointer_position: Option<Encoding>,
    /// How it takes part in the guest's clipboard.
    pub clipboard: ClipboardKind,
}

/// How a viewer takes part in the guest's clipboard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ClipboardKind {
    /// Not at all.
    #[default]
    None,
    /// In Latin-1, without being asked.
    Plain,
    /// By demand.
    Extended,
}

/// An encoding for pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PixelEncoding {
    #[default]
    Raw,
    Zrle,
    Tight,
    /// They are in memory that the viewer sees.
    Memory,
}

impl PixelEncoding {
    fn new(encoding: Encoding) -> Option<Self> {
        match encoding {
            Encoding::RAW => Some(Self::Raw),
            Encoding::ZRLE => Some(Self::Zrle),
            Encoding::TIGHT => Some(Self::Tight),
            _ => None,
        }
    }
}

/// How a viewer is told how the guest's pointer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CursorKind {
    /// Each pixel is there or not.
    Mask,
    /// Each pixel is more or less opaque.
    Alpha,
}

impl Encodings {
    /// Reads a viewer's list. Of the encodings for pixels the first that we know is taken.
    pub(super) fn new(list: &[Encoding]) -> Self {
        let has = |encoding| list.contains(&encoding);
        let follows_size = has(Encoding::DESKTOP_SIZE) || has(Encoding::EXTENDED_DESKTOP_SIZE);
        Self {
            pixels: match list.iter().find_map(|encoding| PixelEncoding::new(*encoding)) {
                _ if has(Encoding::SHARED_MEMORY) && follows_size => PixelEncoding::Memory,
                known => known.unwrap_or_default(),
            },
            quality: list.iter().find_map(|encoding| encoding.quality_level()),
            compression_level: list.iter().find_map(|encoding| encoding.compression_level()),
            copy_rect: has(Encoding::COPY_RECT),
            last_rect: has(Encoding::LAST_RECT),
            desktop_size: has(Encoding::DESKTOP_SIZE),
            extended_desktop_size: has(Encoding::EXTENDED_DESKTOP_SIZE),
            desktop_name: has(Encoding::DESKTOP_NAME),
            extended_keys: has(Encoding::QEMU_EXTENDED_KEY_EVENT),
            extended_buttons: has(Encoding::EXTENDED_MOUSE_BUTTONS),
            pointer_motion: has(Encoding::QEMU_POINTER_MOTION_CHANGE),
            cursor: match (has(Encoding::CURSOR_WITH_ALPHA), has(Encoding::CURSOR)) {
                (true, _) => Some(CursorKind::Alpha),
                (false, true) => Some(CursorKind::Mask),
                (false, false) => None,
            },
            fences: has(Encoding::FENCE),
            continuous_updates: has(Encoding::FENCE) && has(Encoding::CONTINUOUS_UPDATES),
            pointer_position: [Encoding::POINTER_POSITION, Encoding::VMWARE_POINTER_POSITION]
                .into_iter()
                .find(|known| has(*known)),
            clipboard: match (has(Encoding::NO_CLIPBOARD), has(Encoding::EXTENDED_CLIPBOARD)) {
                (true, _) => ClipboardKind::None,
                (false, true) => ClipboardKind::Extended,
                (false, false) => ClipboardKind::Plain,
            },
        }
    }

    /// What must be told to a viewer that has said this.
    pub(super) fn greetings(&self) -> Notices {
        Notices {
            extended_keys: self.extended_keys,
            extended_buttons: self.extended_buttons,
            pointer_mode: self.pointer_motion,
            desktop_size: self.extended_desktop_size.then_some(SizeReason::Server),
            ..Notices::default()
        }
    }
}

/// Why a viewer is told of the screen's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SizeReason {
    /// It is so.
    Server,
    /// The viewer asked for another and does not get it.
    Refused,
    /// The viewer asked for another, and the guest knows.
    Forwarded,
}

/// What a viewer is told besides pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Notices {
    /// Scan codes are understood.
    pub extended_keys: bool,
    /// Side buttons are understood.
    pub extended_buttons: bool,
    /// Whether the pointer is moved or placed.
    pub pointer_mode: bool,
    /// The screen's size.
    pub desktop_size: Option<SizeReason>,
    /// The desktop's name.
    pub name: bool,
    /// Where the guest's pointer points to.
    pub pointer_position: Option<(u16, u16)>,
}

impl Notices {
    /// Adds others.
    pub(super) fn merge(&mut self, other: Self) {
        self.extended_keys |= other.extended_keys;
        self.extended_buttons |= other.extended_buttons;
        self.pointer_mode |= other.pointer_mode;
        self.desktop_size = other.desktop_size.or(self.desktop_size);
        self.name |= other.name;
        self.pointer_position = other.pointer_position.or(self.pointer_position);
    }

    /// How many rectangles they are.
    pub(super) fn count(&self) -> u16 {
        let (size, position) = (self.desktop_size.is_some(), self.pointer_position.is_some());
        let notices = [self.extended_keys, self.extended_buttons, self.pointer_mode, size, self.name, position];
        notices.into_iter().map(u16::from).sum()
    }
}

/// What a viewer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// Changes in here.
    pub area: Rect,
    /// All of this, changed or not.
    pub anew: Option<Rect>,
}

impl Order {
    /// This order and an older one in one.
    pub(super) fn merged(self, older: Option<Self>) -> Self {
        let Some(older) = older else { return self };
        let anew = match (self.anew, older.anew) {
            (Some(a), Some(b)) => Some(a.around(b)),
            (a, b) => a.or(b),
        };
        Self { area: self.area.around(older.area), anew }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn the_first_encoding_that_we_know_is_taken() {
        let hextile = Encoding(5);

        let pixels = |list: &[Encoding]| Encodings::new(list).pixels;
        assert_eq!(pixels(&[hextile, Encoding::ZRLE, Encoding::RAW]), PixelEncoding::Zrle);
        assert_eq!(pixels(&[hextile, Encoding::TIGHT, Encoding::ZRLE]), PixelEncoding::Tight);
        assert_eq!(pixels(&[hextile, Encoding::RAW, Encoding::ZRLE]), PixelEncoding::Raw);
        assert_eq!(pixels(&[hextile]), PixelEncoding::Raw);
        assert_eq!(pixels(&[Encoding::RAW, Encoding::SHARED_MEMORY, Encoding::DESKTOP_SIZE]), PixelEncoding::Memory);
        assert_eq!(pixels(&[Encoding::ZRLE, Encoding::SHARED_MEMORY]), PixelEncoding::Zrle, "it can't follow the size");
        assert_eq!(Encodings::new(&[Encoding(-24), Encoding(-33)]).quality, Some(8));
    }

    #[test]
    fn a_viewer_is_told_what_it_can_use() {
        let all = [
            Encoding::QEMU_EXTENDED_KEY_EVENT,
            Encoding::EXTENDED_MOUSE_BUTTONS,
            Encoding::QEMU_POINTER_MOTION_CHANGE,
            Encoding::EXTENDED_DESKTOP_SIZE,
            Encoding::DESKTOP_NAME,
        ];

        assert_eq!(Encodings::new(&all).greetings().count(), 4);
        assert_eq!(Encodings::new(&[Encoding::DESKTOP_SIZE]).greetings(), Notices::default());
    }

    #[test]
    fn orders_that_wait_become_one_around_both() {
        let older = Order { area: rect(0, 0, 10, 10), anew: None };
        let newer = Order { area: rect(20, 5, 10, 10), anew: Some(rect(20, 5, 10, 10)) };

        let both = newer.merged(Some(older));

        assert_eq!(both, Order { area: rect(0, 0, 30, 15), anew: newer.anew });
        assert_eq!(older.merged(Some(both)), both);
    }
}
