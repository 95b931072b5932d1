//! Who calls and what they may do: API keys, the gate, and permissions as types.

mod caller;
mod gate;
mod key;
mod middleware;
mod permission;
mod service;
mod store;

pub use caller::{Caller, Membership, Reader, Subject, Writer};
pub use key::{Issued, KeySummary, NewKey, PlainKey};
pub use middleware::authenticate;
pub use permission::{Permission, Permissions};
pub use service::{create_key, key_tenant, list_keys, revoke_key};
pub use store::delete_agent_keys;
