//! The element-wise steps of a BERT layer, in place on plain `f32` rows, written so that the compiler vectorises them.
//! It does so for the processor it runs on only inside [`vectorised`], which is why all of this is inlined.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use half::bf16;

/// Runs `work` compiled for the widest vectors that this processor has.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// What turns whole numbers back into those they stand for: `(whole - zero) * step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    pub step: f32,
    pub zero: u8,
}

/// A number of a row that is put aside, and where it stood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loud {
    pub place: usize,
    pub number: f32,
}

/// From how many times the mean size of its row a number is put aside. A few channels of a BERT carry numbers so large
/// that on a grid that reached so far the others would drown.
const LOUD: f32 = 4.0;

/// Rounds a row to 256 steps between its least and its greatest number; zero is one of them. Loud numbers are rounded
/// to zero and put aside.
#[inline(always)]
pub fn quantise(row: &[f32], wholes: &mut [u8], aside: &mut Vec<Loud>) -> Grid {
    let limit = LOUD * (dot(row, row) / row.len() as f32).sqrt();
    let (least, greatest) = range(row, limit);
    let step = ((greatest - least) / 255.0).max(f32::MIN_POSITIVE);
    let (scale, zero) = (1.0 / step, (-least / step).round());
    for (whole, x) in wholes.iter_mut().zip(row) {
        // The half makes the cast, which cuts off, round; it also clamps.
        *whole = (quiet(*x, limit) * scale + zero + 0.5) as u8;
    }
    let (chunks, rest) = row.as_chunks::<LANES>();
    for (index, chunk) in chunks.iter().enumerate() {
        let mut most = 0.0_f32;
        for x in chunk {
            most = if x.abs() > most { x.abs() } else { most };
        }
        if most > limit {
            put_aside(index * LANES, chunk, limit, aside);
        }
    }
    put_aside(row.len() - rest.len(), rest, limit, aside);
    Grid { step, zero: zero as u8 }
}

/// Those among some neighbours in a row that are loud.
fn put_aside(first: usize, numbers: &[f32], limit: f32, aside: &mut Vec<Loud>) {
    let loud = numbers.iter().enumerate().filter(|(_, x)| x.abs() > limit);
    aside.extend(loud.map(|(at, x)| Loud { place: first + at, number: *x }));
}

#[inline(always)]
fn quiet(x: f32, limit: f32) -> f32 {
    if x.abs() > limit { 0.0 } else { x }
}

/// Adds `factor` times `other` to `row`.
#[inline(always)]
pub fn add_times(row: &mut [f32], factor: f32, other: &[bf16]) {
    for (x, y) in row.iter_mut().zip(other) {
        // What `bf16::to_f32` does for numbers, in a form that vectorises.
        *x += factor * f32::from_bits(u32::from(y.to_bits()) << 16);
    }
}

/// What a column of weights was divided by, and the sum of the whole numbers that this gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    pub step: f32,
    pub sum: i32,
}

/// Sums of products of whole numbers, brought back to scale: that of their row and those of the columns.
#[inline(always)]
pub fn rescale(sums: &[i32], grid: Grid, columns: &[Column], row: &mut [f32]) {
    let zero = i32::from(grid.zero);
    for ((x, sum), column) in row.iter_mut().zip(sums).zip(columns) {
        *x = (sum - zero * column.sum) as f32 * (grid.step * column.step);
    }
}

/// The least and the greatest number of a row within the limit, or zero if that lies beyond.
#[inline(always)]
fn range(row: &[f32], limit: f32) -> (f32, f32) {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let (mut least, mut greatest) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for chunk in chunks {
        for ((low, high), x) in least.iter_mut().zip(&mut greatest).zip(chunk) {
            let x = quiet(*x, limit);
            *low = if x < *low { x } else { *low };
            *high = if x > *high { x } else { *high };
        }
    }
    let (mut low, mut high) = (0.0_f32, 0.0_f32);
    for (least, greatest) in least.into_iter().zip(greatest) {
        (low, high) = (low.min(least), high.max(greatest));
    }
    for x in rest {
        (low, high) = (low.min(quiet(*x, limit)), high.max(quiet(*x, limit)));
    }
    (low, high)
}

/// Adds `other` to `row`, number by number.
#[inline(always)]
pub fn add(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x += y;
    }
}

/// The exact (erf) GELU of `row + bias`.
#[inline(always)]
pub fn gelu(row: &mut [f32], bias: &[f32]) {
    for (x, b) in row.iter_mut().zip(bias) {
        let v = *x + b;
        *x = 0.5 * v * (1.0 + erf(v * FRAC_1_SQRT_2));
    }
}

/// Turns scores into shares that add up to one.
#[inline(always)]
pub fn softmax(row: &mut [f32]) {
    let max = greatest(row);
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let scale = 1.0 / sum(row);
    for x in row {
        *x *= scale;
    }
}

/// Brings `row` to mean zero and variance one, then scales and shifts each number.
#[inline(always)]
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
#[inline(always)]
pub fn normalize(row: &mut [f32]) {
    let scale = 1.0 / dot(row, row).sqrt().max(1e-12);
    for x in row {
        *x *= scale;
    }
}

#[inline(always)]
fn greatest(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > lane { *x } else { *lane };
        }
    }
    let mut most = f32::NEG_INFINITY;
    for x in lanes.iter().chain(rest) {
        most = most.max(*x);
    }
    most
}

#[inline(always)]
fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        add(&mut lanes, chunk);
    }
    let (mut lanes_sum, mut rest_sum) = (0.0, 0.0);
    for x in lanes {
        lanes_sum += x;
    }
    for x in rest {
        rest_sum += x;
    }
    lanes_sum + rest_sum
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += x * y;
        }
    }
    let mut rest = 0.0;
    for (x, y) in a_rest.iter().zip(b_rest) {
        rest += x * y;
    }
    for lane in lanes {
        rest += lane;
    }
    rest
}

// A float sum has a fixed order; independent partial sums are what lets it vectorise.
const LANES: usize = 16;

/// e^x for x <= 0, to within a few units in the last place; next to nothing below -87.
#[inline(always)]
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
#[inline(always)]
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
    fn rounded_numbers_are_off_by_half_a_step_at_most_and_loud_ones_are_put_aside() {
        let mut row: Vec<f32> = (0..405).map(|i| ((i * 7_919 % 100) as f32 - 30.0) / 17.0).collect();
        (row[5], row[404]) = (-90.0, 70.0);
        let (mut wholes, mut aside) = (vec![0; row.len()], Vec::new());
        let grid = vectorised(|| quantise(&row, &mut wholes, &mut aside));
        assert_eq!(aside, [Loud { place: 5, number: -90.0 }, Loud { place: 404, number: 70.0 }]);
        (row[5], row[404]) = (0.0, 0.0);
        for (x, whole) in row.iter().zip(&wholes) {
            let back = (f32::from(*whole) - f32::from(grid.zero)) * grid.step;
            assert!((x - back).abs() <= grid.step * 0.501, "{x} became {back}");
        }
        assert!(grid.step < 0.03, "{grid:?}");
    }

    #[test]
    fn a_row_of_zeros_stays_one() {
        let (mut wholes, mut aside) = ([9; 20], Vec::new());
        let grid = quantise(&[0.0; 20], &mut wholes, &mut aside);
        assert!(wholes.iter().all(|whole| *whole == grid.zero) && aside.is_empty());
    }

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
