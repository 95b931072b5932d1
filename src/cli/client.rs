//! The HTTP client of the verbs that talk to a running server: where it is, which key opens it,
//! and how often a call is worth repeating.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rand::RngExt;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::failure::{Failure, Problem};
use crate::config::Config;

/// Longer than the server takes for the slowest batch.
const DEADLINE: Duration = Duration::from_secs(330);
const ATTEMPTS: u32 = 10;
/// The attempt after which waiting is worth a line.
const TELL_AT: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Which server, and who is calling.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Address of the server.
    #[arg(long, env = "CAIRN_URL", default_value = "http://127.0.0.1:7700", value_name = "URL")]
    url: String,
    /// API key; for a server on this machine the default is the key in its data folder.
    #[arg(long, env = "CAIRN_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
}

/// A connection pool to one server. Clones share it.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// A good answer, read to its end.
pub struct Reply {
    body: Vec<u8>,
    stages: Vec<(String, f64)>,
    took: Duration,
}

impl Client {
    pub fn new(connection: &Connection, config: &Config) -> anyhow::Result<Self> {
        let url = Url::parse(&connection.url).with_context(|| format!("--url {:?}", connection.url))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            bail!("--url {:?}: must look like http://127.0.0.1:7700", connection.url);
        }
        let key = match &connection.key {
            Some(key) => key.trim().to_owned(),
            None => kept_key(&url, config)?,
        };
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).context("--key: not a key")?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, bearer),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(DEADLINE)
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .build()?;
        Ok(Self { http, url: url.as_str().trim_end_matches('/').to_owned(), key })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whom the server takes this client for; never to be shown.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Sends once. `path` begins with a slash.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply, Failure> {
        self.send(path, encode(body)?).await
    }

    /// Sends again while that can help. Only for what has the same effect twice as once.
    pub async fn post_patiently(&self, path: &str, body: &impl Serialize) -> Result<Reply, Failure> {
        self.send_patiently(path, encode(body)?).await
    }

    /// The same with a body that is already JSON.
    pub async fn send_patiently(&self, path: &str, body: String) -> Result<Reply, Failure> {
        let mut attempt = 1;
        loop {
            match self.send(path, body.clone()).await {
                Err(failure) if failure.may_pass() && attempt < ATTEMPTS => {
                    if attempt == TELL_AT {
                        eprintln!("{failure}; trying again for a while");
                    }
                    tokio::time::sleep(pause(attempt, failure.retry_after())).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn send(&self, path: &str, body: String) -> Result<Reply, Failure> {
        let unreachable = |cause| Failure::Unreachable { url: self.url.clone(), cause };
        let started = Instant::now();
        let response = self.http.post(format!("{}{path}", self.url)).body(body).send().await.map_err(unreachable)?;
        let (status, stages) = (response.status(), stages(&response));
        let retry_after = seconds(&response, "retry-after");
        let body = response.bytes().await.map_err(unreachable)?.to_vec();
        if status.is_success() {
            return Ok(Reply { body, stages, took: started.elapsed() });
        }
        Err(Failure::Refused(Box::new(Problem::read(status.as_u16(), retry_after, &body))))
    }
}

impl Reply {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(Failure::Unreadable)
    }

    /// From sending to the last byte of the answer; of several attempts, the one that succeeded.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Milliseconds by stage, as the server measured them.
    pub fn stages(&self) -> &[(String, f64)] {
        &self.stages
    }
}

fn encode(body: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(body).map_err(Failure::Unreadable)
}

/// The key of an embedded installation goes to this machine only.
fn kept_key(url: &Url, config: &Config) -> anyhow::Result<String> {
    let host = url.host_str().unwrap_or_default();
    let here =
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let path = config.data_dir.join("dev-key");
    match std::fs::read_to_string(&path) {
        Ok(key) if here => Ok(key.trim().to_owned()),
        _ if here => bail!(
            "no API key: set CAIRN_API_KEY or give --key (there is none in {}; `cairn key create` makes one)",
            path.display()
        ),
        _ => bail!("no API key for {host}: set CAIRN_API_KEY or give --key"),
    }
}

/// What the server asks for, else twice as long each time; never quite the same for two clients.
fn pause(attempt: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(LONGEST_PAUSE);
    let jitter = rand::rng().random_range(0.5..1.0);
    asked.unwrap_or_default().min(Duration::from_secs(60)) + doubled.mul_f64(jitter)
}

fn seconds(response: &Response, header: &str) -> Option<Duration> {
    response.headers().get(header)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// `gate;dur=0.412, embed;dur=7.1` as pairs.
fn stages(response: &Response) -> Vec<(String, f64)> {
    let header = response.headers().get("server-timing").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let stage = |part: &str| {
        let (name, took) = part.trim().split_once(";dur=")?;
        Some((name.to_owned(), took.parse().ok()?))
    };
    header.split(',').filter_map(stage).collect()
}
