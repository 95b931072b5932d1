//! Feature hashing: offline, instant, the same everywhere. Texts that share words are near each
//! other and nothing more, so it is for tests and benchmarks, never for serving.

use unicode_segmentation::UnicodeSegmentation;

use crate::embeddings::Windows;

/// Coordinates touched by a word; several keep different words from being taken for one.
const COORDINATES_A_WORD: u32 = 4;
/// As many as a real model takes in at once, about.
const WORDS_A_WINDOW: usize = 200;

pub struct Hashed {
    dims: usize,
}

impl Hashed {
    pub fn new(dims: usize) -> Self {
        Self { dims }
    }

    pub fn dims(&self) -> usize {
        self.dims
    }

    /// The windows of a text, each a unit vector.
    pub fn embed(&self, text: &str) -> Windows {
        let words: Vec<&str> = text.unicode_words().collect();
        if words.is_empty() {
            return vec![self.window(&[])];
        }
        words.chunks(WORDS_A_WINDOW).map(|words| self.window(words)).collect()
    }

    fn window(&self, words: &[&str]) -> Vec<f32> {
        let mut vector = vec![0.0; self.dims];
        for word in words {
            self.add(&mut vector, &word.to_lowercase());
        }
        let mut norm = super::norm(&vector);
        if norm == 0.0 {
            vector[0] = 1.0;
            norm = 1.0;
        }
        vector.iter_mut().for_each(|x| *x /= norm);
        vector
    }

    fn add(&self, vector: &mut [f32], word: &str) {
        for salt in 0..COORDINATES_A_WORD {
            let mut hasher = crc32fast::Hasher::new_with_initial(salt.wrapping_mul(0x9E37_79B9));
            hasher.update(word.as_bytes());
            let hash = hasher.finalize();
            let sign = if hash & 1 == 0 { 1.0 } else { -1.0 };
            vector[(hash >> 1) as usize % self.dims] += sign;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hashed;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn shared_words_bring_texts_together() {
        let hashed = Hashed::new(384);
        let embed = |text: &str| hashed.embed(text).remove(0);
        let kettle = embed("the kettle is broken");
        assert_eq!(kettle, embed("The KETTLE is broken!"));
        assert!(cosine(&kettle, &embed("a broken kettle")) > 0.4);
        assert!(cosine(&kettle, &embed("sunrise over mountains")).abs() < 0.3);
    }

    #[test]
    fn text_without_words_still_has_a_direction() {
        assert_eq!(Hashed::new(3).embed("!?"), [[1.0, 0.0, 0.0]]);
    }

    #[test]
    fn a_long_text_has_several_windows() {
        let hashed = Hashed::new(384);
        assert_eq!(hashed.embed(&"stone ".repeat(200)).len(), 1);
        assert_eq!(hashed.embed(&"stone ".repeat(201)).len(), 2);
    }
}
