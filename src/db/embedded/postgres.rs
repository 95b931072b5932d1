//! The private Postgres of a data folder: made on the first start, then adopted if a dead process
//! left it running, else started. Listens on a unix socket only and always asks for a password.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{
    Settings,
    account::{Account, random_hex},
    folder::{DataFolder, remove},
    installation::{find_postgres, major_version},
    log::Log,
    postmaster::{self, Postmaster},
    process::{Process, run},
};

const DATABASE: &str = "cairn";
const USER: &str = "cairn";
const PORT: u16 = 5432;

/// Written into postgresql.conf once, so that they can be tuned there by hand. Errors of
/// statements reach the client and are not logged: they would carry memories into the log. Tables that grow are looked
/// at soon: until then, statistics say that they are small, and reading much seems as good as looking up.
const CONFIGURATION: &str = "
# Set by Cairn when it made this folder.
shared_buffers = 128MB
max_connections = 100
fsync = on
jit = off
autovacuum_naptime = 5s
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = log
log_checkpoints = off
lc_messages = 'C'
unix_socket_permissions = 0700
";

/// Fast shutdown: sessions are ended, what they had not committed is rolled back.
pub(super) const STOP_SIGNALS: [(Signal, Duration); 2] =
    [(Signal::SIGINT, Duration::from_secs(60)), (Signal::SIGQUIT, Duration::from_secs(10))];

/// Immediate shutdown: nothing more is written, the next start replays the log.
pub(super) const STOP_NOW_SIGNALS: [(Signal, Duration); 2] =
    [(Signal::SIGQUIT, Duration::from_secs(5)), (Signal::SIGKILL, Duration::from_secs(5))];

/// Where the embedded Postgres listens and how to get in.
#[derive(Clone)]
pub struct PostgresAddress {
    pub socket_dir: PathBuf,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
}

pub(super) struct Started {
    pub process: Process,
    pub address: PostgresAddress,
    pub is_first_start: bool,
}

/// Adopts or starts Postgres; the caller has claimed the folder.
pub(super) async fn start(settings: &Settings, folder: &DataFolder, account: &Account) -> Result<Started> {
    let home = folder.postgres_home();
    if let Some(left) = Postmaster::find(&data(&home))? {
        let mut process = Process::adopt("Postgres", left.id);
        if until_ready(&home, &mut process).await? {
            tracing::info!(process = left.id, "adopted the running Postgres");
            let address = running(folder)?.context("Postgres ended while it was adopted")?;
            return Ok(Started { process, address, is_first_start: false });
        }
    }
    let bin = find_postgres(settings)?;
    account.check_reach(&bin.join("postgres"), "CAIRN_RUNTIME_DIR")?;
    account.own_folder(&home)?;
    let is_first_start = !data(&home).exists();
    if is_first_start {
        initialise(&bin, &home, account).await?;
    }
    let process = launch(&bin, folder, account).await?;
    tracing::info!(process = process.id(), "started Postgres");
    let address = running(folder)?.context("Postgres ended right after its start")?;
    Ok(Started { process, address, is_first_start })
}

/// Starts the Postgres that ended while it was in use. What is missing now is not made anew: it would be empty.
pub(super) async fn restart(settings: &Settings, folder: &DataFolder, account: &Account) -> Result<Process> {
    let process = launch(&find_postgres(settings)?, folder, account).await?;
    tracing::info!(process = process.id(), "started Postgres again");
    Ok(process)
}

/// The Postgres of this folder, ready or not.
pub(super) fn left_running(folder: &DataFolder) -> Result<Option<Process>> {
    let found = Postmaster::find(&data(&folder.postgres_home()))?;
    Ok(found.map(|found| Process::adopt("Postgres", found.id)))
}

/// The address of the Postgres of this folder if it accepts connections.
pub(super) fn running(folder: &DataFolder) -> Result<Option<PostgresAddress>> {
    let home = folder.postgres_home();
    let Some(found) = Postmaster::find(&data(&home))?.filter(|found| found.is_ready) else {
        return Ok(None);
    };
    let path = home.join("password");
    let password = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: run cairn as the user who started the server", path.display()))?;
    Ok(Some(PostgresAddress {
        socket_dir: found.socket_dir,
        port: found.port,
        user: USER.to_owned(),
        password,
        database: DATABASE.to_owned(),
    }))
}

