//! Made-up texts whose words are as unevenly spread as those of real ones (Zipf): common words come
//! first and are English, the long tail is put together from syllables.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cli::bench::zipf::Zipf;

/// The commonest first.
const COMMON: &str = "the to and of a in is for on that with it was at as be this by from have are not you we she he they had but \
    were when about which there one all been more would their said will up out time if so what who can new after \
    first our no people like just day over into some year made good also them work two then well back now way \
    before long much week home again great place many last never still every house next around think small found \
    while old thing between few family another water always night morning under might friend school together \
    room since story later city children until open life important far began letter learned money often group \
    river program music garden project table travel question kitchen summer market doctor paper bridge window \
    winter coffee meeting mountain dinner ticket teacher language forest camera painting guitar recipe weather \
    train island blanket puppy deadline budget invoice server contract schedule museum lantern concert kettle \
    harbor volunteer birthday sunrise bicycle orchard pottery compass notebook festival";

const ONSETS: [&str; 16] = ["b", "br", "d", "dr", "f", "g", "k", "l", "m", "n", "p", "r", "s", "st", "t", "v"];
const ENDS: [&str; 10] = ["an", "el", "ir", "om", "ul", "ash", "end", "ist", "orn", "ug"];

/// About as many as a diary of years holds.
const TAIL: usize = 20_000;
/// Frequency falls with the rank to this power.
const EXPONENT: f64 = 1.05;

pub struct Vocabulary {
    words: Vec<String>,
    zipf: Zipf,
}

/// Texts without end; of two with the same seed each says the same.
pub struct Writer<'a> {
    vocabulary: &'a Vocabulary,
    random: StdRng,
}

impl Vocabulary {
    /// English words only, for embedders that know words from noise.
    pub fn english() -> Self {
        Self::of(COMMON.split_whitespace().map(str::to_owned).collect())
    }

    /// As many words as real memories have.
    pub fn large() -> Self {
        let common = COMMON.split_whitespace().map(str::to_owned);
        Self::of(common.chain((0..TAIL).map(made_up)).collect())
    }

    fn of(words: Vec<String>) -> Self {
        let zipf = Zipf::new(words.len(), EXPONENT);
        Self { words, zipf }
    }

    pub fn writer(&self, seed: u64) -> Writer<'_> {
        Writer { vocabulary: self, random: StdRng::seed_from_u64(seed) }
    }
}

impl<'a> Writer<'a> {
    pub fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn word(&mut self) -> &'a str {
        let index = self.vocabulary.zipf.choose(&mut self.random);
        self.vocabulary.words.get(index).map_or("kettle", String::as_str)
    }
}

/// Three syllables: 160 of each give far more words than are needed.
fn made_up(mut number: usize) -> String {
    let mut word = String::new();
    for _ in 0..3 {
        word.push_str(ONSETS[number % ONSETS.len()]);
        number /= ONSETS.len();
        word.push_str(ENDS[number % ENDS.len()]);
        number /= ENDS.len();
    }
    word
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn the_same_seed_writes_the_same() {
        let vocabulary = Vocabulary::large();
        assert_eq!(vocabulary.writer(7).text(50), vocabulary.writer(7).text(50));
        assert_ne!(vocabulary.writer(7).text(50), vocabulary.writer(8).text(50));
    }

    #[test]
    fn words_are_spread_as_in_real_texts() {
        let made_up: HashSet<String> = (0..TAIL).map(made_up).collect();
        assert_eq!(made_up.len(), TAIL);
        let text = Vocabulary::large().writer(1).text(50_000);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        text.split(' ').for_each(|word| *counts.entry(word).or_default() += 1);
        let commonest = counts.values().max().copied().unwrap_or(0);
        assert!((3_000..9_000).contains(&commonest), "{commonest}");
        assert!(counts.len() > 5_000, "{}", counts.len());
    }
}
