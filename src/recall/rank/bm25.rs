//! BM25 (Robertson and Zaragoza 2009, in the form of Lucene) over memories and what was said next to them. Every path
//! that finds memories by words scores them here, so that all come to the same figures.

/// Memories are short, so length and repetition count for little.
const K1: f64 = 0.9;
const B: f64 = 0.4;

/// All live memories of the scopes searched, each once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Corpus {
    pub documents: u64,
    /// How many words they have together.
    pub words: u64,
}

impl Corpus {
    /// Words of a memory, on average.
    pub fn average(&self) -> f64 {
        self.words as f64 / self.documents.max(1) as f64
    }
}

/// BM25 for one question, as a share of the highest sum that its words allow.
pub struct Bm25 {
    /// How much each of the question's words weighs: the rarer, the more. Together they weigh 1.
    weights: Vec<f64>,
    /// What dampens a count: so much, and so much for each word of the memory.
    norm: f64,
    norm_by_length: f64,
}

impl Bm25 {
    /// `frequency` says how many memories have each of the question's words.
    pub fn new(corpus: Corpus, frequency: &[u64]) -> Self {
        let idf = |found: u64| (1.0 + (corpus.documents as f64 - found as f64 + 0.5) / (found as f64 + 0.5)).ln();
        // Words that no memory has cannot be matched and say nothing about those that can.
        let weights: Vec<f64> = frequency.iter().map(|found| if *found > 0 { idf(*found) } else { 0.0 }).collect();
        let ideal = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        Self {
            weights: weights.into_iter().map(|weight| weight / ideal).collect(),
            norm: K1 * (1.0 - B),
            norm_by_length: K1 * B / corpus.average().max(1.0),
        }
    }

    /// What the `word`-th of the question's words adds to a memory of this length that has it `count` times. The parts
    /// are added in the order of the words, so that sums come out the same to the last bit on every path.
    pub fn part(&self, word: usize, count: f64, length: u32) -> f64 {
        self.weights[word] * count / (count + self.norm + self.norm_by_length * f64::from(length))
    }
}
