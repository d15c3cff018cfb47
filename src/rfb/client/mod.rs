//! The RFB client: keeps a copy of a server's screen and sends it what a person does.
//!
//! ```no_run
//! # async fn example(stream: tokio::net::UnixStream) -> Result<(), Box<dyn std::error::Error>> {
//! use lodge::rfb::client::{Client, Event, Options};
//!
//! let (client, mut events) = Client::connect(stream, Options::local()).await?;
//! client.request_update();
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::Damaged(rects) => {
//!             client.with_picture(|picture| { /* paint the rects */ });
//!             client.request_update();
//!         }
//!         Event::Closed(reason) => eprintln!("{reason}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The consumer sets the pace: a server that can sends every change, but no more than two updates ahead of
//! [`Client::request_update`]; of others each update is requested. Whoever does not take events is not sent more.
//! The server is not trusted: what does not fit its own announcements ends the connection with a reason.

mod handshake;
mod outgoing;
mod picture;
mod reader;
mod sharing;
#[cfg(test)]
mod tests;
mod tight;

#[cfg(test)]
pub(crate) use tests::Eye;

use super::clipboard::{ClipboardMessage, compress, to_latin1};
use super::encoding::DecodeError;
use super::memory::MemoryError;
use super::pixel_format::PixelFormat;
use super::protocol::{ClientMessage, Encoding, ProtocolError};
use crate::input::Key;
use crate::screen::cursor::CursorImage;
use crate::screen::{Rect, Surface};
use outgoing::Outgoing;
use picture::{Picture, new_surface};
pub use picture::{Pixels, SharedPixels};
use sharing::{Received, Sharing};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// So many events may wait for the consumer before the server has to.
const MAX_EVENTS: usize = 64;
/// What is read from the server at a time.
const BUFFER: usize = 64 * 1024;

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's messages are wrong, or it has gone.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The server's pixels are wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The memory that the server shares cannot be used.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The server's screen is larger than any.
    #[error("the server says its screen has {0} by {1} pixels; it is not shown")]
    TooLarge(u16, u16),
    /// A rectangle in an encoding that was not asked for.
    #[error("the server sends an encoding ({}) that was not asked for", .0.0)]
    UnknownEncoding(Encoding),
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// The encodings for pixels, the best first: of [`Encoding::RAW`], [`Encoding::COPY_RECT`], [`Encoding::ZRLE`] and
    /// [`Encoding::TIGHT`] (which is never JPEG).
    pub encodings: Vec<Encoding>,
    /// Whether others may look at the same time.
    pub shared: bool,
    /// Whether the server may send updates that were not requested, if it can.
    pub continuous: bool,
    /// Whether the guest's clipboard is shared, if the server can do that.
    pub clipboard: bool,
}

impl Options {
    /// For a server on this machine: pixels as they are, which costs the least time.
    pub fn local() -> Self {
        Self { encodings: vec![Encoding::RAW, Encoding::COPY_RECT], shared: true, continuous: true, clipboard: false }
    }

    /// For a server on a network: compressed pixels.
    pub fn remote() -> Self {
        Self {
            encodings: vec![Encoding::TIGHT, Encoding::ZRLE, Encoding::COPY_RECT, Encoding::RAW],
            shared: true,
            continuous: true,
            clipboard: false,
        }
    }
}

