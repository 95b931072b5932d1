//! Usage: recomputing a day gives the same, and so does deleting twice, so it needs no fence.

use serde_json::{Value, json};

use crate::app::App;
use crate::error::Result;
use crate::usage;

pub async fn roll_up(app: &App) -> Result<Value> {
    let rolled = usage::roll_up(&app.db).await?;
    Ok(json!({"tenants": rolled.tenants, "hours": rolled.hours, "days": rolled.days, "counted": rolled.counted}))
}

pub async fn purge(app: &App) -> Result<Value> {
    Ok(json!({"removed": usage::purge(&app.db).await?}))
}
