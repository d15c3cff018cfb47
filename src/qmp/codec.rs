//! Messages to and from bytes.
//!
//! [`Decoder`] takes bytes as they come and yields JSON values, or the error that QMP answers with; after an error it
//! goes on with what follows. A message longer than [`MESSAGE_LIMIT`] is passed over without being kept. [`encode`] writes
//! a message as the specification asks of a server: in ASCII, ended by CR and LF.
//!
//! Specification: QEMU Machine Protocol Specification, section 2.1 ("General Definitions").

use std::{collections::VecDeque, io};

use serde::Serialize;
use serde_json::{Value, ser::Formatter};

use super::{
    framing::{Fault, Scanner, Step},
    message::Error,
};

/// The longest message that is taken, in bytes.
pub const MESSAGE_LIMIT: usize = 1 << 20;

/// A buffer that has grown beyond this (in bytes) is given back after its message.
const KEPT_BUFFER: usize = 16 << 10;

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub struct Decoder {
    scanner: Scanner,
    /// The message so far.
    buffer: Vec<u8>,
    /// The message is over the limit and passed over.
    skipping: bool,
    ready: VecDeque<Result<Value, Error>>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self { scanner: Scanner::new(), buffer: Vec::new(), skipping: false, ready: VecDeque::new() }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let mut step = self.scanner.step(byte);
            if step == Step::EndedBefore {
                self.finish();
                step = self.scanner.step(byte);
            }
            match step {
                Step::Outside | Step::EndedBefore => {}
                Step::Inside => self.keep(byte),
                Step::Last => {
                    self.keep(byte);
                    self.finish();
                }
                Step::Fault(fault) => {
                    self.buffer.clear();
                    self.skipping = false;
                    self.ready.push_back(Err(fault_error(fault)));
                }
            }
        }
    }

    /// The next whole message, or the error that the peer is to be told.
    pub fn next_message(&mut self) -> Option<Result<Value, Error>> {
        self.ready.pop_front()
    }

    fn keep(&mut self, byte: u8) {
        if self.skipping {
            return;
        }
        if self.buffer.len() == MESSAGE_LIMIT {
            self.buffer = Vec::new();
            self.skipping = true;
            self.ready.push_back(Err(Error::generic(format!("QMP input is longer than {MESSAGE_LIMIT} bytes"))));
            return;
        }
        self.buffer.push(byte);
    }

    fn finish(&mut self) {
        if std::mem::take(&mut self.skipping) {
            return;
        }
        let parsed = serde_json::from_slice(&self.buffer);
        self.ready.push_back(parsed.map_err(|error| Error::generic(format!("JSON parse error, {error}"))));
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
    }
}

fn fault_error(fault: Fault) -> Error {
    Error::generic(match fault {
        Fault::Stray(byte) => format!("JSON parse error, stray '{}'", char::from(byte)),
        Fault::ControlCharacter => "JSON parse error, control character in a string".to_owned(),
        Fault::NotUtf8(byte) => format!("JSON parse error, stray byte 0x{byte:02x}"),
        Fault::TooDeep => "JSON nesting depth limit exceeded".to_owned(),
    })
}

