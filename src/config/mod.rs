//! Settings: one section a concern, defaults, then `cairn.toml`, then the environment, then flags.
//! Plain data, checked at the start; adapters build themselves from their section.

mod auth;
mod cache;
mod embeddings;
mod jobs;
mod limits;
mod rates;
mod recall;
mod rerank;
mod telemetry;
mod usage;
mod warmups;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Metadata, Source};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use auth::{Auth, Issuer};
pub use cache::Cache;
pub use embeddings::{ApiKey, Embeddings, ProviderName};
pub use jobs::Jobs;
pub use limits::Limits;
pub use rates::Rates;
pub use recall::Recall;
pub use rerank::{Rerank, RerankerName};
pub use telemetry::Telemetry;
pub use usage::Usage;
pub use warmups::Warmups;

/// Everything that can be set. Unknown names are an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the embedded Postgres and Redis keep their files.
    pub data_dir: PathBuf,
    /// Where `make runtime` put Postgres, Redis and the embedding model.
    pub runtime_dir: PathBuf,
    /// 32 bytes in base64. They seal the secrets that Postgres keeps. Required with a given database.
    pub secret_key: Option<String>,
    pub http: Http,
    pub database: Database,
    pub cache: Cache,
    pub auth: Auth,
    pub embeddings: Embeddings,
    pub rerank: Rerank,
    pub limits: Limits,
    pub usage: Usage,
    pub jobs: Jobs,
    pub rates: Rates,
    pub recall: Recall,
    pub log: Log,
    pub telemetry: Telemetry,
    pub warmups: Warmups,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub bind: SocketAddr,
    /// A second address for `/metrics`; the first one then no longer serves it.
    pub metrics_bind: Option<SocketAddr>,
    /// Threads that speak HTTP; 0 means one a core.
    pub workers: usize,
    /// How long a caller may take to send a body.
    pub body_deadline_secs: u64,
    /// How long a server that was told to stop goes on serving, not ready any more, so that balancers turn away.
    pub stop_delay_secs: u64,
    /// How long running requests may take to end after that.
    pub drain_secs: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Unset: the embedded Postgres.
    pub url: Option<String>,
    /// For migrations and index jobs; unset: the same as `url`.
    pub owner_url: Option<String>,
    /// Folder with `postgres` and `initdb` for the embedded one; unset: looked for.
    pub postgres_bin: Option<PathBuf>,
    pub gate_connections: u32,
    pub search_connections: u32,
    pub write_connections: u32,
    pub background_connections: u32,
    /// How long a request waits for a free connection before it is told to try again.
    pub acquire_timeout_ms: u64,
    pub read_timeout_ms: u64,
    pub write_timeout_ms: u64,
    /// Whether tenants take turns at connections. If not, whoever comes first is served first, and a tenant with many
    /// calls keeps the others waiting.
    pub fair: bool,
    /// How many calls of one tenant may wait for a connection; one more is told to try again.
    pub waiting_per_tenant: usize,
    /// A tenant with the weight 2 gets twice the connections of others while all are wanted; 1 for those not named.
    pub tenant_weights: BTreeMap<Uuid, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A tracing filter, as `info` or `cairn=debug,info`.
    pub filter: String,
    /// `auto`: text on a terminal, JSON elsewhere.
    pub format: LogFormat,
    /// Whether every request has a line.
    pub access: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "./cairn-data".into(),
            runtime_dir: "./.runtime".into(),
            secret_key: None,
            http: Http::default(),
            database: Database::default(),
            cache: Cache::default(),
            auth: Auth::default(),
            embeddings: Embeddings::default(),
            rerank: Rerank::default(),
            limits: Limits::default(),
            usage: Usage::default(),
            jobs: Jobs::default(),
            rates: Rates::default(),
            recall: Recall::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
            warmups: Warmups::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 7700)),
            metrics_bind: None,
            workers: 0,
            body_deadline_secs: 30,
            stop_delay_secs: 5,
            drain_secs: 20,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            owner_url: None,
            postgres_bin: None,
            gate_connections: 8,
            search_connections: 8,
            write_connections: 16,
            background_connections: 4,
            acquire_timeout_ms: 1_000,
            read_timeout_ms: 2_000,
            write_timeout_ms: 5_000,
            fair: true,
            waiting_per_tenant: 256,
            tenant_weights: BTreeMap::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto, access: true }
    }
}

/// Variables with our prefix that are no settings of the server but of its command-line clients.
const CLIENT_VARIABLES: [&str; 2] = ["url", "api_key"];

/// What a chaos build may be told to do without; elsewhere it is an unknown setting like any other.
const CHAOS_VARIABLES: &[&str] = if cfg!(feature = "sabotage") { &["sabotage"] } else { &[] };

/// Conventional names, and names that would collide with a section.
fn setting_of(variable: &str) -> String {
    match variable {
        "log" => "log.filter".into(),
        "log_format" => "log.format".into(),
        other => other.replace("__", "."),
    }
}

/// Settings with the knowledge of where each came from.
pub struct Loaded {
    pub config: Config,
    sources: Figment,
}

