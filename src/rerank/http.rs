//! An endpoint that reranks, in the form that Cohere, Jina and others share: query and documents there, an index and a
//! score for each back. Nothing that is said of a failure holds the key or the words of the provider.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use rand::RngExt;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Response, Url, redirect};
use serde::{Deserialize, Serialize};

use super::sigmoid;
use crate::breaker::{Breaker, Passage};
use crate::config::Rerank;
use crate::ids::TenantId;
use crate::telemetry::inject;

/// How long a connection may take; the deadline of the caller bounds the rest.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Before the second try up to this long.
const PAUSE: Duration = Duration::from_millis(100);
/// What an answer may take: some providers send each document back.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

pub struct Http {
    client: Client,
    url: Url,
    model: Option<String>,
    /// Of tenants whose latest call failed.
    breakers: Mutex<HashMap<TenantId, Breaker>>,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    query: &'a str,
    documents: &'a [String],
    top_n: usize,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    relevance_score: f32,
}

/// Why a try came to nothing.
struct Failure {
    cause: anyhow::Error,
    /// Whether another try may help.
    passing: bool,
}

impl Http {
    pub fn new(settings: &Rerank) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        let key = settings.api_key.as_ref().map(|key| key.header("rerank.api_key")).transpose()?.flatten();
        headers.extend(key.map(|key| (AUTHORIZATION, key)));
        let client = Client::builder()
            .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .context("preparing calls to the reranker")?;
        let (url, model) = (settings.endpoint()?, settings.model.clone());
        Ok(Self { client, url, model, breakers: Mutex::default() })
    }

    /// One try, and another if what was wrong with it may pass.
    pub async fn scores(&self, tenant: TenantId, query: &str, documents: &[String]) -> anyhow::Result<Vec<f32>> {
        let request = Request { model: self.model.as_deref(), query, documents, top_n: documents.len() };
        match self.guarded(tenant, &request).await {
            Err(Failure { passing: true, .. }) => {
                let pause = PAUSE.mul_f64(rand::rng().random());
                tokio::time::sleep(pause).await;
                self.guarded(tenant, &request).await.map_err(|failure| failure.cause)
            }
            outcome => outcome.map_err(|failure| failure.cause),
        }
    }

    /// A call that the breaker lets through, and hears of.
    async fn guarded(&self, tenant: TenantId, request: &Request<'_>) -> Result<Vec<f32>, Failure> {
        let passage = match self.breakers().get_mut(&tenant) {
            Some(breaker) => breaker.pass(Instant::now()),
            None => Some(Passage::Normal),
        };
        let passage = passage.ok_or_else(|| lasting(anyhow!("the reranker failed repeatedly and is given a pause")))?;
        let mut call = Call { http: self, tenant, passage, failed: true };
        let outcome = self.send(request).await;
        call.failed = outcome.is_err();
        outcome
    }

    async fn send(&self, request: &Request<'_>) -> Result<Vec<f32>, Failure> {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        let sent = self.client.post(self.url.clone()).json(request).headers(headers).send().await;
        let response = sent.map_err(|error| {
            let passing = error.is_connect();
            Failure { cause: anyhow::Error::new(error.without_url()).context("calling the reranker"), passing }
        })?;
        let status = response.status().as_u16();
        match status {
            200..300 => {}
            408 | 429 | 500.. => {
                return Err(Failure { cause: anyhow!("the reranker answered {status}"), passing: true });
            }
            _ => {
                let check = "check rerank.url, rerank.model and rerank.api_key";
                return Err(lasting(anyhow!("the reranker answered {status}: {check}")));
            }
        }
        let body = read(response).await.map_err(lasting)?;
        scores(&body, request.documents.len()).map_err(lasting)
    }

    /// Nothing that is done under this lock can leave it half done.
    fn breakers(&self) -> MutexGuard<'_, HashMap<TenantId, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call on its way. One that is given up, because its deadline has come, has failed.
struct Call<'a> {
    http: &'a Http,
    tenant: TenantId,
    passage: Passage,
    failed: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut breakers = self.http.breakers();
        if !self.failed {
            breakers.remove(&self.tenant);
            return;
        }
        let now = Instant::now();
        let breaker = breakers.entry(self.tenant).or_insert_with(Breaker::closed);
        let was_open = breaker.is_open(now);
        breaker.failed(self.passage, now, None);
        if !was_open && breaker.is_open(now) {
            tracing::warn!(tenant = %self.tenant, "the reranker fails; calls for this tenant pause");
        }
    }
}

fn lasting(cause: anyhow::Error) -> Failure {
    Failure { cause, passing: false }
}

async fn read(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let broken =
        |error: reqwest::Error| anyhow::Error::new(error.without_url()).context("reading the reranker's answer");
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        ensure!(body.len() + chunk.len() <= ANSWER_BYTES, "the reranker's answer is longer than {ANSWER_BYTES} bytes");
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The scores in the order of the documents, if there is exactly one for each. Models that say them on a scale of
/// their own are brought to 0 to 1.
fn scores(body: &[u8], documents: usize) -> anyhow::Result<Vec<f32>> {
    // The parser's own words may quote the answer.
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| anyhow!("the reranker's answer is no list of results"))?;
    let count = answer.results.len();
    ensure!(count == documents, "the reranker returned {count} scores for {documents} documents");
    let mut scores = vec![None; documents];
    for Item { index, relevance_score } in answer.results {
        match scores.get_mut(index) {
            Some(place @ None) => *place = Some(relevance_score),
            Some(_) => bail!("the reranker returned two scores for document {index}"),
            None => bail!("the reranker returned a score for document {index} of {documents}"),
        }
    }
    let scores: Vec<f32> = scores.into_iter().flatten().collect();
    let shares = scores.iter().all(|score| (0.0..=1.0).contains(score));
    Ok(if shares { scores } else { scores.into_iter().map(sigmoid).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(results: &str) -> Result<Vec<f32>, String> {
        scores(format!(r#"{{"results":[{results}]}}"#).as_bytes(), 2).map_err(|error| error.to_string())
    }

    #[test]
    fn scores_come_in_the_order_of_the_documents() {
        let best_first = r#"{"index":1,"relevance_score":0.9,"document":"x"},{"index":0,"relevance_score":0.2}"#;
        assert_eq!(read(best_first), Ok(vec![0.2, 0.9]));
    }

    #[test]
    fn scores_on_another_scale_keep_their_order_within_bounds() {
        let logits = r#"{"index":0,"relevance_score":-8.0},{"index":1,"relevance_score":3.0}"#;
        let scores = read(logits).expect("scores");
        assert!((scores[0] - 0.000_335).abs() < 1e-5 && (scores[1] - 0.952_574).abs() < 1e-5, "{scores:?}");
    }

    #[test]
    fn anything_but_one_score_a_document_is_refused() {
        let one = r#"{"index":0,"relevance_score":0.5}"#;
        for (results, why) in [
            (one.to_owned(), "1 scores for 2"),
            (format!("{one},{one}"), "two scores for document 0"),
            (format!(r#"{one},{{"index":2,"relevance_score":0.5}}"#), "document 2 of 2"),
            (format!(r#"{one},{{"index":1,"relevance_score":1e39}}"#), "no list of results"),
            (format!(r#"{one},{{"index":1,"relevance_score":"secret"}}"#), "no list of results"),
        ] {
            let refusal = read(&results).expect_err("refused");
            assert!(refusal.contains(why) && !refusal.contains("secret"), "{results}: {refusal}");
        }
    }
}
