//! The user the servers run as: oneself or, for root, an unprivileged account, because Postgres
//! refuses to run as root. Here is everything that depends on it: starting a command as that
//! user, making its folders and private files, and checking that it can reach a path.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    fcntl::OFlag,
    unistd::{Gid, Uid, User},
};
use tokio::process::Command;

/// Who root becomes to run a server, in order of preference.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

pub(super) struct Account {
    uid: u32,
    gid: u32,
    name: String,
    /// Not the user of this process: we are root and step down.
    is_other: bool,
}

impl Account {
    /// The owner of `folder` when root finds it there, so that a folder keeps its account
    /// whatever users are added to the machine later.
    pub fn owning(folder: &Path) -> Result<Self> {
        let me = Uid::effective();
        if !me.is_root() {
            let gid = Gid::effective().as_raw();
            return Ok(Self { uid: me.as_raw(), gid, name: me.to_string(), is_other: false });
        }
        let owner = fs::metadata(folder).ok().map(|found| (found.uid(), found.gid()));
        if let Some((uid, gid)) = owner.filter(|(uid, _)| *uid != 0) {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            let name = user.map_or_else(|| uid.to_string(), |user| user.name);
            return Ok(Self { uid, gid, name, is_other: true });
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name, is_other: true })
            .ok_or_else(|| {
                anyhow!(
                    "Postgres does not run as root and this machine has neither a user `postgres` \
                     nor `nobody`: run cairn as an ordinary user, or set DATABASE_URL"
                )
            })
    }

    /// Mode of a folder that we own and the account has to pass through.
    pub fn passage_mode(&self) -> u32 {
        if self.is_other { 0o711 } else { 0o700 }
    }

    /// A command run as the account in `folder`, in a process group of its own so that Ctrl-C
    /// on the terminal does not reach it, and without our environment, which holds secrets.
    pub fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir(folder)
            .stdin(Stdio::null())
            .process_group(0);
        if self.is_other {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Makes the folder if it is missing; in any case it is then the account's alone.
    pub fn own_folder(&self, path: &Path) -> Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => self.take_folder(path),
        }
        .with_context(|| format!("cannot make the folder {}", path.display()))
    }

    /// Writes a file that only the account can read, in place of what was there.
    pub fn write_file(&self, path: &Path, text: &str) -> Result<()> {
        self.open_file(path)
            .and_then(|mut file| {
                file.set_len(0)?;
                file.write_all(text.as_bytes())
            })
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Opens a file to append to, made if it is missing and the account's alone. Links are not
    /// followed: root must not be led out of a folder that belongs to somebody else.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        if self.is_other {
            fchown(&file, Some(self.uid), Some(self.gid))?;
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file)
    }

    /// Whether the path is a folder that nobody but the account can enter.
    pub fn owns_folder(&self, path: &Path) -> bool {
        fs::symlink_metadata(path)
            .is_ok_and(|found| found.is_dir() && found.uid() == self.uid && found.mode() & 0o077 == 0)
    }

    /// Fails when the account cannot get to `path` (absolute); `setting` says where it comes from.
    pub fn check_reach(&self, path: &Path, setting: &str) -> Result<()> {
        if !self.is_other {
            return Ok(());
        }
        for folder in path.ancestors() {
            let found = fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
            let shift = match (found.uid() == self.uid, found.gid() == self.gid) {
                (true, _) => 6,
                (false, true) => 3,
                (false, false) => 0,
            };
            if (found.mode() >> shift) & 1 == 0 {
                bail!(
                    "Postgres does not run as root but as `{}`, who cannot enter {}: set {setting} \
                     to a place that this user can reach, or `chmod o+x {}`",
                    self.name,
                    folder.display(),
                    folder.display()
                );
            }
        }
        Ok(())
    }

    fn take_folder(&self, path: &Path) -> io::Result<()> {
        if self.is_other {
            lchown(path, Some(self.uid), Some(self.gid))?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o700))
    }
}

/// A random name or password of `N` bytes in hexadecimal.
pub(super) fn random_hex<const N: usize>() -> String {
    let bytes: [u8; N] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
