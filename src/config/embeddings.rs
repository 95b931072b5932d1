//! The section `embeddings`: which provider turns texts into vectors, and how far it is trusted.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::bail;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    Local,
    OpenAi,
    Hashed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Embeddings {
    pub provider: ProviderName,
    /// For `local`: a folder in Hugging Face layout. Unset: the fetched all-MiniLM-L6-v2.
    /// For `openai`: the name of the model, as the endpoint knows it.
    pub model: Option<String>,
    /// What a million tokens cost, by the name of the model, in whatever currency; shown as what the cache saves.
    pub prices: BTreeMap<String, f64>,
    /// For `openai` required, for `hashed` 384 if unset; a local model knows its own.
    pub dimensions: Option<usize>,
    /// Threads that do nothing but embed; 0 means half of the cores, at least one.
    pub threads: usize,
    /// How long embedding may take for a query, before recall falls back to words.
    pub query_deadline_ms: u64,
    /// The same for one memory, before remember answers 503.
    pub deadline_secs: u64,
    /// The same for a batch of memories.
    pub batch_deadline_secs: u64,
    /// For `openai`, as all that follows: what `/embeddings` is appended to.
    pub base_url: String,
    /// Unset: no credential is sent.
    pub api_key: Option<ApiKey>,
    /// Whether `dimensions` is part of the request; models of a fixed size refuse it.
    pub send_dimensions: bool,
    /// Longer texts are embedded in windows. A token is taken as one byte, which no tokenizer exceeds.
    pub max_input_tokens: usize,
    /// Inputs a call; more are split over several.
    pub max_call_inputs: usize,
    /// Tokens a call, reckoned in the same way.
    pub max_call_tokens: usize,
    /// Calls at the same time.
    pub max_calls: usize,
    /// The share of one tenant in them.
    pub max_tenant_calls: usize,
}

impl Default for Embeddings {
    fn default() -> Self {
        Self {
            provider: ProviderName::Local,
            model: None,
            prices: BTreeMap::new(),
            dimensions: None,
            threads: 0,
            query_deadline_ms: 2_000,
            deadline_secs: 60,
            batch_deadline_secs: 300,
            base_url: "https://api.openai.com/v1".into(),
            api_key: None,
            send_dimensions: true,
            max_input_tokens: 8_191,
            max_call_inputs: 2_048,
            max_call_tokens: 300_000,
            max_calls: 64,
            max_tenant_calls: 16,
        }
    }
}

impl Embeddings {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        if let Some((model, price)) = self.prices.iter().find(|(_, price)| !price.is_finite() || **price < 0.0) {
            bail!("configuration: setting embeddings.prices.{model}: must be 0 or more, not {price}");
        }
        if let Some(dimensions) = self.dimensions {
            in_range("dimensions", dimensions, 1, 16_000)?;
        }
        if self.provider == ProviderName::OpenAi {
            self.validate_openai()?;
        }
        Ok(())
    }

    /// Of the model in use; nothing unless it is set.
    pub fn price_per_million_tokens(&self) -> f64 {
        self.model.as_ref().and_then(|model| self.prices.get(model)).copied().unwrap_or(0.0)
    }

    fn validate_openai(&self) -> anyhow::Result<()> {
        if self.model.as_deref().unwrap_or_default().trim().is_empty() {
            bail!("configuration: setting embeddings.model: must name a model (as text-embedding-3-small)");
        }
        if self.dimensions.is_none() {
            bail!("configuration: setting embeddings.dimensions: must be the length of the model's vectors (as 1536)");
        }
        endpoint(&self.base_url)?;
        if let Some(key) = &self.api_key {
            key.header("embeddings.api_key")?;
        }
        in_range("max_input_tokens", self.max_input_tokens, 64, 1_000_000)?;
        in_range("max_call_inputs", self.max_call_inputs, 1, 2_048)?;
        in_range("max_call_tokens", self.max_call_tokens, self.max_input_tokens, 100_000_000)?;
        in_range("max_calls", self.max_calls, 1, 10_000)?;
        in_range("max_tenant_calls", self.max_tenant_calls, 1, self.max_calls)
    }

    /// Where embeddings are asked for.
    pub fn endpoint(&self) -> anyhow::Result<Url> {
        endpoint(&self.base_url)
    }
}

fn in_range(name: &str, value: usize, least: usize, most: usize) -> anyhow::Result<()> {
    if !(least..=most).contains(&value) {
        bail!("configuration: setting embeddings.{name}: must be {least} to {most}, not {value}");
    }
    Ok(())
}

/// The error does not repeat the URL: what is wrong with it may be a password.
fn endpoint(base: &str) -> anyhow::Result<Url> {
    let url = Url::parse(&format!("{}/embeddings", base.trim_end_matches('/'))).ok().filter(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    match url {
        Some(url) => Ok(url),
        None => bail!(
            "configuration: setting embeddings.base_url: must be an http or https URL without credentials, `?` and `#` (as https://api.openai.com/v1)"
        ),
    }
}

/// The credential of the provider. It cannot be printed; only a request header shows it.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// `Authorization`, marked so that nothing on its way prints it; None where the key is empty. Errors name the setting.
    pub fn header(&self, setting: &str) -> anyhow::Result<Option<HeaderValue>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("configuration: setting {setting}: must be printable ASCII without spaces");
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {}", self.0))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// The text with the key blotted out, wherever someone quoted it.
    pub fn blot_out(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "(hidden)") }
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(hidden)")
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    /// Says nothing of what it found instead of a text: a key of digits looks like a number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer).map_err(|_| D::Error::custom("must be a text, in quotes"))?;
        Ok(Self(key))
    }
}
