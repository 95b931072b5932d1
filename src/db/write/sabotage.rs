//! How a chaos build breaks the bumps: see `crate::sabotage`.

use crate::db::WriteTx;
use crate::error::Result;
use crate::ids::ScopeId;
use crate::sabotage::{Guard, is_off};

impl WriteTx {
    /// Believes the scopes to be bumped, and leaves them as they are.
    pub async fn pretend_bumped(&mut self, scopes: &[ScopeId]) -> Result<()> {
        if is_off(Guard::ForgetBump) {
            let rows: Vec<(ScopeId, i64)> =
                sqlx::query_as("SELECT scope_id, n FROM scope_epochs WHERE tenant_id = $1 AND scope_id = ANY($2)")
                    .bind(self.tenant)
                    .bind(scopes)
                    .fetch_all(&mut *self.conn)
                    .await?;
            self.bumped.extend(rows);
        }
        Ok(())
    }

    /// Tags that are numbers: a restored database gives them out a second time.
    pub(super) async fn count_tags(&mut self, scopes: &[ScopeId]) -> Result<()> {
        if is_off(Guard::RandomTag) {
            sqlx::query(
                "UPDATE scope_epochs
                    SET tag = lpad(to_hex(n), 32, '0')::uuid
                  WHERE tenant_id = $1 AND scope_id = ANY($2)",
            )
            .bind(self.tenant)
            .bind(scopes)
            .execute(&mut *self.conn)
            .await?;
        }
        Ok(())
    }
}
