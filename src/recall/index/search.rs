//! Searching scopes in memory: the pool of candidates that Postgres would gather from the same commits. Exact: every
//! memory is compared.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, HashSet};

use half::f16;
use pgvector::HalfVector;

use super::scope::ScopeIndex;
use super::vectors::{Bounds, Probe};
use super::words::Slot;
use crate::ids::{MemoryId, ScopeId};
use crate::memories::MemoryFilter;
use crate::recall::rank::{Bm25, Candidate, Corpus, Pool, Similarity, share, window_length};

/// What is searched for.
pub struct Wanted<'a> {
    /// In ascending order, each once; none: not by words.
    pub terms: Option<&'a [i32]>,
    /// None: not by meaning.
    pub vector: Option<&'a [f16]>,
    pub filter: &'a MemoryFilter,
    /// How many candidates each side hands over.
    pub depth: usize,
    /// Whether what stands beside a word is found by it.
    pub neighbours: bool,
}

/// A scope that is searched, and what is known of each slot.
struct Field<'a> {
    scope: ScopeId,
    index: &'a ScopeIndex,
    /// Holds a memory that is in none of the scopes before.
    first: Vec<bool>,
    /// Of these, the ones that pass the filter.
    wanted: Vec<bool>,
    /// By words; 0: no word in common.
    lexical: Vec<f64>,
}

/// Where a memory is: in which of the scopes, at which slot.
type Spot = (usize, Slot);

/// The best of each side over all of these scopes, in the order in which they are asked for.
pub fn pool(scopes: &[(ScopeId, &ScopeIndex)], wanted: &Wanted<'_>) -> Pool {
    let mut fields = fields(scopes, wanted.filter);
    let corpus = corpus(&fields);
    let mut spots: BTreeSet<Spot> = BTreeSet::new();
    if let Some(terms) = wanted.terms {
        score_words(&mut fields, corpus, terms, wanted.neighbours);
        spots.extend(best_by_words(&fields, wanted.depth));
    }
    let similarity = wanted.vector.map(Similarity::to);
    if let Some(similarity) = &similarity {
        spots.extend(nearest(&fields, similarity, wanted.depth));
    }
    let mut room = Vec::new();
    let candidates = spots.into_iter().filter_map(|spot| candidate(&fields, spot, similarity.as_ref(), &mut room));
    let candidates = candidates.collect();
    let newest = fields.iter().filter_map(|field| field.index.newest()).max_by_key(|(id, _)| *id);
    Pool { candidates, corpus, newest: newest.map(|(_, created_at)| created_at) }
}

fn fields<'a>(scopes: &[(ScopeId, &'a ScopeIndex)], filter: &MemoryFilter) -> Vec<Field<'a>> {
    let mut fields: Vec<Field<'a>> = Vec::with_capacity(scopes.len());
    // The first scope is the agent's own, and mostly the largest: it is asked, and not copied.
    let mut seen: HashSet<MemoryId> = HashSet::new();
    for (place, (scope, index)) in scopes.iter().enumerate() {
        let mut first = index.held().to_vec();
        if place > 0 {
            for (slot, doc) in index.docs() {
                first[slot as usize] = !scopes[0].1.contains(doc.id) && seen.insert(doc.id);
            }
        }
        let mut wanted = first.clone();
        if !filter.is_empty() {
            for (slot, doc) in index.docs() {
                wanted[slot as usize] = first[slot as usize] && filter.accepts(&doc.columns);
            }
        }
        fields.push(Field { scope: *scope, index, first, wanted, lexical: Vec::new() });
    }
    fields
}

