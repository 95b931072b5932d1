//! Issuing, rotating and revoking keys, and making tokens from them. Nobody gives what they do not have.

use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::auth::model::{AccessToken, IssuedKey, TokenRequest};
use crate::auth::{Caller, ISSUER, Issued, Key, NewKey, Permission, Permissions, PlainKey, TOKEN_TYPE, signing, store};
use crate::db::{Db, Idempotency, Intent, WriteTx};
use crate::error::{Code, Error, Result};
use crate::ids::{AgentUid, ExternalId, KeyId, SigningKeyId, TenantId};
use crate::secrets::SecretKey;

/// Issues a key for the operator, who may give anything. What it returns is the only copy of the secret.
pub async fn create_key(db: &Db, tenant: TenantId, environment: &str, new: &NewKey) -> Result<Issued> {
    register_key(db, tenant, PlainKey::generate(environment), new).await
}

/// Makes a key that its holder has already written down a valid one.
pub async fn register_key(db: &Db, tenant: TenantId, key: PlainKey, new: &NewKey) -> Result<Issued> {
    let mut tx = db.write(tenant).await?;
    store_key(&mut tx, tenant, &key, new).await?;
    tx.commit(&[]).await?;
    Ok(Issued { tenant, key })
}

/// The same, within a transaction that does more.
pub async fn insert_key(tx: &mut WriteTx, tenant: TenantId, environment: &str, new: &NewKey) -> Result<PlainKey> {
    let key = PlainKey::generate(environment);
    store_key(tx, tenant, &key, new).await?;
    Ok(key)
}

async fn store_key(tx: &mut WriteTx, tenant: TenantId, key: &PlainKey, new: &NewKey) -> Result<()> {
    let agent = lock_agent(tx, tenant, new.agent_id.as_ref()).await?;
    store::insert(tx, tenant, key, new, agent).await
}

/// What a caller may give to a new key or token.
pub struct Giver {
    pub intent: Intent,
    permissions: Permissions,
    /// Who acts as an agent gives to that agent alone; this is its name, and its incarnation if it has one.
    acting: Option<(ExternalId, Option<AgentUid>)>,
}

impl Giver {
    pub fn of(caller: &Caller, once: Idempotency) -> Self {
        let acting = caller.acting().map(|agent| (agent.id.clone(), agent.uid));
        Self { intent: caller.intent(once), permissions: caller.permissions, acting }
    }

    /// The incarnation that a caller who acts as an agent is confined to. One that is not there has no keys.
    pub fn confined_to(&self) -> Option<AgentUid> {
        self.acting.as_ref().map(|(_, uid)| uid.unwrap_or(AgentUid::from_uuid(Uuid::nil())))
    }

    fn check_scopes(&self, wanted: Permissions) -> Result<()> {
        // The command line alone gives this one.
        let missing = self.permissions.lacks(wanted).or_else(|| {
            let platform = wanted.contains(Permission::Platform);
            platform.then_some(Permission::Platform)
        });
        match missing {
            None => Ok(()),
            Some(scope) => Err(Error::refused(
                Code::InsufficientScope,
                format!(
                    "a credential can give only scopes that it has, and {} comes from the command line",
                    scope.name()
                ),
            )),
        }
    }

    fn check_agent(&self, wanted: Option<&ExternalId>) -> Result<()> {
        match &self.acting {
            Some((own, _)) if wanted != Some(own) => Err(Error::refused(
                Code::AgentMismatch,
                "who acts as an agent can issue credentials for that agent alone: set agent_id to it",
            )),
            _ => Ok(()),
        }
    }
}

pub async fn issue_key(db: Db, giver: Giver, environment: String, new: NewKey) -> Result<IssuedKey> {
    giver.check_scopes(new.scopes)?;
    giver.check_agent(new.agent_id.as_ref())?;
    let tenant = giver.intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(id) = tx.claim(&giver.intent.once).await? {
        return issued_before(&mut tx, tenant, id).await;
    }
    let key = insert_key(&mut tx, tenant, &environment, &new).await?;
    finish_issue(tx, tenant, key).await
}

/// Commits a key just inserted, and shows it this once.
async fn finish_issue(mut tx: WriteTx, tenant: TenantId, key: PlainKey) -> Result<IssuedKey> {
    let about = store::find(&mut tx, tenant, key.id).await?.ok_or_else(|| Error::not_found("key"))?;
    tx.record(&key.id.uuid()).await?;
    tx.commit(&[]).await?;
    Ok(IssuedKey { about, key: Some(key.reveal()) })
}

/// The key that an earlier sending of the same write issued; it is not shown again.
async fn issued_before(tx: &mut WriteTx, tenant: TenantId, id: Uuid) -> Result<IssuedKey> {
    let about = store::find(tx, tenant, KeyId::from_uuid(id)).await?.ok_or_else(|| Error::gone("key"))?;
    Ok(IssuedKey { about, key: None })
}

