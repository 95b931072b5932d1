//! What speaks for a memory by itself: meaning, words, and whatever else the question names.

use std::collections::HashSet;

use crate::recall::model::{Mode, Rule};
use crate::recall::rank::{Candidate, Corpus, Pool, Ranking};

/// The share of meaning where memories are short, and where they are long; words have the rest. In what people say to
/// one another words tell more; in pages of text a word is found everywhere.
const MEANING_OF_SHORT: f64 = 0.3;
const MEANING_OF_LONG: f64 = 0.5;
/// Words of a memory on average, up to which and from which memories are short and long.
const SHORT: f64 = 20.0;
const LONG: f64 = 80.0;
/// What these weigh where the question names one, meaning and words together being 1.
const SPEAKER_WEIGHT: f64 = 0.15;
const DATE_WEIGHT: f64 = 0.15;

/// What is found of a question in each memory.
pub struct Evidence<'a> {
    ranking: &'a Ranking<'a>,
    meaning_share: f64,
    /// The speakers that the question names.
    speakers: HashSet<&'a str>,
}

/// What a memory is of what a question names; none: it names no such thing.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    pub speaker: Option<f64>,
    pub date: Option<f64>,
}

impl<'a> Evidence<'a> {
    pub fn new(pool: &'a Pool, ranking: &'a Ranking<'a>) -> Self {
        let speakers = if ranking.rules.applies(Rule::Speaker) { speakers(pool, ranking) } else { HashSet::new() };
        Self { ranking, meaning_share: meaning_share(pool.corpus), speakers }
    }

    /// 0 to 1: the weighted mean of the parts that there are.
    pub fn of(&self, candidate: &Candidate) -> f64 {
        let meaning = candidate.similarity.unwrap_or(0.0).clamp(0.0, 1.0);
        let words = candidate.lexical.unwrap_or(0.0);
        let matched = match self.ranking.mode {
            Mode::Hybrid => self.meaning_share * meaning + (1.0 - self.meaning_share) * words,
            Mode::Semantic => meaning,
            Mode::Lexical => words,
        };
        let Named { speaker, date } = self.named(candidate);
        let parts = [(Some(matched), 1.0), (speaker, SPEAKER_WEIGHT), (date, DATE_WEIGHT)];
        let there = parts.into_iter().filter_map(|(part, weight)| Some((part? * weight, weight)));
        let (sum, weights) = there.fold((0.0, 0.0), |(sum, all), (part, weight)| (sum + part, all + weight));
        sum / weights
    }

    pub fn named(&self, candidate: &Candidate) -> Named {
        let said = |speakers: &HashSet<&str>| candidate.speaker.as_deref().is_some_and(|one| speakers.contains(one));
        let date = self.ranking.question.date.filter(|_| self.ranking.rules.applies(Rule::Date));
        Named {
            speaker: (!self.speakers.is_empty()).then(|| f64::from(u8::from(said(&self.speakers)))),
            date: date.map(|date| candidate.occurred_at.map_or(0.0, |at| date.nearness(at))),
        }
    }
}

/// Those named; where none is, the role of the one who asks.
fn speakers<'a>(pool: &'a Pool, ranking: &Ranking<'_>) -> HashSet<&'a str> {
    let all: HashSet<&str> = pool.candidates.iter().filter_map(|candidate| candidate.speaker.as_deref()).collect();
    let named: HashSet<&str> = all.iter().copied().filter(|speaker| ranking.question.names(speaker)).collect();
    if !named.is_empty() {
        return named;
    }
    all.into_iter().filter(|speaker| ranking.question.is_asked_by(speaker)).collect()
}

fn meaning_share(corpus: Corpus) -> f64 {
    let long = ((corpus.average() - SHORT) / (LONG - SHORT)).clamp(0.0, 1.0);
    MEANING_OF_SHORT + (MEANING_OF_LONG - MEANING_OF_SHORT) * long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meaning_weighs_more_where_memories_are_long() {
        let share = |average: u64| meaning_share(Corpus { documents: 10, words: 10 * average });
        assert_eq!((share(0), share(20), share(80), share(500)), (0.3, 0.3, 0.5, 0.5));
        assert!((share(50) - 0.4).abs() < 1e-12);
        assert_eq!(meaning_share(Corpus::default()), 0.3);
    }
}