fn corpus(fields: &[Field<'_>]) -> Corpus {
    if let [only] = fields {
        return Corpus { documents: only.index.memories() as u64, words: only.index.total_words() };
    }
    let counted = fields.iter().flat_map(|field| {
        let slots = field.first.iter().enumerate().filter(|(_, first)| **first);
        slots.map(|(slot, _)| field.index.length(slot as Slot))
    });
    counted.fold(Corpus::default(), |corpus, length| Corpus {
        documents: corpus.documents + 1,
        words: corpus.words + u64::from(length),
    })
}

/// BM25 of every memory that has, or stands beside, one of the words.
fn score_words(fields: &mut [Field<'_>], corpus: Corpus, terms: &[i32], neighbours: bool) {
    let first = |field: &Field<'_>, term: i32| {
        field.index.words.with(term).iter().filter(|(slot, _)| field.first[*slot as usize]).count() as u64
    };
    let frequency: Vec<u64> = terms.iter().map(|term| fields.iter().map(|field| first(field, *term)).sum()).collect();
    let bm25 = Bm25::new(corpus, &frequency);
    for field in fields {
        field.lexical = vec![0.0; field.index.slots()];
        let mut counts = vec![0.0; field.index.slots()];
        for (word, term) in terms.iter().enumerate() {
            let score = Word { bm25: &bm25, word, term: *term };
            if neighbours { score.around(field, &mut counts) } else { score.alone(field) }
        }
    }
}

/// One of the question's words, to be scored.
struct Word<'a> {
    bm25: &'a Bm25,
    word: usize,
    term: i32,
}

impl Word<'_> {
    /// In the memories that have it.
    fn alone(&self, field: &mut Field<'_>) {
        for (slot, times) in field.index.words.with(self.term) {
            self.add(field, *slot, f64::from(*times), field.index.length(*slot));
        }
    }

    /// And in those near them. `counts` is all zero, and is left so.
    fn around(&self, field: &mut Field<'_>, counts: &mut [f64]) {
        let index = field.index;
        let mut touched = Vec::new();
        for (slot, times) in index.words.with(self.term) {
            if index.words.is_alone(*slot) {
                self.add(field, *slot, f64::from(*times), index.length(*slot));
            } else if index.held()[*slot as usize] {
                for (places, near) in std::iter::once((0, *slot)).chain(index.words.near(*slot)) {
                    counts[near as usize] += share(places, index.asks(*slot)) * f64::from(*times);
                    touched.push(near);
                }
            }
        }
        for slot in touched {
            let count = std::mem::take(&mut counts[slot as usize]);
            if count > 0.0 {
                let beside = index.words.beside(slot).map(|slot| index.length(slot));
                self.add(field, slot, count, window_length(index.length(slot), beside));
            }
        }
    }

    fn add(&self, field: &mut Field<'_>, slot: Slot, count: f64, length: u32) {
        if field.wanted[slot as usize] {
            field.lexical[slot as usize] += self.bm25.part(self.word, count, length);
        }
    }
}