/// Issues a successor with the same rights, and gives the key itself an end.
pub async fn rotate_key(db: Db, giver: Giver, environment: String, id: KeyId, overlap_secs: i64) -> Result<IssuedKey> {
    let tenant = giver.intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(successor) = tx.claim(&giver.intent.once).await? {
        return issued_before(&mut tx, tenant, successor).await;
    }
    // The agent is locked before the key, as everywhere; what a key is bound to never changes.
    let key = store::find(&mut tx, tenant, id).await?.ok_or_else(|| Error::not_found("key"))?;
    let agent = bound_agent(&mut tx, tenant, &key).await?;
    let (key, live) = store::find_for_update(&mut tx, tenant, id).await?.ok_or_else(|| Error::not_found("key"))?;
    if giver.confined_to().is_some_and(|own| Some(own) != agent) {
        return Err(Error::not_found("key"));
    }
    giver.check_scopes(Permissions::from_names(&key.scopes))?;
    if !live || key.replaced_by.is_some() {
        return Err(Error::refused(
            Code::WrongState,
            "only a live key that has no successor yet can be rotated; issue a new one",
        ));
    }
    let successor = PlainKey::generate(&environment);
    store::insert_successor(&mut tx, tenant, &successor, id).await?;
    store::update_replaced(&mut tx, tenant, id, successor.id, overlap_secs).await?;
    finish_issue(tx, tenant, successor).await
}

async fn bound_agent(tx: &mut WriteTx, tenant: TenantId, key: &Key) -> Result<Option<AgentUid>> {
    let agent = key.agent_id.as_deref().and_then(|id| ExternalId::parse(id).ok());
    lock_agent(tx, tenant, agent.as_ref()).await
}

async fn lock_agent(tx: &mut WriteTx, tenant: TenantId, agent: Option<&ExternalId>) -> Result<Option<AgentUid>> {
    match agent {
        Some(id) => store::lock_agent(tx, tenant, id).await?.map(Some).ok_or_else(|| Error::not_found("agent")),
        None => Ok(None),
    }
}

pub async fn list_keys(db: &Db, tenant: TenantId) -> Result<Vec<Key>> {
    store::list(&mut db.read(tenant).await?, tenant, None, None, i64::MAX).await
}

/// Takes effect on the very next call, anywhere: every call asks the gate. `confined_to`: only a key of this agent.
pub async fn revoke_key(db: Db, intent: Intent, key: KeyId, confined_to: Option<AgentUid>) -> Result<()> {
    let tenant = intent.tenant;
    let mut tx = db.write(tenant).await?;
    if let Some(()) = tx.claim(&intent.once).await? {
        return Ok(());
    }
    if !store::update_revoked(&mut tx, tenant, key, confined_to).await? {
        return Err(Error::not_found("key"));
    }
    tx.record(&()).await?;
    tx.commit(&[]).await
}

pub async fn key_tenant(db: &Db, key: KeyId) -> Result<TenantId> {
    store::key_tenant(db.background(), key).await?.ok_or_else(|| Error::not_found("key"))
}

pub async fn rotate_signing(db: &Db, seal: &SecretKey, at_once: bool) -> Result<SigningKeyId> {
    signing::rotate(db.background(), seal, at_once).await
}

/// The claims of our tokens (RFC 7519, RFC 9068).
#[derive(Serialize)]
struct OwnClaims {
    iss: &'static str,
    aud: &'static str,
    /// The key that it was made from and dies with.
    sub: KeyId,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
    tenant: TenantId,
    scope: String,
    /// The incarnation of the agent that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentUid>,
}

/// Makes a token that is worth at most what the caller's key is.
pub async fn issue_token(app: &App, caller: &Caller, wanted: TokenRequest) -> Result<AccessToken> {
    let Some(key) = caller.by_key else {
        return Err(Error::refused(Code::InsufficientScope, "only an API key can be exchanged for a token"));
    };
    let scopes = wanted.scopes.unwrap_or(caller.permissions);
    if let Some(missing) = caller.permissions.lacks(scopes) {
        return Err(Error::refused(Code::InsufficientScope, format!("this key lacks the scope {}", missing.name())));
    }
    let agent = agent_of_token(app, caller, wanted.agent_id).await?;
    let (pool, seal) = (app.db.gate().clone(), app.secret_key.clone());
    let (kid, signer) = app.db.run(async move { signing::current(&pool, &seal).await }).await?;
    let now = caller.checked_at.unix_timestamp();
    let claims = OwnClaims {
        iss: ISSUER,
        aud: ISSUER,
        sub: key,
        jti: Uuid::now_v7(),
        iat: now,
        nbf: now,
        exp: now + wanted.ttl_secs,
        tenant: caller.tenant,
        scope: scopes.names().join(" "),
        agent,
    };
    let header = Header { typ: Some(TOKEN_TYPE.into()), kid: Some(kid.to_string()), ..Header::new(Algorithm::EdDSA) };
    let access_token =
        jsonwebtoken::encode(&header, &claims, &signer).map_err(|error| Error::Internal(error.into()))?;
    Ok(AccessToken { access_token, token_type: "Bearer", expires_in: wanted.ttl_secs, scopes: scopes.names() })
}

/// The agent that a token is bound to: the one that the caller acts as, else the one that it asks for.
async fn agent_of_token(app: &App, caller: &Caller, wanted: Option<ExternalId>) -> Result<Option<AgentUid>> {
    if let Some(own) = caller.acting() {
        if wanted.is_some() {
            Giver::of(caller, Idempotency::default()).check_agent(wanted.as_ref())?;
        }
        return own.uid.map(Some).ok_or_else(|| Error::not_found("agent"));
    }
    let Some(id) = wanted else {
        return Ok(None);
    };
    let (db, tenant) = (app.db.clone(), caller.tenant);
    let found = app.db.run(async move { store::find_agent(&mut db.read(tenant).await?, tenant, &id).await });
    found.await?.map(Some).ok_or_else(|| Error::not_found("agent"))
}
