//! The private Redis of a data folder: a cache that keeps nothing on disk, so one that a dead
//! process left running is replaced. Listens on a unix socket only and asks for a password.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{
    account::{Account, random_hex},
    folder::DataFolder,
    log::Log,
    process::Process,
};

pub(super) const STOP_SIGNALS: [(Signal, Duration); 2] =
    [(Signal::SIGTERM, Duration::from_secs(5)), (Signal::SIGKILL, Duration::from_secs(5))];

/// Starts Redis and says at which URL; the caller has claimed the folder.
pub(super) async fn start(binary: &Path, folder: &DataFolder, account: &Account) -> Result<(Process, String)> {
    account.check_reach(binary, "CAIRN_RUNTIME_DIR")?;
    let home = folder.redis_home();
    account.own_folder(&home)?;
    let socket = folder.make_sockets(account)?.join("redis.sock");
    let password = random_hex::<24>();
    account.write_file(&home.join("redis.conf"), &configuration(&socket, &password))?;
    account.write_file(&home.join("password"), &password)?;

    let mut command = account.command(binary, &home);
    command.arg("redis.conf");
    let (log, output) = Log::open(home.join("redis.log"), account)?;
    let mut process = Process::start("Redis", command, output)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !answers(&socket, &password).await {
        if process.has_ended() || Instant::now() > deadline {
            return Err(log.error("Redis"));
        }
        sleep(Duration::from_millis(5)).await;
    }
    tracing::info!(process = process.id(), "started Redis");
    Ok((process, url(&socket, &password)))
}

/// Stops a Redis that nobody owns any more; the caller has claimed the folder.
pub(super) async fn stop_left_behind(folder: &DataFolder) -> Result<()> {
    let Ok(stream) = UnixStream::connect(folder.sockets().join("redis.sock")).await else {
        return Ok(());
    };
    // The system says who listens: the id cannot be a later process's.
    match stream.peer_cred().ok().and_then(|listener| listener.pid()) {
        Some(id) => Process::adopt("Redis", id).stop(&STOP_SIGNALS).await,
        None => Ok(()),
    }
}

/// The URL of the Redis of this folder if it answers.
pub(super) async fn running(folder: &DataFolder) -> Option<String> {
    let socket = folder.sockets().join("redis.sock");
    let password = fs::read_to_string(folder.redis_home().join("password")).ok()?;
    answers(&socket, &password).await.then(|| url(&socket, &password))
}

async fn answers(socket: &Path, password: &str) -> bool {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("AUTH {password}\r\nPING\r\nQUIT\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.contains("+PONG"))
    };
    timeout(Duration::from_secs(1), ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

fn configuration(socket: &Path, password: &str) -> String {
    format!(
        "# Written by Cairn at every start.\n\
         port 0\n\
         unixsocket {}\n\
         unixsocketperm 700\n\
         requirepass {password}\n\
         maxmemory 256mb\n\
         maxmemory-policy allkeys-lfu\n\
         save \"\"\n\
         appendonly no\n\
         daemonize no\n\
         loglevel warning\n",
        socket.display()
    )
}

fn url(socket: &Path, password: &str) -> String {
    format!("redis+unix://{}?pass={password}", socket.display())
}
