//! The key of encrypted fields, and how it is made of what the configuration says.

#[cfg(test)]
mod tests;

use aes::Aes256;
use ccm::aead::KeyInit;
use ccm::consts::{U13, U16};
use ccm::{Ccm, aead::Key};
use zeroize::Zeroizing;

/// The length of the key: AES-256.
pub(crate) const KEY_BYTES: usize = 32;

/// The most digits that Python, in which Quay is written, takes for a number. A longer text is a text.
const DIGITS_MAX: usize = 4300;

/// AES-256 in CCM mode with a tag of 16 bytes and a nonce of 13.
pub(crate) type Cipher = Ccm<Aes256, U16, U13>;

/// The key under which a database's fields are encrypted. Its `Debug` form shows nothing of it.
#[derive(Clone)]
pub struct FieldKey(pub(crate) Cipher);

/// Why a text cannot be made into a key. The text itself is never part of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It has no characters.
    #[error("it is empty: set it to the one that Quay has, or had")]
    Empty,
    /// It holds a character that is no single byte, which Quay refuses too.
    #[error(
        "it holds a character beyond U+00FF (character {position}), which makes no key: set it to the one that Quay has, or had"
    )]
    Character {
        /// Which, counted from one.
        position: usize,
    },
}

impl FieldKey {
    /// Makes the key of `DATABASE_SECRET_KEY` as Quay does: a decimal number gives its bytes, the first byte first; else a UUID gives its bytes; else
    /// the characters are the bytes. They are repeated, or cut, to 32.
    ///
    /// A number whose hexadecimal form has an odd number of digits is no number to Quay, which then goes on with the other two.
    pub fn new(text: &str) -> Result<Self, KeyTextError> {
        let key = key_bytes(text)?;
        Ok(Self(Cipher::new(&Key::<Cipher>::from(*key))))
    }
}

impl std::fmt::Debug for FieldKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FieldKey(***)")
    }
}

/// The bytes that a configuration's text gives.
pub(crate) fn key_bytes(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyTextError> {
    let bytes = match number_bytes(text).or_else(|| uuid_bytes(text)) {
        Some(bytes) => bytes,
        None => character_bytes(text)?,
    };
    if bytes.is_empty() {
        return Err(KeyTextError::Empty);
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (place, byte) in key.iter_mut().zip(bytes.iter().cycle()) {
        *place = *byte;
    }
    Ok(key)
}

/// The bytes of a decimal number as Python's `int` reads one: blanks around it, a sign and single underscores between digits are allowed.
fn number_bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let well_divided = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    let digits = text.bytes().filter(|byte| *byte != b'_').count();
    if digits == 0
        || digits > DIGITS_MAX
        || !well_divided
        || !text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_')
    {
        return None;
    }
    // The last byte first, as long as digits are added. A digit takes less than half a byte.
    let mut number = Zeroizing::new(Vec::with_capacity(digits / 2 + 1));
    for digit in text.bytes().filter(u8::is_ascii_digit) {
        let mut carry = u16::from(digit - b'0');
        for byte in number.iter_mut() {
            let value = u16::from(*byte) * 10 + carry;
            [*byte, _] = value.to_le_bytes();
            carry = value >> 8;
        }
        if carry > 0 {
            let [low, _] = carry.to_le_bytes();
            number.push(low);
        }
    }
    if number.is_empty() {
        // Quay writes zero with two digits.
        number.push(0);
    }
    number.reverse();
    // Nor has a number of one hexadecimal digit an odd number of them: it too is written with two.
    let odd = number.len() > 1 && number.first().is_some_and(|first| *first < 0x10);
    (!odd).then_some(number)
}

/// The bytes of a UUID as Python reads one: 32 hexadecimal digits, whatever the dashes, with `urn:`, `uuid:` or braces around them.
fn uuid_bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let plain = Zeroizing::new(text.replace("urn:", "").replace("uuid:", ""));
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        plain
            .trim_matches(['{', '}'])
            .bytes()
            .filter(|byte| *byte != b'-')
            .collect(),
    );
    if digits.len() != 32 {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = Zeroizing::new(Vec::with_capacity(16));
    for pair in digits.chunks_exact(2) {
        let byte = value(pair[0])? * 16 + value(pair[1])?;
        bytes.push(u8::try_from(byte).ok()?);
    }
    Some(bytes)
}

fn character_bytes(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyTextError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    for (index, character) in text.chars().enumerate() {
        let byte = u8::try_from(u32::from(character)).map_err(|_| KeyTextError::Character {
            position: index + 1,
        })?;
        bytes.push(byte);
    }
    Ok(bytes)
}
