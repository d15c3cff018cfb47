//! Composes the updates of one viewer: decides what its screen lacks, and encodes it piece by piece.
//!
//! The screen is only looked at for as long as it takes to encode a piece of bounded size; the piece is written when the
//! look is over, so that a slow viewer holds up neither the guest nor other viewers, and needs no more memory than a
//! piece. What changes while an update is on its way is part of the next.

use super::cursor::ViewersCursor;
use super::damage::Damage;
use super::lending::Lending;
use super::order::{Encodings, Notices, Order, PixelEncoding, SizeReason};
use super::parts::{COPIED, cost, parts};
use super::scroll::{Copy, Rows};
use super::session::Settings;
use crate::rfb::encoding::{copy_rect, raw, tight, zrle};
use crate::rfb::pixel_format::{PixelFormat, Translator, colour_map};
use crate::rfb::protocol::{Encoding, WireRect, write_screen, write_string, write_update_header};
use crate::screen::{Generation, Rect, Screen, Surface};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A look at the screen ends when so many bytes are encoded.
const PIECE: usize = 192 * 1024;
/// What the memory of a viewer that rests may be.
const RESTING_BUFFER: usize = 4096;

/// Composes the updates of one viewer.
pub(super) struct Composer {
    screen: Arc<dyn Screen>,
    seen: Generation,
    /// The size that the surface had when it was last looked at.
    source: (u32, u32),
    /// The size that the viewer's screen has, what of it is out of date, and what is in its rows.
    width: u32,
    height: u32,
    damage: Damage,
    rows: Rows,
    encodings: Encodings,
    translator: Translator,
    colour_map_due: bool,
    follows_position: Option<bool>,
    cursor: ViewersCursor,
    draws_cursor: bool,
    zrle: Option<zrle::Encoder>,
    tight: Option<tight::Encoder>,
    lending: Lending,
    buffer: Vec<u8>,
}

/// An update on its way.
struct Update {
    /// What is still to be encoded.
    rects: VecDeque<Rect>,
    /// Its end will be marked: it may end early.
    open_ended: bool,
}

impl Composer {
    /// For a viewer that was told that the screen has this size, and has seen nothing yet.
    pub(super) fn new(screen: Arc<dyn Screen>, width: u32, height: u32) -> Self {
        Self {
            screen,
            seen: 0,
            source: (width, height),
            width,
            height,
            damage: Damage::none(width, height),
            rows: Rows::unknown(height),
            encodings: Encodings::default(),
            translator: Translator::new(&PixelFormat::NATIVE),
            colour_map_due: false,
            follows_position: None,
            cursor: ViewersCursor::default(),
            draws_cursor: false,
            zrle: None,
            tight: None,
            lending: Lending::default(),
            buffer: Vec::new(),
        }
    }

    /// Heeds what the viewer has said of itself.
    pub(super) fn apply(&mut self, settings: Settings) {
        if let Some(format) = settings.format {
            self.translator = Translator::new(&format);
            self.colour_map_due = !format.true_colour;
            // What it has is worth nothing now.
            self.forget_everything();
        }
        if let Some(encodings) = settings.encodings {
            self.encodings = encodings;
        }
    }

    /// Notes whether the guest's pointer follows a position, and tells whether the viewer must hear of it.
    pub(super) fn pointer_mode_changed(&mut self, follows_position: bool) -> bool {
        let changed = self.follows_position.replace(follows_position) != Some(follows_position);
        changed && self.encodings.pointer_motion
    }

    /// Whether something in `area` may have to be sent once the screen has this generation.
    pub(super) fn lacks(&self, generation: Generation, area: Rect) -> bool {
        generation != self.seen || self.damage.touches(area) || self.cursor.is_due()
    }

    /// Follows the guest's pointer, and tells where in the screen it points to now, if the viewer wants to know.
    pub(super) fn follow_cursor(&mut self) -> Option<(u16, u16)> {
        let cursor = self.screen.cursor();
        let draws = self.encodings.cursor.is_some() && self.follows_position != Some(false);
        if draws != self.draws_cursor
            && let Some(part) = cursor.as_ref().and_then(|cursor| cursor.covers(self.width, self.height))
        {
            self.damage.add(part);
        }
        self.draws_cursor = draws;
        self.cursor.follow(cursor.as_ref(), draws);
        let (x, y) = self.cursor.moved(cursor.as_ref())?;
        let inside = |place: i32, length: u32| u16::try_from(place).ok().filter(|place| u32::from(*place) < length);
        let place = (inside(x, self.width)?, inside(y, self.height)?);
        (draws && self.encodings.pointer_position.is_some()).then_some(place)
    }

