//! The events, and how they travel between instances.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{ScopeId, TenantId};

/// Something that happened, by ids alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(tag = "event")]
pub enum Event {
    #[serde(rename = "memory.created")]
    #[strum(serialize = "memory.created")]
    MemoryCreated { memories: Vec<Uuid> },
    #[serde(rename = "memory.updated")]
    #[strum(serialize = "memory.updated")]
    MemoryUpdated { memories: Vec<Uuid> },
    #[serde(rename = "memory.forgotten")]
    #[strum(serialize = "memory.forgotten")]
    MemoryForgotten { memories: Vec<Uuid> },
    #[serde(rename = "memory.shared")]
    #[strum(serialize = "memory.shared")]
    MemoryShared { memories: Vec<Uuid>, circles: Vec<Uuid> },
    #[serde(rename = "memory.unshared")]
    #[strum(serialize = "memory.unshared")]
    MemoryUnshared { memories: Vec<Uuid>, circles: Vec<Uuid> },
    #[serde(rename = "agent.created")]
    #[strum(serialize = "agent.created")]
    AgentCreated { agent: Uuid },
    #[serde(rename = "agent.updated")]
    #[strum(serialize = "agent.updated")]
    AgentUpdated { agent: Uuid },
    #[serde(rename = "agent.deleted")]
    #[strum(serialize = "agent.deleted")]
    AgentDeleted { agent: Uuid },
    #[serde(rename = "circle.created")]
    #[strum(serialize = "circle.created")]
    CircleCreated { circle: Uuid },
    #[serde(rename = "circle.updated")]
    #[strum(serialize = "circle.updated")]
    CircleUpdated { circle: Uuid },
    #[serde(rename = "circle.deleted")]
    #[strum(serialize = "circle.deleted")]
    CircleDeleted { circle: Uuid },
    #[serde(rename = "circle.member.added")]
    #[strum(serialize = "circle.member.added")]
    CircleMemberAdded { circle: Uuid, agents: Vec<Uuid> },
    #[serde(rename = "circle.member.changed")]
    #[strum(serialize = "circle.member.changed")]
    CircleMemberChanged { circle: Uuid, agents: Vec<Uuid> },
    #[serde(rename = "circle.member.removed")]
    #[strum(serialize = "circle.member.removed")]
    CircleMemberRemoved { circle: Uuid, agents: Vec<Uuid> },
    #[serde(rename = "task.created")]
    #[strum(serialize = "task.created")]
    TaskCreated { circle: Uuid, task: Uuid },
    #[serde(rename = "task.updated")]
    #[strum(serialize = "task.updated")]
    TaskUpdated { circle: Uuid, task: Uuid },
    #[serde(rename = "task.deleted")]
    #[strum(serialize = "task.deleted")]
    TaskDeleted { circle: Uuid, task: Uuid },
    #[serde(rename = "task.claimed")]
    #[strum(serialize = "task.claimed")]
    TaskClaimed { circle: Uuid, task: Uuid },
    #[serde(rename = "task.submitted")]
    #[strum(serialize = "task.submitted")]
    TaskSubmitted { circle: Uuid, task: Uuid },
    #[serde(rename = "task.approved")]
    #[strum(serialize = "task.approved")]
    TaskApproved { circle: Uuid, task: Uuid },
    #[serde(rename = "task.rejected")]
    #[strum(serialize = "task.rejected")]
    TaskRejected { circle: Uuid, task: Uuid },
    #[serde(rename = "task.cancelled")]
    #[strum(serialize = "task.cancelled")]
    TaskCancelled { circle: Uuid, task: Uuid },
    #[serde(rename = "task.reopened")]
    #[strum(serialize = "task.reopened")]
    TaskReopened { circle: Uuid, task: Uuid },
    #[serde(rename = "tenant.created")]
    #[strum(serialize = "tenant.created")]
    TenantCreated,
    #[serde(rename = "tenant.updated")]
    #[strum(serialize = "tenant.updated")]
    TenantUpdated,
    #[serde(rename = "tenant.erased")]
    #[strum(serialize = "tenant.erased")]
    TenantErased,
    /// `whole`: of these kinds, all that is cached for the tenant; else what depends on the scopes of the notice.
    #[serde(rename = "cache.flushed")]
    #[strum(serialize = "cache.flushed")]
    CacheFlushed { kinds: Vec<String>, whole: bool },
    #[serde(rename = "cache.stats_reset")]
    #[strum(serialize = "cache.stats_reset")]
    CacheStatsReset,
}

impl Event {
    /// As in `memory.created`.
    pub fn name(&self) -> &'static str {
        self.into()
    }
}

/// Whether this instance did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Here,
    Elsewhere,
}

/// An event, whose it is, and the scopes whose stamps it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub tenant: TenantId,
    pub scopes: Vec<ScopeId>,
    pub event: Event,
    pub origin: Origin,
}

/// A notice on its way to another instance.
#[derive(Serialize, Deserialize)]
struct Message {
    /// The instance that sends; it hears itself too.
    from: Uuid,
    tenant: Uuid,
    scopes: Vec<Uuid>,
    #[serde(flatten)]
    event: Event,
}

impl Notice {
    pub(super) fn to_message(&self, from: Uuid) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Message {
            from,
            tenant: self.tenant.uuid(),
            scopes: self.scopes.iter().map(|scope| scope.uuid()).collect(),
            event: self.event.clone(),
        })
    }

    /// None for what this instance sent itself and for what it does not understand, as a newer release may send.
    pub(super) fn from_message(message: &[u8], to: Uuid) -> Option<Self> {
        let message: Message = serde_json::from_slice(message).ok()?;
        (message.from != to).then(|| Self {
            tenant: TenantId::from_uuid(message.tenant),
            scopes: message.scopes.into_iter().map(ScopeId::from_uuid).collect(),
            event: message.event,
            origin: Origin::Elsewhere,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reaches_others_and_not_oneself() {
        let memories = vec![Uuid::now_v7(), Uuid::now_v7()];
        let sent = Notice {
            tenant: TenantId::new(),
            scopes: vec![ScopeId::random()],
            event: Event::MemoryForgotten { memories },
            origin: Origin::Here,
        };
        let (here, there) = (Uuid::now_v7(), Uuid::now_v7());
        let message = sent.to_message(here).expect("a message");
        let heard = Notice::from_message(&message, there).expect("understood");
        assert_eq!(heard, Notice { origin: Origin::Elsewhere, ..sent });
        assert_eq!(Notice::from_message(&message, here), None);
        assert_eq!(Notice::from_message(b"{\"event\":\"memory.polished\"}", there), None);
    }

    #[test]
    fn an_event_has_one_name() {
        let event = Event::CacheFlushed { kinds: vec!["recall".into()], whole: true };
        let json = serde_json::to_value(&event).expect("JSON");
        assert_eq!(json["event"], event.name());
    }
}
