//! Five instances over one Postgres, whose clocks differ by up to twenty seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn::config::{Config, ProviderName};
use cairn::embeddings::Embedder;
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tokio::task::JoinHandle;

use crate::jobs::book::BOOK;
use crate::support::cluster::Cluster;
use crate::support::process::{LOG, Program, free_port, temporary_folder, wait};
use crate::support::runtime_dir;

pub const LEASE_SECS: u64 = 5;

/// What each instance believes the time to be, in seconds beside the truth.
const SKEWS: [i64; 5] = [-10, 10, 0, 10, -10];

/// Every program asks its C library for the time.
const SKEW: &str = "
    #define _GNU_SOURCE
    #include <stdlib.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    int clock_gettime(clockid_t clock, struct timespec *time) {
        int failed = (int) syscall(SYS_clock_gettime, clock, time);
        const char *skew = getenv(\"TEST_SKEW_SECS\");
        if (!failed && clock == CLOCK_REALTIME && skew) time->tv_sec += atol(skew);
        return failed;
    }";

pub struct Site {
    pub workers: Vec<Worker>,
    postgres: Arc<Cluster>,
    database: String,
}

pub struct Worker {
    folder: PathBuf,
    command: Command,
    running: Mutex<Option<Program>>,
}

/// Memories expire for as long as this is here.
pub struct Feeding(JoinHandle<()>);

impl Site {
    pub async fn start(flaw: &str) -> Self {
        let postgres = Cluster::own().await;
        let database = postgres.clone_template().await;
        let mut site = Self { workers: Vec::new(), postgres, database };
        for skew in SKEWS {
            site.sql(&format!("CREATE ROLE instance_{} SUPERUSER LOGIN", site.workers.len())).await;
            let worker = Worker::prepare(&site, skew);
            site.workers.push(worker);
        }
        // The first one makes the jobs.
        for worker in &site.workers {
            worker.start().await;
        }
        let mut superuser = site.superuser().await;
        wait("there are jobs", async || count(&mut superuser, "SELECT count(*) FROM jobs").await > 0).await;
        site.new_tenants().await;
        site.sql(BOOK).await;
        site.sql(flaw).await;
        site
    }

    async fn new_tenants(&self) {
        let mut config = Config::default();
        config.embeddings.provider = ProviderName::Hashed;
        let pin = Embedder::start(&config).expect("an embedder").pin().to_owned();
        let tenants = format!(
            "INSERT INTO tenants (tenant_id, name, scope_id, embedding_pin)
             SELECT gen_random_uuid(), 'tenant ' || n, gen_random_uuid(), '{pin}' FROM generate_series(1, 4) n;
             INSERT INTO agents (tenant_id, agent_uid, agent_id)
             SELECT tenant_id, tenant_id, 'ada' FROM tenants WHERE name <> ''"
        );
        self.sql(&tenants).await;
    }

    /// From now on the job is due every second.
    pub async fn begin(&self) {
        self.sql(
            "UPDATE jobs SET enabled = true, cron = '* * * * * *', next_due = date_trunc('second', now()) + interval '1 second'
              WHERE kind = 'purge_memories'",
        )
        .await;
    }

    /// Lets it be due no more, and waits until all is done.
    pub async fn end(&self) {
        self.sql("UPDATE jobs SET enabled = false, next_due = NULL").await;
        let mut superuser = self.superuser().await;
        let open = "SELECT count(*) FROM job_runs WHERE finished_at IS NULL";
        wait("every run has ended", async || count(&mut superuser, open).await == 0).await;
    }

    /// Gives the job something to do, in several tenants.
    pub fn feed(&self) -> Feeding {
        let options = self.postgres.options().database(&self.database).options([("search_path", "cairn,public")]);
        Feeding(tokio::spawn(async move {
            let mut superuser = options.connect().await.expect("connects");
            loop {
                let expired =
                    "INSERT INTO memories (tenant_id, memory_id, agent_uid, content, content_hash, kind, tags,
                                                     importance, metadata, expires_at)
                               SELECT tenant_id, gen_random_uuid(), agent_uid, 'x', 'x', 'fact', '{}', 0, '{}', now()
                                 FROM agents";
                sqlx::raw_sql(expired).execute(&mut superuser).await.expect("memories");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }))
    }

    /// A connection that sees everything.
    pub async fn superuser(&self) -> PgConnection {
        let options = self.postgres.options().database(&self.database).options([("search_path", "cairn,public")]);
        options.connect().await.expect("connects")
    }

    async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.superuser().await).await.expect("it is done");
    }
}

impl Worker {
    fn prepare(site: &Site, skew: i64) -> Self {
        let (folder, number) = (temporary_folder(), site.workers.len());
        let library = build_skew(&folder);
        let socket = site.postgres.socket();
        let host = socket.parent().expect("a folder").display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.arg("serve").envs([
            ("DATABASE_URL", format!("postgres://instance_{number}@localhost/{}?host={host}", site.database)),
            ("REDIS_URL", "off".into()),
            ("CAIRN_SECRET_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into()),
            ("CAIRN_DATA_DIR", folder.display().to_string()),
            ("CAIRN_RUNTIME_DIR", runtime_dir().display().to_string()),
            ("CAIRN_HTTP__BIND", format!("127.0.0.1:{}", free_port())),
            ("CAIRN_HTTP__WORKERS", "1".into()),
            ("CAIRN_EMBEDDINGS__PROVIDER", "hashed".into()),
            ("CAIRN_JOBS__LEASE_SECS", LEASE_SECS.to_string()),
            ("CAIRN_LOG", "cairn=info,warn".into()),
            ("LD_PRELOAD", library.display().to_string()),
            ("TEST_SKEW_SECS", skew.to_string()),
        ]);
        Self { folder, command, running: Mutex::default() }
    }

    /// Starts it, and waits until it serves.
    pub async fn start(&self) {
        let served = self.times_it_served();
        *self.running.lock().expect("not poisoned") = Some(Program::start(&self.command, &self.folder));
        wait("the server serves", async || self.times_it_served() > served).await;
    }

    /// Ends it without a word.
    pub fn kill(&self) {
        self.running.lock().expect("not poisoned").take().expect("it runs").kill();
    }

    /// It stays, and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.running.lock().expect("not poisoned").as_ref().expect("it runs").signal(signal);
    }

    fn times_it_served(&self) -> usize {
        let log = fs::read_to_string(self.folder.join(LOG)).unwrap_or_default();
        assert!(!log.contains("cairn: "), "the server ended: {log}");
        log.matches("\"message\":\"serving\"").count()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.running.lock().expect("not poisoned").take());
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn build_skew(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("skew.c"), folder.join("skew.so"));
    fs::write(&source, SKEW).expect("a source");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("a C compiler").success(), "the clock cannot be skewed");
    library
}

async fn count(connection: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("a count")
}
