//! Tokens: which ones pass, on every instance, while keys rotate; and that nobody gets more than they had.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cairn::auth;
use cairn::config::Issuer;
use cairn::ids::TenantId;
use ed25519_dalek::pkcs8::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::{Signer, SigningKey};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Client, Tenant, TestApp};

/// A key pair that can sign anything.
pub struct Forger {
    key: SigningKey,
    kid: String,
}

impl Forger {
    pub fn new() -> Self {
        Self { key: SigningKey::from_bytes(&rand::rng().random()), kid: uuid::Uuid::now_v7().to_string() }
    }

    /// Makes the server take its signatures for its own, as a key on its way out.
    async fn insider(app: &TestApp) -> Self {
        let forger = Self::new();
        let insert = sqlx::query(
            "INSERT INTO signing_keys (signing_key_id, public_key, sealed, retires_at)
             VALUES ($1::uuid, $2, '', now() + interval '1 hour')",
        );
        let public = forger.key.verifying_key().to_bytes().to_vec();
        let insert = insert.bind(forger.kid.clone()).bind(public);
        insert.execute(&mut app.database.superuser().await).await.expect("inserts");
        forger
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.kid})
    }

    /// Settings that trust it as `https://id.example`, with its public key in a file.
    pub fn issuer(&self, tenants: &[TenantId], folder: &Path) -> Issuer {
        let pem = folder.join("key.pem");
        let public = self.key.verifying_key().to_public_key_pem(LineEnding::LF).expect("PEM");
        std::fs::write(&pem, public).expect("writes");
        Issuer { pem_file: Some(pem), kid: Some(self.kid.clone()), ..issuer(tenants) }
    }
}

pub fn key_id(key: &str) -> String {
    key.split('_').nth(2).expect("an id").to_owned()
}

pub async fn now(app: &TestApp) -> i64 {
    let now = sqlx::query_scalar("SELECT floor(extract(epoch FROM now()))::bigint");
    now.fetch_one(&mut app.database.superuser().await).await.expect("a time")
}

fn good_claims(tenant: TenantId, key: &str, now: i64) -> Value {
    json!({"iss": "cairn", "aud": "cairn", "sub": key_id(key), "jti": "1", "iat": now, "nbf": now, "exp": now + 900,
           "tenant": tenant, "scope": "memories:read memories:write"})
}

