//! Who is next: start-time fair queueing. Each tenant has a clock that runs as long as it holds a turn, the slower the
//! more weight it has; the next turn goes to the tenant that waits whose clock is furthest behind. Pure: what time
//! turns took is told.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::ids::TenantId;

/// What a turn is taken to cost until it has ended: this part of the tenant's mean follows the latest.
const FOLLOWS: u64 = 8;
/// Before a tenant has had a turn. Nanoseconds.
const FIRST_GUESS: u64 = 1_000_000;

/// Somebody who waits.
pub type Ticket = u64;

pub struct Schedule {
    turns: usize,
    held: usize,
    /// The clock of the tenant that was served last: who comes back after a pause starts from here, and has neither
    /// saved up nor missed anything.
    now: u64,
    flows: HashMap<TenantId, Flow>,
    /// Tenants that wait, by their clocks.
    waiting: BTreeSet<(u64, TenantId)>,
}

#[derive(Debug)]
struct Flow {
    weight: u64,
    clock: u64,
    mean: u64,
    held: usize,
    hasty: VecDeque<Ticket>,
    patient: VecDeque<Ticket>,
    /// The round of `forget` in which it was last seen.
    seen: u64,
}

/// What was charged for a turn when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge(u64);

/// A turn just given out.
pub struct Given {
    pub ticket: Ticket,
    pub charge: Charge,
}

impl Schedule {
    pub fn new(turns: usize) -> Self {
        Self { turns, held: 0, now: 0, flows: HashMap::new(), waiting: BTreeSet::new() }
    }

    /// How many of a tenant wait.
    pub fn waiting_of(&self, tenant: TenantId) -> usize {
        self.flows.get(&tenant).map_or(0, Flow::waiting)
    }

    /// Puts somebody in line; `next` says whose turn it is.
    pub fn join(&mut self, tenant: TenantId, weight: u32, ticket: Ticket, hasty: bool, round: u64) {
        let now = self.now;
        let flow = self.flows.entry(tenant).or_insert_with(|| Flow::new(now));
        (flow.weight, flow.seen) = (u64::from(weight.max(1)), round);
        if flow.waiting() == 0 {
            if flow.held == 0 {
                flow.clock = flow.clock.max(now);
            }
            self.waiting.insert((flow.clock, tenant));
        }
        if hasty { flow.hasty.push_back(ticket) } else { flow.patient.push_back(ticket) }
    }

    /// Gives out one turn, if there is one and somebody may have it.
    pub fn next(&mut self) -> Option<Given> {
        if self.held == self.turns {
            return None;
        }
        let most = self.most_of_one();
        let may = |(_, tenant): &&(u64, TenantId)| self.flows.get(tenant).is_some_and(|flow| flow.held < most);
        let (clock, tenant) = *self.waiting.iter().find(may)?;
        self.waiting.remove(&(clock, tenant));
        let flow = self.flows.get_mut(&tenant)?;
        let ticket = flow.hasty.pop_front().or_else(|| flow.patient.pop_front())?;
        (self.now, self.held, flow.held) = (self.now.max(clock), self.held + 1, flow.held + 1);
        let charge = Charge(flow.mean / flow.weight);
        flow.clock += charge.0;
        if flow.waiting() > 0 {
            self.waiting.insert((flow.clock, tenant));
        }
        Some(Given { ticket, charge })
    }

    /// Some turns are kept for whoever comes next, unless a tenant has been alone for a while: a statement that runs
    /// cannot be called back.
    fn most_of_one(&self) -> usize {
        if self.flows.len() > 1 { (self.turns - self.turns / 4).max(1) } else { self.turns }
    }

    /// A turn has ended, after so many nanoseconds.
    pub fn leave(&mut self, tenant: TenantId, charge: Charge, took: u64, round: u64) {
        self.held -= 1;
        let Some(flow) = self.flows.get_mut(&tenant) else { return };
        let before = flow.clock;
        flow.clock = (flow.clock + took / flow.weight).saturating_sub(charge.0);
        flow.mean = flow.mean - flow.mean / FOLLOWS + took / FOLLOWS;
        (flow.held, flow.seen) = (flow.held - 1, round);
        if flow.waiting() > 0 && flow.clock != before {
            self.waiting.remove(&(before, tenant));
            self.waiting.insert((flow.clock, tenant));
        }
    }

    /// Somebody waits no longer. False if it has its turn already.
    pub fn give_up(&mut self, tenant: TenantId, ticket: Ticket) -> bool {
        let Some(flow) = self.flows.get_mut(&tenant) else { return false };
        let before = flow.waiting();
        flow.hasty.retain(|waiting| *waiting != ticket);
        flow.patient.retain(|waiting| *waiting != ticket);
        if before > 0 && flow.waiting() == 0 {
            self.waiting.remove(&(flow.clock, tenant));
        }
        flow.waiting() < before
    }

