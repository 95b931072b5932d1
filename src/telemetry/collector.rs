//! The way to a collector of traces, over the client that the server has anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect;
use tokio::runtime::Handle;

/// For a batch of spans, from connecting to its answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Collector {
    http: reqwest::Client,
    /// The thread that sends has no runtime that connections could live on.
    runtime: Handle,
    failing: AtomicBool,
}

impl Collector {
    pub fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(PATIENCE);
        Ok(Self {
            http: http.build().context("preparing calls to the collector of traces")?,
            runtime: Handle::try_current().context("traces need a runtime")?,
            failing: AtomicBool::new(false),
        })
    }

    /// One line of the log a change, however many batches fail.
    fn tell(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let failure = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Some(error.to_string()),
        };
        let failed_before = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !failed_before => tracing::warn!(cause, "the collector takes no spans; they are lost"),
            None if failed_before => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.runtime.spawn(send(self.http.clone(), request)).await;
        let outcome = sent.unwrap_or_else(|error| Err(error.into()));
        self.tell(&outcome);
        outcome
    }
}

/// The address stays out of errors: it may hold a password. So does the answer's body: nobody reads it.
async fn send(http: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let answer = http.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    Ok(Response::builder().status(answer.status()).body(Bytes::new())?)
}
