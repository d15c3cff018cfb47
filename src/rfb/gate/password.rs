//! VNC authentication (RFC 6143 section 7.2.2): the viewer encrypts 16 random bytes with the password as the key of DES. Only
//! the first eight bytes of a password count, and who listens can try passwords at leisure: where there is a network in
//! between it belongs inside of TLS.

use des::{
    Des,
    cipher::{BlockCipherEncrypt, KeyInit},
};

/// How many bytes a challenge has.
pub(super) const CHALLENGE: usize = 16;
/// How many bytes of a password count.
const LENGTH: usize = 8;
/// What [`Password::random`] is made of: characters that are told apart in any type.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A password.
#[derive(Clone)]
pub struct Password([u8; LENGTH]);

/// Why a text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is empty.
    #[error("an empty password protects nothing")]
    Empty,
    /// It has more bytes than count.
    #[error("VNC passwords have at most 8 bytes")]
    TooLong,
}

impl Password {
    /// A password of one to eight bytes.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        let mut bytes = [0; LENGTH];
        bytes.get_mut(..text.len()).ok_or(PasswordError::TooLong)?.copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    /// A new password, which has 40 random bits, and its text.
    pub fn random() -> Result<(Self, String), getrandom::Error> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes)?;
        bytes.iter_mut().for_each(|byte| *byte = LETTERS[usize::from(*byte % 32)]);
        Ok((Self(bytes), bytes.iter().map(|byte| char::from(*byte)).collect()))
    }

    /// What somebody answers to a challenge who knows the password.
    pub fn answer(&self, challenge: &[u8; CHALLENGE]) -> [u8; CHALLENGE] {
        // The original had the bits of each byte of the key in the wrong order, and all have followed.
        let cipher = Des::new(&self.0.map(u8::reverse_bits).into());
        let mut answer = *challenge;
        for block in answer.chunks_exact_mut(LENGTH) {
            let mut bytes = [0; LENGTH];
            bytes.copy_from_slice(block);
            let mut bytes = bytes.into();
            cipher.encrypt_block(&mut bytes);
            block.copy_from_slice(&bytes);
        }
        answer
    }

    /// Whether an answer is right. Takes as long for every answer.
    pub(super) fn answers(&self, challenge: &[u8; CHALLENGE], answer: &[u8; CHALLENGE]) -> bool {
        self.answer(challenge).iter().zip(answer).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

/// Bytes that nobody can foresee.
pub(super) fn challenge() -> std::io::Result<[u8; CHALLENGE]> {
    let mut bytes = [0; CHALLENGE];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_has_its_bits_reversed() {
        let challenge = std::array::from_fn(|n| n as u8);

        // What OpenSSL's DES in ECB mode makes of it with the key 86 46 c6 26 a6 66 e6 16, which is "abcdefgh" reversed.
        let answer = Password::new("abcdefgh").unwrap().answer(&challenge);

        assert_eq!(answer.map(|byte| format!("{byte:02x}")).concat(), "eae3a1cb74ca6daac183f66460190bb5");
    }

    #[test]
    fn only_the_right_answer_is_right() {
        let (password, text) = Password::random().unwrap();
        let challenge = challenge().unwrap();
        let mut answer = Password::new(&text).unwrap().answer(&challenge);

        assert!(password.answers(&challenge, &answer));
        answer[15] ^= 1;
        assert!(!password.answers(&challenge, &answer));
        assert!(!Password::new("other").unwrap().answers(&challenge, &password.answer(&challenge)));
    }

    #[test]
    fn what_would_be_cut_off_or_protects_nothing_is_refused() {
        assert_eq!(Password::new("").err(), Some(PasswordError::Empty));
        assert_eq!(Password::new("ninebytes").err(), Some(PasswordError::TooLong));
        assert!(Password::new("eight888").is_ok());
    }
}
