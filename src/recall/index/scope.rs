//! One scope in memory, as it was at one commit. Changes are read from Postgres and applied; what is gone or replaced
//! leaves an empty slot, and an index with too many of them is built anew.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use pgvector::HalfVector;
use time::OffsetDateTime;

use super::vectors::Vectors;
use super::words::{Slot, Words};
use crate::ids::{MemoryId, Tag};
use crate::memories::{Filterable, Mark, Thread};

/// Empty slots are not worth a rebuild up to this many, and then up to a third of all.
const MOST_EMPTY: usize = 1_024;

/// The commit of a scope that an index is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// What proves it.
    pub tag: Tag,
    /// The number of the commit: changes since have larger ones.
    pub n: i64,
    /// When the server that counts was started: a restored one may count the same numbers again.
    pub postmaster: OffsetDateTime,
}

/// A placement as it is read.
pub struct Placed {
    pub id: MemoryId,
    pub expires_at: Option<OffsetDateTime>,
    /// In ascending order.
    pub terms: Vec<i32>,
    pub thread: Option<Thread>,
    pub columns: Filterable,
    pub vectors: Vec<HalfVector>,
}

/// A memory in an index.
pub struct Doc {
    pub id: MemoryId,
    pub expires_at: Option<OffsetDateTime>,
    pub thread: Option<Thread>,
    pub columns: Filterable,
}

pub struct ScopeIndex {
    pub version: Version,
    docs: Vec<Option<Doc>>,
    /// What every search looks at, slot by slot, side by side: whether there is one, its windows among the vectors, how
    /// many words it has, and whether it is a question.
    held: Vec<bool>,
    rows: Vec<Range<u32>>,
    lengths: Vec<u32>,
    asking: Vec<bool>,
    by_id: HashMap<MemoryId, Slot>,
    pub vectors: Vectors,
    pub words: Words,
    expiries: BTreeSet<(OffsetDateTime, Slot)>,
    newest: Option<MemoryId>,
    /// Words of all its memories.
    total_words: u64,
    columns_size: usize,
}

impl ScopeIndex {
    pub fn new(version: Version) -> Self {
        Self {
            version,
            docs: Vec::new(),
            held: Vec::new(),
            rows: Vec::new(),
            lengths: Vec::new(),
            asking: Vec::new(),
            by_id: HashMap::new(),
            vectors: Vectors::default(),
            words: Words::default(),
            expiries: BTreeSet::new(),
            newest: None,
            total_words: 0,
            columns_size: 0,
        }
    }

    /// Brings it to a later commit. False: it cannot hold this, and is worth nothing any more.
    #[must_use]
    pub fn apply(&mut self, version: Version, removed: &[MemoryId], placed: Vec<Placed>) -> bool {
        // What left and came back is among both: it is here.
        removed.iter().for_each(|id| self.remove(*id));
        let whole = placed.into_iter().all(|one| self.place(one));
        self.version = version;
        whole
    }

    fn place(&mut self, placed: Placed) -> bool {
        self.remove(placed.id);
        let slot = self.docs.len() as Slot;
        let Some(rows) = self.vectors.push(&placed.vectors) else { return false };
        self.words.push(placed.id, &placed.terms, placed.thread);
        self.by_id.insert(placed.id, slot);
        self.newest = self.newest.max(Some(placed.id));
        self.expiries.extend(placed.expires_at.map(|at| (at, slot)));
        let length = placed.terms.len() as u32;
        self.total_words += u64::from(length);
        self.columns_size += size_of_columns(&placed.columns);
        self.lengths.push(length);
        self.asking.push(placed.terms.binary_search(&Mark::Asks.term()).is_ok());
        let Placed { id, expires_at, thread, columns, .. } = placed;
        self.docs.push(Some(Doc { id, expires_at, thread, columns }));
        self.held.push(true);
        self.rows.push(rows);
        true
    }

    fn remove(&mut self, id: MemoryId) {
        let Some(slot) = self.by_id.remove(&id) else { return };
        let Some(doc) = self.docs[slot as usize].take() else { return };
        self.held[slot as usize] = false;
        self.words.remove(id, slot, doc.thread);
        if let Some(at) = doc.expires_at {
            self.expiries.remove(&(at, slot));
        }
        self.total_words -= u64::from(self.lengths[slot as usize]);
        if self.newest == Some(id) {
            self.newest = self.by_id.keys().max().copied();
        }
    }

    /// Lets go of what has expired by then: what has expired once stays so.
    pub fn expire(&mut self, now: OffsetDateTime) {
        while let Some((_, slot)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            match self.docs[slot as usize].as_ref().map(|doc| doc.id) {
                Some(id) => self.remove(id),
                None => drop(self.expiries.pop_first()),
            }
        }
    }

    /// When the next of its memories expires.
    pub fn next_expiry(&self) -> Option<OffsetDateTime> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Whether so many slots are empty that it had better be built anew.
    pub fn is_worn(&self) -> bool {
        let empty = self.docs.len() - self.by_id.len();
        empty > MOST_EMPTY.max(self.docs.len() / 3)
    }

    pub fn slots(&self) -> usize {
        self.docs.len()
    }

    pub fn doc(&self, slot: Slot) -> Option<&Doc> {
        self.docs.get(slot as usize)?.as_ref()
    }

    /// Which slots hold a memory.
    pub fn held(&self) -> &[bool] {
        &self.held
    }

    /// How many words the memory at a slot has, or the one that was there had.
    pub fn length(&self, slot: Slot) -> u32 {
        self.lengths[slot as usize]
    }

    /// Whether it is a question.
    pub fn asks(&self, slot: Slot) -> bool {
        self.asking[slot as usize]
    }

    /// The windows of the memory at a slot, among the vectors.
    pub fn rows(&self, slot: Slot) -> Range<u32> {
        self.rows[slot as usize].clone()
    }

    /// What it holds, by slot.
    pub fn docs(&self) -> impl Iterator<Item = (Slot, &Doc)> {
        self.docs.iter().enumerate().filter_map(|(slot, doc)| Some((slot as Slot, doc.as_ref()?)))
    }

    pub fn contains(&self, id: MemoryId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The newest memory; ids are in the order of time.
    pub fn newest(&self) -> Option<(MemoryId, OffsetDateTime)> {
        let id = self.newest?;
        self.by_id.get(&id).and_then(|slot| self.doc(*slot)).map(|doc| (id, doc.columns.created_at))
    }

    /// How many memories it holds.
    pub fn memories(&self) -> usize {
        self.by_id.len()
    }

    pub fn total_words(&self) -> u64 {
        self.total_words
    }

    /// What it holds in memory, about, in bytes.
    pub fn size(&self) -> usize {
        let docs = self.docs.capacity() * (size_of::<Option<Doc>>() + 14) + self.by_id.capacity() * 32;
        docs + self.vectors.size() + self.words.size() + self.columns_size
    }
}

/// What lies beside the columns themselves: texts, and metadata in the form that it is read from.
fn size_of_columns(columns: &Filterable) -> usize {
    let texts = [&columns.speaker, &columns.source_id, &columns.key];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let tags: usize = columns.tags.iter().map(|tag| tag.len() + size_of::<String>()).sum();
    let metadata = columns.metadata.as_ref().map_or(0, |metadata| metadata.to_string().len() * 4);
    texts + tags + columns.author.len() + metadata
}
