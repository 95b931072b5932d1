//! Programs that end with the test process, however that ends, and leave nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// A shell stands between: when this process ends, its pipe closes, and program and folder go. A line instead of the
/// end keeps the folder, for the next start.
const WRAPPER: &str = "\"$@\" </dev/null >>\"$TEST_FOLDER/log\" 2>&1 & echo $!; \
     if read -r _; then kill -KILL $!; wait $!; else kill -KILL $!; wait $!; rm -rf \"$TEST_FOLDER\"; fi";

/// What both outputs of the program are appended to.
pub const LOG: &str = "log";

pub struct Program {
    wrapper: Child,
    pub id: Pid,
}

impl Program {
    /// Starts what the command says, with no other environment than it says.
    pub fn start(command: &Command, folder: &Path) -> Self {
        let mut wrapper = Command::new("/bin/sh");
        wrapper.args(["-c", WRAPPER, "sh"]).arg(command.get_program()).args(command.get_args());
        wrapper.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("TEST_FOLDER", folder);
        wrapper.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir("/");
        wrapper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut wrapper = wrapper.spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(wrapper.stdout.take().expect("a pipe")).read_line(&mut line).expect("an id");
        Self { wrapper, id: Pid::from_raw(line.trim().parse().expect("a number")) }
    }

    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        kill(self.id, signal).ok();
    }

    /// Ends it without a word; its folder stays.
    pub fn kill(mut self) {
        let mut stdin = self.wrapper.stdin.take().expect("a pipe");
        // A wrapper that is gone has nothing left to keep.
        stdin.write_all(b"\n").ok();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.wrapper.stdin.take());
        self.wrapper.wait().expect("the wrapper ends");
    }
}

/// Short, because the path of a socket may have 108 bytes.
pub fn temporary_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cairn-{}", &Uuid::new_v4().simple().to_string()[..12]));
    fs::create_dir(&folder).expect("a temporary folder");
    folder
}

/// Below those that the system gives to connections, so that it is still free after a restart; the nodes of a
/// Redis Cluster also listen 10,000 higher.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::rng().random_range(12_000..22_000)).take(100);
    ports.find(|port| is_free(port) && is_free(&(port + 10_000))).expect("a free port")
}

/// Until it is so.
pub async fn wait(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
