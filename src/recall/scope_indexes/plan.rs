//! Which scopes are worth an index. Pure: what is there and what is wanted in, what is to be done out.

use std::cmp::Reverse;

use crate::recall::scope_indexes::MOST_DIMS;
use crate::recall::scope_indexes::store::{IndexState, KnownIndex, LargeScope, Vectors};

/// How much more than the least of those that have an index a scope must be worth to take its place: building takes
/// minutes, and what is asked changes every day.
const WORTH_A_BUILD: u128 = 2;

/// From what size on a scope gets an index, and how many may.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub above: u64,
    pub most: usize,
}

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Not wanted, not whole, or known only by half.
    pub drop: Vec<KnownIndex>,
    /// Built whole by a worker that did not live to say so.
    pub adopt: Vec<Vectors>,
    /// What is worth most comes first.
    pub build: Vec<LargeScope>,
    /// Indexes that stay as they are.
    pub kept: usize,
}

impl Plan {
    pub fn of(known: Vec<KnownIndex>, scopes: &[LargeScope], room: Room) -> Self {
        let mut plan = Self::default();
        let mut standing: Vec<(&LargeScope, KnownIndex)> = Vec::new();
        for index in known {
            let scope = scopes.iter().find(|scope| index.is_whole_of(scope) && scope.placements >= room.above / 2);
            match scope {
                Some(scope) => standing.push((scope, index)),
                None => plan.drop.push(index),
            }
        }
        standing.sort_by_key(|(scope, _)| Reverse(worth(scope)));
        plan.drop.extend(standing.drain(room.most.min(standing.len())..).map(|(_, index)| index));

        let has_index = |scope: &LargeScope| standing.iter().any(|(one, _)| one.vectors == scope.vectors);
        let mut wanted: Vec<&LargeScope> =
            scopes.iter().filter(|scope| is_large(scope, room) && !has_index(scope)).collect();
        wanted.sort_by_key(|scope| Reverse(worth(scope)));
        for scope in wanted {
            if standing.len() + plan.build.len() >= room.most {
                let least = standing.last().map(|(least, _)| worth(least) * WORTH_A_BUILD);
                let Some((_, index)) = standing.pop_if(|_| least.is_some_and(|least| worth(scope) > least)) else {
                    break;
                };
                plan.drop.push(index);
            }
            plan.build.push(scope.clone());
        }
        plan.kept = standing.len();
        let unsaid = standing.iter().filter(|(_, index)| index.state == Some(IndexState::Building));
        plan.adopt = unsaid.map(|(scope, _)| scope.vectors).collect();
        plan
    }
}

fn is_large(scope: &LargeScope, room: Room) -> bool {
    scope.placements > room.above && scope.vectors.dims <= MOST_DIMS
}

/// What an index saves in a day: so many vectors are not compared, so many times.
fn worth(scope: &LargeScope) -> u128 {
    u128::from(scope.placements) * (1 + u128::from(scope.recalls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ScopeId, TenantId};
    use crate::recall::scope_indexes::index_name;

    const ROOM: Room = Room { above: 1_000, most: 2 };

    fn scope(placements: u64, recalls: u64) -> LargeScope {
        let vectors = Vectors { tenant: TenantId::new(), scope: ScopeId::random(), dims: 3 };
        LargeScope { vectors, placements, recalls }
    }

    fn index(scope: &LargeScope, state: IndexState) -> KnownIndex {
        let name = index_name(&scope.vectors);
        KnownIndex { name, vectors: Some(scope.vectors), state: Some(state), valid: Some(true) }
    }

    #[test]
    fn the_largest_and_most_asked_get_an_index_first() {
        let scopes = [scope(1_000, 900), scope(1_001, 0), scope(5_000, 0), scope(2_000, 9)];
        let plan = Plan::of(Vec::new(), &scopes, ROOM);
        assert_eq!(plan.build, [scopes[3].clone(), scopes[2].clone()], "the first is not above, the second is least");
        assert_eq!((plan.drop, plan.kept), (Vec::new(), 0));
    }

    #[test]
    fn what_has_shrunk_below_half_loses_its_index_and_not_before() {
        let scopes = [scope(500, 0), scope(499, 0), scope(9_000, 0)];
        let gone = index(&scope(9_000, 0), IndexState::Ready);
        let known = vec![index(&scopes[0], IndexState::Ready), index(&scopes[1], IndexState::Ready), gone.clone()];
        let plan = Plan::of(known.clone(), &scopes, ROOM);
        assert_eq!(plan.drop, [known[1].clone(), gone]);
        assert_eq!((plan.build, plan.kept), (vec![scopes[2].clone()], 1));
    }

    #[test]
    fn an_index_gives_way_only_to_a_scope_that_is_worth_twice_as_much() {
        let scopes = [scope(2_000, 0), scope(3_000, 0), scope(4_000, 0)];
        let known: Vec<KnownIndex> = scopes[..2].iter().map(|scope| index(scope, IndexState::Ready)).collect();
        assert_eq!(Plan::of(known.clone(), &scopes, ROOM), Plan { kept: 2, ..Plan::default() });
        let asked = [scopes[0].clone(), scopes[1].clone(), LargeScope { placements: 4_001, ..scopes[2].clone() }];
        let plan = Plan::of(known.clone(), &asked, ROOM);
        assert_eq!((plan.drop, plan.build, plan.kept), (vec![known[0].clone()], vec![asked[2].clone()], 1));
    }

    #[test]
    fn what_a_crash_left_is_dropped_or_if_it_is_whole_kept() {
        let scopes = [scope(2_000, 0), scope(3_000, 0)];
        let whole = index(&scopes[0], IndexState::Building);
        let half = KnownIndex { valid: Some(false), ..index(&scopes[1], IndexState::Building) };
        let stray = KnownIndex { vectors: None, state: None, ..index(&scope(9_000, 0), IndexState::Ready) };
        let plan = Plan::of(vec![whole, half.clone(), stray.clone()], &scopes, ROOM);
        assert_eq!(plan.adopt, [scopes[0].vectors]);
        assert_eq!((plan.drop, plan.build, plan.kept), (vec![half, stray], vec![scopes[1].clone()], 1));
    }

    #[test]
    fn fewer_places_than_indexes_cost_the_least_worth() {
        let scopes = [scope(2_000, 0), scope(3_000, 0), scope(2_500, 0)];
        let known: Vec<KnownIndex> = scopes.iter().map(|scope| index(scope, IndexState::Ready)).collect();
        assert_eq!(Plan::of(known.clone(), &scopes, ROOM).drop, [known[0].clone()]);
        assert_eq!(Plan::of(known.clone(), &scopes, Room { most: 0, ..ROOM }).drop.len(), 3);
        let long = LargeScope { vectors: Vectors { dims: 4_001, ..scopes[0].vectors }, ..scopes[0].clone() };
        assert_eq!(Plan::of(Vec::new(), &[long], ROOM), Plan::default(), "there is no index for such vectors");
    }
}
