//! Finding the servers on this machine: the configured one, the fetched runtime, an installed one.

use std::{
    cmp::Reverse,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

use super::Settings;

/// Where packages put Postgres: a folder a version, `bin` below it.
const POSTGRES_HOMES: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/usr/libexec", "postgresql"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];
const REDIS_NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// The folder with `postgres` and `initdb` of a Postgres that has the vector extension.
pub(super) fn find_postgres(settings: &Settings) -> Result<PathBuf> {
    if let Some(bin) = &settings.postgres_bin {
        let shown = bin.display();
        let bin = real_bin(bin)
            .ok_or_else(|| anyhow!("{shown} is set as the folder of Postgres but has no `postgres` and `initdb`"))?;
        if !has_vector(&bin) {
            bail!("the Postgres in {shown} lacks the vector extension: install pgvector for it");
        }
        return Ok(bin);
    }
    let fetched = settings.runtime_dir.join("postgres/bin");
    std::iter::once(fetched)
        .chain(pg_config("pg_config".as_ref(), "--bindir"))
        .chain(POSTGRES_HOMES.iter().flat_map(|(parent, prefix)| versions_in(parent, prefix)))
        .chain(search_path())
        .filter_map(|bin| real_bin(&bin))
        .find(|bin| has_vector(bin))
        .ok_or_else(|| {
            anyhow!(
                "no Postgres with the vector extension found: run `make runtime`, which fills \
                 CAIRN_RUNTIME_DIR (now {}), or set DATABASE_URL",
                settings.runtime_dir.display()
            )
        })
}

/// None when there is no Redis on this machine.
pub(super) fn find_redis(settings: &Settings) -> Result<Option<PathBuf>> {
    if let Some(binary) = &settings.redis_server {
        let found = binary.canonicalize();
        return found.map(Some).with_context(|| format!("no Redis at {}", binary.display()));
    }
    let usual = ["/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    Ok(std::iter::once(settings.runtime_dir.join("redis"))
        .chain(search_path())
        .chain(usual)
        .flat_map(|folder| REDIS_NAMES.map(|name| folder.join(name)))
        .find(|binary| binary.is_file())
        .and_then(|binary| binary.canonicalize().ok()))
}

/// The major version of the Postgres in `bin`.
pub(super) fn major_version(bin: &Path) -> Result<u32> {
    let program = bin.join("postgres");
    let what = || format!("cannot ask {} for its version", program.display());
    let output = Command::new(&program).arg("--version").output().with_context(what)?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split(|letter: char| !letter.is_ascii_digit()).find_map(|number| number.parse().ok()).with_context(what)
}

/// Where `postgres` really lies, behind links such as those in /usr/local/bin.
fn real_bin(bin: &Path) -> Option<PathBuf> {
    let bin = bin.join("postgres").canonicalize().ok()?.parent()?.to_owned();
    bin.join("initdb").is_file().then_some(bin)
}

fn has_vector(bin: &Path) -> bool {
    let home = bin.parent().unwrap_or(bin);
    let version = home.file_name().unwrap_or_default();
    pg_config(&bin.join("pg_config"), "--sharedir")
        .into_iter()
        .chain(["share", "share/postgresql", "share/pgsql"].map(|share| home.join(share)))
        .chain([Path::new("/usr/share/postgresql").join(version)])
        .any(|share| share.join("extension/vector.control").is_file())
}

fn pg_config(program: &Path, what: &str) -> Option<PathBuf> {
    let output = Command::new(program).arg(what).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

/// The `bin` folders of the versions below `parent`, newest first.
fn versions_in(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect();
    found.sort_by_key(|(version, _)| Reverse(*version));
    found.into_iter().flat_map(|(_, home)| [home.join("bin"), home]).collect()
}

fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}
