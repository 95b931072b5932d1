//! A place of its own for each test: a data folder, the `cairn` processes over it and what they said.
//! Dropping it ends everything that runs there, and removes it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use reqwest::RequestBuilder;
use reqwest::header::{CONNECTION, HeaderValue};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tempfile::TempDir;

/// Far more than anything here takes, for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(10);

pub struct Site {
    pub data: PathBuf,
    pub dir: TempDir,
    settings: Vec<(String, String)>,
    /// The binary, and whom root becomes to run it.
    program: PathBuf,
    user: Option<u32>,
    started: AtomicUsize,
}

/// A `cairn` that runs, its output in two files.
pub struct Running {
    child: Child,
    output: PathBuf,
}

/// A `cairn` that has ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A `cairn serve` that serves.
pub struct Server<'a> {
    site: &'a Site,
    running: Running,
    url: String,
}

pub fn runtime_dir() -> PathBuf {
    let folder = std::env::var_os("CAIRN_RUNTIME_DIR")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/.runtime").into(), PathBuf::from);
    assert!(folder.join("postgres/bin/postgres").exists(), "no Postgres in {}: run `make runtime`", folder.display());
    folder
}

/// Says why a test has nothing to do for this user.
pub fn is_root_or_skips() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("skipped: only root steps down");
    }
    is_root
}

pub fn signal(id: i32, signal: Signal) {
    // It may have ended by itself.
    kill(Pid::from_raw(id), signal).ok();
}

/// Until it is so; says what was waited for when it never is.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(STEP);
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

impl Site {
    pub fn new() -> Self {
        Self::with_data("data")
    }