/// `base` with some members changed; null takes one away.
fn with(base: &Value, changes: Value) -> Value {
    let mut changed = base.clone();
    for (name, value) in changes.as_object().expect("an object") {
        let members = changed.as_object_mut().expect("an object");
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    changed
}

pub async fn token_of(client: &Client, request: Value) -> String {
    let answer = client.post("/v1/auth/token", request).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.expect(200)["access_token"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_token_never_passes_on_any_instance_while_keys_rotate() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let (tenant, other) = (app.new_tenant().await, app.new_tenant().await);
    let before = token_of(&tenant, json!({})).await;
    auth::rotate_signing(app.db(), &app.app.secret_key, false).await.expect("rotates");
    let after = token_of(&tenant, json!({})).await;
    let (insider, stranger) = (Forger::insider(&app).await, Forger::new());
    let now = now(&app).await;
    let (header, claims) = (insider.header(), good_claims(tenant.id, &tenant.key, now));

    // What these two have in common with every broken one below is not what is wrong with it.
    for good in [&before, &after, &insider.sign(&header, &claims)] {
        for url in [app.url(), sibling.url()] {
            tenant.with_key(good).at(url).get("/v1/agents").await.expect(200);
        }
    }
    let mut broken = broken_tokens(&insider, &header, &claims, now);
    broken.extend(tampered(&after));
    broken.push(stranger.sign(&stranger.header(), &claims));
    broken.push(stranger.sign(&header, &claims));
    broken.push(insider.sign(&header, &with(&claims, json!({"tenant": other.id}))));
    broken.push(insider.sign(&header, &with(&claims, json!({"sub": key_id(&other.key)}))));
    assert!(broken.len() >= 55, "{} tokens", broken.len());
    for (index, token) in broken.iter().enumerate() {
        for url in [app.url(), sibling.url()] {
            let refused = tenant.with_key(token).at(url).get("/v1/agents").await;
            let mut problem = refused.assert_problem(401, "unauthenticated");
            problem["request_id"] = json!(null);
            assert_eq!(
                problem["detail"], "send a valid credential: Authorization: Bearer <API key or token>",
                "{index}: {token}"
            );
        }
    }
}

/// Signed by a key that the server trusts, and yet wrong.
fn broken_tokens(insider: &Forger, header: &Value, claims: &Value, now: i64) -> Vec<String> {
    let headers = [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "RS256"}),
        json!({"alg": "ES256"}),
        json!({"alg": "eddsa"}),
        json!({"alg": null}),
        json!({"typ": null}),
        json!({"typ": "JWT"}),
        json!({"typ": "refresh+jwt"}),
        json!({"kid": null}),
        json!({"kid": ""}),
        json!({"kid": 7}),
        json!({"kid": uuid::Uuid::now_v7().to_string()}),
        json!({"kid": "../../etc/passwd"}),
        json!({"kid": "' OR 1=1 --"}),
        json!({"kid": "https://evil.example/key"}),
        json!({"jku": "https://evil.example/jwks"}),
        json!({"x5u": "https://evil.example/cert"}),
        json!({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}}),
        json!({"crit": ["exp"]}),
        json!({"zip": "DEF"}),
        json!({"enc": "A256GCM"}),
    ];
    let claim_changes = [
        json!({"iss": null}),
        json!({"iss": "someone"}),
        json!({"aud": null}),
        json!({"aud": "someone"}),
        json!({"aud": ["someone", "else"]}),
        json!({"aud": 7}),
        json!({"sub": null}),
        json!({"sub": uuid::Uuid::now_v7().to_string()}),
        json!({"sub": "x"}),
        json!({"jti": null}),
        json!({"exp": null}),
        json!({"nbf": null}),
        json!({"iat": null}),
        json!({"exp": (now + 900).to_string()}),
        json!({"exp": 1_000_000_000_000_i64}),
        json!({"exp": now as f64 + 0.5}),
        json!({"exp": -1}),
        json!({"exp": now + 901}),
        json!({"exp": now}),
        json!({"nbf": now + 60}),
        json!({"iat": now + 60, "exp": now + 900}),
        json!({"iat": now - 10_000, "exp": now + 900}),
        json!({"tenant": null}),
        json!({"tenant": "x"}),
        json!({"agent": uuid::Uuid::now_v7().to_string()}),
        json!({"agent": "ada"}),
        json!({"agent": 7}),
    ];
    let headers = headers.into_iter().map(|change| insider.sign(&with(header, change), claims));
    let claims = claim_changes.into_iter().map(|change| insider.sign(header, &with(claims, change)));
    headers.chain(claims).collect()
}

