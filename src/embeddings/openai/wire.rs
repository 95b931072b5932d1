//! One call to `/embeddings`: the request, the answer read within bounds, and whether to believe it.
//! What the provider says in an error goes to the debug log at most: it may quote the text or the key.

use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, ensure};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Failure;
use crate::config::{ApiKey, Embeddings};
use crate::telemetry::inject;

/// How long a connection may take; the deadline of the caller bounds the rest.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A number of an answer, with its indentation in the most generous form seen.
const NUMBER_BYTES: usize = 40;
/// What surrounds the numbers of one vector.
const ITEM_BYTES: usize = 256;
/// What surrounds the vectors.
const FRAME_BYTES: usize = 64 * 1024;
/// As much of a complaint as is worth reading.
const COMPLAINT_BYTES: usize = 16 * 1024;

/// A vector shorter than this has no direction.
const LEAST_NORM: f64 = 1e-12;

/// How providers say that a text is too long.
const TOO_LONG: [&str; 8] = [
    "context_length",
    "context length",
    "context size",
    "context window",
    "too long",
    "too large",
    "too many tokens",
    "max_tokens_per_request",
];

/// The connections to a provider and what every request says.
pub struct Wire {
    http: Client,
    url: Url,
    key: Option<ApiKey>,
    model: String,
    dims: usize,
    send_dims: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// A request that can be sent again.
pub struct Call {
    body: Vec<u8>,
    inputs: usize,
}

impl Wire {
    pub fn new(settings: &Embeddings, dims: usize) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(header) =
            settings.api_key.as_ref().map(|key| key.header("embeddings.api_key")).transpose()?.flatten()
        {
            headers.insert(AUTHORIZATION, header);
        }
        let http = Client::builder()
            .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .context("preparing calls to the embedding provider")?;
        Ok(Self {
            http,
            url: settings.endpoint()?,
            key: settings.api_key.clone(),
            model: settings.model.clone().unwrap_or_default(),
            dims,
            send_dims: settings.send_dimensions,
        })
    }

    /// The room that one vector may take in an answer.
    pub fn vector_bytes(dims: usize) -> usize {
        ITEM_BYTES + dims * NUMBER_BYTES
    }

    pub fn call(&self, inputs: &[&str]) -> Result<Call, Failure> {
        let dimensions = self.send_dims.then_some(self.dims);
        let request = Request { model: &self.model, input: inputs, encoding_format: "float", dimensions };
        let body = serde_json::to_vec(&request).map_err(|error| Failure::Lasting(error.into()))?;
        Ok(Call { body, inputs: inputs.len() })
    }

    /// Sends a call once. The vectors come back in the order of the inputs, each of length one.
    pub async fn send(&self, call: &Call) -> Result<Vec<Vec<f32>>, Failure> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        inject(&mut headers);
        let request = self.http.post(self.url.clone()).body(call.body.clone()).headers(headers);
        let response = request.send().await.map_err(unsent)?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let (inputs, dims) = (call.inputs, self.dims);
        let body = read(response, FRAME_BYTES + inputs * Self::vector_bytes(dims)).await?;
        // Megabytes of numbers must not hold up a thread that others share.
        let parsed = tokio::task::spawn_blocking(move || vectors(&body, inputs, dims));
        parsed.await.map_err(anyhow::Error::new).flatten().map_err(Failure::Lasting)
    }

    /// What an answer other than success means.
    async fn refused(&self, response: Response) -> Failure {
        let status = response.status().as_u16();
        let what = match status {
            408 | 429 | 500.. => {
                let wait = retry_after(response.headers(), SystemTime::now().into());
                return Failure::Passing { cause: anyhow!("the provider answered {status}"), wait };
            }
            300..=399 => "redirects are not followed; set embeddings.base_url to where it leads",
            401 | 403 => "check embeddings.api_key",
            404 | 405 => "check embeddings.base_url and embeddings.model",
            _ => "check embeddings.model, and embeddings.send_dimensions if its size is fixed",
        };
        let complaint = match read(response, COMPLAINT_BYTES).await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(_) => String::new(),
        };
        let shown = self.key.as_ref().map_or_else(|| complaint.clone(), |key| key.blot_out(&complaint));
        tracing::debug!(status, complaint = ?shown.chars().take(500).collect::<String>(), "the provider refused");
        let complaint = complaint.to_lowercase();
        if status == 413 || ([400, 422].contains(&status) && TOO_LONG.iter().any(|words| complaint.contains(words))) {
            return Failure::TooLong;
        }
        Failure::Lasting(anyhow!("the provider answered {status}: {what}"))
    }
}

