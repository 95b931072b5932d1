//! What every memory and every question costs before anything is searched: its words, and its JSON.

use std::hint::black_box;

use cairn::json::{MAX_DEPTH, parse};
use cairn::memories::terms;
use criterion::{Criterion, criterion_group, criterion_main};

const MEMORY: &str = "We finished half of the wall behind the shed before it rained; the mason delivers the rest of the flat \
                      stones on Friday, and Noor will bring the red wheelbarrow that Ivo lent her until June.";

fn words(criterion: &mut Criterion) {
    criterion.bench_function("terms of a memory of 36 words", |bench| bench.iter(|| terms(black_box(MEMORY))));
    let body = format!(
        r#"{{"content":"{MEMORY}","tags":["wall","garden"],"importance":0.7,"metadata":{{"weather":"rain"}}}}"#
    );
    criterion.bench_function("strict JSON of the same memory", |bench| {
        bench.iter(|| parse(black_box(body.as_bytes()), MAX_DEPTH))
    });
}

criterion_group!(benches, words);
criterion_main!(benches);
