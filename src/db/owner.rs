//! A session of the owner of the tables, for what no role that serves may do: indexes.

use anyhow::anyhow;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::config::Database;
use crate::db::{Db, parse_url, session};
use crate::error::{Code, Error, Result};

/// As which login the owner is reached. With the embedded database it is the one that serves.
pub(super) fn login(settings: &Database, serving: &PgConnectOptions) -> anyhow::Result<PgConnectOptions> {
    match (&settings.url, &settings.owner_url) {
        (Some(_), Some(url)) => parse_url("database.owner_url", url),
        _ => Ok(serving.clone()),
    }
}

impl Db {
    /// A session of its own, outside the pools. It ends soon after its holder, whatever that one was doing, and waits for
    /// others as long as they take: unlike a request, it has the time.
    pub async fn owner(&self, name: &str) -> Result<PgConnection> {
        let options = session(&self.owner, "cairn_owner", name, 0).options([
            ("lock_timeout", "600000"),
            ("client_connection_check_interval", "2000"),
            ("idle_session_timeout", "30000"),
        ]);
        options.connect().await.map_err(|error| {
            let detail =
                "cannot act as cairn_owner: set database.owner_url to a login that may (see docs/operations.md)";
            Error::unavailable(Code::DependencyUnavailable, detail, anyhow!(error))
        })
    }
}
