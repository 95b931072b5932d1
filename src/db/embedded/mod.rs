//! The private Postgres and Redis of a data folder: found, made, started, adopted, stopped.
//! Nothing here knows the schema or speaks SQL.
//!
//! ```text
//! <data folder>/           owned by whoever runs cairn, who may keep other files here
//!   lock                   held by the process that owns the servers; its id and whether it serves
//!   guests.lock            shared by commands that use servers which another process started
//!   run/                   the sockets; a link to /tmp/cairn-<random>/ when the path is too long
//!   postgres/              owned by the account of the servers (root steps down), 0700
//!     data/                the database; its postgresql.conf may be tuned
//!     unfinished-<random>/ a first start that was interrupted; removed by the next one
//!     password             0600, made with the database
//!     postgres.log         and postgres.log.old
//!   redis/                 the same account, 0700
//!     redis.conf, password 0600, new at every start
//!     redis.log            and redis.log.old
//! ```

mod account;
mod folder;
mod installation;
mod log;
mod postgres;
mod postmaster;
mod process;
mod redis;
mod supervisor;

use std::{fs::File, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

pub use postgres::PostgresAddress;

use account::Account;
use folder::{Claim, DataFolder, Holder};
use process::Process;
use supervisor::{Place, Supervisor};

/// How long a command waits for a server that another process is starting or stopping, and a server for a command.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the embedded servers need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// The folder of `postgres` and `initdb`; None: look for one.
    pub postgres_bin: Option<PathBuf>,
    /// The binary of Redis; None: look for one and do without if there is none.
    pub redis_server: Option<PathBuf>,
    /// Whether to run Redis at all.
    pub redis: bool,
}

/// The servers of a data folder, in use. Dropping it stops nothing; [`Embedded::stop`] does.
pub struct Embedded {
    postgres: PostgresAddress,
    redis_url: Option<String>,
    is_first_start: bool,
    folder: DataFolder,
    tenure: Tenure,
}

enum Tenure {
    /// The servers are ours to stop; the lock keeps others from starting them.
    Owner { servers: Servers, is_temporary: bool, _lock: File },
    /// Another process stops them, if it is a command only after we let go of the lock.
    Guest { _lock: File },
}

struct Servers {
    postgres: Supervisor,
    redis: Option<Process>,
}

/// How to stop the servers.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Everything is written to where it belongs.
    Clean,
    /// At once: what was committed is in the log, which the next start replays.
    Now,
}

impl Embedded {
    /// For `cairn serve`: takes the folder and starts, or adopts, its servers. Waits for a command that
    /// holds the folder; a second server on it is an error. Let it finish: what a dropped start leaves,
    /// the next adopts.
    pub async fn start(settings: &Settings) -> Result<Self> {
        let (folder, account) = DataFolder::open(&settings.data_dir)?;
        let deadline = Instant::now() + PATIENCE;
        let (mut seen, mut told) = (None, false);
        loop {
            let holder = match folder.claim(true)? {
                Claim::Taken(lock) => return Self::own(settings, folder, account, lock, false).await,
                Claim::Held(holder) => holder,
            };
            // Read twice: one that has just taken the lock may not have written yet who it is.
            if (holder.serves && seen == Some(holder)) || Instant::now() > deadline {
                let (path, holder) = (folder.path().display(), named(holder));
                bail!(
                    "the data folder {path} is in use by {holder}: stop that first, or set CAIRN_DATA_DIR to another folder"
                );
            }
            if !holder.serves && seen == Some(holder) && !told {
                tracing::info!("waiting for {} to let go of the data folder", named(holder));
                told = true;
            }
            seen = Some(holder);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// For commands: uses the servers that run, else starts them until [`Embedded::stop`].
    pub async fn attach(settings: &Settings) -> Result<Self> {
        let (folder, account) = DataFolder::open(&settings.data_dir)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let holder = match folder.claim(false)? {
                Claim::Taken(lock) => {
                    return Self::own(settings, folder, account, lock, true).await;
                }
                Claim::Held(holder) => holder,
            };
            if let Some(lock) = folder.join_guests()?
                && let Some(postgres) = postgres::running(&folder)?
            {
                let redis_url = redis::running(&folder).await;
                let tenure = Tenure::Guest { _lock: lock };
                return Ok(Self { postgres, redis_url, is_first_start: false, folder, tenure });
            }
            if Instant::now() > deadline {
                let path = folder.path().display();
                bail!("{} holds the data folder {path} but its Postgres is not up", named(holder));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn own(
        settings: &Settings,
        folder: DataFolder,
        account: Account,
        lock: File,
        is_temporary: bool,
    ) -> Result<Self> {
        account.check_reach(folder.path(), "CAIRN_DATA_DIR")?;
        redis::stop_left_behind(&folder).await?;
        // First, so that whoever finds Postgres ready finds Redis too.
        let (redis, redis_url) = start_redis(settings, &folder, &account).await?.unzip();
        let started = match postgres::start(settings, &folder, &account).await {
            Ok(started) => started,
            Err(error) => {
                if let Some(mut redis) = redis {
                    redis.stop(&redis::STOP_SIGNALS).await.ok();
                }
                folder.remove_sockets();
                return Err(error);
            }
        };
        let place = Place { settings: settings.clone(), folder: folder.clone(), account };
        let servers = Servers { postgres: Supervisor::watch(started.process, place), redis };
        Ok(Self {
            postgres: started.address,
            redis_url,
            is_first_start: started.is_first_start,
            folder,
            tenure: Tenure::Owner { servers, is_temporary, _lock: lock },
        })
    }

    /// Whether this call made the database.
    pub fn is_first_start(&self) -> bool {
        self.is_first_start
    }

    pub fn postgres(&self) -> &PostgresAddress {
        &self.postgres
    }

    /// None when no Redis was found or wanted.
    pub fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_deref()
    }

    /// Stops the servers if they are ours: Postgres first, sessions ended, then Redis. A command
    /// that started them waits for others that came to use them; a server does not. A call that was
    /// dropped may be made again, in more of a hurry.
    pub async fn stop(&mut self, how: Stop) -> Result<()> {
        let Tenure::Owner { servers, is_temporary, .. } = &mut self.tenure else {
            return Ok(());
        };
        let mut closed = self.folder.exclude_guests()?;
        if *is_temporary && closed.is_none() {
            tracing::info!("waiting for other commands before stopping the database");
        }
        while *is_temporary && closed.is_none() {
            sleep(Duration::from_millis(50)).await;
            closed = self.folder.exclude_guests()?;
        }
        let postgres = servers.postgres.stop(how).await;
        let redis = match &mut servers.redis {
            Some(redis) => redis.stop(&redis::STOP_SIGNALS).await,
            None => Ok(()),
        };
        self.folder.remove_sockets();
        postgres.and(redis)
    }
}

/// A Redis that was asked for by name must work; one that was only found need not.
async fn start_redis(settings: &Settings, folder: &DataFolder, account: &Account) -> Result<Option<(Process, String)>> {
    if !settings.redis {
        return Ok(None);
    }
    let Some(binary) = installation::find_redis(settings)? else {
        return Ok(None);
    };
    match redis::start(&binary, folder, account).await {
        Err(error) if settings.redis_server.is_none() => {
            tracing::warn!("going on without Redis: {error:#}");
            Ok(None)
        }
        started => started.map(Some),
    }
}

fn named(holder: Holder) -> String {
    holder.id.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"))
}
