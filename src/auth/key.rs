//! API keys: `cairn_<env>_<key id>_<secret>_<crc>`. The plain key cannot be stored and the stored
//! hash cannot be shown. 256 random bits need no slow hash.

use std::fmt;

use rand::RngExt;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ids::KeyId;

/// A key as its holder sends it. `Debug` hides the secret; `reveal` is called where a key is issued.
pub struct PlainKey {
    environment: String,
    pub id: KeyId,
    secret: [u8; 32],
}

impl PlainKey {
    pub fn generate(environment: &str) -> Self {
        Self { environment: environment.to_owned(), id: KeyId::new(), secret: rand::rng().random() }
    }

    /// Reads a key of this environment. A wrong checksum is a typo and costs no query.
    pub fn parse(text: &str, environment: &str) -> Option<Self> {
        let (signed, checksum) = text.rsplit_once('_')?;
        if checksum != format!("{:08x}", crc32fast::hash(signed.as_bytes())) {
            return None;
        }
        let mut parts = signed.split('_');
        let (product, env, id, secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if product != "cairn" || env != environment || parts.next().is_some() {
            return None;
        }
        let key = Self { environment: env.to_owned(), id: KeyId::parse(id)?, secret: unhex(secret)? };
        // A UUID has several spellings, a key has one.
        (key.reveal() == text).then_some(key)
    }

    pub fn reveal(&self) -> String {
        let secret: String = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let signed = format!("cairn_{}_{}_{secret}", self.environment, self.id);
        let checksum = crc32fast::hash(signed.as_bytes());
        format!("{signed}_{checksum:08x}")
    }

    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Compares in constant time. Without a stored hash the work is the same and the answer no.
    pub fn matches(&self, stored: Option<&[u8]>) -> bool {
        let absent = [0; 32];
        let equal = self.hash().as_slice().ct_eq(stored.unwrap_or(&absent));
        bool::from(equal) && stored.is_some()
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PlainKey({})", self.id)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_in_its_environment_only() {
        let key = PlainKey::generate("live");
        let text = key.reveal();
        let read = PlainKey::parse(&text, "live").expect("reads back");
        assert_eq!((read.id, read.secret), (key.id, key.secret));
        assert!(PlainKey::parse(&text, "test").is_none());
    }

    #[test]
    fn a_key_with_any_character_changed_is_refused_by_its_checksum() {
        let text = PlainKey::generate("live").reveal();
        for index in 0..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[index] = if typo[index] == b'0' { b'1' } else { b'0' };
            let typo = String::from_utf8(typo).expect("ASCII");
            assert!(PlainKey::parse(&typo, "live").is_none(), "changed at {index}");
        }
    }

    #[test]
    fn a_key_has_one_spelling() {
        let key = PlainKey::generate("live");
        let (id, text) = (key.id.to_string(), key.reveal());
        for other in [id.to_uppercase(), id.replace('-', ""), format!("{{{id}}}"), format!("urn:uuid:{id}")] {
            let (signed, _) = text.rsplit_once('_').expect("a checksum");
            let signed = signed.replace(&id, &other);
            let text = format!("{signed}_{:08x}", crc32fast::hash(signed.as_bytes()));
            assert!(PlainKey::parse(&text, "live").is_none(), "{text}");
        }
    }

    #[test]
    fn a_secret_matches_its_own_hash_alone() {
        let key = PlainKey::generate("live");
        assert!(key.matches(Some(&key.hash())));
        assert!(!key.matches(Some(&PlainKey::generate("live").hash())));
        assert!(!key.matches(Some(&[])));
        assert!(!key.matches(None));
    }
}
