//! Recalls of one tenant that were noted and not gathered yet, within bounds.

use std::collections::HashMap;

use crate::cache::Digest;
use crate::ids::{AgentUid, ScopeId, TenantId};
use crate::usage::AgentUse;

/// Agents that are told apart.
const AGENTS: usize = 1_000;
/// Different questions that are told apart. A question asked again and again outlives those asked once.
const QUERIES: usize = 256;

/// A recall that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Recalled {
    pub tenant: TenantId,
    /// None: nobody says who asks.
    pub agent: Option<AgentUid>,
    /// What was asked: an agent's own scope, or the content of a circle.
    pub scope: ScopeId,
    /// What the question is called in the cache; none: it is not cached.
    pub digest: Option<Digest>,
    pub hit: bool,
}

/// How often a question was asked, and the request, if it may be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryUse {
    pub recalls: i64,
    pub hits: i64,
    pub request: Option<Vec<u8>>,
}

impl QueryUse {
    pub fn add(&mut self, other: Self) {
        self.recalls += other.recalls;
        self.hits += other.hits;
        self.request = self.request.take().or(other.request);
    }
}

#[derive(Debug, Default)]
pub struct Noted {
    /// The nil agent stands for all others.
    pub agents: HashMap<AgentUid, AgentUse>,
    pub queries: HashMap<(ScopeId, Digest), QueryUse>,
}

impl Noted {
    /// `request` is asked for once a question.
    pub fn note(&mut self, recall: &Recalled, request: impl FnOnce() -> Option<Vec<u8>>) {
        let agent = recall.agent.filter(|agent| self.agents.len() < AGENTS || self.agents.contains_key(agent));
        let hits = i64::from(recall.hit);
        self.agents.entry(agent.unwrap_or(AgentUid::NIL)).or_default().add(&AgentUse { recalls: 1, hits });
        let Some(digest) = recall.digest else { return };
        let query = (recall.scope, digest);
        if !self.queries.contains_key(&query) {
            self.make_room();
        }
        let noted = self.queries.entry(query).or_default();
        noted.recalls += 1;
        noted.hits += hits;
        noted.request = noted.request.take().or_else(request);
    }

    /// The question asked least goes, and its count with it: no count is ever more than what was asked.
    fn make_room(&mut self) {
        if self.queries.len() < QUERIES {
            return;
        }
        if let Some(least) = self.queries.iter().min_by_key(|(_, noted)| noted.recalls).map(|(query, _)| *query) {
            self.queries.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Digest::from_bytes(&bytes).expect("24 bytes")
    }

    fn recall(number: u64, agent: AgentUid) -> Recalled {
        let tenant = TenantId::new();
        Recalled { tenant, agent: Some(agent), scope: ScopeId::random(), digest: Some(digest(number)), hit: true }
    }

    #[test]
    fn a_question_asked_again_and_again_outlives_thousands_asked_once() {
        let (mut noted, often) = (Noted::default(), recall(0, AgentUid::random()));
        for number in 1..=5_000 {
            if number % 100 == 1 {
                noted.note(&often, || Some(b"often".to_vec()));
            }
            noted.note(&recall(number, AgentUid::random()), || None);
        }
        assert_eq!(noted.queries.len(), QUERIES);
        let kept = &noted.queries[&(often.scope, digest(0))];
        assert_eq!((kept.recalls, kept.hits, kept.request.as_deref()), (50, 50, Some(&b"often"[..])));
    }

    #[test]
    fn agents_beyond_the_bound_are_counted_together_and_none_is_lost() {
        let mut noted = Noted::default();
        let agents: Vec<AgentUid> = (0..3_000).map(|_| AgentUid::random()).collect();
        for agent in agents.iter().chain(&agents) {
            noted.note(&recall(0, *agent), || None);
        }
        assert_eq!(noted.agents.len(), AGENTS + 1);
        assert_eq!(noted.agents.values().map(|use_of| use_of.recalls).sum::<i64>(), 6_000);
        assert_eq!(noted.agents[&agents[0]].recalls, 2);
    }
}
