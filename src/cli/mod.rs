//! The command line: one file a verb. Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage.

mod answers;
mod attach;
mod bench;
mod circle;
mod client;
mod eval;
mod failure;
mod first_start;
mod healthcheck;
mod import;
mod jobs;
mod key;
mod latency;
mod progress;
mod recall;
mod serve;
mod settings;
mod tenant;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Loaded};
use crate::http::error_guide;
use crate::telemetry::Traces;
use crate::{server, telemetry};

pub use attach::Database;

/// Cairn: memory for AI agents.
#[derive(Parser)]
#[command(name = "cairn", version, about)]
struct Cli {
    /// Settings to read instead of ./cairn.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the server.
    Serve,
    /// Bring the database to this version's schema.
    Migrate,
    /// Show the settings in force and where each comes from.
    Config,
    /// Print the OpenAPI specification.
    Openapi {
        /// Print what every error code means instead.
        #[arg(long)]
        errors: bool,
    },
    /// Ask the server on this machine whether it is ready.
    Healthcheck(healthcheck::Args),
    /// Create and list tenants.
    #[command(subcommand)]
    Tenant(tenant::Verb),
    /// Create, list and revoke API keys.
    #[command(subcommand)]
    Key(key::Verb),
    /// See circles, and hand one over to another owner.
    #[command(subcommand)]
    Circle(circle::Verb),
    /// See jobs and their runs, and run one now.
    #[command(subcommand)]
    Jobs(jobs::Verb),
    /// Remember what is in a JSONL file.
    Import(import::Args),
    /// Ask what an agent recalls.
    Recall(recall::Args),
    /// Measure how well a running server recalls.
    Eval(eval::Args),
    /// Measure how fast embedding and a running server are.
    #[command(subcommand)]
    Bench(bench::Verb),
}

/// Parses, runs, and turns the outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cairn: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Verb::Openapi { errors } = cli.verb {
        println!("{}", if errors { error_guide() } else { server::openapi().to_pretty_json()? });
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = config::load(cli.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(dispatch(cli.verb, loaded));
    // What still runs has been given its time.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(verb: Verb, loaded: Loaded) -> anyhow::Result<ExitCode> {
    let traces = match &verb {
        Verb::Serve => Traces::start(&loaded.config.telemetry)?,
        _ => None,
    };
    match &verb {
        Verb::Bench(_) => telemetry::init_quietly(&loaded.config.log)?,
        _ => telemetry::init(&loaded.config.log, traces.as_ref())?,
    }
    match verb {
        Verb::Serve => return serve(loaded.config, traces).await,
        Verb::Migrate => attach::migrate(&loaded.config).await,
        Verb::Config => settings::run(&loaded),
        Verb::Openapi { .. } => Ok(()),
        Verb::Healthcheck(args) => healthcheck::run(args, &loaded.config).await,
        Verb::Tenant(verb) => tenant::run(verb, &loaded.config).await,
        Verb::Key(verb) => key::run(verb, &loaded.config).await,
        Verb::Circle(verb) => circle::run(verb, &loaded.config).await,
        Verb::Jobs(verb) => jobs::run(verb, &loaded.config).await,
        Verb::Import(args) => import::run(args, &loaded.config).await,
        Verb::Recall(args) => recall::run(args, &loaded.config).await,
        Verb::Eval(args) => eval::run(args, &loaded.config).await,
        Verb::Bench(verb) => bench::run(verb, &loaded.config).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What the end of the server was part of is sent before the end of the process.
async fn serve(config: Config, traces: Option<Traces>) -> anyhow::Result<ExitCode> {
    let outcome = serve::run(config).await;
    if let Some(traces) = traces {
        tokio::task::spawn_blocking(move || traces.close()).await?;
    }
    outcome
}

/// The whole chain of causes, without line breaks and without saying anything twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    line
}
