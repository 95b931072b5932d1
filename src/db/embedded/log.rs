//! The log file of a server: kept small, and read back when the server does not start.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, anyhow};

use super::{account::Account, process::last_lines};

/// A log longer than this is set aside as `.old` when its server starts.
const MAX_BYTES: u64 = 4 << 20;

pub(super) struct Log {
    path: PathBuf,
    /// Where this start begins.
    start: usize,
}

impl Log {
    pub fn open(path: PathBuf, account: &Account) -> Result<(Self, File)> {
        if length(&path) > MAX_BYTES {
            fs::rename(&path, path.with_extension("log.old")).ok();
        }
        let file = account.open_file(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let start = usize::try_from(length(&path)).unwrap_or(0);
        Ok((Self { path, start }, file))
    }

    /// The last lines that this start wrote.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.path).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&text[self.start.min(text.len())..]))
    }

    /// The error for a server that did not start, with what it said.
    pub fn error(&self, server: &str) -> Error {
        anyhow!(self.tail()).context(format!("{server} did not start (log: {})", self.path.display()))
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}
