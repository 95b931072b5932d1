//! Callers from inside: work that nobody presents a credential for passes the gate as every call does, and sees what
//! an unbound back end of the tenant would.

use crate::app::App;
use crate::auth::credential::Grant;
use crate::auth::gate::{self, Question};
use crate::auth::middleware::caller_of;
use crate::auth::{Caller, Permissions};
use crate::error::{Error, Result};
use crate::ids::{ExternalId, TenantId};

/// Whom work from inside is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Agent(ExternalId),
    Circle(ExternalId),
}

/// Someone who asks on behalf of a tenant that is active, about an agent or a circle as they are now. `principal` says
/// what for.
pub async fn pass_inside(app: &App, tenant: TenantId, place: &Place, principal: &str) -> Result<Caller> {
    let (subject, circle) = match place {
        Place::Agent(id) => (Some(id.clone()), None),
        Place::Circle(id) => (None, Some(id.clone())),
    };
    let question =
        Question { tenant: Some(tenant), subject: subject.clone(), circle: circle.clone(), ..Question::default() };
    let passage = gate::pass(app.db.background(), &question).await?;
    let passage = passage.filter(|passage| passage.tenant_status == "active").ok_or_else(Error::unauthenticated)?;
    let grant =
        Grant { permissions: Permissions::default(), bound_to: None, principal: principal.to_owned(), by_key: None };
    let caller = caller_of(grant, passage, subject.as_ref(), circle.as_ref(), false);
    // What is embedded for a tenant is the tenant's to pay for, whoever asks.
    Ok(Caller { budget: app.rates.budget(caller.as_counted()), ..caller })
}
