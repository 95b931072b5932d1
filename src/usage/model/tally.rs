//! All that is counted for one tenant and not written yet.

use std::collections::HashMap;
use std::hash::Hash;

use strum::VariantArray;

use crate::cache::{Digest, Invalidated, Kind, KindCounts, Layer};
use crate::ids::{AgentUid, ScopeId};
use crate::usage::model::{Noted, QueryUse};
use crate::usage::{AgentUse, KindUse, LayerUse, ScopeUse};

/// The most that one instance writes of a tenant at once; the rest is counted together, and questions are left out.
const AGENTS: usize = 1_000;
const SCOPES: usize = 200;
const QUERIES: usize = 200;

#[derive(Debug, Default)]
pub struct Tally {
    pub layers: HashMap<(Kind, Layer), LayerUse>,
    pub kinds: HashMap<Kind, KindUse>,
    pub agents: HashMap<AgentUid, AgentUse>,
    pub scopes: HashMap<ScopeId, ScopeUse>,
    pub queries: HashMap<(ScopeId, Digest), QueryUse>,
}

impl Tally {
    /// What the caches counted.
    pub fn add_caches(&mut self, kinds: &[KindCounts], invalidated: HashMap<ScopeId, Invalidated>) {
        for counts in kinds {
            self.kinds.entry(counts.kind).or_default().add(&KindUse::of(counts));
            for layer in Layer::VARIANTS {
                let counted = LayerUse::of(counts, *layer);
                if counted != LayerUse::default() {
                    self.layers.entry((counts.kind, *layer)).or_default().add(&counted);
                }
            }
        }
        for (scope, Invalidated { changes, entries }) in invalidated {
            let counted = ScopeUse { changes: changes as i64, entries: entries as i64 };
            self.scopes.entry(scope).or_default().add(&counted);
        }
        keep_most(&mut self.scopes, SCOPES, ScopeId::NIL, |one| (one.entries, one.changes), ScopeUse::add);
    }

    /// What was recalled.
    pub fn add_noted(&mut self, noted: Noted) {
        for (agent, counted) in noted.agents {
            self.agents.entry(agent).or_default().add(&counted);
        }
        for (query, counted) in noted.queries {
            self.queries.entry(query).or_default().add(counted);
        }
        keep_most(&mut self.agents, AGENTS, AgentUid::NIL, |one| (one.recalls, one.hits), AgentUse::add);
        if self.queries.len() > QUERIES {
            let mut all: Vec<_> = self.queries.drain().collect();
            all.sort_unstable_by_key(|(_, counted)| std::cmp::Reverse(counted.recalls));
            self.queries.extend(all.into_iter().take(QUERIES));
        }
    }
}

/// The largest stay; what the others have goes to `rest`.
fn keep_most<K: Copy + Eq + Hash, V: Copy + Default>(
    counts: &mut HashMap<K, V>,
    most: usize,
    rest: K,
    size: impl Fn(&V) -> (i64, i64),
    add: impl Fn(&mut V, &V),
) {
    if counts.len() <= most {
        return;
    }
    let mut all: Vec<(K, V)> = counts.drain().collect();
    all.sort_unstable_by_key(|(_, counted)| std::cmp::Reverse(size(counted)));
    for (place, (key, counted)) in all.into_iter().enumerate() {
        let key = if place < most { key } else { rest };
        add(counts.entry(key).or_default(), &counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_the_largest_are_told_apart_and_the_rest_added_up() {
        let mut tally = Tally::default();
        let scopes: Vec<ScopeId> = (0..500).map(|_| ScopeId::random()).collect();
        let invalidated = |entries| Invalidated { changes: 1, entries };
        tally.add_caches(&[], scopes.iter().enumerate().map(|(n, scope)| (*scope, invalidated(n as u64))).collect());
        assert_eq!(tally.scopes.len(), SCOPES + 1);
        assert_eq!(tally.scopes[&scopes[499]].entries, 499);
        assert_eq!(tally.scopes[&ScopeId::NIL], ScopeUse { changes: 300, entries: (0..300).sum() });
    }
}
