//! Everything compared with everything, from the rows as they are: slow, plain, and sharing no code with the server.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgvector::HalfVector;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

/// A memory in one of the scopes searched.
struct Line {
    id: Uuid,
    place: i32,
    terms: Vec<i32>,
    thread: Option<(i64, i64)>,
    wanted: bool,
}

type Row = (Uuid, i32, Vec<i32>, Option<i64>, Option<i64>, bool);

/// Meaning and words of each memory that passes the filter, by id.
pub type Parts = BTreeMap<String, (f64, f64)>;

/// `scopes` in the order searched; `filter` is a condition on a row `m` of memories.
pub async fn parts(conn: &mut PgConnection, scopes: &[Uuid], question: (&[i32], &[f32]), filter: &str) -> Parts {
    let sql = format!(
        "SELECT t.memory_id, s.place::int, t.terms, t.thread, t.seq, coalesce(({filter}), false)
           FROM unnest($1) WITH ORDINALITY AS s (scope_id, place)
           JOIN placement_terms t USING (scope_id)
           JOIN memories m USING (tenant_id, memory_id)
          WHERE t.expires_at IS NULL OR t.expires_at > now()"
    );
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql)).bind(scopes).fetch_all(&mut *conn).await.expect("lines");
    let line = |(id, place, terms, key, seq, wanted): Row| Line { id, place, terms, thread: key.zip(seq), wanted };
    let lines: Vec<Line> = rows.into_iter().map(line).collect();
    let vectors: Vec<(Uuid, HalfVector)> =
        sqlx::query_as("SELECT memory_id, embedding FROM placements WHERE scope_id = ANY($1)")
            .bind(scopes)
            .fetch_all(conn)
            .await
            .expect("vectors");
    let mut meaning: HashMap<Uuid, f64> = HashMap::new();
    for (id, vector) in vectors {
        let cosine = cosine(question.1, &vector.to_vec().iter().map(|x| x.to_f32()).collect::<Vec<_>>());
        let best = meaning.entry(id).or_insert(-1.0);
        *best = best.max(cosine);
    }
    let words = words(&lines, question.0);
    let first = lines.iter().filter(|line| is_first(&lines, line) && line.wanted);
    first.map(|line| (line.id.to_string(), (meaning[&line.id], words[&line.id]))).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn is_first(lines: &[Line], line: &Line) -> bool {
    lines.iter().filter(|other| other.id == line.id).all(|other| other.place >= line.place)
}

/// BM25 as docs/recall.md writes it.
fn words(lines: &[Line], question: &[i32]) -> HashMap<Uuid, f64> {
    let question: BTreeSet<i32> = question.iter().copied().collect();
    let counted: Vec<&Line> = lines.iter().filter(|line| is_first(lines, line)).collect();
    let n = counted.len() as f64;
    let average = (counted.iter().map(|line| line.terms.len() as f64).sum::<f64>() / n.max(1.0)).max(1.0);
    let has = |line: &Line, term: i32| line.terms.iter().filter(|other| **other == term).count() as f64;
    let idf = |term: i32| {
        let found = counted.iter().filter(|line| has(line, term) > 0.0).count() as f64;
        if found > 0.0 { (1.0 + (n - found + 0.5) / (found + 0.5)).ln() } else { 0.0 }
    };
    let ideal: f64 = question.iter().map(|term| idf(*term)).sum();
    let score = |line: &Line| {
        let around = near(lines, line);
        let beside = around.iter().filter(|(places, _)| places.abs() == 1).map(|(_, other)| other.terms.len());
        let weights = 2.0 + beside.clone().count() as f64;
        let length = ((2 * line.terms.len() + beside.sum::<usize>()) as f64 / weights + 0.5).floor();
        let shared = |places: i64, other: &Line| match places.abs() {
            1 if places == 1 && has(other, question_mark()) > 0.0 => 1.5,
            1 => 0.375,
            _ => 0.25,
        };
        let part = |term: i32| {
            let near: f64 = around.iter().map(|(places, other)| shared(*places, other) * has(other, term)).sum();
            let count = has(line, term) + near;
            let norm = 0.9 * (1.0 - 0.4 + 0.4 * length / average);
            idf(term) * count / (count + norm)
        };
        if ideal > 0.0 { question.iter().map(|term| part(*term)).sum::<f64>() / ideal } else { 0.0 }
    };
    counted.iter().map(|line| (line.id, score(line))).collect()
}

/// What marks a memory as a question.
pub fn question_mark() -> i32 {
    crc32fast::hash(b"? asks") as i32
}

/// Up to two before and after in the same thread of the same scope, with the places from each to the line.
fn near<'a>(lines: &'a [Line], line: &Line) -> Vec<(i64, &'a Line)> {
    let Some((key, seq)) = line.thread else { return Vec::new() };
    let mut thread: Vec<&Line> = lines
        .iter()
        .filter(|other| other.place == line.place && other.thread.is_some_and(|(other, _)| other == key))
        .collect();
    thread.sort_by_key(|other| (other.thread.map(|(_, seq)| seq), other.id));
    let own = thread.iter().position(|other| (other.thread, other.id) == (Some((key, seq)), line.id)).expect("itself");
    let others = thread.iter().enumerate().map(|(index, other)| (own as i64 - index as i64, *other));
    others.filter(|(places, _)| (1..=2).contains(&places.abs())).collect()
}

/// What an answer says of its results' meaning and words.
pub fn explained(answer: &Value) -> Parts {
    let results = answer["results"].as_array().expect("results").iter();
    let part = |result: &Value, name: &str| result["explain"][name].as_f64().unwrap_or(0.0);
    let id = |result: &Value| result["memory"]["id"].as_str().expect("an id").to_owned();
    results.map(|result| (id(result), (part(result, "semantic"), part(result, "lexical")))).collect()
}