fn best_by_words(fields: &[Field<'_>], depth: usize) -> Vec<Spot> {
    let (mut top, mut scored) = (Top::new(depth), Vec::new());
    for (place, field) in fields.iter().enumerate() {
        for (slot, score) in field.lexical.iter().enumerate().filter(|(_, score)| **score > 0.0) {
            if *score >= top.least {
                top.push(*score);
                scored.push((*score, (place, slot as Slot)));
            }
        }
    }
    best(fields, scored, depth)
}

/// Of equals, the newer first.
fn best(fields: &[Field<'_>], mut scored: Vec<(f64, Spot)>, depth: usize) -> Vec<Spot> {
    let id = |(place, slot): Spot| fields[place].index.doc(slot).map(|doc| doc.id);
    let order = |a: &(f64, Spot), b: &(f64, Spot)| b.0.total_cmp(&a.0).then_with(|| id(b.1).cmp(&id(a.1)));
    if scored.len() > depth {
        scored.select_nth_unstable_by(depth, order);
        scored.truncate(depth);
    }
    scored.into_iter().map(|(_, spot)| spot).collect()
}

/// Compares bytes first. What cannot be among the nearest, at its best, is not compared exactly.
fn nearest(fields: &[Field<'_>], similarity: &Similarity, depth: usize) -> Vec<Spot> {
    let probe = Probe::of(&similarity.unit());
    let mut within_reach = Reach::new(depth);
    for (place, field) in fields.iter().enumerate() {
        let wanted = field.wanted.iter().enumerate().filter(|(_, wanted)| **wanted);
        for slot in wanted.map(|(slot, _)| slot as Slot) {
            let rows = field.index.rows(slot);
            if !rows.is_empty() {
                within_reach.note((place, slot), field.index.vectors.bounds(rows, &probe));
            }
        }
    }
    let (mut exact, mut top, mut room) = (Vec::new(), Top::new(depth), Vec::new());
    for (promise, spot) in within_reach.by_promise() {
        // Whoever comes next promises less than what is found already.
        if promise < top.least {
            break;
        }
        let index = fields[spot.0].index;
        if let Some(cosine) = index.vectors.best(index.rows(spot.1), similarity, &mut room) {
            top.push(cosine);
            exact.push((cosine, spot));
        }
    }
    best(fields, exact, depth)
}

/// So many of the largest numbers that were met.
struct Top {
    depth: usize,
    /// The least of them on top.
    heap: BinaryHeap<Reverse<Ordered>>,
    /// What another has to reach to be one of them.
    least: f64,
}

impl Top {
    fn new(depth: usize) -> Self {
        Self { depth, heap: BinaryHeap::with_capacity(depth + 1), least: f64::MIN }
    }

    fn push(&mut self, number: f64) {
        if number < self.least {
            return;
        }
        self.heap.push(Reverse(Ordered(number)));
        if self.heap.len() > self.depth {
            self.heap.pop();
        }
        if self.heap.len() == self.depth {
            self.least = self.heap.peek().map_or(f64::MIN, |least| least.0.0);
        }
    }
}

/// What may still be among the nearest: as good at its best as so many others are at their worst.
struct Reach {
    sure: Top,
    noted: Vec<(Ordered, Spot)>,
}

impl Reach {
    fn new(depth: usize) -> Self {
        Self { sure: Top::new(depth), noted: Vec::new() }
    }

    fn note(&mut self, spot: Spot, bounds: Bounds) {
        let promise = f64::from(bounds.upper);
        if promise >= self.sure.least {
            self.noted.push((Ordered(promise), spot));
            self.sure.push(f64::from(bounds.lower));
        }
    }

    /// Each with the best that it may be, in descending order.
    fn by_promise(self) -> impl Iterator<Item = (f64, Spot)> {
        let least = self.sure.least;
        let within = self.noted.into_iter().filter(|(promise, _)| promise.0 >= least);
        let mut heap: BinaryHeap<(Ordered, Spot)> = within.collect();
        std::iter::from_fn(move || heap.pop().map(|(promise, spot)| (promise.0, spot)))
    }
}

/// A number with an order.
#[derive(Clone, Copy, PartialEq)]
struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

fn candidate(
    fields: &[Field<'_>],
    (place, slot): Spot,
    similarity: Option<&Similarity>,
    room: &mut Vec<f32>,
) -> Option<Candidate> {
    let field = &fields[place];
    let doc = field.index.doc(slot)?;
    let rows = field.index.rows(slot);
    let vectors = rows.clone().map(|row| HalfVector::from(field.index.vectors.row(row).to_vec()));
    Some(Candidate {
        id: doc.id,
        scope: field.scope,
        similarity: similarity.and_then(|to| field.index.vectors.best(rows, to, room)),
        lexical: field.lexical.get(slot as usize).copied().filter(|score| *score > 0.0),
        importance: doc.columns.importance,
        created_at: doc.columns.created_at,
        occurred_at: doc.columns.occurred_at,
        speaker: doc.columns.speaker.clone(),
        thread: doc.thread,
        vectors: if similarity.is_some() { vectors.collect() } else { Vec::new() },
    })
}
