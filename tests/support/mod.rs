//! What several test binaries start: servers, and what stands between them and ours.

pub mod attempts;
pub mod authority;
pub mod cluster;
pub mod fault;
pub mod process;
pub mod provider;
pub mod redis;
pub mod redis_cluster;

use std::path::PathBuf;

/// The fetched Postgres, Redis and model; `make runtime` puts them there.
pub fn runtime_dir() -> PathBuf {
    let folder = std::env::var_os("CAIRN_RUNTIME_DIR")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/.runtime").into(), PathBuf::from);
    assert!(folder.join("postgres/bin/postgres").exists(), "no Postgres in {}: run `make runtime`", folder.display());
    folder
}
