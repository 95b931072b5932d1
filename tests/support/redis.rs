//! Real Redis servers in temporary folders, to be killed, stopped, wiped and restored. They end with the test
//! process, however that ends, and leave nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use deadpool_redis::redis::{self, AsyncConnectionConfig, Cmd, FromRedisValue, RedisResult};
use nix::sys::signal::Signal;
use uuid::Uuid;

use super::process::{LOG, Program, free_port, temporary_folder, wait};

/// Where it listens.
#[derive(Debug, Clone)]
pub enum Address {
    Port(u16),
    Socket(PathBuf),
}

pub struct Redis {
    pub address: Address,
    folder: PathBuf,
    arguments: Vec<String>,
    /// User and password, as they stand in a URL.
    credentials: Option<String>,
    running: Mutex<Option<Program>>,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these arguments, as `&["--maxmemory", "2mb"]`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::open(arguments, None).await
    }

    /// Asks everyone for this password.
    pub async fn with_password(password: &str) -> Self {
        Self::open(&["--requirepass", password], Some(format!(":{password}"))).await
    }

    /// Knows one user, who may do what the rules say (as `~cairn:* +@all`), and nobody else.
    pub async fn with_user(user: &str, password: &str, rules: &str) -> Self {
        let folder = temporary_folder();
        let acl = folder.join("users.acl");
        fs::write(&acl, format!("user default off\nuser {user} on >{password} {rules}\n")).expect("an ACL file");
        let arguments = ["--aclfile", acl.to_str().expect("UTF-8")];
        Self::open_in(folder, &arguments, Some(format!("{user}:{password}"))).await
    }

    /// Listens on a unix socket alone.
    pub async fn on_socket() -> Self {
        let folder = temporary_folder();
        let redis = Self::new(Address::Socket(folder.join("redis.sock")), folder, &[], None);
        assert!(redis.spawn().await, "Redis does not start: {}", redis.log());
        redis
    }

    /// Another server that follows this one; it has all that this one has when this returns.
    pub async fn replica(&self) -> Self {
        let replica = Self::start_with(&["--replicaof", "127.0.0.1", &self.port().to_string()]).await;
        replica.wait_for_replication().await;
        replica
    }

    async fn open(arguments: &[&str], credentials: Option<String>) -> Self {
        Self::open_in(temporary_folder(), arguments, credentials).await
    }

    /// A port that is free may be taken before Redis comes to it: then with another.
    async fn open_in(folder: PathBuf, arguments: &[&str], credentials: Option<String>) -> Self {
        let mut redis = Self::new(Address::Port(free_port()), folder, arguments, credentials);
        for _ in 0..10 {
            if redis.spawn().await {
                return redis;
            }
            redis.kill();
            redis.address = Address::Port(free_port());
        }
        panic!("Redis does not start: {}", redis.log());
    }

    fn new(address: Address, folder: PathBuf, arguments: &[&str], credentials: Option<String>) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { address, folder, arguments, credentials, running: Mutex::new(None) }
    }

    /// What a server is told to reach it.
    pub fn url(&self) -> String {
        let at = self.credentials.as_deref().map(|credentials| format!("{credentials}@")).unwrap_or_default();
        match &self.address {
            Address::Port(port) => format!("redis://{at}127.0.0.1:{port}"),
            Address::Socket(socket) => format!("redis+unix://{}", socket.display()),
        }
    }

    pub fn port(&self) -> u16 {
        let Address::Port(port) = self.address else { panic!("it listens on a socket") };
        port
    }

    /// Asks it something, as `redis.ask(redis::cmd("DBSIZE"))`.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(Duration::from_secs(5)));
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        command.query_async(&mut connection).await
    }

    pub async fn flush_all(&self) {
        self.ask::<()>(&redis::cmd("FLUSHALL")).await.expect("it is wiped");
    }

    /// A copy of all that it holds now, to be started from later. Goes with the folder.
    pub async fn dump(&self) -> PathBuf {
        self.ask::<()>(&redis::cmd("SAVE")).await.expect("it saves");
        let copy = self.folder.join(format!("{}.rdb", Uuid::new_v4().simple()));
        fs::copy(self.folder.join("dump.rdb"), &copy).expect("a copy");
        copy
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

    /// Starts what was killed, at the same address, with nothing or with what it saved.
    pub async fn restart(&self) {
        assert!(self.spawn().await, "Redis does not start again: {}", self.log());
    }

    /// Starts what was killed with what it held at another time.
    pub async fn restart_from(&self, dump: &Path) {
        fs::copy(dump, self.folder.join("dump.rdb")).expect("the dump");
        self.restart().await;
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// Until a replica has what its master has.
    pub async fn wait_for_replication(&self) {
        wait("the replica follows", async || {
            let info: RedisResult<String> = self.ask(redis::cmd("INFO").arg("replication")).await;
            info.is_ok_and(|info| info.contains("master_link_status:up"))
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        self.running.lock().expect("not poisoned").as_ref().expect("it runs").signal(signal);
    }

    /// Whether it came to serve; not if somebody else has its port.
    async fn spawn(&self) -> bool {
        // What the last one said would be taken for this one's.
        fs::remove_file(self.folder.join(LOG)).ok();
        *self.running.lock().expect("not poisoned") = Some(Program::start(&self.command(), &self.folder));
        let ends = ["eady to accept", "Failed listening", "FATAL CONFIG"];
        wait("Redis starts", async || ends.iter().any(|end| self.log().contains(end))).await;
        self.log().contains(ends[0])
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        match &self.address {
            Address::Port(port) => command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]),
            Address::Socket(socket) => command.args(["--port", "0", "--unixsocket"]).arg(socket),
        };
        command.arg("--dir").arg(&self.folder).args(["--save", "", "--appendonly", "no"]).args(&self.arguments);
        command
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.running.lock().expect("not poisoned").take());
        // What was killed before has no wrapper any more.
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// The fetched one, or an installed one.
fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(super::runtime_dir().join("redis"))
        .chain(std::env::split_paths(&path))
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|binary| binary.is_file())
        .expect("no redis-server: run `make runtime`")
}
