//! Where a request happens and in which role, settled before a byte of its body is read.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::auth::{CircleManager, PathCircle, Role};
use crate::circles::service::Actor;
use crate::circles::service::tasks::Place;
use crate::db::Idempotency;
use crate::error::{Error, Result};

macro_rules! takes_role {
    ($($(#[$doc:meta])* $name:ident takes $role:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub struct $name {
            caller: CircleManager,
            circle: PathCircle,
        }

        impl $name {
            pub fn place(&self, once: Idempotency) -> Place {
                Place { actor: Actor::of(&self.caller, once), circle: self.circle.clone(), least: Role::$role }
            }
        }

        impl FromRequest for $name {
            type Error = Error;
            type Future = Ready<Result<Self>>;

            fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
                let caller = CircleManager::from_request(request, payload).into_inner();
                ready(caller.and_then(|caller| {
                    let circle = caller.circle(Role::$role)?.clone();
                    Ok(Self { caller, circle })
                }))
            }
        }
    )*};
}

takes_role! {
    /// May work in the circle of the path.
    AsEditor takes Editor,
    /// May manage it.
    AsOwner takes Owner,
}
