//! Reading `postmaster.pid`, the file in which a running Postgres says who and where it is, and
//! telling a live one from what a crash left behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use super::{account::Account, process::command_line};

/// A Postgres that runs on a data folder.
pub(super) struct Postmaster {
    pub id: i32,
    pub port: u16,
    pub socket_dir: PathBuf,
    /// Accepts connections: neither starting nor stopping.
    pub is_ready: bool,
}

impl Postmaster {
    /// None when there is no file, it is half written, or the process it names is another one.
    pub fn find(data: &Path) -> Result<Option<Self>> {
        let text = fs::read(pid_file(data)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let [id, started_on, _, port, socket_dir, ..] = lines[..] else {
            return Ok(None);
        };
        let (Ok(id), Ok(port)) = (id.parse(), port.parse()) else {
            return Ok(None);
        };
        if !is_postgres_on(id, started_on) {
            return Ok(None);
        }
        if Path::new(started_on) != data && data.to_str().is_some() {
            bail!(
                "{} was moved or copied while its Postgres (process {id}) ran on {started_on}: \
                 stop that first (`kill -INT {id}`)",
                data.display()
            );
        }
        let socket_dir = PathBuf::from(socket_dir);
        Ok(Some(Self { id, port, socket_dir, is_ready: lines.get(7) == Some(&"ready") }))
    }
}

/// Prepares the file of a dead Postgres for the next start. Without its last line it no longer
/// says "ready", and under our own id, which Postgres ignores as its parent's, no process that
/// was given the old id stands in the way. The rest stays: by it Postgres finds out whether
/// sessions of the dead one still run.
pub(super) fn retire_file(data: &Path, account: &Account) -> Result<()> {
    let path = pid_file(data);
    let Ok(text) = fs::read(&path) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&text);
    let id = std::process::id().to_string();
    let kept: Vec<&str> = std::iter::once(id.as_str()).chain(text.lines().skip(1).take(6)).collect();
    account.write_file(&path, &(kept.join("\n") + "\n"))
}

fn is_postgres_on(id: i32, data: &str) -> bool {
    command_line(id).is_some_and(|line| format!("{line} ").contains(&format!("postgres -D {data} ")))
}

fn pid_file(data: &Path) -> PathBuf {
    data.join("postmaster.pid")
}
