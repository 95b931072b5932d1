//! Routes of tasks.

use actix_web::http::StatusCode;
use actix_web::http::header::ETAG;
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};

use crate::app::App;
use crate::auth::{CircleReader, Role};
use crate::circles::model::{Priority, Task, TaskFields, TaskMove, TaskPatch, TaskPosition, TaskQuery, TaskState};
use crate::circles::routes::place::{AsEditor, AsOwner};
use crate::circles::service::tasks::{self as service, HistoryRequest};
use crate::circles::store::tasks;
use crate::db::Idempotency;
use crate::error::{Code, Error, Result};
use crate::http::{Body, IfMatch, Page, PageRequest, Params, Problems, cursor_binding};
use crate::ids::{ExternalId, TaskId};

/// Create a task
///
/// For editors and owners. Who is named as assignee is a member, and the only one who may claim it.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])), params(("circle_id" = ExternalId, Path), Idempotency), request_body = TaskFields,
    responses((status = CREATED, body = Task, headers(("ETag" = String))), Problems))]
#[post("/circles/{circle_id}/tasks")]
pub async fn create_task(
    editor: AsEditor,
    app: Data<App>,
    once: Idempotency,
    body: Body<TaskFields>,
) -> Result<HttpResponse> {
    let task = app.db.run(service::create(app.db.clone(), editor.place(once), body.0)).await?;
    Ok(answer(StatusCode::CREATED, &task))
}

/// List the tasks of a circle
///
/// The most urgent first, of those the oldest. All filters that are given must hold.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("circle_id" = ExternalId, Path), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"),
        ("cursor" = Option<String>, Query), ("state" = Option<TaskState>, Query), ("assignee" = Option<ExternalId>, Query),
        ("priority" = Option<u32>, Query, minimum = 0, maximum = 9)),
    responses((status = OK, body = Page<Task>), Problems))]
#[get("/circles/{circle_id}/tasks")]
pub async fn list_tasks(caller: CircleReader, app: Data<App>, request: HttpRequest) -> Result<Json<Page<Task>>> {
    let circle = caller.circle(Role::Reader)?.uid;
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    let wanted = TaskQuery {
        state: params.one("state", TaskState::parse),
        assignee: params.one("assignee", ExternalId::parse),
        priority: params.one("priority", Priority::parse),
        after: page.after.as_deref().map(position).transpose()?,
        limit: page.limit.probe(),
    };
    params.finish()?;
    let (db, tenant) = (app.db.clone(), caller.tenant);
    let tasks = app.db.run(async move { tasks::list(&mut db.read(tenant).await?, tenant, circle, &wanted).await });
    let at = |task: &Task| format!("{}:{}", task.priority.get(), task.id);
    Ok(Json(page.page(&app.cursor_key, tasks.await?, at)?))
}

/// Get a task
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])), params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path)),
    responses((status = OK, body = Task, headers(("ETag" = String))), Problems))]
#[get("/circles/{circle_id}/tasks/{task_id}")]
pub async fn get_task(caller: CircleReader, app: Data<App>, path: Path<(String, String)>) -> Result<HttpResponse> {
    let circle = caller.circle(Role::Reader)?.uid;
    let (db, tenant, id) = (app.db.clone(), caller.tenant, task_id(&path)?);
    let task = app.db.run(async move { tasks::find(&mut db.read(tenant).await?, tenant, circle, id).await }).await?;
    Ok(answer(StatusCode::OK, &task.ok_or_else(|| Error::not_found("task"))?))
}

/// Change a task
///
/// For editors and owners. A JSON merge patch: absent fields stay, null sets back to the default. What is approved or
/// cancelled stays as it is, and so does the assignee of a task that is not open.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])),
    params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path), ("If-Match" = Option<String>, Header), Idempotency), request_body = TaskPatch,
    responses((status = OK, body = Task, headers(("ETag" = String))), Problems))]
#[patch("/circles/{circle_id}/tasks/{task_id}")]
pub async fn patch_task(
    editor: AsEditor,
    app: Data<App>,
    path: Path<(String, String)>,
    condition: IfMatch,
    once: Idempotency,
    body: Body<TaskPatch>,
) -> Result<HttpResponse> {
    let patch = service::patch(app.db.clone(), editor.place(once), task_id(&path)?, body.0, condition);
    Ok(answer(StatusCode::OK, &app.db.run(patch).await?))
}

/// Delete a task
///
/// For owners. Its history goes with it; to keep both, cancel it.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:manage"])),
    params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path), ("If-Match" = Option<String>, Header), Idempotency),
    responses((status = NO_CONTENT), Problems))]
#[delete("/circles/{circle_id}/tasks/{task_id}")]
pub async fn delete_task(
    owner: AsOwner,
    app: Data<App>,
    path: Path<(String, String)>,
    condition: IfMatch,
    once: Idempotency,
) -> Result<HttpResponse> {
    app.db.run(service::delete(app.db.clone(), owner.place(once), task_id(&path)?, condition)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Read the history of a task
///
/// Each move between states, oldest first, the first being its creation: by which agent and credential, when, and what
/// was said about it.
#[utoipa::path(tag = "circles", security(("credential" = ["circles:read"])),
    params(("circle_id" = ExternalId, Path), ("task_id" = TaskId, Path),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Items a page; 50 when left out"), ("cursor" = Option<String>, Query)),
    responses((status = OK, body = Page<TaskMove>), Problems))]
#[get("/circles/{circle_id}/tasks/{task_id}/history")]
pub async fn get_task_history(
    caller: CircleReader,
    app: Data<App>,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Result<Json<Page<TaskMove>>> {
    let circle = caller.circle(Role::Reader)?.uid;
    let mut params = Params::of(&request)?;
    let binding = cursor_binding(&caller.tenant.to_string(), &caller.principal, request.path(), request.query_string());
    let page = PageRequest::read(&mut params, &app.cursor_key, binding, caller.checked_at)?;
    params.finish()?;
    // Cursors are signed, so that only the number of a move comes back.
    let after = page.after.as_deref().and_then(|number| number.parse().ok());
    let wanted = HistoryRequest { circle, id: task_id(&path)?, after, limit: page.limit.probe() };
    let moves = app.db.run(service::history(app.db.clone(), caller.tenant, wanted)).await?;
    Ok(Json(page.page(&app.cursor_key, moves, |one| one.move_no.to_string())?))
}

pub fn task_id(path: &(String, String)) -> Result<TaskId> {
    Ok(TaskId::parse(&path.1).map_err(|invalid| invalid.under("task_id"))?)
}

pub fn answer(status: StatusCode, task: &Task) -> HttpResponse {
    HttpResponse::build(status).insert_header((ETAG, task.etag().to_string())).json(task)
}

/// The position in a cursor. Cursors are signed, so only what this list has written comes back.
fn position(text: &str) -> Result<TaskPosition> {
    let parsed = text.split_once(':').and_then(|(priority, id)| {
        Some(TaskPosition { priority: Priority::parse(priority).ok()?, id: TaskId::parse(id).ok()? })
    });
    parsed.ok_or_else(|| Error::refused(Code::InvalidCursor, "the cursor does not belong to this list; start over"))
}
