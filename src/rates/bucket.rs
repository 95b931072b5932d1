//! A bucket in this process: what was taken from the shared one beforehand, and a bucket of its own with this
//! instance's share of the rate, for when the shared one cannot be reached. Pure: the time is told.

use std::time::{Duration, Instant};

use crate::rates::rule::Rate;
use crate::redis::{Take, Taken};

/// What is taken beforehand and not used for so long is given up.
const LEASE: Duration = Duration::from_secs(1);
/// Of what a window allows, this part is taken beforehand, so that most requests need not ask.
const SLICE: u64 = 10;
/// Who was refused asks no sooner than this: under a flood, asking must not become one itself.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub struct Bucket {
    /// Taken from the shared bucket and not used yet, until this moment.
    leased: u64,
    lease_ends: Option<Instant>,
    /// What the shared bucket had left when it was last asked.
    left_there: u64,
    /// So much is not there before this moment.
    refused: Option<(u64, Instant)>,
    /// When this instance's own bucket is full again.
    full_at: Option<Instant>,
}

/// What a bucket knows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    Yes,
    /// Not before this moment.
    No(Instant),
    /// Only the shared bucket knows.
    Unknown,
}

impl Bucket {
    /// Spends what is here already.
    pub fn spend(&mut self, cost: u64, now: Instant) -> Spent {
        if self.lease_ends.is_some_and(|ends| ends <= now) {
            (self.leased, self.lease_ends) = (0, None);
        }
        if self.leased >= cost {
            self.leased -= cost;
            return Spent::Yes;
        }
        match self.refused {
            Some((refused, until)) if cost >= refused && until > now => Spent::No(until),
            _ => Spent::Unknown,
        }
    }

    /// What the shared bucket answered.
    pub fn settle(&mut self, cost: u64, taken: Taken, now: Instant) -> Spent {
        self.left_there = taken.left;
        if taken.granted < cost {
            return self.refuse(cost, Duration::from_micros(taken.wait), now);
        }
        self.refused = None;
        self.leased += taken.granted - cost;
        self.lease_ends = Some(now + LEASE);
        Spent::Yes
    }

    /// Spends from this instance's own bucket, where nobody else can be asked.
    pub fn spend_share(&mut self, rate: Rate, instances: usize, cost: u64, now: Instant) -> Spent {
        let (per, fill) = share(rate, instances);
        let credit = fill - self.behind(now);
        let needed = (cost as f64 * per).min(fill);
        self.left_there = (credit / per).max(0.0) as u64;
        // A microsecond is less than clocks tell.
        if credit + 1.0 < needed {
            return self.refuse(cost, micros(needed - credit), now);
        }
        self.full_at = Some(now + micros(self.behind(now) + cost as f64 * per));
        self.left_there = self.left_there.saturating_sub(cost);
        Spent::Yes
    }

    /// Counts what the shared bucket granted: who spent it has no second helping here when Redis goes away.
    pub fn note(&mut self, rate: Rate, instances: usize, cost: u64, now: Instant) {
        let (per, fill) = share(rate, instances);
        self.full_at = Some(now + micros((self.behind(now) + cost as f64 * per).min(fill)));
    }

    fn refuse(&mut self, cost: u64, wait: Duration, now: Instant) -> Spent {
        let until = now + wait.max(PAUSE);
        self.refused = Some((cost, until));
        Spent::No(until)
    }

    /// How far this instance's own bucket is from full, in microseconds.
    fn behind(&self, now: Instant) -> f64 {
        self.full_at.map_or(0.0, |full_at| full_at.saturating_duration_since(now).as_micros() as f64)
    }

    /// What is left, as far as it is known here.
    pub fn left(&self) -> u64 {
        self.leased + self.left_there
    }

    /// When there is more again, for who was refused.
    pub fn refused_until(&self, now: Instant) -> Option<Instant> {
        self.refused.map(|(_, until)| until).filter(|until| *until > now)
    }
}

/// What to ask of the shared bucket. `ahead`: more than the cost, for what comes next.
pub fn demand(key: String, rate: Rate, cost: u64, ahead: bool) -> Take {
    let slice = u64::from(rate.most.get()) / SLICE;
    let (per, fill) = share(rate, 1);
    // A batch that is larger than the bucket goes into debt; a single request cannot.
    let depth = if ahead { fill } else { fill + cost as f64 * per };
    Take { key, per, fill, depth, cost, wanted: if ahead { cost.max(slice) } else { cost } }
}

