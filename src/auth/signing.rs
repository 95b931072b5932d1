//! The keys that sign our tokens: Ed25519, sealed in Postgres, the same for all instances. One
//! signs; the one before it still verifies while its tokens live. The gate says which are live.

use anyhow::Context;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::EncodingKey;
use rand::RngExt;
use sqlx::{PgConnection, PgPool};

use crate::error::{Code, ConstraintExt, Error, Result};
use crate::ids::SigningKeyId;
use crate::secrets::SecretKey;

/// The longest life of a token, twice the leeway, and some time for a token being made at this moment.
const OVERLAP_SECS: f64 = 1_000.0;

/// The key that signs now; the first to ask makes it.
pub async fn current(pool: &PgPool, seal: &SecretKey) -> Result<(SigningKeyId, EncodingKey)> {
    if let Some(key) = find_current(pool, seal).await? {
        return Ok(key);
    }
    let fresh = Fresh::make(seal)?;
    sqlx::query(
        "INSERT INTO signing_keys (signing_key_id, public_key, sealed) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
    )
    .bind(fresh.id)
    .bind(fresh.public)
    .bind(fresh.sealed)
    .execute(pool)
    .await?;
    let key = find_current(pool, seal).await?;
    key.ok_or_else(|| Error::Internal(anyhow::anyhow!("no signing key, although one was made")))
}

async fn find_current(pool: &PgPool, seal: &SecretKey) -> Result<Option<(SigningKeyId, EncodingKey)>> {
    let row: Option<(SigningKeyId, Vec<u8>)> =
        sqlx::query_as("SELECT signing_key_id, sealed FROM signing_keys WHERE retires_at IS NULL")
            .fetch_optional(pool)
            .await?;
    let Some((id, sealed)) = row else {
        return Ok(None);
    };
    let private = seal.open(&purpose(id), &sealed)?;
    Ok(Some((id, EncodingKey::from_ed_der(&private))))
}

/// Makes a new key sign from now on. The one before verifies until its last token has ended, or with `at_once` no
/// more; what was older ends now, so that two are live at the most.
pub async fn rotate(pool: &PgPool, seal: &SecretKey, at_once: bool) -> Result<SigningKeyId> {
    let fresh = Fresh::make(seal)?;
    let overlap = if at_once { 0.0 } else { OVERLAP_SECS };
    // One statement: its own update is done before the insert reads how many rows that touched.
    sqlx::query(
        "WITH retired AS (
             UPDATE signing_keys
                SET retires_at = CASE WHEN retires_at IS NULL THEN now() + make_interval(secs => $4) ELSE now() END
              WHERE retires_at IS NULL OR retires_at > now()
          RETURNING signing_key_id)
         INSERT INTO signing_keys (signing_key_id, public_key, sealed)
         SELECT $1, $2, $3 FROM (SELECT count(*) FROM retired) AS done",
    )
    .bind(fresh.id)
    .bind(fresh.public)
    .bind(fresh.sealed)
    .bind(overlap)
    .execute(pool)
    .await
    .on_constraint("signing_keys_current_key", || {
        Error::refused(Code::WrongState, "another rotation is going on; try again")
    })?;
    Ok(fresh.id)
}

/// Deletes keys that verify no more; returns how many.
pub async fn purge_signing_keys(conn: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query("DELETE FROM signing_keys WHERE retires_at <= now()").execute(conn).await?;
    Ok(done.rows_affected())
}

/// A key that nobody has seen yet.
struct Fresh {
    id: SigningKeyId,
    public: Vec<u8>,
    sealed: Vec<u8>,
}

impl Fresh {
    fn make(seal: &SecretKey) -> Result<Self> {
        let key = SigningKey::from_bytes(&rand::rng().random());
        let private = key.to_pkcs8_der().context("encoding a signing key")?;
        let id = SigningKeyId::new();
        let sealed = seal.seal(&purpose(id), private.as_bytes())?;
        Ok(Self { id, public: key.verifying_key().to_bytes().to_vec(), sealed })
    }
}

/// Names the key, so that one row's secret cannot be moved to another's.
fn purpose(id: SigningKeyId) -> String {
    format!("signing:{id}")
}