/// A message as bytes.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Ascii);
    message.serialize(&mut serializer).expect("messages have only string keys, and a vector takes every byte");
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Writes what is not ASCII as `\uXXXX`.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((start, character)) = rest.char_indices().find(|(_, character)| !character.is_ascii()) {
            let (plain, beyond) = rest.split_at(start);
            writer.write_all(plain.as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = beyond.strip_prefix(character).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Result<Value, String>> {
        let mut decoder = Decoder::new();
        pieces.iter().for_each(|piece| decoder.push(piece));
        std::iter::from_fn(|| decoder.next_message()).map(|message| message.map_err(|error| error.desc)).collect()
    }

    #[test]
    fn messages_need_no_separator_and_may_be_spread_over_lines() {
        let messages = decode(&[b"{\"a\":1}{\"b\":\n[2,\r\n {}]} {\"c\":\"}\\\"]\"}3 true[4]"]);

        let expected =
            [json!({"a": 1}), json!({"b": [2, {}]}), json!({"c": "}\"]"}), json!(3), json!(true), json!([4])];
        assert_eq!(messages, expected.map(Ok));
    }

    #[test]
    fn a_message_may_come_byte_by_byte() {
        let text = "{\"execute\": \"send-key\", \"id\": \"ü\\\\\"}";
        let mut decoder = Decoder::new();

        let found: Vec<usize> = (0..text.len())
            .filter(|&at| {
                decoder.push(&text.as_bytes()[at..=at]);
                decoder.next_message().is_some_and(|message| message.is_ok())
            })
            .collect();

        assert_eq!(found, [text.len() - 1]);
    }

    #[test]
    fn what_follows_a_malformed_message_is_understood() {
        for malformed in
            ["{\"a\" 1}", "foo ", "}", "[1,2}", "\"two\nlines", "{\"a\": [\u{7f}]}", "{'a': 1}", "{\"a\":1,}"]
        {
            let messages = decode(&[malformed.as_bytes(), b"\n{\"execute\":\"stop\"}"]);

            let (last, errors) = messages.split_last().unwrap();
            assert_eq!(last, &Ok(json!({"execute": "stop"})), "after {malformed}");
            assert!(!errors.is_empty() && errors.iter().all(|error| error.is_err()), "{malformed}: {errors:?}");
        }
    }

    #[test]
    fn a_byte_that_utf8_never_has_makes_half_a_message_forgotten() {
        let messages = decode(&[b"{\"execute\": \"qu", b"\xff", b"{\"execute\":\"stop\"}"]);

        assert_eq!(messages, [Err("JSON parse error, stray byte 0xff".to_owned()), Ok(json!({"execute": "stop"})),]);
    }

    #[test]
    fn an_oversized_message_is_refused_at_once_and_passed_over() {
        let mut decoder = Decoder::new();
        decoder.push(b"{\"id\": \"");
        let piece = vec![b'x'; 1 << 16];

        (0..=MESSAGE_LIMIT / piece.len()).for_each(|_| decoder.push(&piece));

        let error = decoder.next_message().unwrap().unwrap_err();
        assert_eq!(error.desc, "QMP input is longer than 1048576 bytes");
        assert_eq!(decoder.buffer.capacity(), 0, "nothing of it is kept");
        decoder.push(b"\"}{\"execute\":\"stop\"}");
        assert_eq!(decoder.next_message(), Some(Ok(json!({"execute": "stop"}))));
    }

    #[test]
    fn nesting_is_limited() {
        let deep = "[".repeat(127) + &"]".repeat(127);
        let deeper = "[".repeat(128);

        assert!(decode(&[deep.as_bytes()])[0].is_ok());
        assert_eq!(decode(&[deeper.as_bytes()]), [Err("JSON nesting depth limit exceeded".to_owned())]);
    }

    #[test]
    fn random_bytes_never_stop_the_decoder() {
        // A linear congruential generator: the same bytes in every run.
        let mut state = 1u64;
        let mut decoder = Decoder::new();
        for _ in 0..200_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let alphabet = b"{}[]\",:\\ \n\x00\xff\xc3a1-tfn";
            decoder.push(&[alphabet[(state >> 33) as usize % alphabet.len()]]);
            while decoder.next_message().is_some() {}
        }

        decoder.push(b"\xff{\"execute\":\"stop\"}");

        let last = std::iter::from_fn(|| decoder.next_message()).last();
        assert_eq!(last, Some(Ok(json!({"execute": "stop"}))));
    }

    #[test]
    fn messages_are_written_in_ascii_with_crlf() {
        let bytes = encode(&json!({"name": "Gäst \u{1f980}\n"}));

        assert_eq!(bytes, b"{\"name\":\"G\\u00e4st \\ud83e\\udd80\\n\"}\r\n");
        assert_eq!(decode(&[&bytes]), [Ok(json!({"name": "Gäst \u{1f980}\n"}))]);
    }
}
