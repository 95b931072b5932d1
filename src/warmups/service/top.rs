//! The recalls that were asked most, to be asked again.

use time::Duration;

use crate::app::App;
use crate::auth::{Caller, Place, pass_inside};
use crate::error::Result;
use crate::ids::{ScopeId, TenantId};
use crate::json::{FromJson, MAX_DEPTH, parse};
use crate::recall::RecallRequest;
use crate::usage;
use crate::warmups::service::items::Wanted;

const WINDOW: Duration = Duration::hours(24);

/// The most frequent recalls of the last day, of an agent or a circle.
pub async fn top(app: &App, tenant: TenantId, place: &Place, most: i64) -> Result<Vec<Wanted>> {
    let caller = match pass_inside(&app.db, tenant, place, "warm-up").await {
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
    let asked = queries.into_iter().filter_map(|query| query.sealed).map(|sealed| {
        let request = usage::open_query(&app.secret_key, tenant, &sealed)?;
        Ok(read(&request).map_or_else(
            || Wanted::Nothing("was asked of another version, and is not understood".into()),
            |request| Wanted::Recall(Box::new(request)),
        ))
    });
    asked.collect()
}

fn asked_scope(caller: &Caller) -> Option<ScopeId> {
    let circle = caller.path_circle.as_ref().map(|circle| circle.content);
    circle.or_else(|| caller.known_agent().ok().map(|agent| agent.scope()))
}

fn read(request: &[u8]) -> Option<RecallRequest> {
    RecallRequest::from_json(&parse(request, MAX_DEPTH).ok()?).ok()
}
