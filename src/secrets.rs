//! The operator's key and what it seals. Secrets live in Postgres, the same for all instances,
//! and are worthless without the key, which lives in the environment or in a 0600 file.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use rand::RngExt;
use sha2::Sha256;
use sqlx::PgPool;

const NONCE_BYTES: usize = 24;

/// A key of 256 bits. It has no `Display`, and `Debug` hides it.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    /// Reads `CAIRN_SECRET_KEY`.
    pub fn from_base64(text: &str) -> anyhow::Result<Self> {
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        let Some(bytes) = bytes else {
            bail!("configuration: setting secret_key: must be 32 bytes in base64 (try `openssl rand -base64 32`)");
        };
        Ok(Self(bytes))
    }

    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    pub fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let bytes = bytes.try_into();
        bytes.map(Self).map_err(|_| anyhow::anyhow!("a secret must have 32 bytes"))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for another purpose, from which this one cannot be told.
    pub fn derive(&self, purpose: &str) -> anyhow::Result<Self> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).context("an HMAC key may have any length")?;
        mac.update(purpose.as_bytes());
        Ok(Self(mac.finalize().into_bytes().into()))
    }

    /// XChaCha20-Poly1305 with a random nonce in front. `purpose` is authenticated: a sealed value
    /// cannot be passed off as another.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::rng().random();
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let sealed =
            self.cipher()?.encrypt(&XNonce::from(nonce), payload).map_err(|_| anyhow::anyhow!("sealing failed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, purpose: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let Some((nonce, sealed)) = sealed.split_first_chunk::<NONCE_BYTES>() else {
            bail!("the sealed secret {purpose:?} is cut short");
        };
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        self.cipher()?.decrypt(&XNonce::from(*nonce), payload).map_err(|_| {
            anyhow::anyhow!(
                "the secret {purpose:?} was sealed with another key than setting secret_key (CAIRN_SECRET_KEY)"
            )
        })
    }

    fn cipher(&self) -> anyhow::Result<XChaCha20Poly1305> {
        XChaCha20Poly1305::new_from_slice(&self.0).context("the secret key has 32 bytes")
    }
}

/// The installation's secret for a purpose; the first instance to ask makes it.
pub async fn server_secret(pool: &PgPool, key: &SecretKey, purpose: &str) -> anyhow::Result<SecretKey> {
    let sealed = key.seal(purpose, SecretKey::random().bytes())?;
    sqlx::query("INSERT INTO server_secrets (purpose, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(purpose)
        .bind(sealed)
        .execute(pool)
        .await?;
    let stored: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM server_secrets WHERE purpose = $1")
        .bind(purpose)
        .fetch_one(pool)
        .await?;
    let plain = key.open(purpose, &stored)?;
    SecretKey::from_bytes(&plain).with_context(|| format!("reading the secret {purpose:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_and_purpose() {
        let key = SecretKey::random();
        let sealed = key.seal("cursor", b"stone").expect("seals");
        assert_eq!(key.open("cursor", &sealed).expect("opens"), b"stone");
        assert!(key.open("cache", &sealed).is_err());
        assert!(SecretKey::random().open("cursor", &sealed).is_err());
        let mut forged = sealed.clone();
        forged[30] ^= 1;
        assert!(key.open("cursor", &forged).is_err());
    }
}
