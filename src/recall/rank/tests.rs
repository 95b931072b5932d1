use time::Duration;

use super::*;

fn candidate(similarity: f64, lexical: Option<f64>) -> Candidate {
    Candidate {
        id: MemoryId::new(),
        scope: ScopeId::from_uuid(uuid::Uuid::nil()),
        similarity: Some(similarity),
        lexical,
        importance: 0.0,
        created_at: day(1_000),
        occurred_at: None,
        speaker: None,
        thread: None,
        vectors: Vec::new(),
    }
}

fn day(days: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(days)
}

fn ranked_without(question: &str, candidates: &[Candidate], mode: Mode, without: &[Rule]) -> Vec<Ranked> {
    let question = Question::read(question, true);
    let rules = Explaining::Without { without: without.iter().copied().collect() };
    let pool = Pool { candidates: candidates.to_vec(), newest: Some(day(1_000)), ..Pool::default() };
    rank(&pool, &Ranking { question: &question, mode, rules: &rules, k: 10 })
}

fn ranked(question: &str, candidates: &[Candidate]) -> Vec<Ranked> {
    ranked_without(question, candidates, Mode::Hybrid, &[])
}

fn ids(ranked: &[Ranked]) -> Vec<MemoryId> {
    ranked.iter().map(|one| one.id).collect()
}

/// That the first is before the second with the rule, and after it without.
fn assert_rule(rule: Rule, question: &str, better: Candidate, worse: Candidate) {
    let candidates = [worse.clone(), better.clone()];
    assert_eq!(ids(&ranked(question, &candidates)), [better.id, worse.id], "with {rule:?}");
    let without = ranked_without(question, &candidates, Mode::Hybrid, &[rule]);
    assert_eq!(ids(&without), [worse.id, better.id], "without {rule:?}");
}

#[test]
fn recency_and_importance_break_ties_and_no_more() {
    let at = |similarity, importance, age: i64| Candidate {
        importance,
        created_at: day(1_000 - age),
        ..candidate(similarity, Some(similarity))
    };
    let (old_better, new_worse, new_equal) = (at(0.60, 0.0, 900), at(0.55, 1.0, 0), at(0.60, 0.0, 0));
    let expected = [new_equal.id, old_better.id, new_worse.id];
    assert_eq!(ids(&ranked("kettle", &[old_better, new_worse, new_equal])), expected);
}

#[test]
fn scores_stay_between_nought_and_one() {
    let thread = Some(Thread { key: 1, seq: 1 });
    let perfect = Candidate {
        importance: 1.0,
        speaker: Some("Noor".into()),
        occurred_at: Some(day(500)),
        thread,
        ..candidate(1.0, Some(1.0))
    };
    let nothing = Candidate { created_at: day(-100_000), ..candidate(-1.0, None) };
    for mode in [Mode::Hybrid, Mode::Semantic, Mode::Lexical] {
        for question in ["kettle", "What did Noor say in 1971?"] {
            let scores = ranked_without(question, &[perfect.clone(), nothing.clone()], mode, &[]);
            assert!((scores[0].score - 1.0).abs() < 1e-9, "{mode:?} {question}: {}", scores[0].score);
            assert!((0.0..1e-9).contains(&scores[1].score), "{mode:?} {question}: {}", scores[1].score);
        }
    }
}

#[test]
fn what_the_one_named_said_is_preferred() {
    let by = |speaker: &str, similarity| Candidate {
        speaker: Some(speaker.into()),
        ..candidate(similarity, Some(similarity))
    };
    assert_rule(Rule::Speaker, "What did Noor plant?", by("Noor", 0.50), by("Ivo", 0.55));
    assert_rule(Rule::Speaker, "What did I plant?", by("user", 0.50), by("assistant", 0.55));
    let unnamed = ranked("What was planted?", &[by("Noor", 0.50), by("Ivo", 0.55)]);
    assert_eq!((unnamed[0].explain.speaker, unnamed[0].score > unnamed[1].score), (None, true));
}

#[test]
fn what_happened_near_the_time_named_is_preferred() {
    // Days 120 to 150 of 1970 are May.
    let on =
        |days: i64, similarity| Candidate { occurred_at: Some(day(days)), ..candidate(similarity, Some(similarity)) };
    assert_rule(Rule::Date, "What broke in May 1970?", on(130, 0.50), on(300, 0.55));
}

#[test]
fn a_thread_is_the_better_for_its_best() {
    let of =
        |key, similarity| Candidate { thread: Some(Thread { key, seq: 1 }), ..candidate(similarity, Some(similarity)) };
    let best = of(1, 0.9);
    let (beside_it, alone) = (of(1, 0.50), of(2, 0.55));
    let candidates = [alone.clone(), beside_it.clone(), best.clone()];
    assert_eq!(ids(&ranked("kettle", &candidates)), [best.id, beside_it.id, alone.id]);
    let without = ranked_without("kettle", &candidates, Mode::Hybrid, &[Rule::Thread]);
    assert_eq!(ids(&without), [best.id, alone.id, beside_it.id]);
    let elsewhere = Candidate { scope: ScopeId::random(), ..of(1, 0.50) };
    let explain = &ranked("kettle", &[best, elsewhere])[1].explain;
    assert_eq!(explain.thread, Some(0.5), "a source of another scope is another source");
}

#[test]
fn what_says_the_same_as_a_better_one_comes_last() {
    let says = |similarity, vector: [f32; 2]| {
        let vectors = vec![HalfVector::from_f32_slice(&vector)];
        Candidate { vectors, ..candidate(similarity, Some(similarity)) }
    };
    let (best, same, other) = (says(0.9, [1.0, 0.0]), says(0.8, [0.97, 0.24]), says(0.1, [0.0, 1.0]));
    let candidates = [best.clone(), same.clone(), other.clone()];
    let last = ranked("kettle", &candidates);
    assert_eq!(ids(&last), [best.id, other.id, same.id]);
    assert_eq!(last.iter().map(|one| one.explain.duplicate).collect::<Vec<_>>(), [false, false, true]);
    let without = ranked_without("kettle", &candidates, Mode::Hybrid, &[Rule::Duplicates]);
    assert_eq!(ids(&without), [best.id, same.id, other.id]);
}

#[test]
fn more_evidence_never_makes_a_memory_worse() {
    let measures = [(0.2, None), (0.2, Some(0.1)), (0.2, Some(0.4)), (0.3, Some(0.4)), (0.9, Some(0.9))];
    let scores: Vec<f64> = measures
        .iter()
        .map(|(similarity, lexical)| ranked("kettle", &[candidate(*similarity, *lexical)])[0].score)
        .collect();
    assert!(scores.is_sorted(), "{scores:?}");
}
