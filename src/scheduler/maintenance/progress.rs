//! How far a chore is, as its run keeps it.

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Code, Error, Result};
use crate::ids::TenantId;

/// Also the report, at the end.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The tenants up to this one are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Uuid>,
    /// How many tenants were gone through.
    tenants: u64,
    /// How many rows were removed.
    removed: u64,
    /// In how many tenants something went wrong, and what it was the last time.
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

impl Progress {
    /// Where the attempt before left off, or the beginning.
    pub fn of(kept: Option<&Value>) -> Self {
        kept.and_then(|kept| serde_json::from_value(kept.clone()).ok()).unwrap_or_default()
    }

    pub fn after(&self) -> Option<TenantId> {
        self.after.map(TenantId::from_uuid)
    }

    pub fn removed(&mut self, rows: u64) {
        self.removed += rows;
    }

    pub fn failed(&mut self, error: &Error) {
        self.failed += 1;
        self.last_error = Some(error.to_string());
    }

    pub fn done(&mut self, tenant: TenantId) {
        self.after = Some(tenant.uuid());
        self.tenants += 1;
    }

    pub fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// At the end. A chore that failed in some tenants has failed, although the others are done.
    pub fn report(mut self) -> Result<Value> {
        self.after = None;
        match self.last_error.take() {
            None => Ok(serde_json::to_value(&self).context("a report")?),
            Some(last) => {
                let detail = format!("failed in {} of {} tenants, at last: {last}", self.failed, self.tenants);
                Err(Error::unavailable(Code::DependencyUnavailable, detail, anyhow!(last)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_attempt_goes_on_where_the_last_one_was() {
        let mut progress = Progress::of(None);
        let tenant = TenantId::new();
        progress.removed(7);
        progress.done(tenant);
        let kept = progress.value();
        let next = Progress::of(Some(&kept));
        assert_eq!((next.after(), &next), (Some(tenant), &progress));
        assert_eq!(next.report().expect("a report"), serde_json::json!({"tenants": 1, "removed": 7, "failed": 0}));
        assert_eq!(Progress::of(Some(&serde_json::json!("of another version"))), Progress::default());
    }

    #[test]
    fn what_fails_in_one_tenant_is_told_at_the_end() {
        let mut progress = Progress::default();
        progress.done(TenantId::new());
        progress.failed(&Error::changed_meanwhile());
        progress.done(TenantId::new());
        let error = progress.report().expect_err("it failed");
        assert_eq!(error.to_string(), "failed in 1 of 2 tenants, at last: the resource changed meanwhile; try again");
    }
}