/// Reads every source. `file` must exist when named; `cairn.toml` here is read when it is there.
pub fn load(file: Option<&Path>) -> anyhow::Result<Loaded> {
    if let Some(file) = file
        && !file.is_file()
    {
        bail!("--config {}: no such file", file.display());
    }
    let file = file.unwrap_or(Path::new("cairn.toml"));
    let mut sources = Figment::from(Serialized::defaults(Config::default()));
    if file.is_file() {
        sources = sources.merge(Toml::file_exact(file));
    }
    let sources = sources
        .merge(Env::raw().only(&["DATABASE_URL"]).map(|_| "database.url".into()).split("."))
        .merge(Env::raw().only(&["REDIS_URL"]).map(|_| "cache.redis_url".into()).split("."))
        .merge(Env::raw().only(&["OTEL_EXPORTER_OTLP_ENDPOINT"]).map(|_| "telemetry.otlp_endpoint".into()).split("."))
        .merge(Env::raw().only(&["OTEL_SERVICE_NAME"]).map(|_| "telemetry.service_name".into()).split("."))
        .merge(
            Env::prefixed("CAIRN_")
                .ignore(&CLIENT_VARIABLES)
                .ignore(CHAOS_VARIABLES)
                .map(|name| setting_of(&name.as_str().to_lowercase()).into())
                .split("."),
        );
    let config: Config = sources.extract().map_err(|error| anyhow::anyhow!(describe(error)))?;
    config.validate()?;
    Ok(Loaded { config, sources })
}

/// One line: the setting, what is wrong, and where it was set.
fn describe(error: figment::Error) -> String {
    let setting = if error.path.is_empty() { String::new() } else { format!("setting {}: ", error.path.join(".")) };
    let source = error.metadata.as_ref().map(|metadata| format!(" (from {})", source_of(metadata))).unwrap_or_default();
    format!("configuration: {setting}{}{source}", error.kind)
}

fn source_of(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(Source::File(path)) => path.display().to_string(),
        _ => metadata.name.to_string(),
    }
}

impl Config {
    fn validate(&self) -> anyhow::Result<()> {
        self.auth.validate()?;
        self.cache.validate()?;
        self.embeddings.validate()?;
        self.rerank.validate()?;
        self.limits.validate()?;
        self.warmups.validate()?;
        self.telemetry.validate()?;
        self.usage.validate()?;
        self.jobs.validate()?;
        self.rates.validate()?;
        self.recall.validate()?;
        let pools = [
            ("gate", self.database.gate_connections),
            ("search", self.database.search_connections),
            ("write", self.database.write_connections),
            ("background", self.database.background_connections),
        ];
        for (name, size) in pools {
            if !(1..=1_000).contains(&size) {
                bail!("configuration: setting database.{name}_connections: must be 1 to 1000, not {size}");
            }
        }
        if let Some((tenant, weight)) =
            self.database.tenant_weights.iter().find(|(_, weight)| !(1..=100).contains(*weight))
        {
            bail!("configuration: setting database.tenant_weights.{tenant}: must be 1 to 100, not {weight}");
        }
        tracing_subscriber::EnvFilter::try_new(&self.log.filter).with_context(|| {
            format!("configuration: setting log.filter: {:?} is no tracing filter", self.log.filter)
        })?;
        Ok(())
    }

    /// The folder of the local embedding model.
    pub fn model_dir(&self) -> PathBuf {
        match &self.embeddings.model {
            Some(folder) => folder.into(),
            None => self.runtime_dir.join("models/all-MiniLM-L6-v2"),
        }
    }
}

const SECRET_SETTINGS: [&str; 3] = ["secret_key", "embeddings.api_key", "rerank.api_key"];
const URL_SETTINGS: [&str; 6] = [
    "database.url",
    "database.owner_url",
    "cache.redis_url",
    "embeddings.base_url",
    "rerank.url",
    "telemetry.otlp_endpoint",
];

/// One setting in force: its name, its value with secrets blotted out, and where it comes from.
pub struct Setting {
    pub name: String,
    pub value: String,
    pub source: String,
}

impl Loaded {
    pub fn settings(&self) -> anyhow::Result<Vec<Setting>> {
        let values: Dict = self.sources.extract()?;
        let mut names = Vec::new();
        leaves("", &values, &mut names);
        Ok(names.into_iter().map(|(name, value)| self.setting(name, value)).collect())
    }

    fn setting(&self, name: String, value: String) -> Setting {
        let source = match self.sources.find_metadata(&name) {
            Some(metadata) if metadata.name.contains("Config") => "default".into(),
            Some(metadata) => source_of(metadata),
            None => "default".into(),
        };
        let value = if value.is_empty() {
            "(unset)".into()
        } else if SECRET_SETTINGS.contains(&name.as_str()) {
            "(hidden)".into()
        } else if URL_SETTINGS.contains(&name.as_str()) {
            without_password(&value)
        } else {
            value
        };
        Setting { name, value, source }
    }
}

fn leaves(prefix: &str, values: &Dict, into: &mut Vec<(String, String)>) {
    for (key, value) in values {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Dict(_, nested) => leaves(&name, nested, into),
            Value::String(_, text) => into.push((name, text.clone())),
            Value::Bool(_, flag) => into.push((name, flag.to_string())),
            Value::Num(_, number) => {
                let text = number.to_u128().map(|n| n.to_string()).or_else(|| number.to_f64().map(|n| n.to_string()));
                into.push((name, text.unwrap_or_default()));
            }
            Value::Array(_, items) if !items.is_empty() => into.push((name, format!("({} entries)", items.len()))),
            _ => into.push((name, String::new())),
        }
    }
}

/// `postgres://ada:secret@host/db` as `postgres://ada:***@host/db`; query parameters may hold secrets too.
pub fn without_password(url: &str) -> String {
    let url = url.split('?').next().unwrap_or(url);
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let user = url[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}{user}:***{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, without_password};

    #[test]
    fn there_is_no_default_secret() {
        let config = Config::default();
        assert_eq!((config.secret_key, config.database.url, config.cache.redis_url), (None, None, None));
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(
            without_password("postgres://ada:p@ss@db:5432/cairn?password=x"),
            "postgres://ada:***@db:5432/cairn"
        );
        assert_eq!(without_password("redis://localhost:6379"), "redis://localhost:6379");
        assert_eq!(without_password("off"), "off");
    }
}
