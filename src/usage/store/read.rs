//! What is asked of usage: series by step, and sums.

use std::collections::HashMap;

use sqlx::postgres::types::PgInterval;
use sqlx::{AssertSqlSafe, FromRow};
use time::OffsetDateTime;

use crate::auth::Place;
use crate::cache::{Kind, Layer};
use crate::db::TenantConn;
use crate::error::Result;
use crate::ids::{AgentUid, ExternalId, ScopeId, TenantId};
use crate::usage::store::table::{AGENTS, KINDS, LAYERS, SCOPES, Table};
use crate::usage::{AgentUse, KindUse, LayerUse, ScopeUse, Span};

/// What happened in a step of the span.
#[derive(FromRow)]
pub struct LayerStep {
    pub begins: OffsetDateTime,
    pub kind: Kind,
    pub layer: Layer,
    #[sqlx(flatten)]
    pub counts: LayerUse,
}

#[derive(FromRow)]
pub struct KindStep {
    pub begins: OffsetDateTime,
    pub kind: Kind,
    #[sqlx(flatten)]
    pub counts: KindUse,
}

pub async fn layers(conn: &mut TenantConn, tenant: TenantId, span: Span) -> Result<Vec<LayerStep>> {
    let query = sqlx::query_as(AssertSqlSafe(steps(&LAYERS, span)));
    Ok(query.bind(tenant).bind(interval(span)).bind(span.from).bind(span.to).fetch_all(&mut **conn).await?)
}

pub async fn kinds(conn: &mut TenantConn, tenant: TenantId, span: Span) -> Result<Vec<KindStep>> {
    let query = sqlx::query_as(AssertSqlSafe(steps(&KINDS, span)));
    Ok(query.bind(tenant).bind(interval(span)).bind(span.from).bind(span.to).fetch_all(&mut **conn).await?)
}

/// By step and keys, in the order of time.
fn steps(table: &Table, span: Span) -> String {
    let (keys, places) = (table.keys(), (2..2 + table.keys.len()).map(|place| place.to_string()).collect::<Vec<_>>());
    format!(
        "SELECT date_bin($2, u.at, to_timestamp(0)) AS begins, {keys}, {summed}
           FROM {name} u
          WHERE u.tenant_id = $1 AND u.grain IN ('minute', 'hour', 'day') AND u.at >= $3 AND u.at <= $4 AND {once}
          GROUP BY 1, {places}
          ORDER BY 1, {places}",
        summed = table.summed(),
        name = table.name,
        once = table.once(span.grain()),
        places = places.join(", "),
    )
}

fn interval(span: Span) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: span.step.whole_seconds() * 1_000_000 }
}

/// The agents that recalled most, by name; none stands for all that are not told apart.
pub async fn top_agents(
    conn: &mut TenantConn,
    tenant: TenantId,
    only: Option<AgentUid>,
    span: Span,
    most: i64,
) -> Result<Vec<(Option<ExternalId>, AgentUse)>> {
    #[derive(FromRow)]
    struct Row {
        agent_id: Option<ExternalId>,
        #[sqlx(flatten)]
        counts: AgentUse,
    }
    let sql = format!(
        "SELECT a.agent_id, sum(u.recalls)::bigint AS recalls, sum(u.hits)::bigint AS hits
           FROM usage_agents u
           LEFT JOIN agents a ON a.tenant_id = u.tenant_id AND a.agent_uid = u.agent_uid
          WHERE u.tenant_id = $1 AND u.grain IN ('minute', 'hour', 'day') AND u.at >= $2 AND u.at <= $3
            AND ($4::uuid IS NULL OR u.agent_uid = $4) AND {once}
          GROUP BY a.agent_id
          ORDER BY (a.agent_id IS NULL), 2 DESC, a.agent_id
          LIMIT $5",
        once = AGENTS.once(span.grain()),
    );
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tenant)
        .bind(span.from)
        .bind(span.to)
        .bind(only)
        .bind(most)
        .fetch_all(&mut **conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.agent_id, row.counts)).collect())
}

