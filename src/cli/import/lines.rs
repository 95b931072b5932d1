//! A file line by line, with the place of each, in constant memory however long a line is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context;

/// Longer than any memory may be with all its fields.
const MAX_BYTES: u64 = 1024 * 1024;

/// Where a line begins: its number, from 1, and its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u64,
    pub byte: u64,
}

impl Place {
    pub const START: Self = Self { line: 1, byte: 0 };
}

pub struct Lines {
    file: BufReader<File>,
    next: Place,
}

pub struct Line {
    pub place: Place,
    /// None: it is too long to be a memory.
    pub bytes: Option<Vec<u8>>,
}

impl Lines {
    pub fn open(path: &Path, from: Place) -> anyhow::Result<Self> {
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        file.seek(SeekFrom::Start(from.byte))?;
        Ok(Self { file: BufReader::new(file), next: from })
    }

    /// Where the next line begins.
    pub fn place(&self) -> Place {
        self.next
    }

    /// The next line that is not blank.
    pub fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let place = self.next;
            let mut bytes = Vec::new();
            let mut read = self.file.by_ref().take(MAX_BYTES).read_until(b'\n', &mut bytes)? as u64;
            if read == 0 {
                return Ok(None);
            }
            let too_long = read == MAX_BYTES && !bytes.ends_with(b"\n");
            if too_long {
                read += self.file.skip_until(b'\n')? as u64;
            }
            self.next = Place { line: place.line + 1, byte: place.byte + read };
            if place == Place::START && bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            if too_long {
                return Ok(Some(Line { place, bytes: None }));
            }
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some(Line { place, bytes: Some(bytes) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_their_places_and_can_be_read_from_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        let long = "x".repeat(MAX_BYTES as usize + 5);
        std::fs::write(&path, format!("one\n\n{long}\nfour")).expect("a file");
        let mut lines = Lines::open(&path, Place::START).expect("lines");
        let first = lines.next().expect("read").expect("a line");
        assert_eq!((first.place.line, first.bytes.as_deref()), (1, Some(b"one\n".as_slice())));
        let long = lines.next().expect("read").expect("a line");
        assert_eq!((long.place.line, long.bytes.is_none()), (3, true));
        let mut again = Lines::open(&path, lines.place()).expect("lines");
        for lines in [&mut lines, &mut again] {
            let last = lines.next().expect("read").expect("a line");
            assert_eq!((last.place.line, last.bytes.as_deref()), (4, Some(b"four".as_slice())));
            assert!(lines.next().expect("read").is_none());
        }
    }
}
