//! Keeps Postgres running for as long as it is used: one that ends without being asked to, killed
//! or crashed, is started again on the same sockets with the same password.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    Settings, Stop,
    account::Account,
    folder::DataFolder,
    postgres::{self, STOP_NOW_SIGNALS, STOP_SIGNALS},
    process::Process,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whoever lived this long did not fail at its start.
const SETTLED: Duration = Duration::from_secs(1);

/// The task that watches. Dropped, it leaves Postgres running.
pub(super) struct Supervisor {
    asked: watch::Sender<Option<Stop>>,
    task: JoinHandle<Result<()>>,
}

/// Where Postgres lies and who runs it.
pub(super) struct Place {
    pub settings: Settings,
    pub folder: DataFolder,
    pub account: Account,
}

impl Supervisor {
    pub fn watch(process: Process, place: Place) -> Self {
        let (asked, orders) = watch::channel(None);
        Self { asked, task: tokio::spawn(supervise(process, place, orders)) }
    }

    /// A call that was dropped may be made again, in more of a hurry.
    pub async fn stop(&mut self, how: Stop) -> Result<()> {
        self.asked.send_replace(Some(how));
        (&mut self.task).await.context("watching Postgres")?
    }
}

async fn supervise(mut process: Process, place: Place, mut orders: watch::Receiver<Option<Stop>>) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        tokio::select! {
            () = process.ended() => {}
            asked = orders.changed() => return if asked.is_ok() { stop(process, orders).await } else { Ok(()) },
        }
        pause = if started.elapsed() > SETTLED { FIRST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
        tracing::error!("Postgres ended without being asked to; starting it again");
        process = tokio::select! {
            process = restart(&place, pause) => process,
            asked = orders.changed() => match postgres::left_running(&place.folder)? {
                Some(process) if asked.is_ok() => return stop(process, orders).await,
                _ => return Ok(()),
            },
        };
    }
}

/// Tries until it succeeds: a disk that was full, or a session that lingers, may be better in a moment.
async fn restart(place: &Place, mut pause: Duration) -> Process {
    loop {
        sleep(pause).await;
        match postgres::restart(&place.settings, &place.folder, &place.account).await {
            Ok(process) => return process,
            Err(error) => tracing::error!("{error:#}; trying again"),
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Stops it as asked, and faster when that is asked meanwhile.
async fn stop(mut process: Process, mut orders: watch::Receiver<Option<Stop>>) -> Result<()> {
    loop {
        let signals = match *orders.borrow_and_update() {
            Some(Stop::Now) => STOP_NOW_SIGNALS,
            _ => STOP_SIGNALS,
        };
        tokio::select! {
            stopped = process.stop(&signals) => return stopped,
            Ok(()) = orders.changed() => {}
        }
    }
}
