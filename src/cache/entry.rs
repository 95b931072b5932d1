//! An entry: a value and what proves it fresh, in a packed form for Redis.
//!
//! ```text
//! 1 byte    version of this form
//! 24 bytes  nonce
//! sealed:   1 byte   flags: has a stamp, is compressed
//!           8 bytes  when it was made, and
//!           8 bytes  until when it holds: milliseconds of the database's clock since 1970
//!           4 bytes  microseconds that making it took
//!           4 bytes  tokens that were embedded for it
//!           32 bytes stamp, if it has one
//!           the value
//! 16 bytes  tag of the seal
//! ```

use bytes::Bytes;
use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};
use time::OffsetDateTime;

use crate::cache::stamp::Stamp;
use crate::cache::vault::Vault;

const VERSION: u8 = 1;
const STAMPED: u8 = 1;
const COMPRESSED: u8 = 2;

/// Smaller values are not worth the time.
const COMPRESS_FROM: usize = 1_024;
/// A value that claims to grow larger than this was not written by us.
const LARGEST: usize = 64 * 1024 * 1024;

/// What a hit saves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    pub micros: u32,
    pub tokens: u32,
}

/// Milliseconds of the database's clock since 1970; instances' clocks play no part.
pub type Millis = i64;

pub fn millis(moment: OffsetDateTime) -> Millis {
    (moment.unix_timestamp_nanos() / 1_000_000) as Millis
}

/// What lies in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// None: it depends on nothing that can change, as the vector of a text.
    pub stamp: Option<Stamp>,
    pub made_at: Millis,
    pub valid_until: Millis,
    pub cost: Cost,
    pub value: Bytes,
}

impl Entry {
    /// None only if sealing fails, which it does not for what fits into memory.
    pub fn seal(&self, vault: &Vault, name: &str) -> Option<Vec<u8>> {
        let compressed = self.compressed();
        let flags = self.stamp.map_or(0, |_| STAMPED) | compressed.as_ref().map_or(0, |_| COMPRESSED);
        let value = compressed.as_deref().unwrap_or(&self.value);
        let mut plain = Vec::with_capacity(25 + Stamp::BYTES + value.len());
        plain.push(flags);
        plain.extend(self.made_at.to_be_bytes());
        plain.extend(self.valid_until.to_be_bytes());
        plain.extend(self.cost.micros.to_be_bytes());
        plain.extend(self.cost.tokens.to_be_bytes());
        if let Some(stamp) = &self.stamp {
            plain.extend(stamp.bytes());
        }
        plain.extend(value);
        let mut sealed = vec![VERSION];
        sealed.extend(vault.seal(name, &plain)?);
        Some(sealed)
    }

    /// Where it pays: at least an eighth smaller.
    fn compressed(&self) -> Option<Vec<u8>> {
        if self.value.len() < COMPRESS_FROM {
            return None;
        }
        let compressed = compress_prepend_size(&self.value);
        (compressed.len() < self.value.len() / 8 * 7).then_some(compressed)
    }

    /// None for what another release wrote, and for what nobody with the tenant's secret wrote under this name.
    pub fn open(vault: &Vault, name: &str, sealed: &[u8]) -> Option<Self> {
        let (VERSION, sealed) = sealed.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let plain = vault.open(name, sealed)?;
        let mut rest = plain.as_slice();
        let [flags] = take(&mut rest)?;
        let (made_at, valid_until) = (i64::from_be_bytes(take(&mut rest)?), i64::from_be_bytes(take(&mut rest)?));
        let micros = u32::from_be_bytes(take(&mut rest)?);
        let tokens = u32::from_be_bytes(take(&mut rest)?);
        let stamp = if flags & STAMPED == 0 { None } else { Some(Stamp::from_bytes(take(&mut rest)?)) };
        let value = if flags & COMPRESSED == 0 { Bytes::copy_from_slice(rest) } else { decompressed(rest)? };
        Some(Self { stamp, made_at, valid_until, cost: Cost { micros, tokens }, value })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn decompressed(packed: &[u8]) -> Option<Bytes> {
    let size = u32::from_le_bytes(*packed.first_chunk()?) as usize;
    if size > LARGEST {
        return None;
    }
    decompress_size_prepended(packed).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::vault::tests::vault;
    use crate::ids::Tag;

    fn entry(value: Vec<u8>) -> Entry {
        Entry {
            stamp: Stamp::of("1", [(&b"agent"[..], Some(Tag::random()))]),
            made_at: 1_700_000_000_123,
            valid_until: 1_700_000_300_456,
            cost: Cost { micros: 6_543, tokens: 21 },
            value: value.into(),
        }
    }

    #[test]
    fn an_entry_reads_back_as_it_was_under_its_name_and_secret_only() {
        let vault = vault(1);
        for value in [b"short".to_vec(), b"a long story ".repeat(500), (0..4_000_u32).map(|i| (i * i) as u8).collect()]
        {
            let entry = entry(value);
            let sealed = entry.seal(&vault, "a").expect("sealed");
            assert_eq!(Entry::open(&vault, "a", &sealed), Some(entry));
            assert_eq!(Entry::open(&vault, "b", &sealed), None);
            assert_eq!(Entry::open(&super::tests::vault(2), "a", &sealed), None);
        }
    }

    #[test]
    fn no_bit_of_an_entry_can_be_changed_and_no_byte_cut_off() {
        let vault = vault(1);
        let sealed = entry(b"stone".to_vec()).seal(&vault, "a").expect("sealed");
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::open(&vault, "a", &forged), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(Entry::open(&vault, "a", &sealed[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn what_repeats_itself_is_compressed() {
        let vault = vault(1);
        let sealed = entry(b"{\"content\": \"the same again\"},".repeat(200)).seal(&vault, "a").expect("sealed");
        assert!(sealed.len() < 1_000, "{} bytes", sealed.len());
    }
}
