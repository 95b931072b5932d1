//! One `cairn serve` and the ways from it to what it depends on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use nix::sys::signal::Signal;

use crate::support::fault::FaultProxy;
use crate::support::process::{LOG, Program, free_port, temporary_folder, wait};

pub struct Instance {
    pub url: String,
    pub postgres: FaultProxy,
    pub provider: FaultProxy,
    /// None where the way to Redis leads to the nodes of a cluster.
    pub redis: Option<FaultProxy>,
    folder: PathBuf,
    command: Command,
    running: Mutex<Option<Program>>,
}

impl Instance {
    /// It runs in a folder of its own and serves when this returns.
    pub async fn start(
        settings: &[(&str, String)],
        postgres: FaultProxy,
        provider: FaultProxy,
        redis: Option<FaultProxy>,
    ) -> Self {
        let (folder, bind) = (temporary_folder(), format!("127.0.0.1:{}", free_port()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.arg("serve").envs(settings.iter().map(|(name, value)| (name, value)));
        command.env("CAIRN_HTTP__BIND", &bind).env("CAIRN_DATA_DIR", &folder);
        let url = format!("http://{bind}");
        let instance = Self { url, postgres, provider, redis, folder, command, running: Mutex::default() };
        instance.restart().await;
        instance
    }

    /// Ends it without a word.
    pub fn kill(&self) {
        self.running.lock().expect("not poisoned").take().expect("it runs").kill();
    }

    /// Starts what was killed, at the same address.
    pub async fn restart(&self) {
        let served = self.times_it_said("serving");
        *self.running.lock().expect("not poisoned") = Some(Program::start(&self.command, &self.folder));
        wait("the server serves", async || {
            let log = self.log();
            assert!(!log.contains("cairn: "), "the server ended: {log}");
            self.times_it_said("serving") > served
        })
        .await;
    }

    /// It stays, and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// How many lines of its log have this message.
    pub fn times_it_said(&self, message: &str) -> usize {
        self.log().matches(&format!("\"message\":\"{message}\"")).count()
    }

    fn signal(&self, signal: Signal) {
        self.running.lock().expect("not poisoned").as_ref().expect("it runs").signal(signal);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.running.lock().expect("not poisoned").take());
        fs::remove_dir_all(&self.folder).ok();
    }
}
