//! What every answer from a cache costs, apart from asking for it: names, stamps, seals, packing.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Mutex;

use bytes::Bytes;
use cairn::cache::{Cost, Digest, Entry, Stamp, Value, Vault};
use cairn::embeddings::Packed;
use cairn::ids::{AgentUid, ExternalId, ScopeId, Tag, TenantId};
use cairn::json::{FromJson, MAX_DEPTH, parse};
use cairn::recall::{RecallKey, RecallRequest};
use cairn::secrets::SecretKey;
use cairn::usage::{Noted, Recalled};
use criterion::{Criterion, criterion_group, criterion_main};

const REQUEST: &str = r#"{"query": "When does the mason bring the rest of the flat stones?", "k": 10,
                          "filter": {"tags_any": ["wall", "garden"], "min_importance": 0.2}}"#;
const DIMENSIONS: usize = 384;
const CIRCLES: usize = 8;

fn vault() -> Vault {
    Vault::of(&SecretKey::random()).expect("a vault")
}

fn keys(criterion: &mut Criterion) {
    let (vault, agent) = (vault(), ExternalId::parse("ada").expect("an id"));
    let json = parse(REQUEST.as_bytes(), MAX_DEPTH).expect("JSON");
    let request = RecallRequest::from_json(&json).expect("a request");
    criterion.bench_function("canonical form of a recall", |bench| {
        bench.iter(|| RecallKey::of_agent(black_box(&agent), black_box(&request)))
    });
    let key = RecallKey::of_agent(&agent, &request).expect("a key");
    criterion.bench_function("name of a recall", |bench| {
        bench.iter(|| vault.digest(black_box(&key), "rag:agent:ada:").to_string())
    });
}

fn stamps(criterion: &mut Criterion) {
    let scopes: Vec<_> = (0..CIRCLES + 3).map(|_| (ScopeId::random().uuid(), Tag::random())).collect();
    criterion.bench_function("stamp of an agent in 8 circles", |bench| {
        bench.iter(|| {
            let parts = scopes.iter().map(|(scope, tag)| (&scope.as_bytes()[..], Some(*tag)));
            // The version of a recall's rules is a hash in hexadecimal, and the model's name.
            Stamp::of(black_box("all-MiniLM-L6-v2/384/0123456789abcdef0123456789abcdef0123456789abcdef"), parts)
        })
    });
}

/// An answer of ten memories, about as repetitive as real ones.
fn answer() -> Bytes {
    let memory = |number: u32| {
        format!(
            r#"{{"memory":{{"id":"01a1fb42-0000-7000-8000-0000000{number:05}","agent_id":"ada","content":"Delivery {number} of flat stones came at {number}:15; the mason left {number} of them behind the shed.","kind":"fact","tags":["wall"],"importance":0.{number},"created_at":"2026-03-01T10:00:00Z","version":1}},"score":0.{number}5,"via":{{"type":"agent","id":"ada"}}}}"#
        )
    };
    let results: Vec<String> = (1..=10).map(memory).collect();
    format!(r#"{{"results":[{}],"approximate":false,"warnings":[]}}"#, results.join(",")).into()
}

/// A unit vector, or so.
fn vector() -> Vec<f32> {
    (0..DIMENSIONS).map(|index| ((index * index) as f32).sin() / (DIMENSIONS as f32).sqrt()).collect()
}

fn entry(value: Bytes, stamp: Option<Stamp>) -> Entry {
    Entry { stamp, made_at: 0, valid_until: i64::MAX, cost: Cost::default(), value }
}

fn seals(criterion: &mut Criterion) {
    let vault = vault();
    let stamp = Stamp::of("1", [(&b"agent"[..], Some(Tag::random()))]);
    let entries = [
        ("an embedding", entry(Packed::of(&vec![vector()]).pack(), None)),
        ("an answer of ten", entry(answer(), stamp)),
    ];
    for (what, entry) in entries {
        let sealed = entry.seal(&vault, "name").expect("sealed");
        println!("{what}: {} bytes, {} in Redis", entry.value.len(), sealed.len());
        criterion
            .bench_function(&format!("seal {what}"), |bench| bench.iter(|| black_box(&entry).seal(&vault, "name")));
        criterion.bench_function(&format!("open {what}"), |bench| {
            bench.iter(|| Entry::open(&vault, "name", black_box(&sealed)))
        });
    }
}

fn packing(criterion: &mut Criterion) {
    let windows = vec![vector()];
    let packed = Packed::of(&windows);
    criterion.bench_function("pack an embedding", |bench| bench.iter(|| Packed::of(black_box(&windows))));
    criterion.bench_function("unpack an embedding", |bench| bench.iter(|| black_box(&packed).windows()));
    let answer = answer();
    let compressed = lz4_flex::block::compress_prepend_size(&answer);
    criterion.bench_function("compress an answer of ten", |bench| {
        bench.iter(|| lz4_flex::block::compress_prepend_size(black_box(&answer)))
    });
    criterion.bench_function("decompress an answer of ten", |bench| {
        bench.iter(|| lz4_flex::block::decompress_size_prepended(black_box(&compressed)))
    });
}

/// What counting adds to every recall.
fn counting(criterion: &mut Criterion) {
    let (tenant, agent) = (TenantId::new(), AgentUid::random());
    let digests: Vec<_> = (0..=255_u8).map(|byte| Digest::from_bytes(&[byte; 24]).expect("24 bytes")).collect();
    let recall = |digest: &Digest| Recalled {
        tenant,
        agent: Some(agent),
        scope: agent.scope(),
        digest: Some(*digest),
        hit: true,
    };
    let (noted, mut next) = (Mutex::new(HashMap::<TenantId, Noted>::new()), digests.iter().cycle());
    criterion.bench_function("note a recall", |bench| {
        bench.iter(|| {
            let recall = recall(next.next().expect("an endless cycle"));
            noted.lock().expect("not poisoned").entry(tenant).or_default().note(black_box(&recall), || None)
        })
    });
}

criterion_group!(benches, keys, stamps, seals, packing, counting);
criterion_main!(benches);
