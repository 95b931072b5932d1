//! Memories that circles see: their authors, and who may change where they are seen.

use cairn::auth::Role;
use reqwest::Method;

use crate::who_acts::circles::Place;
use crate::who_acts::principals::Principal;
use crate::who_acts::{Operation, Refusal};

/// A memory, shared in every circle of its author. Where that is a reader by now, it is frozen.
pub struct Memory {
    pub author: &'static str,
    pub id: String,
}

impl Memory {
    pub fn is_shared_in(&self, place: Place) -> bool {
        place.role_of(self.author).is_some()
    }

    fn is_seen_by(&self, agent: &str) -> bool {
        let is_seen_in = |place: &Place| self.is_shared_in(*place) && place.role_of(agent).is_some();
        agent == self.author || Place::ALL.iter().any(is_seen_in)
    }

    /// How the contract wants this refused to who has the scope for it.
    pub fn refusal(&self, principal: &Principal, operation: &Operation) -> Option<Refusal> {
        let is_plain_read = operation.method == Method::GET && operation.path == "/v1/memories/{id}";
        match principal.acts_as() {
            None => None,
            Some(agent) if agent == self.author => None,
            Some(agent) if !self.is_seen_by(agent) => Some((404, "not_found")),
            Some(_) if is_plain_read => None,
            Some(_) => Some((403, "not_author")),
        }
    }

    /// The same, of sharing it in a circle, or no longer.
    pub fn share_refusal(&self, principal: &Principal, operation: &Operation, place: Place) -> Option<Refusal> {
        let acting = principal.acts_as();
        let shares = match operation.method {
            Method::PUT => true,
            Method::DELETE => false,
            _ => panic!("{} {}: who may do it?", operation.method, operation.path),
        };
        if acting.is_some_and(|agent| !self.is_seen_by(agent)) {
            return Some((404, "not_found"));
        }
        if shares && acting.is_some_and(|agent| agent != self.author) {
            return Some((403, "not_author"));
        }
        // A back end stands in for the author; to take away what the author no longer may, it manages circles.
        let stands_in = acting.is_none() && !shares && matches!(place, Place::Circle(_));
        let agent = acting.unwrap_or(self.author);
        let least = if agent == self.author { Role::Editor } else { Role::Owner };
        match place.role_of(agent) {
            Some(role) if role >= least => None,
            _ if stands_in && principal.may("circles:manage") => None,
            _ if stands_in => Some((403, "insufficient_scope")),
            None => Some((404, "not_found")),
            Some(_) => Some((403, "role_required")),
        }
    }
}
