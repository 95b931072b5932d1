//! The data folder: where things lie in it, who holds it, and where its sockets are.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::account::{Account, random_hex};

/// Longest socket path; the limit of the system is 107 bytes on Linux and 103 on macOS.
const MAX_SOCKET_PATH: usize = 100;

#[derive(Clone)]
pub(super) struct DataFolder {
    path: PathBuf,
}

/// What came of trying to take the folder.
pub(super) enum Claim {
    /// It is ours until the file is closed; the system closes it even after `kill -9`.
    Taken(File),
    /// Another process has it.
    Held(Holder),
}

/// Who has the folder, as far as it has said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub id: Option<u32>,
    /// A server; commands let go of the folder by themselves.
    pub serves: bool,
}

impl DataFolder {
    /// Makes the folder if it is missing.
    pub fn open(path: &Path) -> Result<(Self, Account)> {
        let is_new = !path.exists();
        let opened = fs::create_dir_all(path).and_then(|()| path.canonicalize());
        let path =
            opened.with_context(|| format!("cannot make the data folder {} (CAIRN_DATA_DIR)", path.display()))?;
        let folder = Self { path };
        let account = Account::owning(&folder.postgres_home())?;
        if is_new {
            fs::set_permissions(&folder.path, Permissions::from_mode(account.passage_mode()))
                .with_context(|| format!("cannot set the mode of {}", folder.path.display()))?;
        }
        Ok((folder, account))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn postgres_home(&self) -> PathBuf {
        self.path.join("postgres")
    }

    pub fn redis_home(&self) -> PathBuf {
        self.path.join("redis")
    }

    /// Tries to become the one process that may start and stop servers in this folder.
    pub fn claim(&self, serves: bool) -> Result<Claim> {
        let path = self.path.join("lock");
        let mut file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => {
                let said = format!("{}{}", std::process::id(), if serves { " serves" } else { "" });
                file.set_len(0)
                    .and_then(|()| file.write_all(said.as_bytes()))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(Claim::Taken(file))
            }
            Err(TryLockError::WouldBlock) => {
                let mut said = String::new();
                file.read_to_string(&mut said).ok();
                let mut words = said.split_whitespace();
                let id = words.next().and_then(|id| id.parse().ok());
                Ok(Claim::Held(Holder { id, serves: words.next() == Some("serves") }))
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Shared by the processes that use servers which another one started.
    pub fn join_guests(&self) -> Result<Option<File>> {
        let file = open_lock(&self.path.join("guests.lock"))?;
        Ok(file.try_lock_shared().is_ok().then_some(file))
    }

    /// None while somebody uses the servers; else keeps newcomers out as long as it is held.
    pub fn exclude_guests(&self) -> Result<Option<File>> {
        let file = open_lock(&self.path.join("guests.lock"))?;
        Ok(file.try_lock().is_ok().then_some(file))
    }

    /// The folder of the sockets, as the last start left it.
    pub fn sockets(&self) -> PathBuf {
        let run = self.path.join("run");
        fs::read_link(&run).unwrap_or(run)
    }

    /// Makes the folder of the sockets: `run`, or a short one in /tmp that `run` links to.
    pub fn make_sockets(&self, account: &Account) -> Result<PathBuf> {
        let run = self.path.join("run");
        match fs::read_link(&run) {
            Ok(target) if account.owns_folder(&target) => return Ok(target),
            Ok(_) => remove(&run)?,
            Err(_) => {}
        }
        if fits_socket(&run) {
            account.own_folder(&run)?;
            return Ok(run);
        }
        let target = Path::new("/tmp").join(format!("cairn-{}", random_hex::<6>()));
        account.own_folder(&target)?;
        remove(&run)?;
        symlink(&target, &run).with_context(|| format!("cannot make {}", run.display()))?;
        Ok(target)
    }

    /// Removes the folder of the sockets once no server uses it.
    pub fn remove_sockets(&self) {
        if fs::remove_dir(self.sockets()).is_ok() {
            fs::remove_file(self.path.join("run")).ok();
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}: run cairn as the user who owns this folder", path.display()))
}

/// Short enough, and without characters that a configuration file or an address would quote.
fn fits_socket(run: &Path) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = run.as_os_str().as_bytes();
    bytes.len() + "/.s.PGSQL.5432".len() <= MAX_SOCKET_PATH && bytes.iter().all(is_plain)
}

/// Removes a file, link or folder if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}
