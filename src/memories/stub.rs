use crate::db::WriteTx;
use crate::error::Result;
use crate::ids::*;
pub async fn unshare_all_of(
    tx: &mut WriteTx,
    _: TenantId,
    _: (CircleUid, ScopeId),
    _: AgentUid,
    also: &[ScopeId],
    _: &str,
) -> Result<(Vec<MemoryId>, Vec<ScopeId>)> {
    tx.lock_scopes(also).await?;
    tx.bump(also).await?;
    Ok((vec![], also.to_vec()))
}
pub async fn clear_circle(
    tx: &mut WriteTx,
    _: TenantId,
    _: CircleUid,
    s: (ScopeId, ScopeId),
) -> Result<(u64, Vec<ScopeId>)> {
    let s = [s.0, s.1];
    tx.lock_scopes(&s).await?;
    tx.bump(&s).await?;
    Ok((0, s.to_vec()))
}
