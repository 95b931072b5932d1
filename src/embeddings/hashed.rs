//! Feature hashing: offline, instant, the same everywhere. Texts that share words are near each
//! other and nothing more, so it is for tests and benchmarks, never for serving.

use unicode_segmentation::UnicodeSegmentation;

/// Coordinates touched by a word; several keep different words from being taken for one.
const COORDINATES_A_WORD: u32 = 4;

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

    /// A unit vector.
    pub fn embed(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.dims];
        for word in text.unicode_words() {
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
        let kettle = hashed.embed("the kettle is broken");
        assert_eq!(kettle, hashed.embed("The KETTLE is broken!"));
        assert!(cosine(&kettle, &hashed.embed("a broken kettle")) > 0.4);
        assert!(cosine(&kettle, &hashed.embed("sunrise over mountains")).abs() < 0.3);
    }

    #[test]
    fn text_without_words_still_has_a_direction() {
        let vector = Hashed::new(3).embed("!?");
        assert_eq!(vector, [1.0, 0.0, 0.0]);
    }
}
