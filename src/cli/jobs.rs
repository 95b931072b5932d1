//! `cairn jobs`: what an operator sees of jobs, and how one is run now.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::Database;
use crate::cli::key::tenant_of;
use crate::config::Config;
use crate::db::Db;
use crate::ids::{JobId, RunId, TenantId};
use crate::jobs::{self, Cause, Chore, Job, Kind, Run, RunState};

#[derive(Subcommand)]
pub enum Verb {
    /// List jobs with their schedules and what their last runs came to.
    List {
        #[command(flatten)]
        whose: Whose,
    },
    /// Run a job now, whatever its schedule says, and wait for the end. A running server does the work.
    Run {
        /// Its name or its id.
        job: String,
        #[command(flatten)]
        whose: Whose,
        /// Put it in the queue and return.
        #[arg(long)]
        no_wait: bool,
    },
    /// List the runs of a job, the latest first.
    Runs {
        /// Its name or its id.
        job: String,
        #[command(flatten)]
        whose: Whose,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: u16,
    },
}

#[derive(Args)]
pub struct Whose {
    /// The tenant's name: its warm-ups. Without it, the jobs of the installation.
    #[arg(long)]
    tenant: Option<String>,
}

/// How long a run may wait for a server before nobody waits for it here.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(300);

pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<()> {
    let database = Database::attach(config).await?;
    let outcome = match database.open(config).await {
        Ok(db) => act(verb, &db).await,
        Err(error) => Err(error),
    };
    let closed = database.close().await;
    outcome.and(closed)
}

async fn act(verb: Verb, db: &Db) -> anyhow::Result<()> {
    match verb {
        Verb::List { whose } => list(db, owner(db, &whose).await?).await,
        Verb::Run { job, whose, no_wait } => {
            let owner = owner(db, &whose).await?;
            let job = find(db, owner, &job).await?;
            run_now(db, owner, &job, no_wait).await
        }
        Verb::Runs { job, whose, limit } => {
            let owner = owner(db, &whose).await?;
            let job = find(db, owner, &job).await?;
            runs(db, owner, &job, limit).await
        }
    }
}

/// Whose jobs are meant. Those of the installation are made where there are none yet.
async fn owner(db: &Db, whose: &Whose) -> anyhow::Result<TenantId> {
    match &whose.tenant {
        Some(name) => tenant_of(db, name).await,
        None => {
            jobs::ensure_chores(db).await?;
            Ok(TenantId::OPERATOR)
        }
    }
}

async fn all(db: &Db, owner: TenantId) -> anyhow::Result<Vec<Job>> {
    let kinds: Vec<Kind> = match owner {
        TenantId::OPERATOR => Chore::ALL.iter().copied().map(Kind::Chore).collect(),
        _ => vec![Kind::WarmUp],
    };
    Ok(jobs::list(&mut db.read(owner).await?, owner, &kinds, None, i64::MAX).await?)
}

/// By id, or by a name that only one has.
async fn find(db: &Db, owner: TenantId, named: &str) -> anyhow::Result<Job> {
    let id = JobId::parse(named).ok();
    let is_meant = |job: &Job| Some(job.job_id) == id || job.fields.name == named;
    let mut meant: Vec<Job> = all(db, owner).await?.into_iter().filter(is_meant).collect();
    if meant.len() > 1 {
        bail!("{} jobs are named {named:?}; give the id (see `cairn jobs list`)", meant.len());
    }
    meant.pop().with_context(|| format!("no such job {named:?}; see `cairn jobs list`"))
}

async fn list(db: &Db, owner: TenantId) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["job", "id", "schedule", "next due", "last run", "state"]);
    for job in all(db, owner).await? {
        let last = jobs::list_runs(&mut db.read(owner).await?, owner, job.job_id, None, 1).await?.pop();
        let next = if job.fields.enabled { time_of(job.fields.next_due) } else { "disabled".into() };
        table.add_row([
            job.fields.name,
            job.job_id.to_string(),
            format!("{} {}", job.fields.cron, job.fields.timezone),
            next,
            time_of(last.as_ref().map(|run| run.due_at)),
            last.map(|run| run.state.name().to_owned()).unwrap_or_default(),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn runs(db: &Db, owner: TenantId, job: &Job, limit: u16) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["due", "cause", "state", "attempt", "took", "outcome"]);
    for run in jobs::list_runs(&mut db.read(owner).await?, owner, job.job_id, None, i64::from(limit)).await? {
        let took =
            run.started_at.zip(run.finished_at).map(|(from, to)| format!("{:.1} s", (to - from).as_seconds_f64()));
        table.add_row([
            time_of(Some(run.due_at)),
            run.cause.name().into(),
            run.state.name().into(),
            run.attempt.to_string(),
            took.unwrap_or_default(),
            outcome(&run),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn run_now(db: &Db, owner: TenantId, job: &Job, no_wait: bool) -> anyhow::Result<()> {
    let id = jobs::enqueue(db, owner, job.job_id, Cause::Manual).await?;
    if no_wait {
        eprintln!("{} is in the queue; see `cairn jobs runs {}`", job.fields.name, job.fields.name);
        return Ok(());
    }
    let run = wait(db, owner, job, id).await?;
    match run.state {
        RunState::Succeeded => {
            println!("{}", outcome(&run));
            Ok(())
        }
        RunState::Cancelled => bail!("{} was cancelled", job.fields.name),
        _ => bail!("{} failed: {}", job.fields.name, outcome(&run)),
    }
}

/// Waits for the end of a run and says what it waits for.
async fn wait(db: &Db, owner: TenantId, job: &Job, id: RunId) -> anyhow::Result<Run> {
    let (asked, mut said) = (Instant::now(), None);
    loop {
        let run = jobs::find_run(&mut db.read(owner).await?, owner, job.job_id, id).await?;
        let run = run.with_context(|| format!("{} was deleted", job.fields.name))?;
        if run.state.is_final() {
            return Ok(run);
        }
        if run.state == RunState::Queued && asked.elapsed() > PATIENCE {
            bail!(
                "{} is still in the queue: no running server takes jobs, or all are busy; it stays there until one does",
                job.fields.name
            );
        }
        if said != Some(run.state) {
            eprintln!("{} is {}", job.fields.name, run.state.name());
            said = Some(run.state);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a run came to, or how far it is.
fn outcome(run: &Run) -> String {
    let said = run.report.as_ref().or(run.progress.as_ref()).map(ToString::to_string);
    run.error.clone().or(said).unwrap_or_default()
}

/// To the second, in UTC.
fn time_of(at: Option<OffsetDateTime>) -> String {
    let at = at.and_then(|at| at.replace_nanosecond(0).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
