//! What a memory said before, for those who may know.

use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{MemoryId, TenantId};
use crate::memories::history::{self, Forgetting, MemoryVersion};
use crate::memories::model::{Reach, check_author};
use crate::memories::store;

/// Which part of whose history.
pub struct HistoryRequest {
    pub id: MemoryId,
    pub reach: Reach,
    /// Only versions older than this one.
    pub before: Option<i32>,
    pub limit: i64,
}

/// Versions, newest first; of a memory that was forgotten there are none, only that it was.
pub async fn history(
    db: Db,
    tenant: TenantId,
    request: HistoryRequest,
) -> Result<(Vec<MemoryVersion>, Option<Forgetting>)> {
    let HistoryRequest { id, reach, before, limit } = request;
    let mut conn = db.read(tenant).await?;
    let Some(memory) = store::find(&mut conn, tenant, id, &reach).await? else {
        let forgetting = history::find_forgetting(&mut conn, tenant, id).await?;
        let own = forgetting.filter(|one| reach.acting.is_none_or(|agent| agent == one.agent_uid));
        return Ok((Vec::new(), Some(own.ok_or_else(|| Error::not_found("memory"))?)));
    };
    check_author(&memory, &reach)?;
    let mut versions = history::list(&mut conn, tenant, id, before, limit).await?;
    for newer in 1..versions.len() {
        let older = versions[newer].fields.clone();
        versions[newer - 1].compare(&older);
    }
    Ok((versions, None))
}
