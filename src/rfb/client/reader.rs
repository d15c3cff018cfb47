//! Reads what the server sends: keeps the picture up to date and tells the consumer.

use super::handshake::{read_text, take};
use super::outgoing::Outgoing;
use super::sharing::Received;
use super::{ClientError, Event, Picture, new_surface};
use crate::rfb::clipboard::{ClipboardMessage, decompress, from_latin1};
use crate::rfb::encoding::{DecodeError, copy_rect, raw, tight, zrle};
use crate::rfb::fence::Fence;
use crate::rfb::memory::Memory;
use crate::rfb::protocol::{
    ClientMessage, END_OF_CONTINUOUS_UPDATES, Encoding, ProtocolError, SERVER_CUT_TEXT, WireRect,
};
use crate::screen::Rect;
use crate::screen::cursor::CursorImage;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Raw pixels are taken in pieces of about this many bytes.
const PIECE: usize = 128 * 1024;
/// No clipboard text is longer.
const MAX_CUT_TEXT: u32 = 1 << 20;
/// No pointer is wider or higher, in pixels.
const MAX_CURSOR: u16 = 256;
/// The consumer is told of no more rectangles at once.
const MAX_DAMAGE: usize = 1024;
/// The number of rectangles in an update that goes on until its last one says so.
const OPEN_ENDED: u16 = u16::MAX;

/// The reading half of a connection.
pub(super) struct Reader<R> {
    pub(super) stream: R,
    pub(super) picture: Arc<Picture>,
    outgoing: Arc<Outgoing>,
    /// The descriptors that come along, if any can.
    received: Option<Arc<Received>>,
    events: mpsc::Sender<Event>,
    pub(super) zrle: zrle::Decoder,
    pub(super) tight: tight::Decoder,
    pub(super) buffer: Vec<u8>,
    damage: Vec<Rect>,
}

/// The consumer is gone: nobody wants to know more.
pub(super) struct Unheard;

/// Why reading ends.
pub(super) enum End {
    /// Nobody listens.
    Unheard,
    /// Something went wrong.
    Failed(ClientError),
}

