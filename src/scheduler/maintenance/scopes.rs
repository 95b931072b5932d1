//! Indexes of large scopes. What is to be done is found out anew by every attempt: what an attempt before left half
//! done is among what is there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::app::App;
use crate::db::WriteTx;
use crate::error::{Code, Error, Result};
use crate::ids::TenantId;
use crate::jobs::Lease;
use crate::recall::{IndexPlan as Plan, IndexRoom as Room, KnownIndex, LargeScope, scope_indexes as indexes};

/// How long a builder whose lease was lost may take to notice.
const DOOR_TRIES: u32 = 60;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// What was done, and what went wrong on the way.
#[derive(Default)]
struct Done {
    built: u64,
    dropped: u64,
    failed: Option<Error>,
}

pub async fn index(app: &Arc<App>, lease: &Arc<Lease>) -> Result<Value> {
    let plan = planned(app).await?;
    if plan == (Plan { kept: plan.kept, ..Plan::default() }) {
        return Ok(report(plan.kept, &Done::default()));
    }
    let mut owner = open_door(app).await?;
    // Again: who was at work until now may have done it.
    let plan = planned(app).await?;
    let (kept, mut work) = (plan.kept, Work { app, lease, owner: &mut owner });
    let done = work.through(plan).await?;
    match done.failed {
        None => Ok(report(kept, &done)),
        Some(error) => Err(error),
    }
}

fn report(kept: usize, done: &Done) -> Value {
    json!({"kept": kept, "built": done.built, "dropped": done.dropped})
}

/// Counting very large scopes may take longer than a unit of work is given.
async fn planned(app: &App) -> Result<Plan> {
    let room = Room { above: app.config.recall.exact_scope_max, most: app.config.recall.scope_indexes_max };
    let pool = app.db.background();
    let known = indexes::known(pool).await?;
    Ok(Plan::of(known, &indexes::large_scopes(pool, room.above).await?, room))
}

/// The owner's session, in which nobody else builds.
async fn open_door(app: &App) -> Result<PgConnection> {
    let mut owner = app.db.owner("cairn index").await?;
    for _ in 0..DOOR_TRIES {
        if indexes::close_door(&mut owner).await? {
            return Ok(owner);
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    Err(Error::refused(Code::WrongState, "another worker is still building an index"))
}

struct Work<'a> {
    app: &'a Arc<App>,
    lease: &'a Arc<Lease>,
    owner: &'a mut PgConnection,
}

impl Work<'_> {
    /// What fails for one scope keeps no other from its index.
    async fn through(&mut self, plan: Plan) -> Result<Done> {
        let mut done = Done::default();
        for vectors in plan.adopt {
            self.noted(vectors.tenant, async |tx| indexes::mark_ready(tx, &vectors).await).await?;
        }
        for index in plan.drop {
            match self.drop(&index).await {
                Ok(()) => done.dropped += 1,
                Err(error) => done.failed = Some(passable(error, &index.name)?),
            }
        }
        for scope in plan.build {
            match self.build(&scope).await {
                Ok(built) => done.built += u64::from(built),
                Err(error) => done.failed = Some(passable(error, &indexes::index_name(&scope.vectors))?),
            }
            self.lease.note(report(plan.kept, &done));
        }
        Ok(done)
    }

    async fn drop(&mut self, index: &KnownIndex) -> Result<()> {
        if let Some(vectors) = index.vectors {
            self.noted(vectors.tenant, async |tx| indexes::mark_dropping(tx, &vectors).await).await?;
        }
        indexes::drop_index(self.owner, &index.name).await?;
        if let Some(vectors) = index.vectors {
            self.noted(vectors.tenant, async |tx| indexes::remove(tx, &vectors).await).await?;
        }
        tracing::info!(index = index.name, "the index of a scope is dropped");
        Ok(())
    }

    /// Whether there is a new index now; not if the tenant went meanwhile.
    async fn build(&mut self, scope: &LargeScope) -> Result<bool> {
        let (vectors, name) = (scope.vectors, indexes::index_name(&scope.vectors));
        let announced = self.noted(vectors.tenant, async |tx| indexes::announce(tx, scope).await).await?;
        if announced.is_none() {
            return Ok(false);
        }
        let started = std::time::Instant::now();
        if let Err(error) = indexes::build(self.owner, &vectors, self.app.config.recall.scope_index_build_mb).await {
            // What is left of it takes room, and is written to.
            indexes::drop_index(self.owner, &name).await.ok();
            return Err(error);
        }
        let ready = self.noted(vectors.tenant, async |tx| indexes::mark_ready(tx, &vectors).await).await?;
        if ready != Some(true) {
            indexes::drop_index(self.owner, &name).await?;
            return Ok(false);
        }
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(index = name, tenant = %vectors.tenant, placements = scope.placements, seconds, "a scope is indexed");
        Ok(true)
    }

    /// Writes to a tenant while the run is this worker's. None: the tenant is being erased, and the row with it.
    async fn noted<T>(
        &self,
        tenant: TenantId,
        write: impl AsyncFnOnce(&mut WriteTx) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut tx = self.app.db.write_beside(tenant).await?;
        self.lease.fence(&mut tx).await?;
        let written = write(&mut tx).await?;
        match tx.commit(&[]).await {
            Ok(()) => Ok(Some(written)),
            Err(error) if error.code() == Code::Unauthenticated => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The run goes on after an error, unless it was taken over.
fn passable(error: Error, index: &str) -> Result<Error> {
    if error.code() == Code::WrongState {
        return Err(error);
    }
    tracing::warn!(index, %error, "the index of a scope fails");
    Ok(error)
}