/// What can be done to a good token without its key.
fn tampered(good: &str) -> Vec<String> {
    let parts: Vec<&str> = good.split('.').collect();
    let header = URL_SAFE_NO_PAD.decode(parts[0]).expect("base64");
    let none = String::from_utf8(header).expect("UTF-8").replace("EdDSA", "none");
    let mut bits = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64");
    bits[0] ^= 1;
    vec![
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(none), parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(bits)),
        format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode("{}"), parts[2]),
        format!("{}.{}.{}", STANDARD.encode("{}"), parts[1], parts[2]),
        format!("{good}.{}.{}", parts[1], parts[2]),
        format!("{good}{}", "A".repeat(5_000)),
        format!("{good}="),
        good.replace('.', ".."),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_thirty_seconds_after_its_time_by_the_databases_clock() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let insider = Forger::insider(&app).await;
    let ended = |seconds: i64, now: i64| {
        let times = json!({"iat": now - 600, "nbf": now - 600, "exp": now - seconds});
        insider.sign(&insider.header(), &with(&good_claims(tenant.id, &tenant.key, now), times))
    };
    let recently = ended(25, now(&app).await);
    tenant.with_key(&recently).get("/v1/agents").await.expect(200);
    let long_ago = ended(31, now(&app).await);
    tenant.with_key(&long_ago).get("/v1/agents").await.assert_problem(401, "token_expired");
    let early = json!({"nbf": now(&app).await + 25});
    let early = insider.sign(&insider.header(), &with(&good_claims(tenant.id, &tenant.key, now(&app).await), early));
    tenant.with_key(&early).get("/v1/agents").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signing_keys_are_live_during_a_rotation_and_no_third() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let tenant = app.new_tenant().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(token_of(&tenant, json!({})).await);
        auth::rotate_signing(app.db(), &app.app.secret_key, false).await.expect("rotates");
    }
    tokens.push(token_of(&tenant.at(sibling.url()), json!({})).await);
    for url in [app.url(), sibling.url()] {
        for (token, live) in tokens.iter().zip([false, false, true, true]) {
            let answer = tenant.with_key(token).at(url.clone()).get("/v1/agents").await;
            assert_eq!(answer.status, if live { 200 } else { 401 }, "{}", answer.text);
        }
    }
    auth::rotate_signing(app.db(), &app.app.secret_key, true).await.expect("rotates");
    for token in &tokens {
        tenant.with_key(token).at(sibling.url()).get("/v1/agents").await.assert_problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_dies_with_its_key_its_agent_and_its_tenants_word() {
    let app = TestApp::start().await;
    let sibling = app.sibling().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "here").await;
    let doomed = app.client(tenant.id, "all", None).await;
    let there = |token: &str| tenant.with_key(token).at(sibling.url());

    let token = token_of(&doomed, json!({})).await;
    there(&token).get("/v1/agents").await.expect(200);
    tenant.delete(&format!("/v1/keys/{}", key_id(&doomed.key))).await.expect(204);
    there(&token).get("/v1/agents").await.assert_problem(401, "unauthenticated");

    let narrowed = token_of(&tenant, json!({"agent_id": "ada"})).await;
    there(&narrowed).get("/v1/agents/ada").await.expect(200);
    tenant.delete("/v1/agents/ada").await.expect(200);
    tenant.remember("ada", "another ada").await;
    there(&narrowed).get("/v1/agents/ada").await.assert_problem(401, "unauthenticated");

    let token = token_of(&tenant, json!({})).await;
    let moment = time::OffsetDateTime::from_unix_timestamp(now(&app).await + 1).expect("a time");
    let moment = moment.format(&time::format_description::well_known::Rfc3339).expect("formats");
    tenant.patch("/v1/tenant", json!({"tokens_valid_from": moment})).await.expect(200);
    there(&token).get("/v1/agents").await.assert_problem(401, "unauthenticated");
    tenant.get("/v1/agents").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_grants_at_most_what_its_key_grants() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "here").await;
    let reader = app.client(tenant.id, "memories:read", None).await;

    let token = tenant.with_key(&token_of(&reader, json!({})).await);
    token.get("/v1/agents").await.expect(200);
    token.put("/v1/agents/eve", json!({})).await.assert_problem(403, "insufficient_scope");
    reader
        .post("/v1/auth/token", json!({"scopes": ["memories:write"]}))
        .await
        .assert_problem(403, "insufficient_scope");
    // A token is not exchanged for another, or it would live as long as its key.
    token.post("/v1/auth/token", json!({})).await.assert_problem(403, "insufficient_scope");

    let narrow = tenant.with_key(&token_of(&tenant, json!({"scopes": ["memories:read"], "agent_id": "ada"})).await);
    narrow.get("/v1/agents/ada").await.expect(200);
    narrow.get("/v1/agents/bob").await.assert_problem(404, "not_found");
    narrow.put("/v1/agents/ada", json!({})).await.assert_problem(403, "insufficient_scope");
    let answer = tenant.post("/v1/auth/token", json!({"ttl_secs": 60, "scopes": ["memories:read"]})).await.expect(200);
    assert_eq!(
        (&answer["expires_in"], &answer["token_type"], &answer["scopes"]),
        (&json!(60), &json!("Bearer"), &json!(["memories:read"]))
    );
    for ttl in [json!(0), json!(901), json!("60"), json!(1.5)] {
        assert_eq!(tenant.post("/v1/auth/token", json!({"ttl_secs": ttl})).await.status, 422);
    }
    tenant.post("/v1/auth/token", json!({"agent_id": "nobody"})).await.assert_problem(404, "not_found");
    // Who acts as ada gets tokens for ada, asked or not, and for nobody else.
    tenant.remember("bob", "there").await;
    let bound = app.client(tenant.id, "all", Some("ada")).await;
    for request in [json!({}), json!({"agent_id": "ada"})] {
        let own = tenant.with_key(&token_of(&bound, request).await);
        own.get("/v1/agents/ada").await.expect(200);
        own.get("/v1/agents/bob").await.assert_problem(404, "not_found");
    }
    bound.post("/v1/auth/token", json!({"agent_id": "bob"})).await.assert_problem(403, "agent_mismatch");
}

