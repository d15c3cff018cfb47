//! Conversations with a server that says anything.

use super::outgoing::Outgoing;
use super::reader::{End, Reader};
use super::{Client, ClientError, Event, Options, Picture};
use crate::rfb::encoding::{DecodeError, tight, zrle};
use crate::rfb::fence::Fence;
use crate::rfb::protocol::{
    END_OF_CONTINUOUS_UPDATES, Encoding, ProtocolError, WireRect, write_server_init, write_string, write_update_header,
};
use crate::screen::cursor::CursorImage;
use crate::screen::{Rect, Surface};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// A viewer without a connection: it is shown bytes.
pub(crate) struct Eye {
    /// What it sees.
    pub(crate) picture: Surface,
    /// The pointer that it draws.
    pub(crate) cursor: Option<Arc<CursorImage>>,
    zrle: zrle::Decoder,
    tight: tight::Decoder,
}

impl Eye {
    /// A viewer with a black screen.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self {
            picture: Surface::new(width, height),
            cursor: None,
            zrle: zrle::Decoder::new(),
            tight: tight::Decoder::default(),
        }
    }

    /// Applies whole messages.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        let picture = Arc::new(Picture::new(std::mem::take(&mut self.picture)));
        let (sender, mut events) = mpsc::channel(1000);
        let mut reader = Reader::new(bytes, Arc::clone(&picture), Arc::new(Outgoing::new(1, 1)), None, sender);
        std::mem::swap(&mut reader.zrle, &mut self.zrle);
        std::mem::swap(&mut reader.tight, &mut self.tight);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(reader.read_messages()) {
            Err(End::Failed(ClientError::Protocol(ProtocolError::Io(_)))) if reader.stream.is_empty() => {}
            Err(End::Failed(error)) => panic!("the messages are wrong: {error}"),
            Ok(()) | Err(End::Unheard) => unreachable!(),
        }
        std::mem::swap(&mut reader.zrle, &mut self.zrle);
        std::mem::swap(&mut reader.tight, &mut self.tight);
        self.picture = std::mem::take(&mut picture.lock());
        while let Ok(event) = events.try_recv() {
            if let Event::Cursor(image) = event {
                self.cursor = Some(image);
            }
        }
    }
}

/// What a server of version 3.8 says up to its first update.
pub(super) fn greeting(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"RFB 003.008\n\x01\x01\0\0\0\0".to_vec();
    write_server_init(width, height, "desktop", &mut bytes);
    bytes
}

