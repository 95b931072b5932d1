//! How a chaos build believes who is in a circle: see `crate::sabotage`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::auth::Membership;
use crate::ids::AgentUid;
use crate::sabotage::{Guard, is_off};

/// As each of them was when the gate last said so.
static KNOWN: LazyLock<Mutex<HashMap<AgentUid, Vec<Membership>>>> = LazyLock::new(Mutex::default);

/// With what the gate says, what it said before and does no longer.
pub(super) fn remembered(agent: Option<AgentUid>, said: Vec<Membership>) -> Vec<Membership> {
    let Some(agent) = agent.filter(|_| is_off(Guard::Membership)) else { return said };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.entry(agent).or_default();
    known.retain(|before| said.iter().all(|now| now.circle != before.circle));
    known.extend(said);
    known.clone()
}
