//! How verbs reach Postgres: the one given, or the embedded one, running or started for the moment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::db::embedded::{Embedded, Settings, Stop};
use crate::db::{self, Db, self_check};
use crate::events::Bus;
use crate::secrets::SecretKey;

/// A database to work on, and the embedded servers behind it, if it is that one.
pub struct Database {
    pub options: PgConnectOptions,
    pub secret_key: SecretKey,
    pub embedded: Option<Embedded>,
}

impl Database {
    /// For `cairn serve`: owns the embedded servers.
    pub async fn serve(config: &Config) -> anyhow::Result<Self> {
        match &config.database.url {
            Some(url) => Self::given(config, url),
            None => {
                let key = set_secret_key(config)?;
                Self::embedded(config, key, Embedded::start(&settings(config)).await?).await
            }
        }
    }

    /// For the other verbs: a guest of a running server, where there is one.
    pub async fn attach(config: &Config) -> anyhow::Result<Self> {
        match &config.database.url {
            Some(url) => Self::given(config, url),
            None => {
                let key = set_secret_key(config)?;
                Self::embedded(config, key, Embedded::attach(&settings(config)).await?).await
            }
        }
    }

    fn given(config: &Config, url: &str) -> anyhow::Result<Self> {
        let Some(secret_key) = set_secret_key(config)? else {
            bail!(
                "configuration: setting secret_key (CAIRN_SECRET_KEY): required with a given database; 32 bytes in base64 (try `openssl rand -base64 32`)"
            );
        };
        Ok(Self { options: db::parse_url("database.url", url)?, secret_key, embedded: None })
    }

    async fn embedded(config: &Config, key: Option<SecretKey>, mut embedded: Embedded) -> anyhow::Result<Self> {
        let secret_key = match key.map_or_else(|| kept_secret_key(&config.data_dir), Ok) {
            Ok(key) => key,
            Err(error) => {
                embedded.stop(Stop::Clean).await.ok();
                return Err(error);
            }
        };
        let address = embedded.postgres();
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&address.socket_dir)
            .port(address.port)
            .username(&address.user)
            .password(&address.password)
            .database(&address.database);
        Ok(Self { options, secret_key, embedded: Some(embedded) })
    }

    /// Where the Redis of the folder listens, if there is one.
    pub fn redis_url(&self) -> Option<String> {
        self.embedded.as_ref().and_then(Embedded::redis_url).map(str::to_owned)
    }

    /// The login that may migrate.
    pub fn owner(&self, config: &Config) -> anyhow::Result<PgConnectOptions> {
        match &config.database.owner_url {
            Some(url) if self.embedded.is_none() => db::parse_url("database.owner_url", url),
            _ => Ok(self.options.clone()),
        }
    }

    /// Pools for a verb, after the same checks as at the start of a server.
    pub async fn open(&self, config: &Config) -> anyhow::Result<Db> {
        if self.embedded.is_some() {
            db::migrate(&self.options).await?;
        }
        let db = Db::open(&config.database, &self.options, Handle::current(), Bus::new()?)?;
        self_check(db.background()).await?;
        Ok(db)
    }

    /// Stops what this process started; a guest stops nothing.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.stop(Stop::Clean).await
    }

    /// The same, for one who may be in a hurry. A call that was dropped may be made again.
    pub async fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        match &mut self.embedded {
            Some(embedded) => embedded.stop(how).await,
            None => Ok(()),
        }
    }
}

/// `cairn migrate`.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let database = Database::attach(config).await?;
    let outcome = match database.owner(config) {
        Ok(owner) => db::migrate(&owner).await,
        Err(error) => Err(error),
    };
    let closed = database.close().await;
    outcome.and(closed)?;
    eprintln!("the schema is up to date");
    Ok(())
}

/// Read before anything starts, so that a wrong one leaves nothing behind.
fn set_secret_key(config: &Config) -> anyhow::Result<Option<SecretKey>> {
    config.secret_key.as_deref().map(SecretKey::from_base64).transpose()
}

fn settings(config: &Config) -> Settings {
    Settings {
        data_dir: config.data_dir.clone(),
        runtime_dir: config.runtime_dir.clone(),
        postgres_bin: config.database.postgres_bin.clone(),
        redis_server: None,
        redis: config.cache.redis_url.is_none() && config.cache.wants_redis(),
    }
}

/// The key of an embedded installation, made at its first start.
fn kept_secret_key(data_dir: &Path) -> anyhow::Result<SecretKey> {
    let path = data_dir.join("secret-key");
    if !path.exists() {
        // Whoever creates the file first decides; the others read what it says.
        let unfinished = data_dir.join(format!("secret-key.{}", std::process::id()));
        write_unnamed(&unfinished, &SecretKey::random().to_base64())?;
        let linked = fs::hard_link(&unfinished, &path);
        fs::remove_file(&unfinished)?;
        if let Err(error) = linked
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("writing {}", path.display()));
        }
        sync_folder(&path)?;
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    SecretKey::from_base64(&text).with_context(|| format!("reading {}", path.display()))
}

/// Writes a file that only its owner can read; after a power cut too it is there whole or not at all.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    write_unnamed(&unfinished, text)?;
    fs::rename(&unfinished, path)
        .and_then(|()| sync_folder(path))
        .with_context(|| format!("writing {}", path.display()))
}

/// The same for a file that gets its name later.
fn write_unnamed(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| {
            writeln!(file, "{text}")?;
            file.sync_all()
        })
        .with_context(|| format!("writing {}", path.display()))
}

/// Makes the names in the folder of a file outlast a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