/// A JWKS address that counts how often it is asked.
struct KeyServer {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    async fn start(forgers: &[&Forger]) -> Self {
        let keys: Vec<Value> = forgers
            .iter()
            .map(|forger| {
                let x = URL_SAFE_NO_PAD.encode(forger.key.verifying_key().to_bytes());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": forger.kid, "x": x, "use": "sig", "alg": "EdDSA"})
            })
            .chain([json!({"kty": "OKP", "crv": "Ed25519", "kid": "short", "x": "AA", "alg": "EdDSA"})])
            .collect();
        let body = json!({"keys": keys}).to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/jwks", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
                let _ = stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await;
            }
        });
        Self { url, asked }
    }
}

fn issuer(tenants: &[TenantId]) -> Issuer {
    Issuer {
        issuer: "https://id.example".into(),
        algorithm: "EdDSA".into(),
        tenants: tenants.iter().map(ToString::to_string).collect(),
        scopes: vec!["memories:read".into(), "memories:write".into()],
        ..Issuer::default()
    }
}

pub fn external_claims(tenant: TenantId, now: i64) -> Value {
    json!({"iss": "https://id.example", "aud": ["other", "cairn"], "sub": "someone", "jti": "1", "iat": now, "nbf": now,
           "exp": now + 600, "tenant": tenant, "scope": "memories:read keys:manage platform"})
}