    /// The size of the guest's screen.
    pub(super) fn source_size(&self) -> (u32, u32) {
        self.source
    }

    /// Gives back what is only needed while updates are sent.
    pub(super) fn give_memory_back(&mut self) {
        self.buffer.shrink_to(RESTING_BUFFER);
    }

    /// Sends an update, or nothing (`false`) when the viewer has everything already. `write` takes bytes, and what goes along
    /// with the first of them.
    pub(super) fn send(
        &mut self,
        order: &Order,
        notices: Notices,
        name: &str,
        write: &mut impl FnMut(&[u8], Option<OwnedFd>) -> io::Result<()>,
    ) -> io::Result<bool> {
        self.buffer.clear();
        let mut update = Ok(None);
        self.look(|composer, surface, damage| {
            update = composer.begin(surface, damage, order, notices, name);
            true
        });
        let Some(mut update) = update? else { return Ok(false) };
        loop {
            let ends = update.rects.is_empty();
            if ends && update.open_ended {
                WireRect { x: 0, y: 0, width: 0, height: 0 }.write_header(Encoding::LAST_RECT, &mut self.buffer);
            }
            write(&self.buffer, self.lending.take_descriptor())?;
            self.buffer.clear();
            if ends {
                return Ok(true);
            }
            let mut result = Ok(());
            self.look(|composer, surface, damage| {
                let same_size = composer.note_changes(surface, damage, &mut update);
                result = composer.encode_piece(surface, &mut update);
                same_size
            });
            result?;
        }
    }

    /// Looks at the screen. `look` tells whether the changes have been noted.
    fn look(&mut self, mut look: impl FnMut(&mut Self, &Surface, &[Rect]) -> bool) {
        let screen = Arc::clone(&self.screen);
        let (mut noted, seen, draws_cursor) = (false, self.seen, self.draws_cursor);
        let mut look = |surface: &Surface, damage: &[Rect]| noted = look(self, surface, damage);
        let generation = match draws_cursor {
            true => screen.look_without_cursor(seen, &mut look),
            false => screen.look(seen, &mut look),
        };
        if noted {
            self.seen = generation;
        }
    }

    /// Plans an update and encodes its first piece.
    fn begin(
        &mut self,
        surface: &Surface,
        damage: &[Rect],
        order: &Order,
        notices: Notices,
        name: &str,
    ) -> io::Result<Option<Update>> {
        let mut notices = self.understood(notices);
        if self.resize(surface) {
            // Whatever became of the viewer's own wish: with its answer it would not take the new size.
            notices.desktop_size = Some(SizeReason::Server);
            self.write_preface();
            write_update_header(notices.count(), &mut self.buffer);
            self.write_notices(notices, name);
            return Ok(Some(Update { rects: VecDeque::new(), open_ended: false }));
        }
        self.lend();
        damage.iter().for_each(|rect| self.damage.add(*rect));
        if let Some(anew) = order.anew {
            self.damage.add(anew);
            (0..self.height)
                .skip(anew.y as usize)
                .take(anew.height as usize)
                .for_each(|y| self.rows.forget(y as usize));
        }
        let (copies, rects) = self.plan(surface, order.area);
        let news = [self.tells_cursor(), self.lending.is_due()].map(usize::from);
        let count = usize::from(notices.count()) + news.iter().sum::<usize>() + copies.len() + rects.len();
        if count == 0 {
            return Ok(None);
        }
        self.write_preface();
        let header = self.buffer.len();
        write_update_header(u16::try_from(count).unwrap_or(u16::MAX), &mut self.buffer);
        if let Some(kind) = self.encodings.cursor.filter(|_| self.tells_cursor()) {
            self.cursor.write(kind, &self.translator, &mut self.buffer);
        }
        self.write_notices(notices, name);
        self.lending.write_notice(self.whole(), &mut self.buffer);
        copies.iter().for_each(|copy| self.write_copy(copy));
        let mut update = Update { rects, open_ended: false };
        self.encode_piece(surface, &mut update)?;
        if !update.rects.is_empty() && self.encodings.last_rect {
            update.open_ended = true;
            self.buffer[header + 2..header + 4].copy_from_slice(&u16::MAX.to_be_bytes());
        }
        Ok(Some(update))
    }

    /// Has memory ready for a viewer that shares it. Where there is none it gets pixels as they are.
    fn lend(&mut self) {
        if self.encodings.pixels != PixelEncoding::Memory {
            self.lending = Lending::default();
            return;
        }
        let lent = self.lending.prepare(self.width, self.height).inspect_err(|error| {
            tracing::warn!(%error, "a viewer shares no memory");
            self.encodings.pixels = PixelEncoding::Raw;
        });
        if !matches!(lent, Ok(false)) {
            self.forget_everything();
        }
    }

