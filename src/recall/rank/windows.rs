//! Words in their place: a memory that is part of a thread is also found by what was said around it, most of all by a
//! question just before it. Shares are fractions of powers of two, so that sums are exact in whatever order they are
//! made.

use std::collections::HashMap;

use crate::ids::{MemoryId, ScopeId};
use crate::memories::Thread;
use crate::recall::rank::bm25::{Bm25, Corpus};

/// What a word counts in a memory that stands so many places after the one that has it: 0 is that memory itself.
/// `asks`: the one that has it is a question, and the next one its answer.
pub fn share(places: isize, asks: bool) -> f64 {
    match places {
        0 => 1.0,
        1 if asks => 1.5,
        -1 | 1 => 0.375,
        -2 | 2 => 0.25,
        _ => 0.0,
    }
}

/// The length of a memory among those just before and after it: the mean, with half a weight for each of these.
pub fn window_length(own: u32, beside: impl IntoIterator<Item = u32>) -> u32 {
    let (lengths, count) = beside.into_iter().fold((0, 0), |(sum, count), length| (sum + length, count + 1));
    (2 * own + lengths + (2 + count) / 2) / (2 + count)
}

/// A memory as the lexical side sees it.
#[derive(Debug, Clone)]
pub struct Line {
    pub id: MemoryId,
    pub scope: ScopeId,
    pub thread: Option<Thread>,
    /// How many words it has.
    pub length: u32,
    /// Whether it is a question; of one without a word of the question asked, it does not matter.
    pub asks: bool,
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

/// BM25 of every wanted line that has, or stands near, a word of the question.
pub fn lexical_scores(lexicon: &Lexicon, words: usize, neighbours: bool) -> Vec<(MemoryId, f64)> {
    let lines = &lexicon.lines;
    let counted = lines.iter().filter(|line| line.first);
    let frequency: Vec<u64> = (0..words)
        .map(|word| counted.clone().filter(|line| line.counts.get(word).is_some_and(|count| *count > 0)).count() as u64)
        .collect();
    let bm25 = Bm25::new(lexicon.corpus, &frequency);
    let around = if neighbours { around(lines) } else { HashMap::new() };
    let scored = lines.iter().enumerate().filter(|(_, line)| line.first && line.wanted).map(|(index, line)| {
        let alone = Around { itself: index, ..Around::default() };
        let score = windowed(lines, around.get(&index).unwrap_or(&alone), words, &bm25);
        (line.id, score)
    });
    scored.filter(|(_, score)| *score > 0.0).collect()
}

fn windowed(lines: &[Line], around: &Around, words: usize, bm25: &Bm25) -> f64 {
    let beside = around.near.iter().filter(|(places, _)| places.abs() == 1);
    let length = window_length(lines[around.itself].length, beside.map(|(_, index)| lines[*index].length));
    let parts = (0..words).map(|word| {
        let near = around.near.iter().map(|(places, index)| counted(&lines[*index], word, *places)).sum::<f64>();
        bm25.part(word, counted(&lines[around.itself], word, 0) + near, length)
    });
    parts.sum()
}

fn counted(line: &Line, word: usize, places: isize) -> f64 {
    share(places, line.asks) * f64::from(line.counts.get(word).copied().unwrap_or(0))
}

/// A line, and those near it in its thread with the number of places from them to it.
#[derive(Default)]
struct Around {
    itself: usize,
    near: Vec<(isize, usize)>,
}

/// A line's place in its thread, by which it is in order, and which line it is.
type Spot = (i64, MemoryId, usize);

/// Of the lines that are in a thread.
fn around(lines: &[Line]) -> HashMap<usize, Around> {
    let mut threads: HashMap<(ScopeId, i64), Vec<Spot>> = HashMap::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(thread) = line.thread {
            threads.entry((line.scope, thread.key)).or_default().push((thread.seq, line.id, index));
        }
    }
    let mut all = HashMap::new();
    for mut thread in threads.into_values() {
        thread.sort_unstable();
        for (place, (_, _, itself)) in thread.iter().enumerate() {
            let near = [-2, -1, 1, 2].into_iter().filter_map(|places: isize| {
                let (_, _, index) = thread.get(place.checked_add_signed(-places)?)?;
                Some((places, *index))
            });
            all.insert(*itself, Around { itself: *itself, near: near.collect() });
        }
    }
    all
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
                    asks: text.ends_with('?'),
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
    fn what_stands_near_a_word_is_found_by_it_the_nearer_the_better() {
        let texts = ["first lamp", "one lamp", "green kettle", "two lamps", "three lamps", "last lamp"];
        let (lexicon, ids) = lexicon(&texts, &["kettle"], true);
        let scores: HashMap<MemoryId, f64> = lexical_scores(&lexicon, 1, true).into_iter().collect();
        let score = |index: usize| scores.get(&ids[index]).copied().unwrap_or(0.0);
        assert!(score(2) > score(1) && score(1) > score(0) && score(0) > 0.0);
        assert_eq!((score(1), score(0), score(5)), (score(3), score(4), 0.0));
        assert_eq!(lexical_scores(&lexicon, 1, false).len(), 1, "switched off");
    }

    #[test]
    fn the_answer_to_a_question_is_found_by_the_words_of_the_question() {
        let texts = ["one lamp", "which kettle ?", "two lamps", "three lamps"];
        let (lexicon, ids) = lexicon(&texts, &["kettle"], true);
        assert_eq!(best(&lexicon, 1), ids[2]);
    }

    #[test]
    fn a_window_is_as_long_as_what_is_in_it_on_average() {
        assert_eq!((window_length(7, []), window_length(10, [4]), window_length(10, [4, 6])), (7, 8, 8));
    }

    #[test]
    fn what_a_filter_leaves_out_is_a_neighbour_all_the_same() {
        let (mut lexicon, ids) = lexicon(&["one lamp", "green kettle"], &["kettle"], true);
        lexicon.lines[1].wanted = false;
        assert_eq!(lexical_scores(&lexicon, 1, true).iter().map(|one| one.0).collect::<Vec<_>>(), [ids[0]]);
    }
}