#[tokio::test(flavor = "multi_thread")]
async fn another_issuers_tokens_grant_what_the_settings_allow_and_cause_no_call() {
    let app = TestApp::start().await;
    let (tenant, foreign) = (app.new_tenant().await, app.new_tenant().await);
    tenant.remember("ada", "here").await;
    let (trusted, unknown) = (Forger::new(), Forger::new());
    let keys = KeyServer::start(&[&trusted]).await;
    let mut settings = issuer(&[tenant.id]);
    settings.jwks_url = Some(keys.url.clone());
    let server = app.sibling_through(app.database.options(), |config| config.auth.issuers = vec![settings]).await;
    let now = now(&app).await;
    let call = |token: String| tenant.with_key(&token).at(server.url());
    let good = trusted.sign(&trusted.header(), &external_claims(tenant.id, now));
    // The keys are read in the background.
    for _ in 0..100 {
        if call(good.clone()).get("/v1/agents").await.status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let good = call(good);
    good.get("/v1/agents").await.expect(200);
    good.put("/v1/agents/eve", json!({})).await.assert_problem(403, "insufficient_scope");
    good.get("/v1/keys").await.assert_problem(403, "insufficient_scope");
    good.get("/v1/platform/tenants").await.assert_problem(403, "insufficient_scope");
    good.post("/v1/auth/token", json!({})).await.assert_problem(403, "insufficient_scope");

    let asked = keys.asked.load(Ordering::SeqCst);
    let claims = external_claims(tenant.id, now);
    let sign = |change: Value| trusted.sign(&trusted.header(), &with(&claims, change));
    for token in [
        unknown.sign(&unknown.header(), &claims),
        unknown.sign(&trusted.header(), &claims),
        trusted.sign(&with(&trusted.header(), json!({"kid": "short"})), &claims),
        trusted.sign(&with(&trusted.header(), json!({"typ": "JWT"})), &claims),
        trusted.sign(&with(&trusted.header(), json!({"jku": keys.url})), &claims),
        sign(json!({"aud": "other"})),
        sign(json!({"tenant": foreign.id})),
        sign(json!({"tenant": TenantId::OPERATOR})),
        sign(json!({"tenant": null})),
        sign(json!({"iss": "https://id.example/"})),
        sign(json!({"iss": "cairn"})),
        sign(json!({"exp": now + 3600})),
    ] {
        call(token).get("/v1/agents").await.assert_problem(401, "unauthenticated");
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), asked, "a token made the server ask for keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_issuers_agent_claim_binds_and_its_absence_is_refused() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "here").await;
    let trusted = Forger::new();
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Issuer { agent_claim: Some("agent".into()), ..trusted.issuer(&[tenant.id], folder.path()) };
    let server = app.sibling_through(app.database.options(), |config| config.auth.issuers = vec![settings]).await;
    let claims = external_claims(tenant.id, now(&app).await);
    let call =
        |change: Value| tenant.with_key(&trusted.sign(&trusted.header(), &with(&claims, change))).at(server.url());
    call(json!({"agent": "ada"})).get("/v1/agents/ada").await.expect(200);
    call(json!({"agent": "bob"})).get("/v1/agents/ada").await.assert_problem(404, "not_found");
    for change in [json!({}), json!({"agent": ""}), json!({"agent": 7}), json!({"agent": "no spaces"})] {
        call(change).get("/v1/agents/ada").await.assert_problem(401, "unauthenticated");
    }
}

/// Every caller with `keys:manage`, and every wish for more than it has.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_what_they_do_not_have() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    tenant.remember("ada", "here").await;
    tenant.remember("bob", "there").await;
    let strong = key_id(&app.issue(tenant.id, "all", None).await);
    let adas = key_id(&app.issue(tenant.id, "memories:read,keys:manage", Some("ada")).await);
    let bobs = key_id(&app.issue(tenant.id, "memories:read", Some("bob")).await);
    let unbound = app.client(tenant.id, "memories:read,keys:manage", None).await;
    let bound = app.client(tenant.id, "memories:read,keys:manage", Some("ada")).await;
    let callers = [
        ("unbound key", unbound.clone(), false),
        ("unbound token", tenant.with_key(&token_of(&unbound, json!({})).await), false),
        ("bound key", bound.clone(), true),
        ("bound token", tenant.with_key(&token_of(&bound, json!({})).await), true),
        ("narrowed token", tenant.with_key(&token_of(&unbound, json!({"agent_id": "ada"})).await), true),
    ];
    for (who, caller, is_bound) in &callers {
        let wish = async |scopes: Value, agent: Option<&str>| {
            let mut body = json!({"name": "wish", "scopes": scopes});
            if let Some(agent) = agent {
                body["agent_id"] = json!(agent);
            }
            caller.post("/v1/keys", body).await
        };
        let more = [
            "memories:write",
            "circles:read",
            "circles:manage",
            "cache:read",
            "cache:manage",
            "jobs:manage",
            "tenant:admin",
            "platform",
        ];
        for scope in more {
            let answer = wish(json!(["memories:read", scope]), Some("ada")).await;
            answer.assert_problem(403, "insufficient_scope");
        }
        wish(json!(["memories:read"]), Some("ada")).await.expect(201);
        for agent in [None, Some("bob")] {
            let answer = wish(json!(["memories:read"]), agent).await;
            if *is_bound {
                answer.assert_problem(403, "agent_mismatch")
            } else {
                answer.expect(201)
            };
        }
        let rotate = async |key: &str| caller.post(&format!("/v1/keys/{key}/rotate"), json!({})).await;
        let expected = if *is_bound { (404, "not_found") } else { (403, "insufficient_scope") };
        rotate(&strong).await.assert_problem(expected.0, expected.1);
        if *is_bound {
            rotate(&bobs).await.assert_problem(404, "not_found");
            caller.delete(&format!("/v1/keys/{bobs}")).await.assert_problem(404, "not_found");
            caller.delete(&format!("/v1/keys/{strong}")).await.assert_problem(404, "not_found");
            let listed = caller.get("/v1/keys").await.expect(200);
            assert!(listed["items"].as_array().expect("items").iter().all(|key| key["agent_id"] == "ada"), "{who}");
        }
    }
    // The platform's own scope comes from the command line alone, even for those who have it.
    let operator = app.client(TenantId::OPERATOR, "platform,keys:manage", None).await;
    operator
        .post("/v1/keys", json!({"name": "more", "scopes": ["platform"]}))
        .await
        .assert_problem(403, "insufficient_scope");
    assert_eq!(tenant.post(&format!("/v1/keys/{adas}/rotate"), json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_works_beside_its_successor_until_the_overlap_ends() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let old = app.client(tenant.id, "memories:read", None).await;
    let path = format!("/v1/keys/{}/rotate", key_id(&old.key));
    let rotated = tenant.post(&path, json!({"overlap_secs": 600})).await.expect(200);
    let new = tenant.with_key(rotated["key"].as_str().expect("a key"));
    assert_eq!((&rotated["scopes"], &rotated["name"]), (&json!(["memories:read"]), &json!("test")));
    old.get("/v1/agents").await.expect(200);
    new.get("/v1/agents").await.expect(200);
    // At most two are live: who was replaced is not replaced again.
    tenant.post(&path, json!({})).await.assert_problem(409, "wrong_state");
    let listed = tenant.get("/v1/keys").await.expect(200);
    let listed = listed["items"].as_array().expect("items");
    let replaced = listed.iter().find(|key| key["id"] == key_id(&old.key).as_str()).expect("listed");
    assert_eq!(replaced["replaced_by"], rotated["id"]);

    let path = format!("/v1/keys/{}/rotate", rotated["id"].as_str().expect("an id"));
    tenant.post(&path, json!({"overlap_secs": 0})).await.expect(200);
    new.get("/v1/agents").await.assert_problem(401, "unauthenticated");
    tenant.post(&path, json!({"overlap_secs": -1})).await.assert_problem(422, "out_of_range");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_issued_listed_and_revoked_without_showing_its_secret_again() {
    let app = TestApp::start().await;
    let tenant = app.new_tenant().await;
    let body = json!({"name": "back end", "scopes": ["memories:read"], "expires_at": "2100-01-01T00:00:00Z"});
    let issued = tenant.post("/v1/keys", body).await.expect(201);
    let secret = issued["key"].as_str().expect("a key").split('_').nth(3).expect("a secret").to_owned();
    let issued_client = tenant.with_key(issued["key"].as_str().expect("a key"));
    issued_client.get("/v1/agents").await.expect(200);
    let listed = tenant.get("/v1/keys?limit=1").await;
    assert!(!listed.text.contains(&secret));
    assert!(listed.expect(200)["next_cursor"].is_string());

    let path = format!("/v1/keys/{}", issued["id"].as_str().expect("an id"));
    tenant.delete(&path).await.expect(204);
    issued_client.get("/v1/agents").await.assert_problem(401, "unauthenticated");
    tenant.delete(&path).await.assert_problem(404, "not_found");
    for (body, code) in [
        (json!({"name": "x", "scopes": []}), "field_empty"),
        (json!({"name": "x", "scopes": ["root"]}), "invalid_value"),
        (json!({"name": "x", "scopes": "all"}), "invalid_type"),
        (json!({"name": "", "scopes": ["memories:read"]}), "field_empty"),
        (json!({"name": "x", "scopes": ["memories:read"], "expires_at": "2020-01-01T00:00:00Z"}), "invalid_timestamp"),
        (json!({"name": "x", "scopes": ["memories:read"], "tenant_id": tenant.id}), "unknown_field"),
    ] {
        tenant.post("/v1/keys", body).await.assert_problem(422, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn last_use_is_written_from_batches() {
    let app = TestApp::start().await;
    let tenant: Tenant = app.new_tenant().await;
    let used = auth::KeyUses::default();
    let id = cairn::ids::KeyId::parse(&key_id(&tenant.key)).expect("an id");
    let last = async || {
        let listed = tenant.get("/v1/keys").await.expect(200);
        listed["items"][0]["last_used_at"].as_str().map(str::to_owned)
    };
    assert_eq!(last().await, None);
    let at = |seconds: i64| time::OffsetDateTime::from_unix_timestamp(2_000_000_000 + seconds).expect("a time");
    used.note(tenant.id, id, at(0));
    used.write(app.db()).await;
    let first = last().await.expect("a time");
    // Sooner than five minutes later is not worth a write.
    used.note(tenant.id, id, at(200));
    used.write(app.db()).await;
    assert_eq!(last().await.as_deref(), Some(first.as_str()));
    used.note(tenant.id, id, at(301));
    used.write(app.db()).await;
    assert_ne!(last().await.as_deref(), Some(first.as_str()));
}
