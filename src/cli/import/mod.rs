//! `cairn import`: a JSONL file into a running server, in batches. Interrupted, the same command
//! goes on; nothing is remembered twice.

mod delivery;
mod lines;
mod queue;
mod record;
mod resume;
mod run;
mod summary;

use std::path::PathBuf;

use anyhow::{Context, bail};
use jiff::tz::TimeZone;

use crate::cli::client::{Client, Connection};
use crate::config::Config;
use crate::error::Error;
use crate::ids::ExternalId;

pub use record::{Agents, Form};
pub use run::{Job, import};

#[derive(clap::Args)]
pub struct Args {
    /// One memory a line, as JSON with `content` or `text`. Circles that it names are left out and counted.
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
    /// The agent that will remember.
    #[arg(long, value_name = "ID", required_unless_present = "agent_field", conflicts_with = "agent_field")]
    agent: Option<String>,
    /// The field of each line that names its agent.
    #[arg(long, value_name = "FIELD")]
    agent_field: Option<String>,
    /// What a `timestamp` without a zone means.
    #[arg(long, default_value = "UTC", value_name = "IANA NAME")]
    timezone: String,
    /// Memories a request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=100))]
    batch: u16,
    /// Stop at the first line that is rejected.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let agents = match (args.agent, args.agent_field) {
        (Some(id), _) => Agents::One(ExternalId::parse(&id).map_err(Error::from).context("--agent")?),
        (None, field) => Agents::Field { name: field.unwrap_or_default(), prefix: "" },
    };
    let timezone = TimeZone::get(&args.timezone).context("--timezone")?;
    let job = Job {
        file: args.file,
        form: Form { agents, timezone },
        batch: usize::from(args.batch),
        strict: args.strict,
        resumable: true,
    };
    let client = Client::new(&args.connection, config)?;
    let summary = import(&client, &job).await?;
    println!("{summary}");
    if summary.rejected > 0 {
        bail!("{} line(s) were rejected", summary.rejected);
    }
    Ok(())
}
