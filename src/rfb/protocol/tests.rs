//! Messages there and back, cut off, and in excess.

use super::super::fence::Fence;
use super::*;

fn examples() -> Vec<ClientMessage> {
    vec![
        ClientMessage::SetPixelFormat(PixelFormat::NATIVE),
        ClientMessage::SetEncodings(vec![Encoding::ZRLE, Encoding::RAW, Encoding(-1)]),
        ClientMessage::UpdateRequest { incremental: true, area: WireRect { x: 1, y: 2, width: 300, height: 65535 } },
        ClientMessage::Key { down: true, keysym: 0xFF0D },
        ClientMessage::ExtendedKey { down: true, keysym: 0x61, code: 0x1E },
        ClientMessage::Pointer { buttons: 5, x: 640, y: 480 },
        ClientMessage::CutText(b"text".to_vec()),
        ClientMessage::Clipboard(ClipboardMessage::Capabilities),
        ClientMessage::Clipboard(ClipboardMessage::Provide(b"zlib".to_vec())),
        ClientMessage::SetDesktopSize { width: 800, height: 600 },
        ClientMessage::Fence(Fence { flags: Fence::REQUEST | Fence::SYNC_NEXT, payload: vec![7; 64] }),
        ClientMessage::ContinuousUpdates { enable: true, area: WireRect { x: 1, y: 2, width: 300, height: 65535 } },
    ]
}

fn written(message: &ClientMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    bytes
}

#[test]
fn messages_are_read_as_they_were_written() {
    for message in examples() {
        let bytes = written(&message);
        let mut reader = bytes.as_slice();

        assert_eq!(ClientMessage::read(&mut reader).unwrap(), message);
        assert!(reader.is_empty(), "{message:?} leaves {} bytes", reader.len());
    }
}

#[test]
fn side_buttons_are_a_byte_more_where_that_was_agreed_on() {
    let message = ClientMessage::Pointer { buttons: 0b1_0000_0101, x: 640, y: 480 };
    let bytes = written(&message);

    assert_eq!(bytes, [5, 0x85, 2, 0x80, 1, 0xE0, 2]);
    assert_eq!(ClientMessage::read_from(&mut bytes.as_slice(), true).unwrap(), message);
    assert!(ClientMessage::read_from(&mut &bytes[..6], true).is_err());
    // What viewers of old say with that bit is a button that nobody knows.
    let few = ClientMessage::Pointer { buttons: 5, x: 640, y: 480 };
    assert_eq!(ClientMessage::read(&mut &bytes[..6]).unwrap(), few);
    assert_eq!(ClientMessage::read_from(&mut written(&few).as_slice(), true).unwrap(), few);
}

#[test]
fn a_message_cut_off_anywhere_is_an_error() {
    for message in examples() {
        let bytes = written(&message);
        for length in 0..bytes.len() {
            let result = ClientMessage::read(&mut &bytes[..length]);

            assert!(matches!(result, Err(ProtocolError::Io(_))), "{message:?} cut at {length}: {result:?}");
        }
    }
}

#[test]
fn more_encodings_than_exist_are_read_and_forgotten() {
    let bytes = written(&ClientMessage::SetEncodings(vec![Encoding::RAW; 65535]));
    let mut reader = bytes.as_slice();

    let message = ClientMessage::read(&mut reader).unwrap();

    assert_eq!(message, ClientMessage::SetEncodings(vec![Encoding::RAW; MAX_ENCODINGS]));
    assert!(reader.is_empty());
}

#[test]
fn a_long_clipboard_text_is_cut_off_and_a_huge_one_refused() {
    let long = written(&ClientMessage::CutText(vec![b'x'; 1 << 20]));
    let huge = [6, 0, 0, 0, 0x80, 0, 0, 0];
    let mut reader = long.as_slice();

    let text = ClientMessage::read(&mut reader).unwrap();

    assert_eq!(text, ClientMessage::CutText(vec![b'x'; MAX_CUT_TEXT as usize]));
    assert!(reader.is_empty());
    assert!(matches!(ClientMessage::read(&mut huge.as_slice()), Err(ProtocolError::Malformed(_))));
}

#[test]
fn what_nobody_agreed_on_is_refused() {
    assert!(matches!(ClientMessage::read(&mut [1u8; 99].as_slice()), Err(ProtocolError::UnknownMessage(1))));
    assert!(matches!(ClientMessage::read(&mut [255u8; 99].as_slice()), Err(ProtocolError::UnknownMessage(255))));
}

#[test]
fn a_fence_carries_64_bytes_at_most() {
    for length in [65, 255] {
        let bytes = [&[248, 0, 0, 0, 0, 0, 0, 0, length][..], &[0; 255]].concat();

        assert!(matches!(ClientMessage::read(&mut bytes.as_slice()), Err(ProtocolError::Malformed(_))));
    }
}

#[test]
fn versions_are_told_apart() {
    let parse = |line: &[u8; 12]| Version::parse(line).ok();

    assert_eq!(parse(b"RFB 003.003\n"), Some(Version::V3_3));
    assert_eq!(parse(b"RFB 003.005\n"), Some(Version::V3_3));
    assert_eq!(parse(b"RFB 003.007\n"), Some(Version::V3_7));
    assert_eq!(parse(b"RFB 003.008\n"), Some(Version::V3_8));
    assert_eq!(parse(b"RFB 003.889\n"), Some(Version::V3_8));
    assert_eq!(parse(b"RFB 004.001\n"), Some(Version::V3_8));
    assert_eq!(parse(b"RFB 003.+08\n"), None);
    assert_eq!(parse(b"GET / HTTP/1"), None);
}

#[test]
fn compression_levels_are_ten() {
    assert_eq!(Encoding(-256).compression_level(), Some(0));
    assert_eq!(Encoding(-247).compression_level(), Some(9));
    assert_eq!(Encoding(-257).compression_level(), None);
    assert_eq!(Encoding(-246).compression_level(), None);
    assert_eq!(Encoding(i32::MAX).compression_level(), None);
}
