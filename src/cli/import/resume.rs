//! How far an import has come, in a small file beside the imported one, so that the same command
//! goes on where an earlier one was cut off. It only saves time: sending a line twice does no harm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cli::import::lines::Place;

const SAVE_EVERY: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct State {
    /// A digest of server, credential, options, and size and date of the file: the same import or another.
    import: String,
    line: u64,
    byte: u64,
}

/// The lines read and not yet settled, and the file that says so.
pub struct Resume {
    path: Option<PathBuf>,
    import: String,
    open: BTreeSet<Place>,
    saved: Instant,
}

impl Resume {
    /// `parts` are what makes this import another one.
    pub fn of(file: &Path, parts: &[&str]) -> anyhow::Result<Self> {
        let about = fs::metadata(file).with_context(|| format!("opening {}", file.display()))?;
        let modified = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let mut digest = Sha256::new();
        for part in parts.iter().copied().chain([&*about.len().to_string(), &*modified.as_nanos().to_string()]) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let import = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut path = file.as_os_str().to_owned();
        path.push(".cairn-import");
        Ok(Self { path: Some(path.into()), import, open: BTreeSet::new(), saved: Instant::now() })
    }

    /// Keeps nothing.
    pub fn off() -> Self {
        Self { path: None, import: String::new(), open: BTreeSet::new(), saved: Instant::now() }
    }

    /// Where an earlier run of the same import got to.
    pub fn start(&self) -> Place {
        let text = self.path.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        match serde_json::from_str::<State>(&text) {
            Ok(state) if state.import == self.import => Place { line: state.line, byte: state.byte },
            _ => Place::START,
        }
    }

    pub fn opened(&mut self, place: Place) {
        self.open.insert(place);
    }

    pub fn settled(&mut self, place: Place) {
        self.open.remove(&place);
    }

    /// Everything before this is done. `read` is where reading goes on.
    pub fn done(&self, read: Place) -> Place {
        self.open.first().copied().unwrap_or(read)
    }

    /// Writes down how much is done.
    pub fn save(&mut self, read: Place, now: bool) -> anyhow::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| now || self.saved.elapsed() >= SAVE_EVERY) else {
            return Ok(());
        };
        self.saved = Instant::now();
        let done = self.done(read);
        let state = State { import: self.import.clone(), line: done.line, byte: done.byte };
        let unfinished = path.with_extension("cairn-import-new");
        fs::write(&unfinished, serde_json::to_vec(&state)?)
            .and_then(|()| fs::rename(&unfinished, path))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// The folder cannot be written; do without.
    pub fn give_up(&mut self) {
        self.path = None;
    }

    /// The import is complete.
    pub fn forget(&self) {
        if let Some(path) = &self.path {
            // What is left behind would only be taken for an import of the same, complete file.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rerun_begins_at_the_first_open_line_of_the_same_import() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("memories.jsonl");
        fs::write(&file, "x").expect("a file");
        let place = |line| Place { line, byte: line * 10 };
        let mut resume = Resume::of(&file, &["here", "ada"]).expect("a state");
        assert_eq!(resume.start(), Place::START);
        for line in 1..=4 {
            resume.opened(place(line));
        }
        for line in [1, 2, 4] {
            resume.settled(place(line));
        }
        resume.save(place(5), true).expect("saved");
        assert_eq!(resume.start(), place(3));
        assert_eq!(Resume::of(&file, &["here", "bob"]).expect("a state").start(), Place::START);
        resume.forget();
        assert_eq!(resume.start(), Place::START);
    }
}
