//! What a recall in memory costs, apart from Postgres: comparing a question with every memory of a scope.

use std::hint::black_box;

use cairn::ids::{MemoryId, ScopeId, Tag};
use cairn::memories::{Filterable, Kind, MemoryFilter, Thread};
use cairn::recall::index::{Placed, ScopeIndex, Version, Wanted, pool};
use criterion::{Criterion, criterion_group, criterion_main};
use half::f16;
use pgvector::HalfVector;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use time::OffsetDateTime;

const DIMENSIONS: usize = 384;
const TOPICS: usize = 40;
const WORDS_OF_A_MEMORY: usize = 15;
const LINES_OF_A_THREAD: i64 = 20;
const VOCABULARY: f64 = 5_000.0;

/// Vectors in topics, and words of which few are frequent, as in what people say.
struct Text {
    rng: StdRng,
    topics: Vec<Vec<f32>>,
}

impl Text {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let topics = (0..TOPICS).map(|_| (0..DIMENSIONS).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        Self { rng, topics }
    }

    fn vector(&mut self) -> Vec<f16> {
        let topic = self.topics[self.rng.random_range(0..TOPICS)].clone();
        topic.into_iter().map(|x| f16::from_f32(x + self.rng.random_range(-1.0..1.0))).collect()
    }

    fn terms(&mut self, words: usize) -> Vec<i32> {
        let mut terms: Vec<i32> = (0..words).map(|_| (VOCABULARY * self.rng.random::<f64>().powi(3)) as i32).collect();
        terms.sort_unstable();
        terms
    }

    fn memory(&mut self, thread: Option<Thread>) -> Placed {
        let now = OffsetDateTime::now_utc();
        let columns = Filterable {
            kind: Kind::Fact,
            tags: Vec::new(),
            author: "ada".to_owned(),
            speaker: None,
            source_id: None,
            key: None,
            importance: 0.5,
            created_at: now,
            occurred_at: None,
            metadata: None,
        };
        Placed {
            id: MemoryId::new(),
            expires_at: None,
            terms: self.terms(WORDS_OF_A_MEMORY),
            thread,
            columns,
            vectors: vec![HalfVector::from(self.vector())],
        }
    }
}

fn scope(text: &mut Text, memories: i64, threaded: bool) -> ScopeIndex {
    let version = Version { tag: Tag::random(), n: 1, postmaster: OffsetDateTime::now_utc() };
    let mut index = ScopeIndex::new(version);
    let thread = |seq| threaded.then_some(Thread { key: seq / LINES_OF_A_THREAD, seq });
    let placed = (0..memories).map(|seq| text.memory(thread(seq))).collect();
    assert!(index.apply(version, &[], placed), "all vectors are of one length");
    index
}

fn search(criterion: &mut Criterion) {
    let mut text = Text::new();
    let filter = MemoryFilter::default();
    for memories in [1_000, 5_000, 50_000] {
        let (alone, threaded) = (scope(&mut text, memories, false), scope(&mut text, memories, true));
        let (vector, mut terms) = (text.vector(), text.terms(8));
        terms.dedup();
        let wanted =
            Wanted { terms: Some(&terms), vector: Some(&vector), filter: &filter, depth: 50, neighbours: true };
        for (name, index, wanted) in [
            ("words and meaning", &alone, &wanted),
            ("words", &alone, &Wanted { vector: None, ..wanted }),
            ("words of threads", &threaded, &Wanted { vector: None, ..wanted }),
            ("meaning", &alone, &Wanted { terms: None, ..wanted }),
        ] {
            let scopes = [(ScopeId::random(), index)];
            criterion.bench_function(&format!("{name} among {memories} memories"), |bench| {
                bench.iter(|| pool(black_box(&scopes), black_box(wanted)))
            });
        }
    }
}

criterion_group!(benches, search);
criterion_main!(benches);