pub(super) fn update(rects: &[(WireRect, Encoding, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_update_header(rects.len() as u16, &mut bytes);
    for (rect, encoding, body) in rects {
        rect.write_header(*encoding, &mut bytes);
        bytes.extend_from_slice(body);
    }
    bytes
}

pub(super) const fn wire(x: u16, y: u16, width: u16, height: u16) -> WireRect {
    WireRect { x, y, width, height }
}

/// Connects to a server that says `bytes` and nothing more, and collects what is told of it.
async fn listen(bytes: Vec<u8>) -> Result<(Client, Vec<Event>), ClientError> {
    let (stream, server) = tokio::io::duplex(64);
    tokio::spawn(say(server, bytes));
    let (client, mut receiver) = Client::connect(stream, Options::local()).await?;
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(event);
    }
    Ok((client, events))
}

/// Says something, and reads what comes meanwhile.
async fn say(server: DuplexStream, bytes: Vec<u8>) {
    let (mut reader, mut writer) = tokio::io::split(server);
    let reading = tokio::spawn(async move { reader.read_to_end(&mut Vec::new()).await });
    let _ = writer.write_all(&bytes).await;
    let _ = writer.shutdown().await;
    let _ = reading.await;
}

fn refusal(result: Result<(Client, Vec<Event>), ClientError>) -> ClientError {
    match result {
        Err(error) => error,
        Ok((_, mut events)) => match events.pop() {
            Some(Event::Closed(error)) => error,
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn a_servers_messages_are_told_one_by_one() {
    let mut bytes = greeting(2, 2);
    bytes.extend(update(&[
        (wire(1, 0, 1, 2), Encoding::RAW, &[1, 2, 3, 0, 4, 5, 6, 255]),
        (wire(0, 0, 1, 1), Encoding::COPY_RECT, &[0, 1, 0, 1]),
    ]));
    bytes.extend([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend(b"\x03\0\0\0\0\0\0\x02\xFCh");
    let mut name = Vec::new();
    write_string("näme".as_bytes(), &mut name);
    bytes.extend(update(&[
        (wire(0, 0, 0, 0), Encoding::DESKTOP_NAME, &name),
        (wire(0, 0, 0, 0), Encoding::QEMU_EXTENDED_KEY_EVENT, &[]),
        (wire(0, 0, 0, 0), Encoding::QEMU_POINTER_MOTION_CHANGE, &[]),
        (wire(0, 9, 1, 2), Encoding::CURSOR_WITH_ALPHA, b"\0\0\0\0\x01\x02\x03\xFF\x04\x05\x06\x80"),
        (wire(0, 0, 3, 1), Encoding::EXTENDED_DESKTOP_SIZE, &[[1; 4].as_slice(), &[0; 16]].concat()),
    ]));

    let (client, events) = listen(bytes).await.unwrap();

    let damage = [Rect { x: 1, y: 0, width: 1, height: 2 }, Rect { x: 0, y: 0, width: 1, height: 1 }];
    assert!(matches!(&events[0], Event::Damaged(rects) if *rects == damage));
    assert!(matches!(&events[1], Event::Bell));
    assert!(matches!(&events[2], Event::CutText(text) if text == "üh"));
    assert!(matches!(&events[3], Event::Renamed(name) if name == "näme"));
    assert!(matches!(&events[4], Event::PointerMode { follows_position: false }));
    let cursor = CursorImage { width: 1, height: 2, hot_spot: (0, 1), pixels: vec![0xFF01_0203, 0x8004_0506] };
    assert!(matches!(&events[5], Event::Cursor(image) if **image == cursor));
    assert!(matches!(&events[6], Event::Resized { width: 3, height: 1 }));
    assert!(matches!(&events[7], Event::Closed(ClientError::Protocol(ProtocolError::Io(_)))));
    assert_eq!(client.name(), "desktop");
    assert_eq!(client.with_picture(Surface::clone), Surface::new(3, 1));
}

#[tokio::test]
async fn pixels_are_where_the_server_says() {
    let mut bytes = greeting(2, 2);
    bytes.extend(update(&[(wire(1, 0, 1, 2), Encoding::RAW, &[1, 2, 3, 0, 4, 5, 6, 255])]));
    bytes.extend([0, 0, 0xFF, 0xFF]);
    bytes.extend(&update(&[(wire(0, 0, 1, 1), Encoding::COPY_RECT, &[0, 1, 0, 1])])[4..]);
    bytes.extend(&update(&[(wire(0, 0, 0, 0), Encoding::LAST_RECT, &[])])[4..]);

    let (client, events) = listen(bytes).await.unwrap();

    assert_eq!(client.with_picture(|picture| picture.pixels.clone()), [0x0006_0504, 0x0003_0201, 0, 0x0006_0504]);
    assert_eq!(events.len(), 3);
}

#[tokio::test]
async fn older_servers_are_greeted_as_they_expect() {
    let mut old = b"RFB 003.003\n\0\0\0\x01".to_vec();
    write_server_init(1, 1, "old", &mut old);
    let mut newer = b"RFB 003.007\n\x02\x02\x01".to_vec();
    write_server_init(1, 1, "newer", &mut newer);

    assert_eq!(listen(old).await.unwrap().0.name(), "old");
    assert_eq!(listen(newer).await.unwrap().0.name(), "newer");
}

#[tokio::test]
async fn a_server_that_refuses_is_heard() {
    let refused = |line: &[u8], reason: &str| {
        let mut bytes = line.to_vec();
        write_string(reason.as_bytes(), &mut bytes);
        bytes
    };

    let old = refusal(listen(refused(b"RFB 003.003\n\0\0\0\0", "full")).await);
    let new = refusal(listen(refused(b"RFB 003.008\n\0", "busy")).await);
    let late = refusal(listen(refused(b"RFB 003.008\n\x01\x01\0\0\0\x01", "no")).await);
    let password = refusal(listen(b"RFB 003.008\n\x01\x02".to_vec()).await);

    for (error, reason) in [(old, "full"), (new, "busy"), (late, "no")] {
        assert!(matches!(&error, ClientError::Protocol(ProtocolError::Refused(text)) if text == reason), "{error}");
    }
    assert!(matches!(password, ClientError::Protocol(ProtocolError::Security(types)) if types == [2]));
}

#[tokio::test]
async fn a_server_that_lies_is_left() {
    let after = |bytes: &[u8]| [greeting(4, 4), bytes.to_vec()].concat();
    let raw = |rect| after(&update(&[(rect, Encoding::RAW, &[0; 64])]));
    let decode =
        |error: ClientError, expected| assert!(matches!(&error, ClientError::Decode(e) if *e == expected), "{error}");

    decode(refusal(listen(raw(wire(1, 0, 4, 4))).await), DecodeError::Outside);
    decode(refusal(listen(raw(wire(65535, 65535, 65535, 65535))).await), DecodeError::Outside);
    let copy = after(&update(&[(wire(0, 0, 2, 2), Encoding::COPY_RECT, &[0, 3, 0, 3])]));
    decode(refusal(listen(copy).await), DecodeError::Outside);
    let zrle = after(&update(&[(wire(0, 0, 1, 1), Encoding::ZRLE, &[0xFF, 0xFF, 0xFF, 0xFF])]));
    decode(refusal(listen(zrle).await), DecodeError::Length("more"));
    let zrle = after(&update(&[(wire(0, 0, 1, 1), Encoding::ZRLE, &[0, 0, 0, 2, 1, 2])]));
    decode(refusal(listen(zrle).await), DecodeError::Damaged);

    let huge = after(&update(&[(wire(0, 0, 65535, 65535), Encoding::DESKTOP_SIZE, &[])]));
    assert!(matches!(refusal(listen(huge).await), ClientError::TooLarge(65535, 65535)));
    assert!(matches!(refusal(listen(greeting(65535, 65535)).await), ClientError::TooLarge(65535, 65535)));
    let tight = after(&update(&[(wire(0, 0, 4, 4), Encoding::TIGHT, &[0, 0xFF, 0xFF, 0xFF])]));
    decode(refusal(listen(tight).await), DecodeError::Length("more"));
    let hextile = after(&update(&[(wire(0, 0, 1, 1), Encoding(5), &[])]));
    assert!(matches!(refusal(listen(hextile).await), ClientError::UnknownEncoding(Encoding(5))));
    let unknown = refusal(listen(after(&[99])).await);
    assert!(matches!(unknown, ClientError::Protocol(ProtocolError::UnknownMessage(99))));
    let packed = after(&update(&[(wire(0, 0, 1, 1), Encoding::CURSOR_WITH_ALPHA, &[0, 0, 0, 7])]));
    assert!(matches!(refusal(listen(packed).await), ClientError::UnknownEncoding(Encoding(7))));
    let large = update(&[(wire(0, 0, 1, 257), Encoding::CURSOR_WITH_ALPHA, &[0; 4])]);
    for long in [
        &large[..],
        &b"\x03\0\0\0\x80\0\0\0"[..],
        &b"\x03\0\0\0\x7F\0\0\0"[..],
        &update(&[(wire(0, 0, 0, 0), Encoding::DESKTOP_NAME, &[0xFF; 4])]),
    ] {
        let error = refusal(listen(after(long)).await);
        assert!(matches!(error, ClientError::Protocol(ProtocolError::Malformed(_))), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_anywhere_is_told_of() {
    let mut bytes = greeting(2, 2);
    let greeted = bytes.len();
    bytes.extend(update(&[
        (wire(0, 0, 2, 1), Encoding::RAW, &[1; 8]),
        (wire(0, 1, 1, 1), Encoding::COPY_RECT, &[0; 4]),
        (wire(0, 0, 1, 1), Encoding::CURSOR_WITH_ALPHA, &[0; 8]),
        (wire(0, 0, 1, 1), Encoding::TIGHT, &[0x80, 1, 2, 3]),
        (wire(0, 0, 2, 1), Encoding::TIGHT, &[0x50, 1, 1, 1, 1, 1, 2, 2, 2, 0x40]),
    ]));
    bytes.extend(b"\x03\0\0\0\0\0\0\x02ab\x96\xF8\0\0\0\x80\0\0\0\x02ab");
    for length in 0..bytes.len() {
        let result = listen(bytes[..length].to_vec()).await;

        assert_eq!(result.is_err(), length < greeted, "cut at {length}");
        assert!(matches!(refusal(result), ClientError::Protocol(ProtocolError::Io(_))), "cut at {length}");
    }
}

#[tokio::test]
async fn garbage_never_hurts() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..300 {
        let mut bytes = greeting(64, 64);
        for _ in 0..random.usize(1..5) {
            let encodings =
                [Encoding::RAW, Encoding::ZRLE, Encoding::COPY_RECT, Encoding::CURSOR_WITH_ALPHA, Encoding::TIGHT];
            let encoding = encodings[random.usize(..encodings.len())];
            let rect = wire(random.u16(..64), random.u16(..64), random.u16(..9), random.u16(..9));
            let body: Vec<u8> = (0..random.usize(..400)).map(|_| random.u8(..)).collect();
            bytes.extend(update(&[(rect, encoding, &body)]));
            bytes.push([END_OF_CONTINUOUS_UPDATES, Fence::MESSAGE, 0][random.usize(..3)]);
        }

        assert!(matches!(listen(bytes).await.unwrap().1.pop(), Some(Event::Closed(_))));
    }
}

#[tokio::test]
async fn a_client_that_is_dropped_hangs_up() {
    let (stream, mut server) = tokio::io::duplex(4096);
    server.write_all(&greeting(2, 2)).await.unwrap();
    let (client, mut events) = Client::connect(stream, Options::local()).await.unwrap();

    drop(client);

    server.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(events.recv().await.is_none());
}
