//! Cosine similarity of a question and stored vectors. Every path that finds memories by meaning measures them here,
//! so that all come to the same figures.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// A question's vector, ready to be compared.
pub struct Similarity {
    query: Vec<f32>,
    norm: f64,
}

impl Similarity {
    pub fn to(query: &[f16]) -> Self {
        let query = query.to_f32_vec();
        let norm = length(&query);
        Self { query, norm }
    }

    /// -1 to 1; of vectors of another length, or of none, 0.
    pub fn of(&self, vector: &[f16]) -> f64 {
        let vector = vector.to_f32_vec();
        self.of_length(&vector, length(&vector))
    }

    /// The same of a vector whose length is known.
    pub fn of_length(&self, vector: &[f32], length: f64) -> f64 {
        let norms = self.norm * length;
        if norms > 0.0 && vector.len() == self.query.len() { dot(&self.query, vector) / norms } else { 0.0 }
    }

    /// The question as a unit vector.
    pub fn unit(&self) -> Vec<f32> {
        self.query.iter().map(|x| (f64::from(*x) / self.norm.max(f64::MIN_POSITIVE)) as f32).collect()
    }
}

/// Of a vector.
pub fn length(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}

/// In lanes, which lets the compiler use wide registers, and in one order on every machine: two servers that compute
/// the same answer write the same figures.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    f64::from(sums.iter().sum::<f32>() + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_cosine() {
        let half = |numbers: &[f32]| numbers.iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>();
        let to = Similarity::to(&half(&[3.0, 4.0, 0.0]));
        assert!((to.of(&half(&[3.0, 4.0, 0.0])) - 1.0).abs() < 1e-6);
        assert!((to.of(&half(&[4.0, 3.0, 0.0])) - 0.96).abs() < 1e-6);
        assert_eq!((to.of(&half(&[0.0; 3])), to.of(&half(&[1.0]))), (0.0, 0.0));
        let long: Vec<f32> = (0..29).map(|x| (x as f32 * 0.37).sin()).collect();
        let other: Vec<f32> = (0..29).map(|x| (x as f32 * 0.11).cos()).collect();
        let (a, b) = (half(&long), half(&other));
        let product = |a: &[f16], b: &[f16]| a.iter().zip(b).map(|(x, y)| x.to_f64() * y.to_f64()).sum::<f64>();
        let expected = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
        assert!((Similarity::to(&a).of(&b) - expected).abs() < 1e-6);
    }
}