    /// Whether the viewer must hear, and can, how the pointer looks.
    fn tells_cursor(&self) -> bool {
        self.cursor.is_due() && self.encodings.cursor.is_some()
    }

    /// Follows the surface's size; tells whether the viewer must hear of it. A viewer that can't follow sees what fits
    /// into its screen, on black.
    fn resize(&mut self, surface: &Surface) -> bool {
        let size = wire_size(surface);
        if size == self.source {
            return false;
        }
        self.source = size;
        let follows = self.encodings.desktop_size || self.encodings.extended_desktop_size;
        let news = follows && size != (self.width, self.height);
        if news {
            (self.width, self.height) = size;
        }
        self.forget_everything();
        news
    }

    /// Those notices that the viewer understands.
    fn understood(&self, notices: Notices) -> Notices {
        Notices {
            extended_keys: notices.extended_keys && self.encodings.extended_keys,
            extended_buttons: notices.extended_buttons && self.encodings.extended_buttons,
            pointer_mode: notices.pointer_mode && self.encodings.pointer_motion,
            desktop_size: notices.desktop_size.filter(|_| self.encodings.extended_desktop_size),
            name: notices.name && self.encodings.desktop_name,
            pointer_position: notices.pointer_position.filter(|_| self.encodings.pointer_position.is_some()),
        }
    }

    fn forget_everything(&mut self) {
        self.damage = Damage::all(self.width, self.height);
        self.rows = Rows::unknown(self.height);
    }

    /// Decides what to send: takes out of the damage what lies in `area`.
    fn plan(&mut self, surface: &Surface, area: Rect) -> (Vec<Copy>, VecDeque<Rect>) {
        // To look for rows that are known takes as long as to copy them.
        let copies = match self.encodings.pixels {
            PixelEncoding::Memory => Vec::new(),
            _ => self.plan_rows(surface, area),
        };
        let rects = self.damage.take(area, cost(self.encodings.pixels));
        (copies, parts(surface, rects, self.encodings.pixels).into())
    }

    /// Takes out of the damage the rows that the viewer has, there or elsewhere.
    fn plan_rows(&mut self, surface: &Surface, area: Rect) -> Vec<Copy> {
        let rows = area.y as usize..(area.y as usize).saturating_add(area.height as usize).min(self.height as usize);
        let damaged: Vec<usize> = rows.filter(|y| self.damage.has(*y)).collect();
        let whole_rows = area.x == 0 && area.width >= self.width;
        let hashes = self.rows.are_worth_hashing(damaged.len());
        let (mut changed, mut found) = (Vec::new(), false);
        for y in &damaged {
            match hashes.then(|| self.rows.hash(surface, *y)) {
                Some(hash) if self.rows.is(*y, hash) => {
                    self.damage.clear_row(*y);
                    found = true;
                }
                Some(hash) if whole_rows => changed.push((*y, hash)),
                _ => self.rows.forget(*y),
            }
        }
        let copies = if self.encodings.copy_rect { self.rows.find_copies(&changed) } else { Vec::new() };
        for copy in &copies {
            (copy.to..copy.to + copy.height).for_each(|y| self.damage.clear_row(y));
        }
        self.rows.note_found(damaged.len(), found || !copies.is_empty());
        for (y, hash) in changed {
            self.rows.note(y, hash);
        }
        copies
    }

    /// Notes what has changed since the update was planned; `false` when the screen has another size now.
    fn note_changes(&mut self, surface: &Surface, damage: &[Rect], update: &mut Update) -> bool {
        if wire_size(surface) != self.source {
            if update.open_ended {
                update.rects.clear();
            }
            return false;
        }
        for rect in damage {
            self.damage.add(*rect);
            // What is still to be sent will be newer than it was when it was hashed.
            let sent_later = |y: &u32| update.rects.iter().any(|rest| (rest.y..rest.y + rest.height).contains(y));
            (rect.y..rect.y + rect.height).filter(sent_later).for_each(|y| self.rows.forget(y as usize));
        }
        true
    }

    /// Encodes rectangles until a piece is full.
    fn encode_piece(&mut self, surface: &Surface, update: &mut Update) -> io::Result<()> {
        let mut copied = 0;
        while self.buffer.len() + copied / COPIED < PIECE
            && let Some(rect) = update.rects.pop_front()
        {
            copied += self.encode_rect(surface, rect)?;
        }
        Ok(())
    }

