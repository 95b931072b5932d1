//! Routes of circles.

mod place;
mod steps;
mod tasks;

use utoipa_actix_web::service_config::ServiceConfig;

pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(tasks::create_task)
        .service(tasks::list_tasks)
        .service(tasks::get_task)
        .service(tasks::patch_task)
        .service(tasks::delete_task)
        .service(tasks::get_task_history)
        .service(steps::claim_task)
        .service(steps::submit_task)
        .service(steps::approve_task)
        .service(steps::reject_task)
        .service(steps::cancel_task);
}
