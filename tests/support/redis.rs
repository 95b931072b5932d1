//! Real Redis servers in temporary folders, to be killed, stopped, wiped and restored. They end with the test
//! process, however that ends, and leave nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, AsyncConnectionConfig, Cmd, FromRedisValue, RedisResult};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// A shell stands between: when this process ends, however it ends, its pipe closes, and Redis and its folder go.
/// A line instead of the end keeps the folder, for the next start.
const WRAPPER: &str = "\"$@\" </dev/null >\"$CAIRN_TEST_FOLDER/log\" 2>&1 & echo $!; \
     if read -r _; then kill -KILL $!; wait $!; else kill -KILL $!; wait $!; rm -rf \"$CAIRN_TEST_FOLDER\"; fi";

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
    running: Mutex<Option<Running>>,
}

struct Running {
    wrapper: Child,
    redis: Pid,
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
        for _ in 0..10 {
            let address = Address::Port(free_port());
            let redis = Self::new(address, folder.clone(), arguments, credentials.clone());
            if redis.spawn().await {
                return redis;
            }
            // The next attempt needs the folder.
            redis.end(true);
        }
        panic!("Redis does not start: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
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
        self.end(true);
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
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
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
        let running = self.running.lock().expect("not poisoned");
        kill(running.as_ref().expect("it runs").redis, signal).expect("a signal");
    }

    /// Whether it came to serve; not if somebody else has its port.
    async fn spawn(&self) -> bool {
        // What the last one said would be taken for this one's.
        fs::remove_file(self.folder.join("log")).ok();
        let mut wrapper = self.command().spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(wrapper.stdout.take().expect("a pipe")).read_line(&mut line).expect("an id");
        let redis = Pid::from_raw(line.trim().parse().expect("a number"));
        *self.running.lock().expect("not poisoned") = Some(Running { wrapper, redis });
        let ends = ["eady to accept", "Failed listening", "FATAL CONFIG"];
        wait("Redis starts", async || ends.iter().any(|end| self.log().contains(end))).await;
        self.log().contains(ends[0])
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WRAPPER, "sh"]).arg(binary());
        match &self.address {
            Address::Port(port) => command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]),
            Address::Socket(socket) => command.args(["--port", "0", "--unixsocket"]).arg(socket),
        };
        command.arg("--dir").arg(&self.folder);
        command.args(["--save", "", "--appendonly", "no"]).args(&self.arguments);
        command.env("CAIRN_TEST_FOLDER", &self.folder).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    fn end(&self, keep_folder: bool) {
        let Some(mut running) = self.running.lock().expect("not poisoned").take() else { return };
        let mut stdin = running.wrapper.stdin.take().expect("a pipe");
        if keep_folder {
            // A wrapper that is gone has nothing left to keep.
            stdin.write_all(b"\n").ok();
        }
        drop(stdin);
        running.wrapper.wait().expect("the wrapper ends");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.end(false);
        // What was killed before has no wrapper any more.
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Until it is so.
pub async fn wait(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
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

fn temporary_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cairn-{}", &Uuid::new_v4().simple().to_string()[..12]));
    fs::create_dir(&folder).expect("a temporary folder");
    folder
}

/// Below those that the system gives to connections, so that it is still free after a restart; a cluster's nodes
/// also listen 10,000 higher.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = std::iter::repeat_with(|| rand::rng().random_range(12_000..22_000)).take(100);
    ports.into_iter().find(|port| is_free(port) && is_free(&(port + 10_000))).expect("a free port")
}