/// How long one takes to come, and a bucket to fill that holds at least one: both in microseconds.
fn share(rate: Rate, instances: usize) -> (f64, f64) {
    let per = rate.per(instances.max(1));
    (per, (rate.window.as_micros() as f64).max(per))
}

fn micros(micros: f64) -> Duration {
    Duration::from_micros(micros.max(0.0).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::rates::rule::Resource;

    fn rate(most: u32) -> Rate {
        Rate::of(Resource::Requests, NonZeroU32::new(most).expect("not zero"))
    }

    /// How many of many attempts, evenly over so many milliseconds, are let through.
    fn admitted(bucket: &mut Bucket, rate: Rate, instances: usize, begin: Instant, milliseconds: u64) -> usize {
        let moments = (0..milliseconds).map(|ms| begin + Duration::from_millis(ms));
        let let_through = moments.filter(|now| match bucket.spend(1, *now) {
            Spent::Unknown => bucket.spend_share(rate, instances, 1, *now) == Spent::Yes,
            spent => spent == Spent::Yes,
        });
        let_through.count()
    }

    #[test]
    fn a_share_is_a_burst_and_then_a_steady_part_of_the_rate() {
        let (begin, mut bucket) = (Instant::now(), Bucket::default());
        assert_eq!(admitted(&mut bucket, rate(300), 3, begin, 1), 1);
        let first = admitted(&mut bucket, rate(300), 3, begin, 1_000);
        assert!((190..=200).contains(&first), "{first}");
        let second = admitted(&mut bucket, rate(300), 3, begin + Duration::from_secs(1), 1_000);
        assert!((95..=101).contains(&second), "{second}");
    }

    #[test]
    fn a_share_below_one_a_second_is_still_not_nothing() {
        let (begin, mut bucket) = (Instant::now(), Bucket::default());
        let admitted = admitted(&mut bucket, rate(1), 3, begin, 30_000);
        assert!((10..=11).contains(&admitted), "{admitted}");
    }

    #[test]
    fn who_spent_its_share_elsewhere_has_no_second_helping() {
        let (now, mut bucket) = (Instant::now(), Bucket::default());
        for _ in 0..1_000 {
            bucket.note(rate(300), 3, 1, now);
        }
        let admitted = admitted(&mut bucket, rate(300), 3, now, 1_000);
        assert!((90..=101).contains(&admitted), "{admitted}: not a burst, and not a debt either");
    }

    #[test]
    fn more_than_a_bucket_holds_is_taken_when_it_is_full_and_paid_off_later() {
        let tokens = Rate::of(Resource::Tokens, NonZeroU32::new(600).expect("not zero"));
        let (begin, mut bucket) = (Instant::now(), Bucket::default());
        assert_eq!(bucket.spend_share(tokens, 1, 1_200, begin), Spent::Yes);
        let later = |seconds| begin + Duration::from_secs(seconds);
        assert!(matches!(bucket.spend_share(tokens, 1, 1, later(59)), Spent::No(_)), "it is in debt");
        assert_eq!(bucket.spend_share(tokens, 1, 10, later(62)), Spent::Yes);
        assert!(matches!(bucket.spend_share(tokens, 1, 1_200, later(63)), Spent::No(_)), "it is not full");
        assert_eq!(bucket.spend_share(tokens, 1, 1_200, later(200)), Spent::Yes);
    }

    #[test]
    fn a_refusal_is_remembered_for_as_much_and_not_for_less() {
        let (now, mut bucket) = (Instant::now(), Bucket::default());
        let refused = bucket.settle(100, Taken { granted: 0, left: 40, wait: 1_000_000 }, now);
        let until = now + Duration::from_secs(1);
        assert_eq!(refused, Spent::No(until));
        assert_eq!(bucket.spend(100, now), Spent::No(until));
        assert_eq!(bucket.spend(5, now), Spent::Unknown);
        assert_eq!(bucket.spend(100, until), Spent::Unknown);
    }

    #[test]
    fn what_was_taken_beforehand_is_spent_here_and_given_up_in_time() {
        let (now, mut bucket) = (Instant::now(), Bucket::default());
        assert_eq!(bucket.settle(1, Taken { granted: 3, left: 0, wait: 0 }, now), Spent::Yes);
        assert_eq!([1, 1, 1].map(|cost| bucket.spend(cost, now)), [Spent::Yes, Spent::Yes, Spent::Unknown]);
        bucket.settle(1, Taken { granted: 3, left: 0, wait: 0 }, now);
        assert_eq!(bucket.spend(1, now + LEASE), Spent::Unknown);
    }
}
