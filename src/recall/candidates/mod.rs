//! Candidates: SQL that finds memories near a vector or sharing a word, within given scopes. All of it
//! runs in one snapshot and sees nothing outside those scopes.

mod features;
mod indexed;
mod lexical;
mod semantic;

use sqlx::{Postgres, QueryBuilder};

use crate::ids::{ScopeId, TenantId};
use crate::memories::MemoryFilter;

pub use features::{features, newest};
pub use lexical::lexicon;
pub use semantic::{Nearest, nearest};

/// What is searched for, and where.
pub struct Search<'a> {
    pub tenant: TenantId,
    pub scopes: &'a [ScopeId],
    pub filter: &'a MemoryFilter,
    /// How many candidates each side hands over.
    pub depth: usize,
}

impl Search<'_> {
    /// Every live placement `p` of the scopes `s`; `rows` says what of it and from which table. One scope after the
    /// other, fenced off by OFFSET: with all of them before it, Postgres leaves the covering indexes for the table
    /// or for an index of the whole tenant.
    fn push_placements(&self, sql: &mut QueryBuilder<Postgres>, rows: &str, conditions: &[&str]) {
        sql.push(" unnest(").push_bind(self.scopes.to_vec());
        sql.push(") WITH ORDINALITY AS s (scope_id, place) CROSS JOIN LATERAL (");
        for (index, condition) in conditions.iter().enumerate() {
            sql.push(if index > 0 { " UNION ALL " } else { "" });
            sql.push("SELECT p.memory_id, ").push(rows).push(" p WHERE ").push(condition);
            sql.push(" AND p.tenant_id = ").push_bind(self.tenant).push(" AND p.scope_id = s.scope_id");
            sql.push(" AND (p.expires_at IS NULL OR p.expires_at > statement_timestamp())");
        }
        sql.push(" OFFSET 0) p");
    }

    fn push_filter(&self, sql: &mut QueryBuilder<Postgres>) {
        if !self.filter.is_empty() {
            sql.push(" AND EXISTS (SELECT FROM memories m WHERE m.tenant_id = ").push_bind(self.tenant);
            sql.push(" AND m.memory_id = p.memory_id");
            self.filter.push(sql, self.tenant);
            sql.push(")");
        }
    }
}
