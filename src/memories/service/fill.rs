//! Memories for benchmarks, as many as it takes: written as remembering writes them, without asking whether they are
//! new.

use anyhow::anyhow;

use crate::agents;
use crate::db::Db;
use crate::embeddings::Windows;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::ids::{ExternalId, MemoryId, TenantId};
use crate::json::{FromJson, Json};
use crate::memories::arrivals::{self, Arrival, Hand};
use crate::memories::model::NewMemory;

/// Gives these texts to an agent, which may be new.
pub async fn fill(db: &Db, tenant: TenantId, agent: &ExternalId, texts: &[String], windows: &[Windows]) -> Result<()> {
    let new = texts.iter().map(|text| memory(text)).collect::<Result<Vec<_>>>()?;
    let arrivals = new.iter().zip(windows).map(|(new, windows)| Arrival::new(MemoryId::new(), &new.fields, windows));
    let arrivals: Vec<Arrival<'_>> = arrivals.collect();
    let mut tx = db.write_beside(tenant).await?;
    let agent = agents::ensure(&mut tx, tenant, agent, true).await?;
    let touched = [agent.scope()];
    tx.lock_scopes(&touched).await?;
    tx.bump(&touched).await?;
    let n = tx.n(agent.scope())?;
    arrivals::place(&mut tx, tenant, Hand { agent, principal: "bench" }, n, &arrivals).await?;
    tx.announce(Event::MemoryCreated { memories: Vec::new() });
    tx.commit(&touched).await
}

fn memory(text: &str) -> Result<NewMemory> {
    let fields = serde_json::json!({"content": text}).to_string();
    let json = crate::json::parse(fields.as_bytes(), crate::json::MAX_DEPTH);
    let json: Json<'_> = json.map_err(|_| Error::Internal(anyhow!("not JSON")))?;
    NewMemory::from_json(&json).map_err(Error::from)
}
