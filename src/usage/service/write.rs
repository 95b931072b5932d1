//! Writing what was counted of one tenant: one small transaction.

use std::collections::HashSet;

use serde::Serialize;

use crate::cache::{Kind, Layer};
use crate::db::{Db, WriteTx};
use crate::error::{Error, Result};
use crate::ids::{AgentUid, ScopeId, TenantId};
use crate::secrets::SecretKey;
use crate::usage::model::Tally;
use crate::usage::store::{self, AGENTS, KINDS, LAYERS, SCOPES};
use crate::usage::{AgentUse, KindUse, LayerUse, Query, ScopeUse};

#[derive(Serialize)]
struct LayerRow {
    kind: Kind,
    layer: Layer,
    #[serde(flatten)]
    counts: LayerUse,
}

#[derive(Serialize)]
struct KindRow {
    kind: Kind,
    #[serde(flatten)]
    counts: KindUse,
}

#[derive(Serialize)]
struct AgentRow {
    agent_uid: AgentUid,
    #[serde(flatten)]
    counts: AgentUse,
}

#[derive(Serialize)]
struct ScopeRow {
    scope_id: ScopeId,
    #[serde(flatten)]
    counts: ScopeUse,
}

pub(super) async fn write(db: &Db, tenant: TenantId, tally: &Tally, seal: &SecretKey) -> Result<()> {
    let mut tx = db.write_beside(tenant).await?;
    // Locks before rows, as everywhere: of the tenant, of agents, of circles.
    let wants_texts = tally.queries.values().any(|query| query.request.is_some());
    let texts = wants_texts && store::may_keep_texts(&mut tx, tenant).await?;
    let live = live(&mut tx, tenant, tally).await?;
    let layers =
        tally.layers.iter().map(|((kind, layer), counts)| LayerRow { kind: *kind, layer: *layer, counts: *counts });
    store::add(&mut tx, tenant, &LAYERS, layers).await?;
    let kinds = tally.kinds.iter().map(|(kind, counts)| KindRow { kind: *kind, counts: *counts });
    store::add(&mut tx, tenant, &KINDS, kinds).await?;
    store::add(&mut tx, tenant, &AGENTS, agents(tally, &live)).await?;
    let scopes = tally.scopes.iter().filter(|(scope, _)| live.contains(scope) || **scope == ScopeId::NIL);
    let scopes = scopes.map(|(scope, counts)| ScopeRow { scope_id: *scope, counts: *counts });
    store::add(&mut tx, tenant, &SCOPES, scopes).await?;
    let queries = queries(tenant, tally, &live, texts.then_some(seal))?;
    if !queries.is_empty() {
        store::add_queries(&mut tx, tenant, &queries).await?;
        store::trim_queries(&mut tx, tenant).await?;
    }
    tx.commit(&[]).await
}

/// Of what the tally names, what is still there: what is gone must not come back by being written late.
async fn live(tx: &mut WriteTx, tenant: TenantId, tally: &Tally) -> Result<HashSet<ScopeId>> {
    let agents = tally.agents.keys().map(|agent| agent.scope());
    let queries = tally.queries.keys().map(|(scope, _)| *scope);
    let named: HashSet<ScopeId> = agents.chain(tally.scopes.keys().copied()).chain(queries).collect();
    store::live_scopes(tx, tenant, &Vec::from_iter(named)).await
}

/// Recalls of agents that are gone are among those that are not told apart.
fn agents(tally: &Tally, live: &HashSet<ScopeId>) -> Vec<AgentRow> {
    let mut rest = AgentUse::default();
    let mut rows = Vec::with_capacity(tally.agents.len());
    for (agent, counts) in &tally.agents {
        match live.contains(&agent.scope()) {
            true => rows.push(AgentRow { agent_uid: *agent, counts: *counts }),
            false => rest.add(counts),
        }
    }
    if rest != AgentUse::default() {
        rows.push(AgentRow { agent_uid: AgentUid::NIL, counts: rest });
    }
    rows
}

/// Without a key, no request is kept.
fn queries(tenant: TenantId, tally: &Tally, live: &HashSet<ScopeId>, seal: Option<&SecretKey>) -> Result<Vec<Query>> {
    let live = tally.queries.iter().filter(|((scope, _), _)| live.contains(scope));
    let query = |((scope, digest), noted): (&(ScopeId, _), &crate::usage::model::QueryUse)| {
        let request = seal.zip(noted.request.as_deref());
        let sealed = request.map(|(seal, request)| seal.seal(&purpose(tenant), request)).transpose();
        let sealed = sealed.map_err(Error::Internal)?;
        Ok(Query { scope: *scope, digest: *digest, recalls: noted.recalls, hits: noted.hits, hours: 1, sealed })
    };
    live.map(query).collect()
}

/// It names the tenant, so that one tenant's question cannot be passed off as another's.
fn purpose(tenant: TenantId) -> String {
    format!("query:{tenant}")
}

/// A request that was kept, as the JSON it was sent as.
pub fn open_query(key: &SecretKey, tenant: TenantId, sealed: &[u8]) -> Result<Vec<u8>> {
    key.open(&purpose(tenant), sealed).map_err(Error::Internal)
}
