//! The section `rerank`: who puts the best candidates in order a second time, if anybody does.

use anyhow::{Context, bail};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::config::ApiKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RerankerName {
    None,
    Local,
    Http,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rerank {
    pub provider: RerankerName,
    /// For `local`: the folder of a cross-encoder in Hugging Face layout.
    /// For `http`: the name of the model, as the endpoint knows it; not sent if unset.
    pub model: Option<String>,
    /// For `http`: where the texts are sent, whole (as https://api.jina.ai/v1/rerank).
    pub url: Option<String>,
    /// For `http`. Unset: no credential is sent.
    pub api_key: Option<ApiKey>,
    /// How long reranking may take before recall keeps the order it has.
    pub deadline_ms: u64,
    /// How many candidates are put in order.
    pub top: usize,
}

impl Default for Rerank {
    fn default() -> Self {
        Self { provider: RerankerName::None, model: None, url: None, api_key: None, deadline_ms: 2_000, top: 50 }
    }
}

impl Rerank {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        if !(1..=200).contains(&self.top) {
            bail!("configuration: setting rerank.top: must be 1 to 200, not {}", self.top);
        }
        if !(1..=60_000).contains(&self.deadline_ms) {
            bail!("configuration: setting rerank.deadline_ms: must be 1 to 60000, not {}", self.deadline_ms);
        }
        match self.provider {
            RerankerName::None => {}
            RerankerName::Local if self.model.as_deref().unwrap_or_default().trim().is_empty() => {
                bail!("configuration: setting rerank.model: must be the folder of a cross-encoder")
            }
            RerankerName::Local => {}
            RerankerName::Http => {
                self.endpoint()?;
                self.api_key.as_ref().map(|key| key.header("rerank.api_key")).transpose()?;
            }
        }
        Ok(())
    }

    /// Where reranking is asked for. The error does not repeat the URL: what is wrong with it may be a password.
    pub fn endpoint(&self) -> anyhow::Result<Url> {
        let url = self.url.as_deref().and_then(|url| Url::parse(url).ok());
        let url = url.filter(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.host_str().is_some_and(|host| !host.is_empty())
                && url.username().is_empty()
                && url.password().is_none()
        });
        url.context(
            "configuration: setting rerank.url: must be an http or https URL without credentials (as https://api.jina.ai/v1/rerank)",
        )
    }
}
