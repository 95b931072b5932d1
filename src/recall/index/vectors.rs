//! The vectors of a scope, side by side: once as they are stored, and once in bytes, which are compared first.
//!
//! A byte vector is the unit vector scaled by its largest number and rounded. How far rounding moved it is kept, so
//! that a product of bytes says between which bounds the cosine lies (by the inequality of Cauchy and Schwarz), and
//! what cannot be among the nearest need not be compared exactly.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use pgvector::HalfVector;
use simsimd::SpatialSimilarity;

use crate::recall::rank::{Similarity, length};

/// Beyond the bounds: single precision in scales and sums.
const ROUNDING: f32 = 1e-5;

/// Vectors of one length, a row for each window of a memory.
#[derive(Default)]
pub struct Vectors {
    dims: usize,
    exact: Vec<f16>,
    lengths: Vec<f64>,
    bytes: Vec<i8>,
    scales: Vec<f32>,
    /// How far a row was moved by rounding, at most.
    moved: Vec<f32>,
}

/// A question's vector in bytes.
pub struct Probe {
    bytes: Vec<i8>,
    scale: f32,
    moved: f32,
}

/// Between which figures a cosine lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub lower: f32,
    pub upper: f32,
}

impl Vectors {
    /// Adds the windows of a memory; none if they are of another length than the rest.
    pub fn push(&mut self, windows: &[HalfVector]) -> Option<Range<u32>> {
        let first = self.scales.len() as u32;
        let dims =
            if self.scales.is_empty() { windows.first().map_or(0, |one| one.as_slice().len()) } else { self.dims };
        if windows.iter().any(|window| window.as_slice().len() != dims) {
            return None;
        }
        self.dims = dims;
        for window in windows {
            let exact = window.as_slice().to_f32_vec();
            let rounded = Probe::of(&exact);
            self.exact.extend_from_slice(window.as_slice());
            self.lengths.push(length(&exact));
            self.bytes.extend_from_slice(&rounded.bytes);
            self.scales.push(rounded.scale);
            self.moved.push(rounded.moved);
        }
        Some(first..self.scales.len() as u32)
    }

    pub fn row(&self, row: u32) -> &[f16] {
        let start = row as usize * self.dims;
        &self.exact[start..start + self.dims]
    }

    /// The cosine of the best of these rows; none: there are no rows. `room` is for the numbers of one.
    pub fn best(&self, rows: Range<u32>, to: &Similarity, room: &mut Vec<f32>) -> Option<f64> {
        room.resize(self.dims, 0.0);
        let cosines = rows.map(|row| {
            self.row(row).convert_to_f32_slice(room);
            to.of_length(room, self.lengths[row as usize])
        });
        cosines.max_by(f64::total_cmp)
    }

    /// Between which figures the cosine of the best of these rows lies.
    #[inline]
    pub fn bounds(&self, rows: Range<u32>, probe: &Probe) -> Bounds {
        let bounds = rows.map(|row| self.bounds_of(row as usize, probe));
        let best =
            bounds.reduce(|best, one| Bounds { lower: best.lower.max(one.lower), upper: best.upper.max(one.upper) });
        best.unwrap_or(Bounds { lower: -1.0, upper: -1.0 })
    }

    #[inline]
    fn bounds_of(&self, row: usize, probe: &Probe) -> Bounds {
        let start = row * self.dims;
        // None: of another length, and so as far away as can be.
        let product = i8::dot(&self.bytes[start..start + self.dims], &probe.bytes);
        let Some(product) = product else { return Bounds { lower: -1.0, upper: 1.0 } };
        let cosine = product as f32 * self.scales[row] * probe.scale;
        // Both are unit vectors: what one was moved by shifts the product by no more.
        let off = self.moved[row] + probe.moved * (1.0 + self.moved[row]) + ROUNDING;
        Bounds { lower: cosine - off, upper: cosine + off }
    }

    /// What it holds in memory.
    pub fn size(&self) -> usize {
        let figures = self.lengths.capacity() * 8 + (self.scales.capacity() + self.moved.capacity()) * 4;
        self.exact.capacity() * 2 + self.bytes.capacity() + figures
    }
}

impl Probe {
    pub fn of(vector: &[f32]) -> Self {
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs())) / norm;
        let scale = (largest / 127.0).max(f32::MIN_POSITIVE);
        let bytes: Vec<i8> = vector.iter().map(|x| (x / norm / scale).round().clamp(-127.0, 127.0) as i8).collect();
        let gaps = vector.iter().zip(&bytes).map(|(x, byte)| x / norm - f32::from(*byte) * scale);
        let moved = gaps.map(|gap| gap * gap).sum::<f32>().sqrt();
        Self { bytes, scale, moved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(seed: u32, dims: usize) -> HalfVector {
        let number = |index: u32| ((seed * 7_919 + index * 104_729) % 1_000) as f32 / 500.0 - 1.0;
        HalfVector::from((0..dims as u32).map(|index| f16::from_f32(number(index))).collect::<Vec<_>>())
    }

    #[test]
    fn a_cosine_lies_between_its_bounds() {
        for dims in [1, 3, 64, 384, 1_536] {
            let mut vectors = Vectors::default();
            (0..200).for_each(|seed| assert!(vectors.push(&[vector(seed, dims)]).is_some()));
            let query = vector(1_000, dims);
            let to = Similarity::to(query.as_slice());
            let probe = Probe::of(&to.unit());
            for row in 0..200 {
                assert_eq!(vectors.best(row..row + 1, &to, &mut Vec::new()), Some(to.of(vectors.row(row))));
                let (exact, bounds) = (to.of(vectors.row(row)) as f32, vectors.bounds(row..row + 1, &probe));
                assert!(bounds.lower <= exact && exact <= bounds.upper, "{dims}: {exact} in {bounds:?}");
                assert!(bounds.upper - bounds.lower < 0.08, "{dims}: {bounds:?} say nothing");
            }
        }
    }

    #[test]
    fn the_windows_of_a_memory_are_rows_in_a_row() {
        let mut vectors = Vectors::default();
        assert_eq!(vectors.push(&[vector(1, 8), vector(2, 8)]), Some(0..2));
        assert_eq!(vectors.push(&[vector(3, 8)]), Some(2..3));
        assert_eq!(vectors.push(&[vector(3, 9)]), None, "of another length");
        assert_eq!(vectors.row(2), vector(3, 8).as_slice());
        assert!(vectors.size() >= 3 * 8 * 3);
    }
}
