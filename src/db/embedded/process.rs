//! A server process that may outlive us: started by this process, or found running and adopted.
//! Also the short commands that prepare it.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command as BlockingCommand, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::{Instant, sleep},
};

const STEP: Duration = Duration::from_millis(10);
/// Between two looks at a process that is not our child.
const ADOPTED_STEP: Duration = Duration::from_millis(200);

pub(super) struct Process {
    id: i32,
    name: &'static str,
    origin: Origin,
}

enum Origin {
    /// Our child, which has to be waited for.
    Started(Box<Child>),
    /// Left by a process that died; its command line tells it from a later owner of its id.
    Adopted { command_line: Option<String> },
}

impl Process {
    /// Starts a server that writes to `log` and is not stopped when this value is dropped.
    pub fn start(name: &'static str, mut command: Command, log: File) -> Result<Self> {
        let program = command_name(&command);
        let failed = || format!("cannot run {program}");
        command.stdout(log.try_clone().with_context(failed)?).stderr(log);
        let child = command.spawn().with_context(failed)?;
        let id = child.id().and_then(|id| id.try_into().ok()).with_context(failed)?;
        Ok(Self { id, name, origin: Origin::Started(Box::new(child)) })
    }

    pub fn adopt(name: &'static str, id: i32) -> Self {
        Self { id, name, origin: Origin::Adopted { command_line: command_line(id) } }
    }

    pub fn id(&self) -> i32 {
        self.id
    }

    pub fn has_ended(&mut self) -> bool {
        match &mut self.origin {
            Origin::Started(child) => !matches!(child.try_wait(), Ok(None)),
            Origin::Adopted { command_line: seen } => seen.is_none() || command_line(self.id) != *seen,
        }
    }

    /// Waits until it has ended, by whatever cause.
    pub async fn ended(&mut self) {
        if let Origin::Started(child) = &mut self.origin {
            child.wait().await.ok();
            return;
        }
        while !self.has_ended() {
            sleep(ADOPTED_STEP).await;
        }
    }

    /// Sends one signal after the other, each with its time to work, until the process has ended.
    pub async fn stop(&mut self, signals: &[(Signal, Duration)]) -> Result<()> {
        for (signal, patience) in signals {
            if self.has_ended() {
                return Ok(());
            }
            match kill(Pid::from_raw(self.id), *signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => {
                    let what = format!("cannot stop {} (process {})", self.name, self.id);
                    return Err(error).context(what);
                }
            }
            let deadline = Instant::now() + *patience;
            while Instant::now() < deadline {
                sleep(STEP).await;
                if self.has_ended() {
                    return Ok(());
                }
            }
            tracing::warn!(server = self.name, process = self.id, %signal, "server does not stop");
        }
        bail!("{} (process {}) does not stop", self.name, self.id)
    }
}

/// What a process was started with; None when it is gone or has ended without being waited for.
pub(super) fn command_line(id: i32) -> Option<String> {
    let text = if Path::new("/proc/self/cmdline").exists() {
        fs::read(format!("/proc/{id}/cmdline")).ok()?
    } else {
        let mut ps = BlockingCommand::new("ps");
        ps.args(["-ww", "-o", "command=", "-p", &id.to_string()]).output().ok()?.stdout
    };
    let line = String::from_utf8_lossy(&text).replace('\0', " ").trim().to_owned();
    (!line.is_empty() && !line.ends_with("<defunct>")).then_some(line)
}

/// Runs a command to its end with `input`; its last words become the error. Dropped, it is killed.
pub(super) async fn run(mut command: Command, input: &str) -> Result<()> {
    let name = command_name(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input may already have ended.
        stdin.write_all(input.as_bytes()).await.ok();
    }
    let output = child.wait_with_output().await.with_context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(anyhow!(last_lines(&String::from_utf8_lossy(&said)))).with_context(|| format!("{name} failed"))
}

/// The end of a text, as one line.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

fn command_name(command: &Command) -> String {
    command.as_std().get_program().to_string_lossy().into_owned()
}