/// What the server tells.
#[derive(Debug)]
pub enum Event {
    /// The picture has another size now; all of it will come with the next updates.
    Resized {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// An update has come, and these parts of the picture (inside it, perhaps overlapping) are new. Nothing more comes, or
    /// not much, until [`Client::request_update`].
    Damaged(Vec<Rect>),
    /// The guest's bell.
    Bell,
    /// The guest's clipboard, from a server that cannot do [`Options::clipboard`].
    CutText(String),
    /// The guest has another text for the clipboard (`true`), or none any more.
    ClipboardOffered(bool),
    /// A program of the guest wants the text that was [offered](Client::offer_clipboard).
    ClipboardRequested,
    /// The text that was [requested](Client::request_clipboard).
    ClipboardProvided(String),
    /// The desktop has another name.
    Renamed(String),
    /// Whether the guest's pointer goes where [`Client::pointer_to`] says; if not, [`Client::pointer_by`] is right.
    PointerMode {
        /// It does.
        follows_position: bool,
    },
    /// How the guest's pointer looks from now on: it is not in the picture, but to be drawn where the person's is. Empty when
    /// the guest shows none.
    Cursor(Arc<CursorImage>),
    /// The connection has ended. The last event.
    Closed(ClientError),
}

/// Which of a pointer's buttons are down, as bits.
pub mod buttons {
    /// The left one.
    pub const LEFT: u16 = 1;
    /// The middle one.
    pub const MIDDLE: u16 = 1 << 1;
    /// The right one.
    pub const RIGHT: u16 = 1 << 2;
    /// The wheel away from the person: down and up again is one step.
    pub const WHEEL_UP: u16 = 1 << 3;
    /// The wheel towards the person.
    pub const WHEEL_DOWN: u16 = 1 << 4;
    /// The wheel to the left.
    pub const WHEEL_LEFT: u16 = 1 << 5;
    /// The wheel to the right.
    pub const WHEEL_RIGHT: u16 = 1 << 6;
    /// The first side button (back).
    pub const SIDE: u16 = 1 << 7;
    /// The second side button (forward).
    pub const EXTRA: u16 = 1 << 8;
}

/// A connection to a server. Clones are the same connection; it ends with the last of them. None of its methods waits,
/// except for [`Self::connect`].
#[derive(Clone)]
pub struct Client {
    connection: Arc<Connection>,
}

struct Connection {
    picture: Arc<Picture>,
    outgoing: Arc<Outgoing>,
    name: String,
    tasks: [AbortHandle; 2],
}

impl Client {
    /// Greets a server. Must be called within a tokio runtime, whose tasks then read and write the stream.
    pub async fn connect<S>(stream: S, options: Options) -> Result<(Self, mpsc::Receiver<Event>), ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self::begin(stream, options, None).await
    }

    /// The same, with a server on this machine: the picture is in memory that it shares, if it can, and needs no decoding.
    pub async fn connect_sharing(
        stream: UnixStream,
        options: Options,
    ) -> Result<(Self, mpsc::Receiver<Event>), ClientError> {
        let received = Arc::new(Received::default());
        Self::begin(Sharing::new(stream, Arc::clone(&received)), options, Some(received)).await
    }

