//! A private Postgres for one test process: copied from a prepared folder, on a unix socket in a temporary
//! folder, gone when the last test lets go of it, even if the process is killed.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nix::unistd::{User, geteuid};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::runtime_dir;

/// A shell stands between: when this process ends, however it ends, its pipe closes, and Postgres and its folder go.
/// A line instead of the end keeps the folder, for the next start.
const WRAPPER: &str = "\"$@\" </dev/null & pid=$!; read -r _ && keep=1; kill -QUIT $pid; wait $pid; \
     [ \"$keep\" ] || rm -rf \"$0\"";

const TEMPLATE: &str = "cairn_template";

pub struct Cluster {
    folder: PathBuf,
    process: Mutex<Child>,
}

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// The cluster of this process; tests that run at the same time share it.
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().expect("no test panicked while starting Postgres");
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(Self::own()));
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    /// A cluster that no other test sees, for those that break it.
    pub async fn own() -> Arc<Self> {
        let prepared = prepare().await;
        let folder = temporary_folder();
        copy(&prepared, &folder.join("data"));
        let cluster = Self { process: Mutex::new(start(&folder)), folder };
        cluster.wait_until_ready().await;
        Arc::new(cluster)
    }

    /// A cluster without a database of ours, as a restore begins with.
    pub async fn empty() -> Arc<Self> {
        let folder = temporary_folder();
        initdb(&folder);
        Self::over(folder).await
    }

    /// A cluster that is a physical copy of this one.
    pub async fn base_backup(&self) -> Arc<Self> {
        let folder = temporary_folder();
        let arguments = ["--checkpoint=fast", "--no-sync", "--pgdata"];
        self.tool("pg_basebackup", &[&arguments[..], &[folder.join("data").to_str().expect("UTF-8")]].concat());
        Self::over(folder).await
    }

    /// Starts what lies in the folder.
    async fn over(folder: PathBuf) -> Arc<Self> {
        let cluster = Self { process: Mutex::new(start(&folder)), folder };
        cluster.wait_until_ready().await;
        Arc::new(cluster)
    }

    /// Runs one of Postgres's own programs against this cluster, as its superuser.
    pub fn tool(&self, program: &str, arguments: &[&str]) {
        let mut tool = command(&postgres(program));
        tool.env("PGHOST", &self.folder).env("PGUSER", "postgres").env_remove("PGPORT").args(arguments);
        let output = tool.output().expect("it runs");
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A place for files that the programs of this cluster may write.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.folder).username("postgres").database("postgres")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    /// A new database with the schema of this binary.
    pub async fn clone_template(&self) -> String {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = self.connect().await;
        let sql = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a database");
        name
    }

    /// What Postgres has logged; each line begins with its SQLSTATE.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("a log")
    }

    /// Ends Postgres without asking and without a clean shutdown.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("a pid file");
        let pid = pid.lines().next().expect("a pid").parse().expect("a number");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGQUIT).expect("kills");
        let mut process = self.process.lock().expect("not poisoned");
        process.stdin.take().expect("a pipe").write_all(b"\n").expect("the wrapper reads");
        let _ = process.wait();
    }

    pub async fn restart(&self) {
        *self.process.lock().expect("not poisoned") = start(&self.folder);
        self.wait_until_ready().await;
    }

    async fn connect(&self) -> PgConnection {
        self.options().connect().await.expect("connects to the test cluster")
    }

    async fn wait_until_ready(&self) {
        for _ in 0..300 {
            if self.options().connect().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        panic!("Postgres did not start: {log}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut process = self.process.lock().expect("not poisoned");
        // The end of its standard input is what the wrapper waits for.
        drop(process.stdin.take());
        let _ = process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Short, because the path of a socket may have 108 bytes; reachable for the account that runs Postgres.
fn temporary_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cairn-{}", &Uuid::new_v4().simple().to_string()[..12]));
    fs::create_dir(&folder).expect("a temporary folder");
    own(&folder);
    folder
}

/// Postgres refuses to run as root.
fn account() -> Option<User> {
    let find = |name| User::from_name(name).ok().flatten();
    geteuid().is_root().then(|| find("postgres").or_else(|| find("nobody")).expect("an account for Postgres"))
}

fn own(folder: &Path) {
    if let Some(user) = account() {
        std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("chown");
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = account() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    // Somewhere that the account can read.
    command.current_dir("/");
    command
}

fn postgres(program: &str) -> String {
    let path = runtime_dir().join("postgres/bin").join(program);
    fs::canonicalize(path).expect("Postgres is there").to_str().expect("UTF-8").to_owned()
}

fn start(folder: &Path) -> Child {
    // What it said before a restart still counts.
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
    command("/bin/sh")
        .args(["-c", WRAPPER])
        .arg(folder)
        .args([&postgres("postgres"), "-D"])
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=64MB", "-c", "max_connections=300"])
        .args(["-c", "log_line_prefix=%e "])
        .args(["-c", "timezone=UTC", "-c", "autovacuum_naptime=5s"])
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("Postgres starts")
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(done.success(), "copying {} failed", from.display());
}

/// The folder of a stopped cluster with a migrated and audited template database. It is made once for each
/// version of the schema and kept with the build.
async fn prepare() -> PathBuf {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&home).expect("a folder for the build");
    let lock = File::create(home.join("postgres.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let prepared = home.join(format!("postgres-{:08x}", fingerprint()));
    if !prepared.exists() {
        let folder = temporary_folder();
        initdb(&folder);
        let cluster = Cluster { process: Mutex::new(start(&folder)), folder: folder.clone() };
        cluster.wait_until_ready().await;
        make_template(&cluster).await;
        stop_cleanly(&cluster);
        let unfinished = home.join("postgres-unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        copy(&folder.join("data"), &unfinished);
        fs::rename(&unfinished, &prepared).expect("the prepared folder");
    }
    prepared
}

fn initdb(folder: &Path) {
    let initdb = command(&postgres("initdb"))
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--wal-segsize=1", "--no-sync"])
        .arg("-D")
        .arg(folder.join("data"))
        .stdout(Stdio::null())
        .status();
    assert!(initdb.expect("initdb runs").success(), "initdb failed");
}

async fn make_template(cluster: &Cluster) {
    let mut connection = cluster.connect().await;
    let sql = format!("CREATE DATABASE {TEMPLATE}");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a database");
    let options = cluster.options().database(TEMPLATE);
    cairn::db::migrate(&options).await.expect("the schema");
    let owner = options.options([("role", "cairn_owner"), ("search_path", "cairn,public")]);
    let mut owner = owner.connect().await.expect("connects");
    sqlx::raw_sql(include_str!("../api/audit.sql")).execute(&mut owner).await.expect("the audit");
    owner.close().await.expect("closes");
}

fn stop_cleanly(cluster: &Cluster) {
    let stopped =
        command(&postgres("pg_ctl")).args(["stop", "-m", "fast", "-s", "-D"]).arg(cluster.folder.join("data")).status();
    assert!(stopped.expect("pg_ctl runs").success(), "the template cluster did not stop");
}

/// Changes whenever the template would.
fn fingerprint() -> u32 {
    let mut hash = crc32fast::Hasher::new();
    for migration in cairn::db::MIGRATOR.iter() {
        hash.update(&migration.checksum);
    }
    hash.update(include_str!("../../src/db/bootstrap.sql").as_bytes());
    hash.update(include_str!("../api/audit.sql").as_bytes());
    hash.update(include_str!("cluster.rs").as_bytes());
    hash.update(postgres("postgres").as_bytes());
    hash.finalize()
}