/// Recalls of one agent.
pub async fn of_agent(conn: &mut TenantConn, tenant: TenantId, agent: AgentUid, span: Span) -> Result<AgentUse> {
    let sql = format!(
        "SELECT coalesce(sum(u.recalls), 0)::bigint AS recalls, coalesce(sum(u.hits), 0)::bigint AS hits
           FROM usage_agents u
          WHERE u.tenant_id = $1 AND u.agent_uid = $2 AND u.grain IN ('minute', 'hour', 'day') AND u.at >= $3 AND {once}",
        once = AGENTS.once(span.grain()),
    );
    let sums = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(agent).bind(span.from);
    Ok(sums.fetch_one(&mut **conn).await?)
}

/// Recalls of these agents between two moments, to the minute; of the last seven days.
pub async fn of_agents(
    conn: &mut TenantConn,
    tenant: TenantId,
    agents: &[ExternalId],
    (from, to): (OffsetDateTime, OffsetDateTime),
) -> Result<AgentUse> {
    let ids: Vec<&str> = agents.iter().map(ExternalId::as_str).collect();
    let sums = sqlx::query_as(
        "SELECT coalesce(sum(u.recalls), 0)::bigint AS recalls, coalesce(sum(u.hits), 0)::bigint AS hits
           FROM agents a
           JOIN usage_agents u ON u.tenant_id = a.tenant_id AND u.agent_uid = a.agent_uid
          WHERE a.tenant_id = $1 AND a.agent_id = ANY($2) AND u.grain = 'minute' AND u.at >= $3 AND u.at < $4",
    );
    Ok(sums.bind(tenant).bind(ids).bind(from).bind(to).fetch_one(&mut **conn).await?)
}

/// Whose these scopes are: agents' own, or contents of circles. Those that are gone are left out.
pub async fn find_places(
    conn: &mut TenantConn,
    tenant: TenantId,
    scopes: &[ScopeId],
) -> Result<HashMap<ScopeId, Place>> {
    let rows: Vec<(ScopeId, bool, ExternalId)> = sqlx::query_as(
        "SELECT agent_uid, true, agent_id FROM agents WHERE tenant_id = $1 AND agent_uid = ANY($2)
          UNION ALL
         SELECT content_scope, false, circle_id FROM circles WHERE tenant_id = $1 AND content_scope = ANY($2)",
    )
    .bind(tenant)
    .bind(scopes)
    .fetch_all(&mut **conn)
    .await?;
    let place = |is_agent, id| if is_agent { Place::Agent(id) } else { Place::Circle(id) };
    Ok(rows.into_iter().map(|(scope, is_agent, id)| (scope, place(is_agent, id))).collect())
}

/// A scope that was changed, by its incarnation.
#[derive(FromRow)]
pub struct ChangedScope {
    pub scope_id: ScopeId,
    /// Whose it is: one of these, or the tenant's own.
    pub agent_id: Option<ExternalId>,
    pub circle_id: Option<ExternalId>,
    #[sqlx(flatten)]
    pub counts: ScopeUse,
}

/// The scopes whose changes made most entries worthless.
pub async fn scopes(conn: &mut TenantConn, tenant: TenantId, span: Span, most: i64) -> Result<Vec<ChangedScope>> {
    let sql = format!(
        "SELECT u.scope_id, a.agent_id, coalesce(c.circle_id, b.circle_id) AS circle_id,
                sum(u.changes)::bigint AS changes, sum(u.entries)::bigint AS entries
           FROM usage_scopes u
           LEFT JOIN agents a ON a.tenant_id = u.tenant_id AND a.agent_uid = u.scope_id
           LEFT JOIN circles c ON c.tenant_id = u.tenant_id AND c.content_scope = u.scope_id
           LEFT JOIN circles b ON b.tenant_id = u.tenant_id AND b.board_scope = u.scope_id
          WHERE u.tenant_id = $1 AND u.grain IN ('minute', 'hour', 'day') AND u.at >= $2 AND u.at <= $3 AND {once}
          GROUP BY 1, 2, 3
          ORDER BY 5 DESC, 4 DESC, 1
          LIMIT $4",
        once = SCOPES.once(span.grain()),
    );
    let query = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant).bind(span.from).bind(span.to).bind(most);
    Ok(query.fetch_all(&mut **conn).await?)
}