    /// Forgets tenants that have not been seen since this round.
    pub fn forget(&mut self, since: u64) {
        self.flows.retain(|_, flow| flow.held > 0 || flow.waiting() > 0 || flow.seen >= since);
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.held
    }
}

impl Flow {
    fn new(clock: u64) -> Self {
        let (hasty, patient) = (VecDeque::new(), VecDeque::new());
        Self { weight: 1, clock, mean: FIRST_GUESS, held: 0, hasty, patient, seen: 0 }
    }

    fn waiting(&self) -> usize {
        self.hasty.len() + self.patient.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A tenant in a trial: its weight, and what each of its turns takes, in milliseconds.
    #[derive(Debug, Clone)]
    struct Crowd {
        weight: u32,
        took: u64,
    }

    fn crowd() -> impl Strategy<Value = Crowd> {
        (1_u32..=4, 1_u64..=50).prop_map(|(weight, took)| Crowd { weight, took })
    }

    /// Serves crowds that never run out of work for so many milliseconds; what each held, and its longest wait for
    /// a next turn.
    fn served(turns: usize, crowds: &[(TenantId, Crowd)], length: u64) -> BTreeMap<TenantId, (u64, u64)> {
        let (mut schedule, mut ticket) = (Schedule::new(turns), 0);
        let mut owners: HashMap<Ticket, TenantId> = HashMap::new();
        let mut running: Vec<(u64, TenantId, Charge, u64)> = Vec::new();
        let mut seen: BTreeMap<TenantId, (u64, u64, u64)> = BTreeMap::new();
        for (tenant, crowd) in crowds {
            for _ in 0..2 * turns {
                schedule.join(*tenant, crowd.weight, ticket, false, 0);
                owners.insert(ticket, *tenant);
                ticket += 1;
            }
        }
        for now in 0..length {
            let ended: Vec<_> = running.extract_if(.., |(ends, ..)| *ends <= now).collect();
            for (_, tenant, charge, took) in ended {
                schedule.leave(tenant, charge, took * 1_000_000, 0);
                let weight = crowds.iter().find(|(other, _)| *other == tenant).expect("a crowd").1.weight;
                schedule.join(tenant, weight, ticket, false, 0);
                owners.insert(ticket, tenant);
                ticket += 1;
            }
            while let Some(given) = schedule.next() {
                let tenant = owners[&given.ticket];
                let took = crowds.iter().find(|(other, _)| *other == tenant).expect("a crowd").1.took;
                running.push((now + took, tenant, given.charge, took));
                let (held, longest, last) = seen.entry(tenant).or_default();
                (*held, *longest, *last) = (*held + took, (*longest).max(now - *last), now);
            }
            assert!(running.len() <= turns);
        }
        seen.into_iter().map(|(tenant, (held, longest, last))| (tenant, (held, longest.max(length - last)))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn under_a_backlog_everyone_holds_turns_for_its_share_of_the_time(
            turns in 1_usize..=3,
            crowds in prop::collection::vec(crowd(), 2..5),
        ) {
            let crowds: Vec<_> = crowds.into_iter().map(|crowd| (TenantId::new(), crowd)).collect();
            let length = 20_000;
            let weights: u64 = crowds.iter().map(|(_, crowd)| u64::from(crowd.weight)).sum();
            let seen = served(turns, &crowds, length);
            for (tenant, crowd) in &crowds {
                let fair = (length * turns as u64 * u64::from(crowd.weight)) as f64 / weights as f64;
                // Nobody can hold more turns than one may, whatever its weight.
                let most = (turns - turns / 4).max(1) as f64 * length as f64;
                let held = seen[tenant].0 as f64;
                prop_assert!(held >= fair.min(most) * 0.8 - 100.0, "{held} of {fair}: {crowds:?} {seen:?}");
            }
        }

        #[test]
        fn nobody_starves(turns in 1_usize..=8, crowds in prop::collection::vec(crowd(), 2..8)) {
            let crowds: Vec<_> = crowds.into_iter().map(|crowd| (TenantId::new(), crowd)).collect();
            let seen = served(turns, &crowds, 5_000);
            let (longest_turn, most) = (50, crowds.len() as u64);
            for (tenant, _) in &crowds {
                let waited = seen[tenant].1;
                prop_assert!(waited <= 2 * 4 * most * longest_turn, "{waited} ms: {crowds:?}");
            }
        }

        #[test]
        fn who_gives_up_leaves_no_hole(turns in 1_usize..=4, steps in prop::collection::vec((0_u8..4, 0_usize..3), 1..200)) {
            let tenants = [TenantId::new(), TenantId::new(), TenantId::new()];
            let mut schedule = Schedule::new(turns);
            let (mut waiting, mut running) = (Vec::new(), Vec::new());
            for (ticket, (step, who)) in steps.into_iter().enumerate() {
                let ticket = ticket as Ticket;
                match step {
                    0 | 1 => {
                        schedule.join(tenants[who], 1, ticket, step == 1, 0);
                        waiting.push((ticket, tenants[who]));
                    }
                    2 if !waiting.is_empty() => {
                        let (ticket, tenant) = waiting.remove(who % waiting.len());
                        prop_assert!(schedule.give_up(tenant, ticket));
                        prop_assert!(!schedule.give_up(tenant, ticket));
                    }
                    3 if !running.is_empty() => {
                        let (tenant, charge) = running.remove(who % running.len());
                        schedule.leave(tenant, charge, 3_000_000, 0);
                    }
                    _ => {}
                }
                while let Some(given) = schedule.next() {
                    let place = waiting.iter().position(|(ticket, _)| *ticket == given.ticket).expect("it waits");
                    running.push((waiting.remove(place).1, given.charge));
                }
                prop_assert_eq!(schedule.held(), running.len());
                for tenant in tenants {
                    let wait = waiting.iter().filter(|(_, other)| *other == tenant).count();
                    prop_assert_eq!(schedule.waiting_of(tenant), wait);
                }
            }
            for (tenant, charge) in running {
                schedule.leave(tenant, charge, 1, 0);
            }
            prop_assert_eq!(schedule.held(), 0);
            // Whoever still waits gets a turn, however many are kept for others.
            prop_assert_eq!(schedule.next().is_some(), !waiting.is_empty());
        }
    }

    #[test]
    fn who_was_away_has_saved_up_nothing_and_is_served_at_once() {
        let (busy, idle) = (TenantId::new(), TenantId::new());
        let mut schedule = Schedule::new(1);
        (0..1_000).for_each(|ticket| schedule.join(busy, 1, ticket, false, 0));
        for _ in 0..100 {
            let given = schedule.next().expect("a turn");
            schedule.leave(busy, given.charge, 10_000_000, 0);
        }
        (2_000..2_100).for_each(|ticket| schedule.join(idle, 1, ticket, false, 0));
        let mut order = Vec::new();
        for _ in 0..20 {
            let given = schedule.next().expect("a turn");
            let tenant = if given.ticket < 2_000 { busy } else { idle };
            order.push(tenant);
            schedule.leave(tenant, given.charge, 10_000_000, 0);
        }
        assert_eq!(order[0..2].iter().filter(|tenant| **tenant == idle).count(), 1);
        let served = order.iter().filter(|tenant| **tenant == idle).count();
        assert!((8..=12).contains(&served), "{served} of 20");
    }

    #[test]
    fn the_hasty_go_before_the_patient_of_their_own_tenant_alone() {
        let (one, other) = (TenantId::new(), TenantId::new());
        let mut schedule = Schedule::new(1);
        schedule.join(one, 1, 1, false, 0);
        schedule.join(other, 1, 2, false, 0);
        schedule.join(one, 1, 3, true, 0);
        let mut order = Vec::new();
        while let Some(given) = schedule.next() {
            order.push(given.ticket);
            schedule.leave(if given.ticket == 2 { other } else { one }, given.charge, 1_000_000, 0);
        }
        let place = |ticket| order.iter().position(|one| *one == ticket);
        assert!(place(3) < place(1) && place(2) < place(1), "{order:?}");
    }

    #[test]
    fn a_tenant_alone_may_have_all_turns_and_never_all_beside_another() {
        let (one, other) = (TenantId::new(), TenantId::new());
        let mut schedule = Schedule::new(8);
        (0..20).for_each(|ticket| schedule.join(one, 1, ticket, false, 0));
        let alone: Vec<Charge> = std::iter::from_fn(|| schedule.next()).map(|given| given.charge).collect();
        assert_eq!(alone.len(), 8);
        schedule.join(other, 1, 100, false, 1);
        alone.iter().for_each(|charge| schedule.leave(one, *charge, 1_000_000, 1));
        let given: Vec<Ticket> = std::iter::from_fn(|| schedule.next()).map(|given| given.ticket).collect();
        assert_eq!(given.len(), 7, "six of one, and the other: {given:?}");
        assert!(given.contains(&100));
        schedule.leave(other, Charge(0), 1, 1);
        schedule.forget(2);
        assert_eq!(std::iter::from_fn(|| schedule.next()).count(), 2, "it is alone again");
    }
}