    async fn begin<S>(
        stream: S,
        options: Options,
        received: Option<Arc<Received>>,
    ) -> Result<(Self, mpsc::Receiver<Event>), ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, mut write) = tokio::io::split(stream);
        let mut read = BufReader::with_capacity(BUFFER, read);
        let welcome = handshake::greet(&mut read, &mut write, options.shared).await?;
        let picture = Arc::new(Picture::new(new_surface(welcome.width, welcome.height)?));
        let outgoing = Arc::new(Outgoing::new(welcome.width, welcome.height));
        outgoing.push(ClientMessage::SetPixelFormat(PixelFormat::NATIVE));
        outgoing.push(ClientMessage::SetEncodings(announced(&options, received.is_some())));

        let (events, receiver) = mpsc::channel(MAX_EVENTS);
        let reader = reader::Reader::new(read, Arc::clone(&picture), Arc::clone(&outgoing), received, events);
        let tasks = [tokio::spawn(reader.run()), tokio::spawn(outgoing::run(Arc::clone(&outgoing), write))];
        let tasks = tasks.map(|task| task.abort_handle());
        let connection = Connection { picture, outgoing, name: welcome.name, tasks };
        Ok((Self { connection: Arc::new(connection) }, receiver))
    }

    /// The desktop's name at the beginning; [`Event::Renamed`] tells later ones.
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Calls `look` with the picture. It changes only while an update comes in, and may then have parts of the next.
    pub fn with_picture<T>(&self, look: impl FnOnce(&Surface) -> T) -> T {
        self.connection.picture.look(look)
    }

    /// The picture's width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.connection.picture.size()
    }

    /// The memory in which the server has the picture, if it shares that; another one after each change of size.
    pub fn shared_pixels(&self) -> Option<SharedPixels> {
        self.connection.picture.shared()
    }

    /// A copy of a part of the picture, ready to be drawn; `None` when the part lies outside.
    pub fn pixels_of(&self, part: Rect) -> Option<Pixels> {
        self.connection.picture.pixels_of(part)
    }

    /// A copy of the picture, ready to be drawn.
    pub fn pixels(&self) -> Pixels {
        self.connection.picture.pixels()
    }

    /// What has come was taken; asks for the next update: everything the first time and after a change of size, else what
    /// has changed. The answer is [`Event::Damaged`], as soon as there is something new; asking again before it has come
    /// changes nothing.
    pub fn request_update(&self) {
        self.connection.outgoing.request_update();
    }

    /// Wants no updates for now, so that the server need not look for any: until the next [`Self::request_update`].
    pub fn pause(&self) {
        self.connection.outgoing.pause();
    }

    /// A key goes down or up. Call it again while the key repeats.
    pub fn key(&self, key: Key, down: bool) {
        self.connection.outgoing.key(key, down);
    }

    /// The pointer is at a pixel of the picture, with these [`buttons`].
    pub fn pointer_to(&self, x: u32, y: u32, buttons: u16) {
        self.connection.outgoing.pointer_to(x, y, buttons);
    }

    /// The pointer has moved by so many pixels, with these [`buttons`]. Only for servers that have said
    /// [`Event::PointerMode`] with `follows_position: false`.
    pub fn pointer_by(&self, dx: i32, dy: i32, buttons: u16) {
        self.connection.outgoing.pointer_by(dx, dy, buttons);
    }

    /// Text for the guest's clipboard, at a server that cannot do [`Options::clipboard`]; characters beyond Latin-1 become
    /// question marks.
    pub fn cut_text(&self, text: &str) {
        self.connection.outgoing.push(ClientMessage::CutText(to_latin1(text)));
    }

    /// There is another text for the guest's clipboard (`true`), or none any more. The guest may ask for it, any time:
    /// [`Event::ClipboardRequested`].
    pub fn offer_clipboard(&self, text: bool) {
        self.tell_clipboard(ClipboardMessage::Notify { text });
    }

    /// Wants the guest's text. It comes as [`Event::ClipboardProvided`], or never.
    pub fn request_clipboard(&self) {
        self.tell_clipboard(ClipboardMessage::Request);
    }

    /// The text that the guest has asked for; may be empty.
    pub fn provide_clipboard(&self, text: &str) {
        self.tell_clipboard(ClipboardMessage::Provide(compress(text)));
    }

    fn tell_clipboard(&self, message: ClipboardMessage) {
        self.connection.outgoing.push(ClientMessage::Clipboard(message));
    }

    /// Asks for a screen of another size, in pixels. If the guest follows, [`Event::Resized`] tells so.
    pub fn request_size(&self, width: u16, height: u16) {
        self.connection.outgoing.push(ClientMessage::SetDesktopSize { width, height });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The whole list of what we understand.
fn announced(options: &Options, sharing: bool) -> Vec<Encoding> {
    let extensions = [
        Encoding::DESKTOP_SIZE,
        Encoding::EXTENDED_DESKTOP_SIZE,
        Encoding::LAST_RECT,
        Encoding::DESKTOP_NAME,
        Encoding::QEMU_EXTENDED_KEY_EVENT,
        Encoding::EXTENDED_MOUSE_BUTTONS,
        Encoding::QEMU_POINTER_MOTION_CHANGE,
        Encoding::CURSOR_WITH_ALPHA,
    ];
    let continuous = [Encoding::FENCE, Encoding::CONTINUOUS_UPDATES].into_iter().filter(|_| options.continuous);
    let sharing = sharing.then_some(Encoding::SHARED_MEMORY);
    let clipboard = if options.clipboard { Encoding::EXTENDED_CLIPBOARD } else { Encoding::NO_CLIPBOARD };
    let extensions = extensions.into_iter().chain([clipboard]);
    sharing.into_iter().chain(options.encodings.iter().copied()).chain(extensions).chain(continuous).collect()
}
