//! A scope with so many memories, written past the embedder: what is measured is the search.

use pgvector::HalfVector;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::cli::bench::scopes::clusters::Clusters;
use crate::cli::progress::Progress;
use crate::ids::{AgentUid, TenantId};
use crate::memories::halved;
use crate::recall::Vectors;

const BATCH: usize = 1_000;

/// Every tenth memory has the tag of the filter of 10 %, every hundredth that of 1 %.
const INSERT: &str = "
    WITH new AS (
        SELECT memory_id, embedding, number FROM unnest($3::uuid[], $4::halfvec[], $5::bigint[]) AS u (memory_id, embedding, number)
    ), said AS (
        INSERT INTO memories (tenant_id, memory_id, agent_uid, content, content_hash, kind, tags, importance, metadata)
        SELECT $1, memory_id, $2, 'memory ' || number, sha256(number::text::bytea), 'fact',
               CASE WHEN number % 100 = 0 THEN '{hundredth,tenth}' WHEN number % 10 = 0 THEN '{tenth}' ELSE '{}' END::text[],
               0.5, '{}'
          FROM new
    )
    INSERT INTO placements (tenant_id, scope_id, memory_id, window_no, n, dims, embedding)
    SELECT $1, $2, memory_id, 0, 1, vector_dims(embedding), embedding FROM new";

/// A new agent with so many memories.
pub async fn scope(
    owner: &mut PgConnection,
    tenant: TenantId,
    clusters: &Clusters,
    count: usize,
) -> anyhow::Result<Vectors> {
    let agent = AgentUid::random();
    sqlx::query(
        "WITH agent AS (INSERT INTO agents (tenant_id, agent_uid, agent_id) VALUES ($1, $2, $3))
         INSERT INTO scope_epochs (tenant_id, scope_id, n, tag) VALUES ($1, $2, 1, gen_random_uuid())",
    )
    .bind(tenant)
    .bind(agent)
    .bind(format!("bench-{count}"))
    .execute(&mut *owner)
    .await?;
    let (progress, mut vectors, mut dims) = (Progress::new(count as u64), clusters.vectors(7), 0);
    for first in (0..count).step_by(BATCH) {
        let numbers: Vec<i64> = (first..count.min(first + BATCH)).map(|number| number as i64).collect();
        let ids: Vec<Uuid> = numbers.iter().map(|_| Uuid::now_v7()).collect();
        let embeddings: Vec<HalfVector> = vectors.by_ref().take(numbers.len()).map(|one| halved(&one)).collect();
        dims = embeddings.first().map_or(dims, |one| one.as_slice().len());
        let insert = sqlx::query(AssertSqlSafe(INSERT)).bind(tenant).bind(agent).bind(ids).bind(embeddings);
        insert.bind(numbers).execute(&mut *owner).await?;
        progress.at(first as u64, "memories");
    }
    progress.end();
    Ok(Vectors { tenant, scope: agent.scope(), dims: dims as i32 })
}