impl<E: Into<ClientError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unheard> for End {
    fn from(_: Unheard) -> Self {
        Self::Unheard
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader for a server that has been greeted.
    pub(super) fn new(
        stream: R,
        picture: Arc<Picture>,
        outgoing: Arc<Outgoing>,
        received: Option<Arc<Received>>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (zrle, tight) = (zrle::Decoder::new(), tight::Decoder::default());
        Self { stream, picture, outgoing, received, events, zrle, tight, buffer: Vec::new(), damage: Vec::new() }
    }

    /// Reads until the connection ends or nobody listens any more.
    pub(super) async fn run(mut self) {
        if let Err(End::Failed(error)) = self.read_messages().await {
            let _ = self.tell(Event::Closed(error)).await;
        }
    }

    async fn tell(&mut self, event: Event) -> Result<(), Unheard> {
        self.events.send(event).await.map_err(|_| Unheard)
    }

    /// Never ends well: a connection has no last message.
    pub(super) async fn read_messages(&mut self) -> Result<(), End> {
        loop {
            let [kind] = take(&mut self.stream).await?;
            match kind {
                0 => self.read_update().await?,
                1 => {
                    // Colours for a map that we have not asked for.
                    let [_, _, _, high, low] = take(&mut self.stream).await?;
                    self.skip(u64::from(u16::from_be_bytes([high, low])) * 6).await?;
                }
                2 => self.tell(Event::Bell).await?,
                SERVER_CUT_TEXT => self.read_clipboard().await?,
                END_OF_CONTINUOUS_UPDATES => self.outgoing.offer_flow(),
                Fence::MESSAGE => {
                    let (flags, length) = Fence::parse_header(take(&mut self.stream).await?)?;
                    let mut payload = vec![0; length];
                    self.stream.read_exact(&mut payload).await.map_err(ProtocolError::Io)?;
                    self.outgoing.fence(Fence { flags, payload })?;
                }
                _ => return Err(ProtocolError::UnknownMessage(kind).into()),
            }
        }
    }

    async fn read_update(&mut self) -> Result<(), End> {
        let [_, high, low] = take(&mut self.stream).await?;
        let count = u16::from_be_bytes([high, low]);
        self.damage.clear();
        let mut read = 0;
        while count == OPEN_ENDED || read < count {
            let (rect, encoding) = WireRect::parse_header(&take(&mut self.stream).await?);
            if encoding == Encoding::LAST_RECT {
                break;
            }
            self.read_rect(rect, encoding).await?;
            read = read.saturating_add(1);
        }
        self.outgoing.update_arrived(!self.damage.is_empty());
        if self.damage.is_empty() {
            return Ok(());
        }
        let damage = std::mem::take(&mut self.damage);
        Ok(self.tell(Event::Damaged(damage)).await?)
    }

    async fn read_rect(&mut self, wire: WireRect, encoding: Encoding) -> Result<(), End> {
        match encoding {
            Encoding::RAW | Encoding::COPY_RECT | Encoding::ZRLE | Encoding::TIGHT => {
                let rect = self.check(wire)?;
                match encoding {
                    Encoding::RAW => self.read_raw(rect).await?,
                    Encoding::COPY_RECT => {
                        let (x, y) = copy_rect::parse(take(&mut self.stream).await?);
                        copy_rect::apply(x, y, rect, &mut self.picture.lock())?;
                    }
                    Encoding::TIGHT => self.read_tight(rect).await?,
                    _ => self.read_zrle(rect).await?,
                }
                self.note_damage(rect);
            }
            Encoding::SHARED_MEMORY if self.received.is_some() => self.open_memory(wire)?,
            Encoding::IN_MEMORY if self.picture.is_shared() => {
                let rect = self.check(wire)?;
                self.note_damage(rect);
            }
            Encoding::DESKTOP_SIZE => self.resize(wire.width, wire.height).await?,
            Encoding::EXTENDED_DESKTOP_SIZE => {
                let [screens, _, _, _] = take(&mut self.stream).await?;
                self.skip(u64::from(screens) * 16).await?;
                // The answer to a request that was refused tells nothing new.
                if wire.y == 0 {
                    self.resize(wire.width, wire.height).await?;
                }
            }
            Encoding::DESKTOP_NAME => {
                let name = read_text(&mut self.stream).await?;
                self.tell(Event::Renamed(name)).await?;
            }
            Encoding::QEMU_EXTENDED_KEY_EVENT => self.outgoing.enable_extended_keys(),
            Encoding::EXTENDED_MOUSE_BUTTONS => self.outgoing.enable_extended_buttons(),
            Encoding::QEMU_POINTER_MOTION_CHANGE => {
                self.tell(Event::PointerMode { follows_position: wire.x != 0 }).await?;
            }
            Encoding::CURSOR_WITH_ALPHA => {
                let image = self.read_cursor(wire).await?;
                self.tell(Event::Cursor(Arc::new(image))).await?;
            }
            _ => return Err(ClientError::UnknownEncoding(encoding).into()),
        }
        Ok(())
    }

    /// The picture is in memory that has come along.
    fn open_memory(&mut self, wire: WireRect) -> Result<(), ClientError> {
        let (width, height) = (u32::from(wire.width), u32::from(wire.height));
        let bounds = self.picture.lock().bounds();
        if bounds != Some(Rect { x: wire.x.into(), y: wire.y.into(), width, height }) {
            return Err(ProtocolError::Malformed("shared memory of another size than the screen's").into());
        }
        let descriptor = self.received.as_ref().and_then(|received| received.take());
        let descriptor = descriptor.ok_or(ProtocolError::Malformed("shared memory that has not come"))?;
        self.picture.share(Some(Memory::open(descriptor, width, height)?));
        Ok(())
    }

    async fn read_cursor(&mut self, wire: WireRect) -> Result<CursorImage, End> {
        let encoding = Encoding(i32::from_be_bytes(take(&mut self.stream).await?));
        if encoding != Encoding::RAW {
            return Err(ClientError::UnknownEncoding(encoding).into());
        }
        if wire.width > MAX_CURSOR || wire.height > MAX_CURSOR {
            return Err(ProtocolError::Malformed("a pointer of more than 256 by 256 pixels").into());
        }
        let [hot_x, hot_y, width, height] = [wire.x, wire.y, wire.width, wire.height].map(u32::from);
        self.fill_buffer(width as usize * height as usize * 4).await?;
        let (pixels, _) = self.buffer.as_chunks();
        let pixels = pixels.iter().map(|[red, green, blue, alpha]| u32::from_be_bytes([*alpha, *red, *green, *blue]));
        let hot_spot = (hot_x.min(width.saturating_sub(1)), hot_y.min(height.saturating_sub(1)));
        Ok(CursorImage { width, height, hot_spot, pixels: pixels.collect() })
    }

    /// Notes what the consumer will be told. Nothing is damaged by a rectangle without pixels, everything by too many.
    fn note_damage(&mut self, rect: Rect) {
        if self.damage.len() == MAX_DAMAGE {
            self.damage.clear();
            self.damage.extend(self.picture.lock().bounds());
        }
        self.damage.extend((rect.width > 0 && rect.height > 0).then_some(rect));
    }

    /// The rectangle, which must lie in the picture.
    fn check(&self, wire: WireRect) -> Result<Rect, DecodeError> {
        let [x, y, width, height] = [wire.x, wire.y, wire.width, wire.height].map(u32::from);
        let picture = self.picture.lock();
        let inside = x + width <= picture.width && y + height <= picture.height;
        if inside { Ok(Rect { x, y, width, height }) } else { Err(DecodeError::Outside) }
    }

    async fn read_raw(&mut self, rect: Rect) -> Result<(), End> {
        let row_bytes = rect.width as usize * 4;
        if row_bytes == 0 {
            return Ok(());
        }
        let rows_a_piece = (PIECE / row_bytes).max(1);
        for first_row in (0..rect.height).step_by(rows_a_piece) {
            let rows = rows_a_piece.min((rect.height - first_row) as usize);
            self.fill_buffer(rows * row_bytes).await?;
            raw::decode_rows(&self.buffer, rect, first_row, &mut self.picture.lock())?;
        }
        Ok(())
    }

    async fn read_zrle(&mut self, rect: Rect) -> Result<(), End> {
        let length = u32::from_be_bytes(take(&mut self.stream).await?) as usize;
        // What the pixels could take at worst, with what zlib may add to it.
        let most = rect.width as usize * rect.height as usize * 5 + 64 * 1024;
        if length > most {
            return Err(DecodeError::Length("more").into());
        }
        self.fill_buffer(length).await?;
        Ok(self.zrle.decode(&self.buffer, rect, &mut self.picture.lock())?)
    }

    pub(super) async fn fill_buffer(&mut self, length: usize) -> Result<(), ProtocolError> {
        self.buffer.resize(length, 0);
        self.stream.read_exact(&mut self.buffer).await?;
        Ok(())
    }

    async fn resize(&mut self, width: u16, height: u16) -> Result<(), End> {
        let surface = new_surface(width, height)?;
        let (width_now, height_now) = (surface.width, surface.height);
        {
            let mut picture = self.picture.lock();
            if (picture.width, picture.height) == (width_now, height_now) {
                return Ok(());
            }
            *picture = surface;
        }
        self.picture.share(None);
        self.damage.clear();
        self.outgoing.resized(width, height);
        Ok(self.tell(Event::Resized { width: width_now, height: height_now }).await?)
    }

    async fn read_clipboard(&mut self) -> Result<(), End> {
        let [_, _, _, length @ ..] = take::<7>(&mut self.stream).await?;
        let length = i32::from_be_bytes(length);
        if length < 0 {
            // With memory of its own: others are not as long.
            let length = ClipboardMessage::length(length)?;
            let mut body = Vec::new();
            (&mut self.stream).take(length as u64).read_to_end(&mut body).await.map_err(ProtocolError::Io)?;
            if body.len() < length {
                return Err(ProtocolError::Io(std::io::ErrorKind::UnexpectedEof.into()).into());
            }
            let message = ClipboardMessage::parse(&body)?;
            return Ok(self.hear_clipboard(message).await?);
        }
        if length.unsigned_abs() > MAX_CUT_TEXT {
            return Err(ProtocolError::Malformed("a clipboard text of more than 1 MiB").into());
        }
        self.fill_buffer(length as usize).await?;
        let text = from_latin1(&self.buffer);
        Ok(self.tell(Event::CutText(text)).await?)
    }

    async fn hear_clipboard(&mut self, message: ClipboardMessage) -> Result<(), Unheard> {
        match message {
            // It expects the same.
            ClipboardMessage::Capabilities => {
                self.outgoing.push(ClientMessage::Clipboard(ClipboardMessage::Capabilities));
                Ok(())
            }
            ClipboardMessage::Notify { text } => self.tell(Event::ClipboardOffered(text)).await,
            ClipboardMessage::Request => self.tell(Event::ClipboardRequested).await,
            ClipboardMessage::Provide(compressed) => match decompress(&compressed) {
                Some(text) => self.tell(Event::ClipboardProvided(text)).await,
                None => Ok(()),
            },
            ClipboardMessage::Peek | ClipboardMessage::Other => Ok(()),
        }
    }

    async fn skip(&mut self, count: u64) -> Result<(), ProtocolError> {
        let skipped = tokio::io::copy(&mut (&mut self.stream).take(count), &mut tokio::io::sink()).await?;
        if skipped == count { Ok(()) } else { Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()) }
    }
}