    /// With a data folder of this name.
    pub fn with_data(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("cairn").tempdir().expect("a temporary folder");
        // The account that root steps down to has to pass.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        let settings = [
            ("CAIRN_DATA_DIR", dir.path().join(name).display().to_string()),
            ("CAIRN_RUNTIME_DIR", runtime_dir().display().to_string()),
            ("CAIRN_EMBEDDINGS__PROVIDER", "hashed".into()),
            ("CAIRN_HTTP__BIND", "127.0.0.1:0".into()),
            ("CAIRN_HTTP__STOP_DELAY_SECS", "0".into()),
            ("CAIRN_HTTP__WORKERS", "1".into()),
            ("CAIRN_HTTP__DRAIN_SECS", "1".into()),
        ];
        Self {
            data: dir.path().canonicalize().expect("a folder").join(name),
            dir,
            settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
            program: env!("CARGO_BIN_EXE_cairn").into(),
            user: None,
            started: AtomicUsize::new(0),
        }
    }

    /// For root: everything runs as this user, who owns the place.
    pub fn of_user(user: u32) -> Self {
        let mut site = Self::new();
        // The build may lie where the user cannot go.
        let program = site.dir.path().join("cairn");
        fs::copy(&site.program, &program).expect("a copy of the binary");
        std::os::unix::fs::chown(site.dir.path(), Some(user), Some(user)).expect("chown");
        (site.program, site.user) = (program, Some(user));
        site
    }

    /// With another binary, one that knows no settings newer than itself.
    pub fn of_program(program: &Path) -> Self {
        let mut site = Self::new();
        site.program = program.to_owned();
        site.settings.retain(|(name, _)| name != "CAIRN_HTTP__STOP_DELAY_SECS");
        site
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Uses this Postgres instead of one of its own.
    pub fn set_database(&mut self, url: &str) {
        self.set("DATABASE_URL", url);
        self.set("CAIRN_SECRET_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    }

    /// The way into the Postgres that runs here, as its superuser.
    pub fn database(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass().socket(self.data.join("run")).username("cairn");
        options.password(&self.postgres_password()).database("cairn")
    }

    fn postgres_password(&self) -> String {
        fs::read_to_string(self.data.join("postgres/password")).expect("a password")
    }

    /// A new, empty database in the Postgres that runs here, for others to use by this URL.
    pub fn new_database(&self, name: &str) -> String {
        block_on(async {
            let mut connection = self.database().connect().await.expect("connects");
            connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
        });
        let host = self.data.join("run").display().to_string().replace('/', "%2F");
        format!("postgres://cairn:{}@{host}:5432/{name}", self.postgres_password())
    }

    pub fn spawn(&self, verb: &[&str]) -> Running {
        self.spawn_with(verb, &[])
    }

    /// In the folder of this place and with nothing else in its environment.
    pub fn spawn_with(&self, verb: &[&str], settings: &[(&str, &str)]) -> Running {
        let output = self.dir.path().join(format!("output-{}", self.started.fetch_add(1, Ordering::Relaxed)));
        let file = |ending| File::create(output.with_extension(ending)).expect("a file for the output");
        let mut command = match self.user {
            None => Command::new(&self.program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
                command.arg(&self.program);
                command
            }
        };
        command.args(verb).current_dir(self.dir.path()).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).envs(settings.iter().copied());
        let child = command.stdout(file("out")).stderr(file("err")).spawn().expect("cairn runs");
        Running { child, output }
    }

    pub fn run(&self, verb: &[&str]) -> Outcome {
        self.spawn(verb).wait()
    }

    /// Runs a verb that succeeds; what it printed.
    pub fn done(&self, verb: &[&str]) -> String {
        let outcome = self.run(verb);
        assert_eq!(outcome.code, Some(0), "{verb:?}: {}", outcome.stderr);
        outcome.stdout
    }

    /// Runs a verb that fails; the line that says why.
    pub fn refused(&self, verb: &[&str], settings: &[(&str, &str)]) -> String {
        self.spawn_with(verb, settings).wait().refused()
    }

    pub fn serve(&self) -> Server<'_> {
        self.serving(self.spawn(&["serve"]))
    }

    /// Waits until the server that was spawned serves.
    pub fn serving(&self, mut running: Running) -> Server<'_> {
        let url = running.url_or_end();
        let url = url.unwrap_or_else(|| panic!("the server ended: {}", running.read("err")));
        Server { site: self, running, url }
    }

    /// What the first start left for its user.
    pub fn dev_key(&self) -> String {
        fs::read_to_string(self.data.join("dev-key")).expect("dev-key").trim().to_owned()
    }

    pub fn postmaster(&self) -> i32 {
        let file = fs::read_to_string(self.data.join("postgres/data/postmaster.pid")).expect("postmaster.pid");
        file.lines().next().expect("a line").parse().expect("an id")
    }

    /// The processes that run in the data folder: Postgres with its children, and Redis.
    pub fn processes(&self) -> Vec<i32> {
        let runs_here =
            |process: &Path| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.data));
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|entry| runs_here(&entry.path()))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    pub fn kill_processes(&self) {
        wait_until("the processes are killed", || {
            let processes = self.processes();
            processes.iter().for_each(|id| signal(*id, Signal::SIGKILL));
            processes.is_empty()
        });
    }

    /// The messages of a log, which is JSON, without empty fields and without secrets.
    fn messages(&self, log: &str) -> Vec<String> {
        let kept = ["dev-key", "secret-key", "postgres/password", "redis/password"];
        let secrets: Vec<String> =
            kept.iter().filter_map(|name| fs::read_to_string(self.data.join(name)).ok()).collect();
        let read = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            let fields = entry.as_object().expect("an object");
            assert!(["timestamp", "level", "message"].iter().all(|name| fields.contains_key(*name)), "{line}");
            assert!(!fields.values().any(|value| value.is_null() || *value == json!("")), "empty: {line}");
            assert!(!secrets.iter().any(|secret| line.contains(secret.trim())), "a secret: {line}");
            entry["message"].as_str().expect("text").to_owned()
        };
        log.lines().map(read).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for _ in 0..500 {
            let processes = self.processes();
            processes.iter().for_each(|id| signal(*id, Signal::SIGKILL));
            if processes.is_empty() {
                break;
            }
            sleep(STEP);
        }
        if let Ok(sockets) = fs::read_link(self.data.join("run")) {
            fs::remove_dir_all(sockets).ok();
        }
    }
}