/// Only what never reached the provider is certain not to have been done.
fn unsent(error: reqwest::Error) -> Failure {
    let connecting = error.is_connect();
    let cause = anyhow::Error::new(error.without_url()).context("calling the provider");
    if connecting { Failure::Passing { cause, wait: None } } else { Failure::Lasting(cause) }
}

async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| {
        Failure::Lasting(anyhow::Error::new(error.without_url()).context("reading the provider's answer"))
    };
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > most {
            return Err(Failure::Lasting(anyhow!("the provider's answer is longer than {most} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Seconds or a date; a day at most.
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (OffsetDateTime::parse(value, &Rfc2822).ok()? - now).try_into().unwrap_or_default(),
    };
    Some(wait.min(Duration::from_secs(86_400)))
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

/// The vectors of an answer in the order of the inputs, if there is exactly one usable for each.
fn vectors(body: &[u8], inputs: usize, dims: usize) -> anyhow::Result<Vec<Vec<f32>>> {
    // The parser's own words may quote the answer.
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        let (kind, line, column) = (error.classify(), error.line(), error.column());
        anyhow!("the provider's answer is no list of embeddings ({kind:?} error in line {line}, column {column})")
    })?;
    let count = answer.data.len();
    ensure!(count == inputs, "the provider returned {count} vectors for {inputs} inputs");
    let mut vectors = vec![Vec::new(); inputs];
    for Item { index, embedding } in answer.data {
        let place = vectors
            .get_mut(index)
            .with_context(|| format!("the provider returned a vector for input {index} of {inputs}"))?;
        ensure!(place.is_empty(), "the provider returned two vectors for input {index}");
        *place = unit(embedding, dims)?;
    }
    Ok(vectors)
}

fn unit(mut vector: Vec<f32>, dims: usize) -> anyhow::Result<Vec<f32>> {
    let found = vector.len();
    ensure!(found == dims, "the provider returned {found} dimensions, embeddings.dimensions says {dims}");
    ensure!(vector.iter().all(|x| x.is_finite()), "the provider returned a number that is not finite");
    // In double precision the squares of large numbers stay finite, and those of small ones above zero.
    let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    ensure!(norm > LEAST_NORM, "the provider returned a vector without a direction");
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(items: &[(usize, &str)]) -> String {
        let items: Vec<String> =
            items.iter().map(|(index, vector)| format!(r#"{{"index":{index},"embedding":{vector}}}"#)).collect();
        format!(r#"{{"object":"list","data":[{}],"model":"m"}}"#, items.join(","))
    }

    fn refusal(items: &[(usize, &str)]) -> String {
        vectors(answer(items).as_bytes(), 2, 2).expect_err("refused").to_string()
    }

    #[test]
    fn vectors_come_in_the_order_of_the_inputs_and_have_length_one() {
        let swapped = answer(&[(1, "[0,-2e30]"), (0, "[3e-10, 0]")]);
        assert_eq!(vectors(swapped.as_bytes(), 2, 2).expect("valid"), [[1.0, 0.0], [0.0, -1.0]]);
    }

    #[test]
    fn anything_but_one_usable_vector_an_input_is_refused() {
        let good = "[1,0]";
        for (items, why) in [
            (&[(0, good)][..], "1 vectors for 2"),
            (&[(0, good), (1, good), (2, good)], "3 vectors for 2"),
            (&[(0, good), (0, good)], "two vectors for input 0"),
            (&[(0, good), (2, good)], "input 2 of 2"),
            (&[(0, good), (1, "[1,0,0]")], "3 dimensions"),
            (&[(0, good), (1, "[]")], "0 dimensions"),
            (&[(0, good), (1, "[0,0]")], "without a direction"),
            (&[(0, good), (1, "[1e-20,0]")], "without a direction"),
            (&[(0, good), (1, "[1e39,0]")], "no list of embeddings"),
            (&[(0, good), (1, "[NaN,0]")], "no list of embeddings"),
            (&[(0, good), (1, "[1e400,0]")], "no list of embeddings"),
            (&[(0, good), (1, "[null,0]")], "no list of embeddings"),
            (&[(0, good), (1, r#"["secret",0]"#)], "no list of embeddings"),
        ] {
            let refusal = refusal(items);
            assert!(refusal.contains(why) && !refusal.contains("secret"), "{items:?}: {refusal}");
        }
    }

    #[test]
    fn the_time_to_wait_is_read_in_both_forms() {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a time");
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a header"));
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("Tue, 14 Nov 2023 22:13:50 GMT"), Some(30));
        assert_eq!(wait("Tue, 14 Nov 2023 22:13:10 GMT"), Some(0), "it is past");
        assert_eq!(wait("18446744073709551615"), Some(86_400));
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
