//! Words in their place: a memory that is part of a thread is also found by what was said just before and after it.

use std::collections::HashMap;

use crate::ids::{MemoryId, ScopeId};
use crate::memories::Thread;
use crate::recall::rank::bm25::{Bm25, Corpus, NEIGHBOUR_SHARE};

/// A memory as the lexical side sees it.
#[derive(Debug, Clone)]
pub struct Line {
    pub id: MemoryId,
    pub scope: ScopeId,
    pub thread: Option<Thread>,
    /// How many words it has.
    pub length: u32,
    /// How often it has each of the question's words; empty if it has none.
    pub counts: Vec<u32>,
    /// Whether this is the first of the scopes that the memory is in. It is counted there, and a neighbour everywhere.
    pub first: bool,
    /// Whether it passes the filter. What does not is still a neighbour, and counts for how rare a word is.
    pub wanted: bool,
}

/// The lines of all scopes that matter to a question: those that share a word with it, and those of threads.
#[derive(Debug, Default)]
pub struct Lexicon {
    pub corpus: Corpus,
    pub lines: Vec<Line>,
}

/// BM25 of every wanted line that has, or stands next to, a word of the question.
pub fn lexical_scores(lexicon: &Lexicon, words: usize, neighbours: bool) -> Vec<(MemoryId, f64)> {
    let lines = &lexicon.lines;
    let counted = lines.iter().filter(|line| line.first);
    let frequency: Vec<u64> = (0..words)
        .map(|word| counted.clone().filter(|line| line.counts.get(word).is_some_and(|count| *count > 0)).count() as u64)
        .collect();
    let bm25 = Bm25::new(lexicon.corpus, &frequency);
    let beside = if neighbours { beside(lines) } else { vec![[None; 2]; lines.len()] };
    let count = |index: usize, word: usize| f64::from(lines[index].counts.get(word).copied().unwrap_or(0));
    let scored = lines.iter().zip(&beside).enumerate().filter(|(_, (line, _))| line.first && line.wanted);
    let scored = scored.map(|(index, (line, beside))| {
        let windowed = |word| {
            let around: f64 = beside.iter().flatten().map(|other| count(*other, word)).sum();
            count(index, word) + NEIGHBOUR_SHARE * around
        };
        let score: f64 = (0..words).map(|word| bm25.part(word, windowed(word), line.length)).sum();
        (line.id, score)
    });
    scored.filter(|(_, score)| *score > 0.0).collect()
}

/// Where the lines before and after each stand.
fn beside(lines: &[Line]) -> Vec<[Option<usize>; 2]> {
    let mut threads: HashMap<(ScopeId, i64), Vec<(i64, MemoryId, usize)>> = HashMap::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(thread) = line.thread {
            threads.entry((line.scope, thread.key)).or_default().push((thread.seq, line.id, index));
        }
    }
    let mut beside = vec![[None; 2]; lines.len()];
    for mut thread in threads.into_values() {
        thread.sort_unstable();
        for pair in thread.windows(2) {
            beside[pair[0].2][1] = Some(pair[1].2);
            beside[pair[1].2][0] = Some(pair[0].2);
        }
    }
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexicon(texts: &[&str], query: &[&str], threaded: bool) -> (Lexicon, Vec<MemoryId>) {
        let scope = ScopeId::random();
        let lines: Vec<Line> = texts
            .iter()
            .enumerate()
            .map(|(seq, text)| {
                let words: Vec<&str> = text.split(' ').collect();
                let count = |word: &&str| words.iter().filter(|other| *other == word).count() as u32;
                Line {
                    id: MemoryId::new(),
                    scope,
                    thread: threaded.then_some(Thread { key: 1, seq: seq as i64 }),
                    length: words.len() as u32,
                    counts: query.iter().map(count).collect(),
                    first: true,
                    wanted: true,
                }
            })
            .collect();
        let words = lines.iter().map(|line| u64::from(line.length)).sum();
        let ids = lines.iter().map(|line| line.id).collect();
        (Lexicon { corpus: Corpus { documents: lines.len() as u64, words }, lines }, ids)
    }

    fn best(lexicon: &Lexicon, words: usize) -> MemoryId {
        let scores = lexical_scores(lexicon, words, true);
        scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a score").0
    }

    #[test]
    fn a_rare_word_outweighs_a_common_one() {
        let texts = ["broken door", "broken window", "broken lamp", "green kettle"];
        let (lexicon, ids) = lexicon(&texts, &["broken", "kettle"], false);
        assert_eq!(best(&lexicon, 2), ids[3]);
        assert!(lexical_scores(&lexicon, 2, true).iter().all(|(_, score)| (0.0..1.0).contains(score)));
    }

    #[test]
    fn bm25_equals_the_formula_worked_by_hand() {
        let (lexicon, _) = lexicon(&["kettle kettle lamp", "door lamp", "window"], &["kettle"], false);
        let [(_, score)] = lexical_scores(&lexicon, 1, true)[..] else {
            panic!("one memory has the word");
        };
        // One word: idf cancels against the ideal. tf = 2, length 3, average 2.
        let expected = 2.0 / (2.0 + 0.9 * (1.0 - 0.4 + 0.4 * 3.0 / 2.0));
        assert!((score - expected).abs() < 1e-12, "{score} is not {expected}");
    }

    #[test]
    fn what_stands_beside_a_word_is_found_by_it_after_what_has_it() {
        let (lexicon, ids) = lexicon(&["one lamp", "green kettle", "two lamps", "three lamps"], &["kettle"], true);
        let mut scores = lexical_scores(&lexicon, 1, true);
        scores.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(scores[0].0, ids[1]);
        let beside: Vec<MemoryId> = scores[1..].iter().map(|one| one.0).collect();
        assert!(beside.len() == 2 && beside.contains(&ids[0]) && beside.contains(&ids[2]));
        assert_eq!(lexical_scores(&lexicon, 1, false).len(), 1, "switched off");
    }

    #[test]
    fn what_a_filter_leaves_out_is_a_neighbour_all_the_same() {
        let (mut lexicon, ids) = lexicon(&["one lamp", "green kettle"], &["kettle"], true);
        lexicon.lines[1].wanted = false;
        assert_eq!(lexical_scores(&lexicon, 1, true).iter().map(|one| one.0).collect::<Vec<_>>(), [ids[0]]);
    }
}
