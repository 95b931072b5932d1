//! `cairn healthcheck`: asks the server on this machine, as a container engine does now and then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::config::Config;

/// Longer than the server gives its database; shorter than the patience of a container engine.
const DEADLINE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub struct Args {
    /// Ask only whether the process answers, not whether it can serve.
    #[arg(long)]
    live: bool,
}

pub async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    if config.http.bind.port() == 0 {
        bail!("configuration: setting http.bind: port 0 lets the system choose, so nobody knows where to ask");
    }
    let path = if args.live { "livez" } else { "readyz" };
    let url = format!("http://{}/{path}", reachable(config.http.bind));
    let unreachable = |cause| Failure::Unreachable { url: url.clone(), cause };
    // A proxy is for other machines.
    let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?;
    let response = http.get(&url).send().await.map_err(unreachable)?;
    let status = response.status();
    let text = response.text().await.map_err(unreachable)?;
    if !status.is_success() {
        bail!("{url} answers {}: {}", status.as_u16(), complaints(&text));
    }
    println!("{}", if args.live { "alive" } else { "ready" });
    Ok(())
}

/// A server that listens everywhere is asked on this machine.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// The parts that are not well, in the words of `/readyz`.
fn complaints(text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let parts = answer.as_object().into_iter().flatten();
    let ill = parts.filter(|(_, part)| part["ok"] == false);
    let ill: Vec<String> =
        ill.map(|(name, part)| format!("{name}: {}", part["detail"].as_str().unwrap_or("not ok"))).collect();
    if ill.is_empty() { "not ready".into() } else { ill.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::{complaints, reachable};

    #[test]
    fn a_server_that_listens_everywhere_is_asked_here() {
        for (bind, asked) in [
            ("0.0.0.0:7700", "127.0.0.1:7700"),
            ("[::]:7700", "[::1]:7700"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(reachable(bind.parse().expect("an address")).to_string(), asked);
        }
    }

    #[test]
    fn what_is_not_well_is_named() {
        let body = r#"{"ready":false,"database":{"ok":false,"detail":"gone"},"embeddings":{"ok":true,"detail":"m"}}"#;
        assert_eq!(complaints(body), "database: gone");
        assert_eq!(complaints("<html>"), "not ready");
    }
}
