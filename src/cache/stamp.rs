//! Stamps: what an answer depends on, in one comparable value.
//!
//! Every commit that can change an answer of a scope gives the scope a new random tag. A stamp is made of the tags
//! of all scopes that an answer was read from, in one snapshot. If the stamp that the gate reads now equals the
//! stamp of a cached answer, no commit lies between the two, and computing it again would give the same.

use sha2::{Digest, Sha256};

use crate::ids::Tag;

/// Equality is all that it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp([u8; 32]);

impl Stamp {
    pub(super) const BYTES: usize = 32;

    /// Of the rules by which an answer is made (`version`) and of the tags of all it is made from, each under the
    /// name of its scope. A scope without a tag is being erased or restored: what depends on it has no stamp, and is
    /// not cached.
    pub fn of<'a>(version: &str, parts: impl IntoIterator<Item = (&'a [u8], Option<Tag>)>) -> Option<Self> {
        let mut hash = Sha256::new();
        hash.update((version.len() as u64).to_be_bytes());
        hash.update(version);
        for (name, tag) in parts {
            // Lengths keep one list of parts from reading like another.
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
            hash.update(tag?.uuid().as_bytes());
        }
        Some(Self(hash.finalize().into()))
    }

    pub(super) fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

/// One short name for all sources that decide how an answer is made and written. As part of every stamp it keeps
/// releases that answer differently from taking each other's answers, and nobody has to remember to raise a number.
pub fn fingerprint(sources: &[&str]) -> String {
    let hash = sources.iter().fold(Sha256::new(), |hash, source| hash.chain_update(source));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_every_tag_every_name_and_the_version() {
        let (a, b) = (Tag::random(), Tag::random());
        let stamp = Stamp::of("1", [(&b"x"[..], Some(a)), (b"y", Some(b))]).expect("a stamp");
        let others = [
            Stamp::of("2", [(&b"x"[..], Some(a)), (b"y", Some(b))]),
            Stamp::of("1", [(&b"x"[..], Some(b)), (b"y", Some(b))]),
            Stamp::of("1", [(&b"x"[..], Some(a)), (b"y", Some(a))]),
            Stamp::of("1", [(&b"z"[..], Some(a)), (b"y", Some(b))]),
            Stamp::of("1", [(&b"x"[..], Some(a))]),
            Stamp::of("1", []),
        ];
        assert!(others.iter().all(|other| other.is_some_and(|other| other != stamp)), "{others:?}");
        assert_eq!(Stamp::of("1", [(&b"x"[..], Some(a)), (b"y", Some(b))]), Some(stamp));
    }

    #[test]
    fn what_depends_on_a_scope_without_a_tag_has_no_stamp() {
        assert_eq!(Stamp::of("1", [(&b"x"[..], Some(Tag::random())), (b"y", None)]), None);
    }
}
