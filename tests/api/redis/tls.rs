//! `rediss://`: the Redis of the tests speaks no TLS, so somebody stands before it who does.

use std::fs;
use std::sync::Arc;

use cairn::config;
use cairn::redis::Redis;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::{get, put, settings};
use crate::support::redis::Redis as Server;

/// A certificate for 127.0.0.1, and the file of the authority that made it.
struct Front {
    port: u16,
    folder: TempDir,
    accepting: AbortHandle,
}

impl Front {
    async fn start(server: &Server) -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key"));
        let authority = authority.expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let certificate = names.signed_by(&key, &authority).expect("a certificate");
        let acceptor = acceptor(certificate.der().clone(), key.serialize_der());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let accepting = tokio::spawn(accept(listener, acceptor, server.port())).abort_handle();
        Self { port, folder, accepting }
    }

    fn settings(&self) -> config::Cache {
        config::Cache { redis_ca_file: Some(self.folder.path().join("ca.pem")), ..settings() }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: Vec<u8>) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("protocols").with_no_client_auth();
    let key = PrivateKeyDer::try_from(key).expect("a key");
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).expect("a certificate")))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, port: u16) {
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}

#[tokio::test]
async fn a_certificate_of_a_named_authority_is_trusted_for_its_name_and_no_other_is() {
    let server = Server::start().await;
    let front = Front::start(&server).await;
    let url = format!("rediss://127.0.0.1:{}", front.port);
    let redis = Redis::open(&front.settings(), &url, Handle::current()).expect("a good URL");
    redis.put(vec![put("a", "1")]).await.expect("it is kept");
    assert_eq!(get(&redis, "a").await, Ok(Some("1".to_owned())));

    let systems = Redis::open(&settings(), &url, Handle::current()).expect("a good URL");
    assert!(get(&systems, "a").await.is_err(), "the system knows no such authority");
    let url = url.replace("127.0.0.1", "localhost");
    let misnamed = Redis::open(&front.settings(), &url, Handle::current()).expect("a good URL");
    assert!(get(&misnamed, "a").await.is_err(), "the certificate is for another name");
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    for content in [None, Some("no certificate")] {
        if let Some(content) = content {
            fs::write(&path, content).expect("a file");
        }
        let settings = config::Cache { redis_ca_file: Some(path.clone()), ..settings() };
        let error = Redis::open(&settings, "rediss://localhost", Handle::current()).err();
        let error = error.map(|error| format!("{error:#}")).expect("an error");
        assert!(error.contains("cache.redis_ca_file") && error.contains("ca.pem"), "{error}");
    }
}
