//! The element-wise steps of a BERT layer, in place on plain `f32` rows.
//!
//! candle's own versions hand rows to thread pools shared by the whole process; these stay on
//! the calling thread, fuse the bias in, and are written so that the compiler vectorises them.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, bail};

/// Lets candle run a function over the numbers of a contiguous tensor, in place: one argument
/// for `inplace_op1`, a second tensor to read for `inplace_op2`.
pub struct InPlace<F>(pub F);

impl<F: Fn(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.0)(numbers_mut(storage, layout)?);
        Ok(())
    }
}

impl<F: Fn(&mut [f32], &[f32])> InplaceOp2 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in-place"
    }

    fn cpu_fwd(
        &self,
        storage: &mut CpuStorage,
        layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
    ) -> Result<()> {
        let other = match (other, other_layout.contiguous_offsets()) {
            (CpuStorage::F32(all), Some((from, to))) => &all[from..to],
            _ => bail!("expected contiguous f32"),
        };
        (self.0)(numbers_mut(storage, layout)?, other);
        Ok(())
    }
}

fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((from, to))) => Ok(&mut all[from..to]),
        _ => bail!("expected contiguous f32"),
    }
}

/// Adds `other` to `row`, number by number.
pub fn add(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x += y;
    }
}

/// The exact (erf) GELU of `row + bias`.
pub fn gelu(row: &mut [f32], bias: &[f32]) {
    for (x, b) in row.iter_mut().zip(bias) {
        let v = *x + b;
        *x = 0.5 * v * (1.0 + erf(v * FRAC_1_SQRT_2));
    }
}

/// Turns scores into shares that add up to one.
pub fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let scale = 1.0 / sum(row);
    for x in row {
        *x *= scale;
    }
}

/// Brings `row` to mean zero and variance one, then scales and shifts each number.
pub fn layer_norm(row: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let count = row.len() as f32;
    let mean = sum(row) / count;
    for x in row.iter_mut() {
        *x -= mean;
    }
    let scale = 1.0 / (dot(row, row) / count + eps).sqrt();
    for ((x, g), b) in row.iter_mut().zip(gamma).zip(beta) {
        *x = *x * scale * g + b;
    }
}

/// Scales `row` to length one.
pub fn normalize(row: &mut [f32]) {
    let scale = 1.0 / dot(row, row).sqrt().max(1e-12);
    for x in row {
        *x *= scale;
    }
}

fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        add(&mut lanes, chunk);
    }
    lanes.iter().chain(rest).sum()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

// A float sum has a fixed order; independent partial sums are what lets it vectorise.
const LANES: usize = 16;

/// e^x for x <= 0, to within a few units in the last place; next to nothing below -87.
fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let x = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let power_of_two = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let p = 1.987_569_2e-4 * x + 1.398_2e-3;
    let p = p * x + 8.333_452e-3;
    let p = p * x + 4.166_579_6e-2;
    let p = p * x + 1.666_666_5e-1;
    ((p * x + 0.5) * x * x + x + 1.0) * power_of_two
}

/// The error function as a ratio of polynomials, to within 5e-7 (the form Eigen and XLA use).
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let x2 = x * x;
    let above = -2.726_142_3e-10 * x2 + 2.770_681_4e-8;
    let above = above * x2 - 2.101_024e-6;
    let above = above * x2 - 5.692_506_3e-5;
    let above = above * x2 - 7.349_906e-4;
    let above = above * x2 - 2.954_6e-3;
    let above = above * x2 - 1.609_603_3e-2;
    let below = -1.456_607_2e-5 * x2 - 2.133_740_6e-4;
    let below = below * x2 - 1.682_827e-3;
    let below = below * x2 - 7.373_329e-3;
    let below = below * x2 - 1.426_473_9e-2;
    x * above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_follows_the_exact_function() {
        for step in 0..870_000 {
            let x = -(step as f32) / 10_000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn gelu_is_the_exact_variant() {
        // 0.5 x (1 + erf(x / sqrt 2)), from a table with more digits than f32 holds.
        let table = [
            (-3.0, -0.004_049_694),
            (-1.0, -0.158_655_25),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (1.0, 0.841_344_7),
            (2.0, 1.954_499_7),
            (6.0, 6.0),
        ];
        for (x, exact) in table {
            let mut row = [x - 0.25];
            gelu(&mut row, &[0.25]);
            assert!((row[0] - exact).abs() < 1e-6, "gelu({x}) = {}", row[0]);
        }
    }

    #[test]
    fn softmax_adds_up_to_one() {
        let mut row = [1.0, 2.0, 3.0, -50.0];
        softmax(&mut row);
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((row[2] / row[1] - std::f32::consts::E).abs() < 1e-5);
    }

    #[test]
    fn layer_norm_centres_and_scales() {
        let mut row: Vec<f32> = (0..37).map(|i| i as f32).collect();
        layer_norm(&mut row, &[2.0; 37], &[1.0; 37], 1e-12);
        assert!((sum(&row) / 37.0 - 1.0).abs() < 1e-5);
        row.iter_mut().for_each(|x| *x -= 1.0);
        assert!((dot(&row, &row) / 37.0 - 4.0).abs() < 1e-4);
    }
}
