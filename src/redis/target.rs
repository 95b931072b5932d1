//! Where Redis is: what the settings say, read once and as strictly as possible. No error shows a password.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use deadpool_redis::redis::cluster::{ClusterClient, ClusterClientBuilder};
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    self, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::Limits;
use crate::config;

/// One node, or a cluster that is entered by any of some nodes.
pub struct Target {
    nodes: Vec<Client>,
    pub cluster: Option<ClusterClient>,
}

impl Target {
    pub fn parse(settings: &config::Cache, url: &str, limits: Limits) -> anyhow::Result<Self> {
        let certificates = certificates(settings)?;
        Self::of(settings.redis_cluster, url, certificates, limits)
            .map_err(|error| anyhow!("configuration: setting cache.redis_url: {error}"))
    }

    fn of(is_cluster: bool, url: &str, certificates: TlsCertificates, limits: Limits) -> anyhow::Result<Self> {
        let nodes = url.split(',').map(|url| node(url.trim(), &certificates)).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(is_cluster || nodes.len() == 1, "several nodes need cache.redis_cluster to be true");
        if nodes.iter().any(|node| matches!(node.get_connection_info().addr(), ConnectionAddr::TcpTls { .. })) {
            choose_ciphers();
        }
        let cluster = is_cluster.then(|| cluster(&nodes, certificates, limits)).transpose();
        Ok(Self { cluster: cluster.map_err(|error| wrong(&error))?, nodes })
    }

    /// One of the nodes named, another one at each attempt.
    pub fn node(&self, attempt: usize) -> &Client {
        &self.nodes[attempt % self.nodes.len()]
    }
}

fn node(url: &str, certificates: &TlsCertificates) -> anyhow::Result<Client> {
    let Ok(info) = url.into_connection_info() else {
        // What was meant as a part of the password may stand anywhere in it.
        bail!(
            "must be redis://, rediss:// or redis+unix://, with a password in percent encoding and a number for the database"
        );
    };
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    // A request of several packets must not wait for the acknowledgement of the first.
    let info: ConnectionInfo =
        info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => bail!("#insecure is not taken; see cache.redis_ca_file"),
        ConnectionAddr::TcpTls { .. } => Client::build_with_tls(info, certificates.clone()),
        _ => Client::open(info),
    }
    .map_err(|error| wrong(&error))
}

/// Errors of the client name no secrets, as long as it has not read an answer.
fn wrong(error: &redis::RedisError) -> anyhow::Error {
    anyhow!("{}", error.detail().map_or_else(|| error.to_string(), str::to_owned))
}

fn certificates(settings: &config::Cache) -> anyhow::Result<TlsCertificates> {
    let Some(path) = &settings.redis_ca_file else { return Ok(TlsCertificates { client_tls: None, root_cert: None }) };
    let read = std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let pem = read.context("configuration: setting cache.redis_ca_file")?;
    let begins = b"-----BEGIN CERTIFICATE-----";
    ensure!(
        pem.windows(begins.len()).any(|window| window == begins),
        "configuration: setting cache.redis_ca_file: no certificate in {}",
        path.display()
    );
    Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
}

/// The client's own defaults are 16 retries and no limit on an answer.
fn cluster(nodes: &[Client], certificates: TlsCertificates, limits: Limits) -> redis::RedisResult<ClusterClient> {
    let infos = nodes.iter().map(|node| node.get_connection_info().clone());
    let builder = ClusterClientBuilder::new(infos)
        // One: an answer may say that a slot has moved.
        .retries(1)
        .min_retry_wait(1)
        .max_retry_wait(5)
        .connection_timeout(limits.connect_to_node())
        .response_timeout(limits.deadline.max(Duration::from_millis(1)))
        .tcp_settings(TcpSettings::default().set_nodelay(true));
    if certificates.root_cert.is_some() { builder.certs(certificates).build() } else { builder.build() }
}

/// Two providers of ciphers are compiled in, and the client of Redis takes the one of the process.
fn choose_ciphers() {
    if CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster, which is as good.
        let _ = aws_lc_rs::default_provider().install_default();
    }
}