    /// Encodes a rectangle, or copies it into shared memory: so many bytes.
    fn encode_rect(&mut self, surface: &Surface, rect: Rect) -> io::Result<usize> {
        let (wire, buffer, translator) = (wire_rect(rect), &mut self.buffer, &self.translator);
        let level = self.encodings.compression_level.unwrap_or(DEFAULT_LEVEL);
        match self.encodings.pixels {
            PixelEncoding::Raw => {
                wire.write_header(Encoding::RAW, buffer);
                raw::encode(surface, rect, translator, buffer);
                Ok(0)
            }
            PixelEncoding::Memory => {
                wire.write_header(Encoding::IN_MEMORY, buffer);
                self.lending.copy(surface, rect);
                Ok(rect.width as usize * rect.height as usize * 4)
            }
            PixelEncoding::Zrle => {
                wire.write_header(Encoding::ZRLE, buffer);
                let encoder = self.zrle.get_or_insert_with(|| zrle::Encoder::new(level));
                encoder.encode(surface, rect, translator, buffer).map(|()| 0).map_err(io::Error::other)
            }
            PixelEncoding::Tight => {
                wire.write_header(Encoding::TIGHT, buffer);
                let encoder = self.tight.get_or_insert_with(|| tight::Encoder::new(level));
                let quality = self.encodings.quality;
                encoder.encode(surface, rect, translator, quality, buffer).map(|()| 0).map_err(io::Error::other)
            }
        }
    }

    /// Writes the colour map when the viewer needs one.
    fn write_preface(&mut self) {
        if std::mem::take(&mut self.colour_map_due) {
            self.buffer.extend_from_slice(&[1, 0, 0, 0, 1, 0]);
            for colour in colour_map().flatten() {
                self.buffer.extend_from_slice(&colour.to_be_bytes());
            }
        }
    }

    /// Writes the rectangles of notices that the viewer understands; the size last, as it must be.
    fn write_notices(&mut self, notices: Notices, name: &str) {
        let whole = self.whole();
        let buffer = &mut self.buffer;
        if notices.extended_keys {
            whole.write_header(Encoding::QEMU_EXTENDED_KEY_EVENT, buffer);
        }
        if notices.extended_buttons {
            whole.write_header(Encoding::EXTENDED_MOUSE_BUTTONS, buffer);
        }
        if notices.pointer_mode {
            let x = u16::from(self.follows_position.unwrap_or(true));
            WireRect { x, ..whole }.write_header(Encoding::QEMU_POINTER_MOTION_CHANGE, buffer);
        }
        if notices.name {
            whole.write_header(Encoding::DESKTOP_NAME, buffer);
            write_string(name.as_bytes(), buffer);
        }
        if let (Some((x, y)), Some(encoding)) = (notices.pointer_position, self.encodings.pointer_position) {
            WireRect { x, y, width: 0, height: 0 }.write_header(encoding, buffer);
        }
        match notices.desktop_size {
            Some(reason) if self.encodings.extended_desktop_size => {
                // Who asked (0 the server, 1 this viewer) and how it ended (0 done, 1 forbidden, 4 passed on).
                let (x, y) = match reason {
                    SizeReason::Server => (0, 0),
                    SizeReason::Refused => (1, 1),
                    SizeReason::Forwarded => (1, 4),
                };
                WireRect { x, y, ..whole }.write_header(Encoding::EXTENDED_DESKTOP_SIZE, buffer);
                buffer.extend_from_slice(&[1, 0, 0, 0]);
                write_screen(whole.width, whole.height, buffer);
            }
            Some(_) => whole.write_header(Encoding::DESKTOP_SIZE, buffer),
            None => {}
        }
    }

    /// The viewer's screen.
    fn whole(&self) -> WireRect {
        wire_rect(Rect { x: 0, y: 0, width: self.width, height: self.height })
    }

    fn write_copy(&mut self, copy: &Copy) {
        let rect = Rect { x: 0, y: copy.to as u32, width: self.width, height: copy.height as u32 };
        wire_rect(rect).write_header(Encoding::COPY_RECT, &mut self.buffer);
        copy_rect::encode(0, copy.from as u16, &mut self.buffer);
    }
}

/// The level of compression for viewers that do not care: what is above it takes three times as long for text.
const DEFAULT_LEVEL: u32 = 6;

/// The size of a surface as viewers are told it.
pub(super) fn wire_size(surface: &Surface) -> (u32, u32) {
    let limit = |length: u32| length.clamp(1, u32::from(u16::MAX));
    (limit(surface.width), limit(surface.height))
}

/// A rectangle of a screen that is no larger than [`wire_size`] allows.
fn wire_rect(rect: Rect) -> WireRect {
    let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    WireRect { x: narrow(rect.x), y: narrow(rect.y), width: narrow(rect.width), height: narrow(rect.height) }
}
