//! Analytics: what all instances wrote, in one snapshot, and what the rules say about it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;

use crate::app::App;
use crate::auth::Place;
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, ScopeId, TenantId};
use crate::insight::advice::{ChangedHistory, History, KindHistory, QueryHistory, WarmupHistory, advise};
use crate::insight::model::{AnalyticsAgent, AnalyticsQuery, CacheAnalytics, Frame, Invalidations, KindSteps};
use crate::usage::{self, ChangedScope, Query, Span};
use crate::warmups::{self, WarmupRun};

const TOP: i64 = 20;

/// Who asks for analytics, and of when.
pub struct Asked {
    pub tenant: TenantId,
    /// Who acts as an agent sees what is its own: of others, sums alone.
    pub only: Option<Only>,
    pub pinned_model: String,
    pub frame: Frame,
    pub now: OffsetDateTime,
}

pub struct Only {
    pub agent: AgentUid,
    pub circles: Vec<ExternalId>,
}

/// What was read of the people and questions behind the figures.
struct Found {
    queries: Vec<Query>,
    places: HashMap<ScopeId, Place>,
    agents: Vec<AnalyticsAgent>,
    changed: Vec<ChangedScope>,
    /// With their names.
    warmups: Vec<(String, WarmupRun)>,
}

pub async fn analyse(app: Arc<App>, asked: Asked) -> Result<CacheAnalytics> {
    let Asked { tenant, frame, now, .. } = asked;
    let span = Span::back(now, frame.window, frame.step);
    let mut conn = app.db.read(tenant).await?;
    let layers = usage::layers(&mut conn, tenant, span).await?;
    let kinds = usage::kinds(&mut conn, tenant, span).await?;
    let found = find(&mut conn, &asked).await?;
    let price = app.config.embeddings.price_per_million_tokens();
    let kinds = KindSteps::all(&layers, &kinds);
    let advice = advise(&history(&app, &asked, &kinds, &found));
    let top_queries = found.queries.iter().map(|query| shown(&app, tenant, query, &found)).collect();
    Ok(CacheAnalytics {
        from: span.from,
        to: span.to,
        step_secs: span.step.whole_seconds(),
        kinds: kinds.iter().map(|kind| kind.shown(span, price)).collect(),
        top_queries,
        top_agents: found.agents,
        invalidations: found.changed.into_iter().map(invalidations).collect(),
        advice,
    })
}

async fn find(conn: &mut TenantConn, asked: &Asked) -> Result<Found> {
    let (tenant, span) = (asked.tenant, Span::whole(asked.now, asked.frame.window));
    let agent = asked.only.as_ref().map(|only| only.agent);
    let scopes = agent.map(|agent| vec![agent.scope()]);
    let queries = usage::top_queries(conn, tenant, scopes.as_deref(), span.from, TOP).await?;
    let named: Vec<ScopeId> = queries.iter().map(|query| query.scope).collect();
    let places = usage::find_places(conn, tenant, &named).await?;
    let agents = usage::top_agents(conn, tenant, agent, span, TOP).await?;
    let agents = agents.into_iter().map(|(agent_id, counts)| AnalyticsAgent {
        agent_id,
        recalls: counts.recalls,
        hit_rate: counts.hits as f64 / counts.recalls.max(1) as f64,
    });
    let mut changed = usage::scopes(conn, tenant, span, TOP).await?;
    if let Some(only) = &asked.only {
        changed.retain(|scope| only.may_see(scope));
    }
    // Warm-ups are of no concern to who acts as an agent.
    let warmups = if asked.only.is_none() { warmups::recent(conn, tenant, span.from).await? } else { Vec::new() };
    Ok(Found { queries, places, agents: agents.collect(), changed, warmups })
}

impl Only {
    fn may_see(&self, scope: &ChangedScope) -> bool {
        scope.scope_id == self.agent.scope() || scope.circle_id.as_ref().is_some_and(|id| self.circles.contains(id))
    }
}

fn history(app: &App, asked: &Asked, kinds: &[KindSteps], found: &Found) -> History {
    let kind = |steps: &KindSteps| KindHistory {
        kind: steps.kind,
        ttl_secs: steps.kind.ttl_secs(&app.config.cache),
        local: steps.layers[0],
        redis: steps.layers[1],
        counts: steps.counts,
    };
    let query = |query: &Query| QueryHistory { recalls: query.recalls, hits: query.hits, hours: query.hours };
    History {
        kinds: kinds.iter().map(kind).collect(),
        local_bytes: app.config.cache.local_mb * 1024 * 1024,
        changed: found.changed.iter().map(changed).collect(),
        queries: found.queries.iter().map(query).collect(),
        warmups: found.warmups.iter().map(warmup).collect(),
        pinned_model: asked.pinned_model.clone(),
        running_model: app.embedder.pin().to_owned(),
    }
}

fn warmup((name, run): &(String, WarmupRun)) -> WarmupHistory {
    let effect = run.effect.filter(|effect| effect.complete);
    WarmupHistory {
        name: name.clone(),
        warmed: run.report.warmed as i64,
        already_warm: run.report.already_warm as i64,
        hit_rate_before: effect.and_then(|effect| effect.before.hit_rate),
        hit_rate_after: effect.and_then(|effect| effect.after.hit_rate),
    }
}

fn changed(scope: &ChangedScope) -> ChangedHistory {
    let name = match (&scope.agent_id, &scope.circle_id) {
        (Some(agent), _) => format!("agent {agent}"),
        (_, Some(circle)) => format!("circle {circle}"),
        _ => "the tenant".into(),
    };
    ChangedHistory { name, changes: scope.counts.changes, entries: scope.counts.entries }
}

fn invalidations(scope: ChangedScope) -> Invalidations {
    let ChangedScope { agent_id, circle_id, counts, .. } = scope;
    Invalidations { agent_id, circle_id, changes: counts.changes, entries: counts.entries }
}

fn shown(app: &App, tenant: TenantId, query: &Query, found: &Found) -> AnalyticsQuery {
    let (agent_id, circle_id) = match found.places.get(&query.scope).cloned() {
        Some(Place::Agent(id)) => (Some(id), None),
        Some(Place::Circle(id)) => (None, Some(id)),
        None => (None, None),
    };
    let request = query.sealed.as_deref().and_then(|sealed| opened(app, tenant, sealed));
    let hit_rate = query.hits as f64 / query.recalls.max(1) as f64;
    AnalyticsQuery { digest: query.digest.to_string(), agent_id, circle_id, recalls: query.recalls, hit_rate, request }
}

/// A request that cannot be opened, as after a change of the operator's key, is shown as one that is not kept.
fn opened(app: &App, tenant: TenantId, sealed: &[u8]) -> Option<Value> {
    let request = usage::open_query(&app.secret_key, tenant, sealed);
    let request = request.inspect_err(|error| tracing::warn!(%tenant, %error, "a kept request cannot be opened"));
    serde_json::from_slice(&request.ok()?).ok()
}