impl Running {
    pub fn id(&self) -> i32 {
        self.child.id().try_into().expect("an id")
    }

    pub fn read(&self, ending: &str) -> String {
        fs::read_to_string(self.output.with_extension(ending)).expect("the output")
    }

    /// Where it serves; None when it ends instead.
    pub fn url_or_end(&mut self) -> Option<String> {
        let mut url = None;
        wait_until("the server serves", || {
            let ended = self.child.try_wait().expect("wait").is_some();
            let log = self.read("err");
            let mut entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let serving = entries.find(|entry| entry["message"] == "serving");
            url = serving.and_then(|entry| entry["url"].as_str().map(str::to_owned));
            ended || url.is_some()
        });
        url
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub fn wait(mut self) -> Outcome {
        let code = self.code();
        Outcome { code, stdout: self.read("out"), stderr: self.read("err") }
    }

    /// What it ends with.
    fn code(&mut self) -> Option<i32> {
        let mut status: Option<ExitStatus> = None;
        wait_until("cairn ends", || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Outcome {
    /// Exit code 1, nothing on standard output and one line that is no log.
    pub fn refused(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.starts_with('{')).collect();
        let [line] = lines[..] else { panic!("one line: {}", self.stderr) };
        assert!(line.starts_with("cairn: ") && line.len() < 400, "{line}");
        line.to_owned()
    }
}

/// Status and body; 0 where there was no answer.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let Ok(response) = request.send().await else { return (0, Value::Null) };
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

impl Server<'_> {
    pub fn id(&self) -> i32 {
        self.running.id()
    }

    pub fn stdout(&self) -> String {
        self.running.read("out")
    }

    pub fn stderr(&self) -> String {
        self.running.read("err")
    }

    /// As the system would: without a word to it.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Ends it in order, so that nothing goes on running; what it logged.
    pub fn stop(mut self) -> Vec<String> {
        signal(self.id(), Signal::SIGTERM);
        self.ends(0);
        self.site.messages(&self.log())
    }

    /// Waits until it has ended with this code and left nothing behind that runs.
    pub fn ends(&mut self, code: i32) {
        assert_eq!(self.running.code(), Some(code), "{}", self.log());
        assert_eq!(self.site.processes(), [0; 0], "something still runs");
        assert!(!self.site.data.join("run").exists());
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn log(&self) -> String {
        self.running.read("err")
    }

    /// Status, body, and what the answer says about the connection.
    pub fn get(&self, path: &str) -> (u16, String, Option<HeaderValue>) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url)).timeout(Duration::from_secs(10));
        block_on(async {
            let Ok(response) = request.send().await else { return (0, String::new(), None) };
            let (status, connection) = (response.status().as_u16(), response.headers().get(CONNECTION).cloned());
            (status, response.text().await.unwrap_or_default(), connection)
        })
    }

    pub fn get_json(&self, key: &str, path: &str) -> (u16, Value) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url)).bearer_auth(key);
        block_on(answer(request))
    }

    pub fn post(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).bearer_auth(key).json(&body);
        block_on(answer(request))
    }

    pub fn put(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        let request = reqwest::Client::new().put(format!("{}{path}", self.url)).bearer_auth(key).json(&body);
        block_on(answer(request))
    }

    /// Hangs up when the answer takes longer than this; whether it did.
    pub fn hangs_up(&self, patience: Duration, key: &str, content: &str) -> bool {
        let url = format!("{}/v1/agents/ada/remember", self.url);
        let request = reqwest::Client::new().post(url).bearer_auth(key).json(&json!({ "content": content }));
        block_on(answer(request.timeout(patience))).0 == 0
    }

    /// The status, or 0 where there was no answer.
    pub fn remember(&self, key: &str, content: &str) -> u16 {
        self.post(key, "/v1/agents/ada/remember", json!({ "content": content })).0
    }

    pub fn recalls(&self, key: &str, content: &str) -> bool {
        let (status, answer) = self.post(key, "/v1/agents/ada/recall", json!({"query": content, "k": 1}));
        status == 200 && answer["results"][0]["memory"]["content"] == content
    }
}
