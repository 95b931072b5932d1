//! Routes that take a task from one state to the next. Each may come without a body.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, post};

use crate::app::App;
use crate::circles::model::{NotedStep, Rejection, Step, Submission, Task, TaskNote};
use crate::circles::routes::place::{AsEditor, AsOwner};
use crate::circles::routes::tasks::{answer, task_id};
use crate::circles::service::tasks::{self as service, Place};
use crate::db::Idempotency;
use crate::error::Result;
use crate::http::{Body, Problems};
use crate::ids::{ExternalId, TaskId};

type TaskPath = Path<(String, String)>;

/// Claim a task
///
/// For agents that are editors or owners: the acting agent becomes the assignee. Of several that claim it at once one
/// wins; for the others the task is in the wrong state.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path), Idempotency),
    request_body(content = TaskNote, description = "May be left out."), responses((status = OK, body = Task, headers(("ETag" = String))), Problems))]
#[post("/circles/{circle_id}/tasks/{task_id}/claim")]
pub async fn claim_task(
    editor: AsEditor,
    app: Data<App>,
    path: TaskPath,
    once: Idempotency,
    body: Body<TaskNote>,
) -> Result<HttpResponse> {
    take(&app, editor.place(once), &path, body.0.on(Step::Claim)).await
}

/// Submit a task
///
/// For its assignee, with what came of it.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path), Idempotency),
    request_body(content = Submission, description = "May be left out."), responses((status = OK, body = Task, headers(("ETag" = String))), Problems))]
#[post("/circles/{circle_id}/tasks/{task_id}/submit")]
pub async fn submit_task(
    editor: AsEditor,
    app: Data<App>,
    path: TaskPath,
    once: Idempotency,
    body: Body<Submission>,
) -> Result<HttpResponse> {
    take(&app, editor.place(once), &path, body.0.step()).await
}

/// Approve a task
///
/// For owners, of their own work too.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path), Idempotency),
    request_body(content = TaskNote, description = "May be left out."), responses((status = OK, body = Task, headers(("ETag" = String))), Problems))]
#[post("/circles/{circle_id}/tasks/{task_id}/approve")]
pub async fn approve_task(
    owner: AsOwner,
    app: Data<App>,
    path: TaskPath,
    once: Idempotency,
    body: Body<TaskNote>,
) -> Result<HttpResponse> {
    take(&app, owner.place(once), &path, body.0.on(Step::Approve)).await
}

/// Reject a task
///
/// For owners. The task is open again, for anybody.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path), Idempotency),
    request_body(content = Rejection, description = "May be left out."), responses((status = OK, body = Task, headers(("ETag" = String))), Problems))]
#[post("/circles/{circle_id}/tasks/{task_id}/reject")]
pub async fn reject_task(
    owner: AsOwner,
    app: Data<App>,
    path: TaskPath,
    once: Idempotency,
    body: Body<Rejection>,
) -> Result<HttpResponse> {
    take(&app, owner.place(once), &path, body.0.step()).await
}

/// Cancel a task
///
/// For editors and owners. What is approved stays approved.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path), Idempotency),
    request_body(content = TaskNote, description = "May be left out."), responses((status = OK, body = Task, headers(("ETag" = String))), Problems))]
#[post("/circles/{circle_id}/tasks/{task_id}/cancel")]
pub async fn cancel_task(
    editor: AsEditor,
    app: Data<App>,
    path: TaskPath,
    once: Idempotency,
    body: Body<TaskNote>,
) -> Result<HttpResponse> {
    take(&app, editor.place(once), &path, body.0.on(Step::Cancel)).await
}

async fn take(app: &App, place: Place, path: &TaskPath, noted: NotedStep) -> Result<HttpResponse> {
    let step = service::step(app.db.clone(), place, task_id(path)?, noted);
    Ok(answer(StatusCode::OK, &app.db.run(step).await?))
}
