//! The words of a scope: which memories have a word and how often, and what stands beside what.

use std::collections::{BTreeMap, HashMap};

use crate::ids::MemoryId;
use crate::memories::Thread;

/// Where a memory stands in its index.
pub type Slot = u32;

/// No neighbour on that side.
pub const NOBODY: Slot = Slot::MAX;

#[derive(Default)]
pub struct Words {
    /// The memories that have a word, and how often. Those of memories that are gone are passed over.
    postings: HashMap<i32, Vec<(Slot, u32)>>,
    threads: HashMap<i64, BTreeMap<(i64, MemoryId), Slot>>,
    /// Who stands before and after each.
    beside: Vec<[Slot; 2]>,
    entries: usize,
}

impl Words {
    /// Adds a memory at the next slot; `terms` are in ascending order.
    pub fn push(&mut self, id: MemoryId, terms: &[i32], thread: Option<Thread>) {
        let slot = self.beside.len() as Slot;
        for run in terms.chunk_by(|a, b| a == b) {
            self.postings.entry(run[0]).or_default().push((slot, run.len() as u32));
            self.entries += 1;
        }
        self.beside.push([NOBODY; 2]);
        if let Some(Thread { key, seq }) = thread {
            let thread = self.threads.entry(key).or_default();
            thread.insert((seq, id), slot);
            let before = thread.range(..(seq, id)).next_back().map_or(NOBODY, |(_, slot)| *slot);
            let after = thread.range((seq, id)..).nth(1).map_or(NOBODY, |(_, slot)| *slot);
            self.join(before, slot);
            self.join(slot, after);
        }
    }

    /// Takes a memory out of its thread, if it is in one; those beside it stand beside one another now.
    pub fn remove(&mut self, id: MemoryId, slot: Slot, thread: Option<Thread>) {
        let Some(Thread { key, seq }) = thread else { return };
        if let Some(members) = self.threads.get_mut(&key) {
            members.remove(&(seq, id));
            if members.is_empty() {
                self.threads.remove(&key);
            }
        }
        let [before, after] = std::mem::replace(&mut self.beside[slot as usize], [NOBODY; 2]);
        self.join(before, after);
    }

    fn join(&mut self, before: Slot, after: Slot) {
        if let Some(beside) = self.beside.get_mut(before as usize) {
            beside[1] = after;
        }
        if let Some(beside) = self.beside.get_mut(after as usize) {
            beside[0] = before;
        }
    }

    pub fn with(&self, term: i32) -> &[(Slot, u32)] {
        self.postings.get(&term).map_or(&[], Vec::as_slice)
    }

    /// Whether nobody stands beside it.
    pub fn is_alone(&self, slot: Slot) -> bool {
        self.beside[slot as usize] == [NOBODY; 2]
    }

    /// Those just before and after.
    pub fn beside(&self, slot: Slot) -> impl Iterator<Item = Slot> {
        self.beside[slot as usize].into_iter().filter(|slot| *slot != NOBODY)
    }

    /// Those up to two places before and after, with the number of places from this one to them.
    pub fn near(&self, slot: Slot) -> impl Iterator<Item = (isize, Slot)> {
        let [before, after] = self.beside[slot as usize];
        let further = |slot: Slot, side: usize| self.beside.get(slot as usize).map_or(NOBODY, |beside| beside[side]);
        let near = [(-2, further(before, 0)), (-1, before), (1, after), (2, further(after, 1))];
        near.into_iter().filter(|(_, slot)| *slot != NOBODY)
    }

    /// What it holds in memory, about: lists grow by halves, and a map has its own needs.
    pub fn size(&self) -> usize {
        self.entries * 10 + self.postings.len() * 48 + self.beside.len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_those_of_the_thread_in_the_order_of_seq() {
        let mut words = Words::default();
        let ids: Vec<MemoryId> = (0..5).map(|_| MemoryId::new()).collect();
        let at = |key, seq| Some(Thread { key, seq });
        let threads = [at(1, 30), at(1, 10), at(1, 20), None, at(2, 15)];
        ids.iter().zip(threads).for_each(|(id, thread)| words.push(*id, &[7, 7, 9], thread));
        let beside = |words: &Words, slot| words.beside(slot).collect::<Vec<_>>();
        assert_eq!((beside(&words, 1), beside(&words, 2), beside(&words, 0)), (vec![2], vec![1, 0], vec![2]));
        assert_eq!((beside(&words, 3), beside(&words, 4)), (vec![], vec![]));
        assert!(words.is_alone(3) && !words.is_alone(1));
        assert_eq!(words.near(1).collect::<Vec<_>>(), [(1, 2), (2, 0)]);
        assert_eq!(words.near(2).collect::<Vec<_>>(), [(-1, 1), (1, 0)]);
        words.remove(ids[2], 2, threads[2]);
        assert_eq!((beside(&words, 1), beside(&words, 0), beside(&words, 2)), (vec![0], vec![1], vec![]));
        assert_eq!(words.with(7)[1], (1, 2));
        assert_eq!(words.with(8), []);
    }

    #[test]
    fn of_one_place_in_a_thread_the_older_memory_stands_first() {
        let mut words = Words::default();
        let (older, newer) = (MemoryId::new(), MemoryId::new());
        let place = Some(Thread { key: 1, seq: 1 });
        words.push(newer, &[], place);
        words.push(older, &[], place);
        assert_eq!(words.beside[1], [NOBODY, 0]);
    }
}
