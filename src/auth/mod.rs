//! Who calls and what they may do: API keys, tokens, the gate, and permissions as types.

mod caller;
mod credential;
mod gate;
mod inside;
mod issuers;
mod key;
mod middleware;
mod model;
mod permission;
mod role;
mod routes;
#[cfg(feature = "sabotage")]
mod sabotage;
mod service;
mod signing;
mod store;
mod token;
mod uses;

pub use caller::{
    CacheManager, CacheReader, CallQuotas, Caller, CircleManager, CircleReader, Holder, JobManager, KeyManager,
    Membership, Operator, PathCircle, Reader, Subject, TenantAdmin, Writer,
};
pub use gate::{Question, pass};
pub use inside::{Place, pass_inside};
pub use issuers::Issuers;
pub use key::PlainKey;
pub use middleware::authenticate;
pub use model::{Issued, Key, NewKey};
pub use permission::{Permission, Permissions};
pub use role::Role;
pub use routes::routes;
pub use service::{create_key, insert_key, key_tenant, list_keys, register_key, revoke_key, rotate_signing};
pub use signing::purge_signing_keys;
pub use store::delete_agent_keys;
pub use token::Token;
pub use uses::KeyUses;

/// What our own tokens say they are from and for.
const ISSUER: &str = "cairn";
/// The `typ` of access tokens (RFC 9068).
const TOKEN_TYPE: &str = "at+jwt";
