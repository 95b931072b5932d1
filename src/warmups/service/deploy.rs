//! After a deploy: another release may answer otherwise, so what was cached before is worth nothing to it. The first
//! instance of a release has what was asked most made ready, for tenants that let it be known.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Place, pass_inside};
use crate::error::{Code, Error, Result};
use crate::ids::{ScopeId, TenantId};
use crate::jobs::{self, Chore, Lease};
use crate::recall::{self, Engine};
use crate::tenants::{self, Status};
use crate::usage;
use crate::warmups::model::Report;
use crate::warmups::service::items::{Item, Wanted};
use crate::warmups::service::run::{WarmRun, written};
use crate::warmups::service::top::{WINDOW, asked};

/// Answers of a tenant that are made ready.
const MOST: i64 = 50;

/// Asks for the work, if this release is not the one that it was last asked for.
pub async fn note_release(app: &App) -> Result<()> {
    jobs::enqueue_for(&app.db, Chore::RewarmRelease, &json!({"release": recall::rules()})).await
}

/// Does it, tenant by tenant.
pub async fn rewarm_release(engine: &Arc<Engine>, lease: &Lease) -> Result<Value> {
    if lease.job().fields.details["release"] != recall::rules() {
        let detail = "it was asked for by another release, whose answers this one cannot make";
        return Err(Error::refused(Code::WrongState, detail));
    }
    let mut run = WarmRun::begin(engine.clone(), TenantId::OPERATOR, "a new release".into(), Report::default());
    let app = &engine.app;
    for tenant in tenants::list(&app.db).await?.into_iter().filter(|tenant| tenant.status == Status::Active) {
        let items = items(app, tenant.id).await?;
        run.enter(tenant.id, items.len());
        for item in &items {
            run.work(item).await;
            lease.note(written(run.report())?);
        }
    }
    written(run.report())
}

/// What a tenant that wants it was asked most in the last day.
async fn items(app: &App, tenant: TenantId) -> Result<Vec<Item>> {
    let mut conn = app.db.read_beside(tenant).await?;
    let now = jobs::now(&mut conn).await?;
    let queries = usage::top_queries(&mut conn, tenant, None, now - WINDOW, MOST).await?;
    let scopes: Vec<ScopeId> = queries.iter().map(|query| query.scope).collect();
    let places = usage::find_places(&mut conn, tenant, &scopes).await?;
    drop(conn);
    let Some(first) = places.values().next() else { return Ok(Vec::new()) };
    if !wants_it(app, tenant, first).await? {
        return Ok(Vec::new());
    }
    let item = |query: usage::Query| {
        let place = places.get(&query.scope)?;
        let name = format!("{tenant}/{}", query.digest);
        let Wanted::Recall(request) = asked(app, tenant, query)? else { return None };
        Some(Item { name, place: place.clone(), wanted: Wanted::Recall(request) })
    };
    Ok(queries.into_iter().filter_map(item).collect())
}

async fn wants_it(app: &App, tenant: TenantId, place: &Place) -> Result<bool> {
    let caller = pass_inside(app, tenant, place, "a new release").await?;
    Ok(caller.rewarm && caller.keep_queries)
}
