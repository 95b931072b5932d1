//! Settings of metrics and traces.

use anyhow::bail;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// False: requests, stages and waits are not measured; for finding out what measuring them costs.
    pub metrics: bool,
    /// Where traces go, by OTLP over HTTP, as `http://collector:4318`; unset: there are none.
    pub otlp_endpoint: Option<String>,
    /// The share of requests that are traced, 0 to 1, of those that come without a decision of their caller's.
    pub sampling: f64,
    /// What traces call this server.
    pub service_name: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { metrics: true, otlp_endpoint: None, sampling: 1.0, service_name: "cairn".into() }
    }
}

impl Telemetry {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        if !(0.0..=1.0).contains(&self.sampling) {
            bail!("configuration: setting telemetry.sampling: must be 0 to 1, not {}", self.sampling);
        }
        self.traces_url().map(drop)
    }

    /// Where spans are posted to: the conventional path below the endpoint.
    pub fn traces_url(&self) -> anyhow::Result<Option<String>> {
        let Some(endpoint) = self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
            return Ok(None);
        };
        let url = reqwest::Url::parse(endpoint).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        match url {
            Some(url) if url.has_host() => Ok(Some(format!("{}/v1/traces", endpoint.trim_end_matches('/')))),
            // It may hold a password, so it is not repeated.
            _ => bail!("configuration: setting telemetry.otlp_endpoint: must be a URL as http://collector:4318"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Telemetry;

    fn with_endpoint(endpoint: &str) -> Telemetry {
        Telemetry { otlp_endpoint: Some(endpoint.into()), ..Telemetry::default() }
    }

    #[test]
    fn spans_go_to_the_conventional_path() {
        let url = |endpoint| with_endpoint(endpoint).traces_url().expect("valid");
        assert_eq!(url("http://collector:4318").as_deref(), Some("http://collector:4318/v1/traces"));
        assert_eq!(url("https://ada:pw@collector/otlp/").as_deref(), Some("https://ada:pw@collector/otlp/v1/traces"));
        assert_eq!(url(""), None);
    }

    #[test]
    fn what_is_no_endpoint_and_no_share_is_refused() {
        for endpoint in ["collector:4318", "grpc://collector:4317", "hunter2"] {
            let refusal = with_endpoint(endpoint).validate().expect_err(endpoint).to_string();
            assert!(refusal.contains("telemetry.otlp_endpoint") && !refusal.contains("hunter2"), "{refusal}");
        }
        for sampling in [-0.1, 1.1, f64::NAN] {
            let settings = Telemetry { sampling, ..Telemetry::default() };
            assert!(settings.validate().is_err_and(|error| error.to_string().contains("telemetry.sampling")));
        }
    }
}