/// Makes the database beside its place and moves it there when it is whole, so that a first start
/// that is killed half way leaves nothing that looks like a database.
async fn initialise(bin: &Path, home: &Path, account: &Account) -> Result<()> {
    const UNFINISHED: &str = "unfinished-";
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove_abandoned(&entry.path()).await?;
        }
    }
    tracing::info!(folder = %home.display(), "making the database");
    account.write_file(&home.join("password"), &random_hex::<24>())?;
    let unfinished = home.join(format!("{UNFINISHED}{}", random_hex::<4>()));

    run(initdb(bin, home, &unfinished, account)?, "").await?;
    let file = unfinished.join("postgresql.conf");
    account
        .open_file(&file)
        .and_then(|mut file| file.write_all(CONFIGURATION.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut single = account.command(bin.join("postgres"), home);
    single.arg("--single").arg("-D").arg(&unfinished);
    single.args(["-c", "exit_on_error=true", "postgres"]);
    run(single, &format!("CREATE DATABASE {DATABASE}\n")).await?;

    fs::rename(&unfinished, data(home))
        .and_then(|()| fs::File::open(home)?.sync_all())
        .with_context(|| format!("cannot move the new database to {}", data(home).display()))
}

/// The programs that a killed start had begun may still be writing there. They end once their files are gone.
async fn remove_abandoned(unfinished: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match remove(unfinished) {
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            done => return done,
        }
    }
}

fn initdb(bin: &Path, home: &Path, unfinished: &Path, account: &Account) -> Result<Command> {
    let mut command = account.command(bin.join("initdb"), home);
    command.arg("-D").arg(unfinished).args(["-U", USER]);
    command.arg("--pwfile").arg(home.join("password"));
    command.args(["--auth-local=scram-sha-256", "--auth-host=reject"]);
    command.arg("--encoding=UTF8");
    // Before 17 Postgres has no locale of its own and takes the system's.
    if major_version(bin)? >= 17 {
        command.args(["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    } else {
        command.arg("--locale=C.UTF-8");
    }
    Ok(command)
}

async fn launch(bin: &Path, folder: &DataFolder, account: &Account) -> Result<Process> {
    let home = folder.postgres_home();
    let sockets = folder.make_sockets(account)?;
    for stale in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
        remove(&sockets.join(stale))?;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        postmaster::retire_file(&data(&home), account)?;
        let mut command = account.command(bin.join("postgres"), &home);
        command.arg("-D").arg(data(&home));
        for setting in [
            "listen_addresses=".to_owned(),
            format!("port={PORT}"),
            format!("unix_socket_directories={}", sockets.display()),
        ] {
            command.arg("-c").arg(setting);
        }
        let (log, output) = Log::open(home.join("postgres.log"), account)?;
        let mut process = Process::start("Postgres", command, output)?;
        if until_ready(&home, &mut process).await? {
            return Ok(process);
        }
        // A session of a killed Postgres may notice only at the end of its statement.
        if !log.tail().contains("is still in use") || Instant::now() > deadline {
            return Err(log.error("Postgres"));
        }
        tracing::info!("waiting for the last sessions of a killed Postgres");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until the process accepts connections; false when it ends. After a crash it first
/// replays its log, which may take minutes and must not be cut short.
async fn until_ready(home: &Path, process: &mut Process) -> Result<bool> {
    let mut report = Instant::now() + Duration::from_secs(10);
    loop {
        let found = Postmaster::find(&data(home))?;
        if found.is_some_and(|found| found.id == process.id() && found.is_ready) {
            return Ok(true);
        }
        if process.has_ended() {
            return Ok(false);
        }
        if Instant::now() > report {
            tracing::info!(log = %home.join("postgres.log").display(), "waiting for Postgres");
            report += Duration::from_secs(10);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_still_written_to_is_removed_all_the_same() {
        let home = tempfile::tempdir().expect("a folder");
        let unfinished = home.path().join("unfinished-1");
        fs::create_dir(&unfinished).expect("a folder");
        let folder = unfinished.clone();
        let writer = std::thread::spawn(move || {
            let until = std::time::Instant::now() + Duration::from_millis(300);
            for name in 0_u64.. {
                if std::time::Instant::now() > until || fs::write(folder.join(name.to_string()), "").is_err() {
                    return name;
                }
            }
            0
        });
        while fs::read_dir(&unfinished).is_ok_and(|entries| entries.count() < 100) {}
        remove_abandoned(&unfinished).await.expect("removed");
        assert!(writer.join().expect("the writer") >= 100);
        assert!(!unfinished.exists());
    }
}
