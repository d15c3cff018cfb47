//! How a connection begins (RFC 6143 sections 7.1 to 7.3): version, security, initialisation.

use crate::rfb::protocol::{ProtocolError, Version, security, take, write_server_init, write_string};
use std::io::{Read, Write};

/// What a viewer has said in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// Others may look too.
    pub shared: bool,
}

/// Agrees on a version and on security (there is nothing to check), and hears what the viewer wants.
pub(super) fn greet(reader: &mut impl Read, writer: &mut impl Write) -> Result<Hello, ProtocolError> {
    writer.write_all(Version::V3_8.line())?;
    let version = Version::parse(&take(reader)?)?;
    if version == Version::V3_3 {
        writer.write_all(&u32::from(security::NONE).to_be_bytes())?;
    } else {
        writer.write_all(&[1, security::NONE])?;
        let [chosen] = take(reader)?;
        let agreed = chosen == security::NONE;
        if version == Version::V3_8 {
            writer.write_all(&u32::from(!agreed).to_be_bytes())?;
        }
        if !agreed {
            if version == Version::V3_8 {
                let mut reason = Vec::new();
                write_string(b"That security type was not offered.", &mut reason);
                writer.write_all(&reason)?;
            }
            return Err(ProtocolError::Security(vec![chosen]));
        }
    }
    let [shared] = take(reader)?;
    Ok(Hello { shared: shared != 0 })
}

/// Tells the viewer of the screen.
pub(super) fn introduce(width: u32, height: u32, name: &str, writer: &mut impl Write) -> Result<(), ProtocolError> {
    let narrow = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    let mut message = Vec::new();
    write_server_init(narrow(width), narrow(height), name, &mut message);
    Ok(writer.write_all(&message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(viewer: &[u8]) -> (Result<Hello, ProtocolError>, Vec<u8>) {
        let mut said = Vec::new();
        let result = greet(&mut &*viewer, &mut said);
        (result, said)
    }

    #[test]
    fn each_version_is_greeted_as_it_expects() {
        let (hello, said) = greeted(b"RFB 003.003\n\x01");
        assert_eq!(hello.unwrap(), Hello { shared: true });
        assert_eq!(said, b"RFB 003.008\n\0\0\0\x01");

        let (hello, said) = greeted(b"RFB 003.007\n\x01\0");
        assert_eq!(hello.unwrap(), Hello { shared: false });
        assert_eq!(said, b"RFB 003.008\n\x01\x01");

        let (hello, said) = greeted(b"RFB 003.008\n\x01\x01");
        assert_eq!(hello.unwrap(), Hello { shared: true });
        assert_eq!(said, b"RFB 003.008\n\x01\x01\0\0\0\0");
    }

    #[test]
    fn a_security_type_that_was_not_offered_is_refused_with_a_reason() {
        let (hello, said) = greeted(b"RFB 003.008\n\x02\x01");

        assert!(matches!(hello, Err(ProtocolError::Security(types)) if types == [2]));
        assert!(said.ends_with(b"\0\0\0\x01\0\0\0\x23That security type was not offered."));
    }

    #[test]
    fn a_handshake_cut_off_anywhere_is_an_error() {
        let whole = b"RFB 003.008\n\x01\x01";
        for length in 0..whole.len() {
            assert!(matches!(greeted(&whole[..length]).0, Err(ProtocolError::Io(_))), "cut at {length}");
        }
    }

    #[test]
    fn who_does_not_speak_rfb_is_sent_away() {
        assert!(matches!(greeted(b"GET / HTTP/1.1\r\n").0, Err(ProtocolError::NotRfb)));
    }
}
