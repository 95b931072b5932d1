//! The recalls that were asked most, to be asked again.

use time::Duration;

use crate::app::App;
use crate::auth::{Caller, Place, pass_inside};
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};
use crate::json::{FromJson, MAX_DEPTH, parse};
use crate::recall::RecallRequest;
use crate::usage::{self, Query};
use crate::warmups::service::items::Wanted;

pub const WINDOW: Duration = Duration::hours(24);

/// The most frequent recalls of the last day, of an agent or a circle.
pub async fn top(app: &App, tenant: TenantId, place: &Place, most: i64) -> Result<Vec<Wanted>> {
    let caller = match pass_inside(app, tenant, place, "warm-up").await {
        Ok(caller) => caller,
        Err(error) => return Ok(vec![Wanted::Nothing(error.to_string())]),
    };
    if !caller.keep_queries {
        let reason = "the tenant's setting keep_queries is off, so that nobody knows what was asked";
        return Ok(vec![Wanted::Nothing(reason.into())]);
    }
    let Some(scope) = asked_scope(&caller) else {
        return Ok(vec![Wanted::Nothing("there is no such agent or circle".into())]);
    };
    let since = caller.checked_at - WINDOW;
    let mut conn = app.db.read_beside(tenant).await?;
    let queries = usage::top_queries(&mut conn, tenant, Some(&[scope]), since, most).await?;
    Ok(queries.into_iter().filter_map(|query| asked(app, tenant, query)).collect())
}

/// The request of a question, where it was kept.
pub fn asked(app: &App, tenant: TenantId, query: Query) -> Option<Wanted> {
    let request = usage::open_query(&app.secret_key, tenant, &query.sealed?);
    Some(request.ok().and_then(|request| read(&request)).map_or_else(
        || Wanted::Nothing("was kept by another version or under another key, and cannot be read".into()),
        |request| Wanted::Recall(Box::new(request)),
    ))
}

fn asked_scope(caller: &Caller) -> Option<ScopeId> {
    let circle = caller.path_circle.as_ref().map(|circle| circle.content);
    circle.or_else(|| caller.known_agent().ok().map(|agent| agent.scope()))
}

fn read(request: &[u8]) -> Option<RecallRequest> {
    RecallRequest::from_json(&parse(request, MAX_DEPTH).ok()?).ok()
}
