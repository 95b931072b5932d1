//! Searching scopes in memory: the pool of candidates that Postgres would gather from the same commits. Exact: every
//! memory is compared.

use std::collections::{BTreeSet, BinaryHeap, HashSet};

use half::f16;
use pgvector::HalfVector;

use super::scope::{Doc, ScopeIndex};
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
    let candidates = spots.into_iter().filter_map(|spot| candidate(&fields, spot, similarity.as_ref()));
    let candidates = candidates.collect();
    let newest = fields.iter().filter_map(|field| field.index.newest()).max_by_key(|(id, _)| *id);
    Pool { candidates, corpus, newest: newest.map(|(_, created_at)| created_at) }
}

fn fields<'a>(scopes: &[(ScopeId, &'a ScopeIndex)], filter: &MemoryFilter) -> Vec<Field<'a>> {
    let mut fields: Vec<Field<'a>> = Vec::with_capacity(scopes.len());
    // The first scope is the agent's own, and mostly the largest: it is asked, and not copied.
    let mut seen: HashSet<MemoryId> = HashSet::new();
    for (place, (scope, index)) in scopes.iter().enumerate() {
        let (mut first, mut wanted) = (vec![false; index.slots()], vec![false; index.slots()]);
        for (slot, doc) in index.docs() {
            let known = place > 0 && (scopes[0].1.contains(doc.id) || !seen.insert(doc.id));
            first[slot as usize] = !known;
            wanted[slot as usize] = !known && (filter.is_empty() || filter.accepts(&doc.columns));
        }
        fields.push(Field { scope: *scope, index, first, wanted, lexical: Vec::new() });
    }
    fields
}

fn corpus(fields: &[Field<'_>]) -> Corpus {
    if let [only] = fields {
        return Corpus { documents: only.index.len() as u64, words: only.index.total_words() };
    }
    let counted = fields.iter().flat_map(|field| field.index.docs().filter(|(slot, _)| field.first[*slot as usize]));
    counted.fold(Corpus::default(), |corpus, (_, doc)| Corpus {
        documents: corpus.documents + 1,
        words: corpus.words + u64::from(doc.length),
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
            let touched = count(field.index, *term, neighbours, &mut counts);
            for slot in touched {
                let count = std::mem::take(&mut counts[slot as usize]);
                if count > 0.0 && field.wanted[slot as usize] {
                    let length = length(field.index, slot, neighbours);
                    field.lexical[slot as usize] += bm25.part(word, count, length);
                }
            }
        }
    }
}

fn length(index: &ScopeIndex, slot: Slot, neighbours: bool) -> u32 {
    let own = |slot: Slot| index.doc(slot).map_or(0, |doc| doc.length);
    window_length(own(slot), index.words.beside(slot).filter(|_| neighbours).map(own))
}

/// How often each memory has the word, with the share of those near it; returns which have it at all.
fn count(index: &ScopeIndex, term: i32, neighbours: bool, counts: &mut [f64]) -> Vec<Slot> {
    let mut touched = Vec::new();
    for (slot, times) in index.words.with(term) {
        let Some(doc) = index.doc(*slot) else { continue };
        let near = index.words.near(*slot).filter(|_| neighbours);
        for (places, slot) in std::iter::once((0, *slot)).chain(near) {
            counts[slot as usize] += share(places, doc.asks) * f64::from(*times);
            touched.push(slot);
        }
    }
    touched
}

fn best_by_words(fields: &[Field<'_>], depth: usize) -> Vec<Spot> {
    let scored = fields.iter().enumerate().flat_map(|(place, field)| {
        let slots = field.lexical.iter().enumerate().filter(|(_, score)| **score > 0.0);
        slots.filter_map(move |(slot, score)| Some((*score, field.index.doc(slot as Slot)?.id, (place, slot as Slot))))
    });
    best(scored.collect(), depth)
}

/// Of equals, the newer first.
fn best(mut scored: Vec<(f64, MemoryId, Spot)>, depth: usize) -> Vec<Spot> {
    let order = |a: &(f64, MemoryId, Spot), b: &(f64, MemoryId, Spot)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
    if scored.len() > depth {
        scored.select_nth_unstable_by(depth, order);
        scored.truncate(depth);
    }
    scored.into_iter().map(|(_, _, spot)| spot).collect()
}

/// Compares bytes first. What cannot be among the nearest, at its best, is not compared exactly.
fn nearest(fields: &[Field<'_>], similarity: &Similarity, depth: usize) -> Vec<Spot> {
    let probe = Probe::of(&similarity.unit());
    let mut within_reach = Reach::new(depth);
    for (place, field) in fields.iter().enumerate() {
        for (slot, doc) in field.index.docs().filter(|(slot, _)| field.wanted[*slot as usize]) {
            within_reach.note((place, slot), field.index.vectors.bounds(doc.rows.clone(), &probe));
        }
    }
    let exact = within_reach.spots().filter_map(|spot| {
        let (field, doc) = (&fields[spot.0], fields[spot.0].index.doc(spot.1)?);
        Some((best_window(field.index, doc, similarity)?, doc.id, spot))
    });
    best(exact.collect(), depth)
}

fn best_window(index: &ScopeIndex, doc: &Doc, similarity: &Similarity) -> Option<f64> {
    doc.rows.clone().map(|row| similarity.of(index.vectors.row(row))).max_by(f64::total_cmp)
}

/// What may still be among the nearest: as good at its best as so many others are at their worst.
struct Reach {
    depth: usize,
    /// The best lower bounds so far, the least of them on top.
    sure: BinaryHeap<std::cmp::Reverse<Ordered>>,
    noted: Vec<(f32, Spot)>,
}

impl Reach {
    fn new(depth: usize) -> Self {
        Self { depth, sure: BinaryHeap::with_capacity(depth + 1), noted: Vec::new() }
    }

    fn note(&mut self, spot: Spot, bounds: Bounds) {
        if bounds.upper < self.threshold() {
            return;
        }
        self.noted.push((bounds.upper, spot));
        if bounds.lower > self.threshold() || self.sure.len() < self.depth {
            self.sure.push(std::cmp::Reverse(Ordered(bounds.lower)));
            if self.sure.len() > self.depth {
                self.sure.pop();
            }
        }
    }

    fn threshold(&self) -> f32 {
        if self.sure.len() < self.depth { f32::MIN } else { self.sure.peek().map_or(f32::MIN, |least| least.0.0) }
    }

    fn spots(self) -> impl Iterator<Item = Spot> {
        let threshold = self.threshold();
        self.noted.into_iter().filter(move |(upper, _)| *upper >= threshold).map(|(_, spot)| spot)
    }
}

#[derive(PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

fn candidate(fields: &[Field<'_>], (place, slot): Spot, similarity: Option<&Similarity>) -> Option<Candidate> {
    let field = &fields[place];
    let doc = field.index.doc(slot)?;
    let vectors = doc.rows.clone().map(|row| HalfVector::from(field.index.vectors.row(row).to_vec()));
    Some(Candidate {
        id: doc.id,
        scope: field.scope,
        similarity: similarity.and_then(|similarity| best_window(field.index, doc, similarity)),
        lexical: field.lexical.get(slot as usize).copied().filter(|score| *score > 0.0),
        importance: doc.columns.importance,
        created_at: doc.columns.created_at,
        occurred_at: doc.columns.occurred_at,
        speaker: doc.columns.speaker.clone(),
        thread: doc.thread,
        vectors: if similarity.is_some() { vectors.collect() } else { Vec::new() },
    })
}
