//! Dense layers: their weights packed once for the kernel that reads them, and multiplied in whole numbers of eight
//! bits where the processor does that without loss.

use std::ops::Range;

use anyhow::Result;
use half::bf16;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::{Matrix, NdTensorView};

use super::checkpoint::Weights;
use super::kernels::{self, Column, Grid, Loud, vectorised};

/// What weights are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `f32`.
    Full,
    /// Eight bits, with a scale for each output; inputs get theirs row by row. A quarter of the memory, and on
    /// processors that are made for it a third of the time.
    Int8,
}

impl Precision {
    /// Eight bits, unless sums of their products could overflow on this processor.
    pub fn of_this_processor() -> Self {
        if Products::default().int8.may_saturate() { Self::Full } else { Self::Int8 }
    }
}

/// The matrix products, and what they need for a while. Each thread has its own.
#[derive(Default)]
pub struct Products {
    full: GemmExecutor<f32, f32, f32>,
    int8: GemmExecutor<u8, i8, i32>,
    wholes: Vec<u8>,
    rows: Vec<Row>,
    aside: Vec<Loud>,
    sums: Vec<i32>,
}

/// How a row of inputs was rounded, and which of the numbers put aside are its own.
struct Row {
    grid: Grid,
    aside: Range<usize>,
}

impl Products {
    /// `out = a b`, row by row.
    pub fn multiply(&self, a: Matrix, b: Matrix, out: &mut [f32]) -> Result<()> {
        Ok(self.full.gemm(out, GemmInputA::Unpacked(a), GemmInputB::Unpacked(b), GemmOptions::default())?)
    }

    fn full(&self, x: &[f32], weight: &PackedBMatrix<f32>, y: &mut [f32]) -> Result<()> {
        let x = NdTensorView::from_data([x.len() / weight.rows(), weight.rows()], x);
        Ok(self.full.gemm(y, GemmInputA::Unpacked(x), GemmInputB::Packed(weight), GemmOptions::default())?)
    }

    /// Leaves the sums, and the rows they belong to.
    fn int8(&mut self, x: &[f32], weight: &PackedBMatrix<i8>, sums: usize) -> Result<()> {
        let inputs = weight.rows();
        self.wholes.resize(x.len(), 0);
        self.sums.resize(sums, 0);
        self.rows.clear();
        self.aside.clear();
        let rows = x.chunks_exact(inputs).zip(self.wholes.chunks_exact_mut(inputs));
        vectorised(
            #[inline(always)]
            || {
                for (row, wholes) in rows {
                    let first = self.aside.len();
                    let grid = kernels::quantise(row, wholes, &mut self.aside);
                    self.rows.push(Row { grid, aside: first..self.aside.len() });
                }
            },
        );
        let wholes = NdTensorView::from_data([x.len() / inputs, inputs], self.wholes.as_slice());
        // The zeros of the rows are left to `rescale`: rten-gemm 0.27 takes those of the first rows for all.
        let options = GemmOptions::default();
        Ok(self.int8.gemm(&mut self.sums, GemmInputA::Unpacked(wholes), GemmInputB::Packed(weight), options)?)
    }
}

/// A dense layer.
pub struct Linear {
    weight: Weight,
    bias: Vec<f32>,
}

enum Weight {
    Full(PackedBMatrix<f32>),
    Int8(Int8),
}

struct Int8 {
    weight: PackedBMatrix<i8>,
    columns: Vec<Column>,
    /// The weights of each input side by side, for numbers that are put aside.
    exact: Vec<bf16>,
}

impl Linear {
    /// Of one part of the network, or of several that read the same input, side by side. All are scaled.
    pub fn load(weights: &Weights, names: &[(String, f32)], shape: [usize; 2], precision: Precision) -> Result<Self> {
        let [from, to] = shape;
        let (mut weight, mut bias) = (Vec::with_capacity(names.len() * from * to), Vec::new());
        for (name, scale) in names {
            let scaled = |numbers: Vec<f32>| numbers.into_iter().map(move |x| x * scale);
            weight.extend(scaled(weights.numbers(&format!("{name}.weight"), &[to, from])?));
            bias.extend(scaled(weights.numbers(&format!("{name}.bias"), &[to])?));
        }
        let weight = match precision {
            Precision::Full => full(&weight, from),
            Precision::Int8 => int8(&weight, from),
        };
        Ok(Self { weight, bias })
    }

    /// `finish` takes the number of each row, the row of the product, and the bias it has to add.
    pub fn forward(
        &self,
        products: &mut Products,
        x: &[f32],
        finish: impl Fn(usize, &mut [f32], &[f32]),
    ) -> Result<Vec<f32>> {
        let width = self.bias.len();
        let mut y = vec![0.0; x.len() / self.inputs() * width];
        match &self.weight {
            Weight::Full(weight) => {
                products.full(x, weight, &mut y)?;
                vectorised(
                    #[inline(always)]
                    || {
                        for (index, row) in y.chunks_exact_mut(width).enumerate() {
                            finish(index, row, &self.bias);
                        }
                    },
                );
            }
            Weight::Int8(int8) => {
                products.int8(x, &int8.weight, y.len())?;
                vectorised(
                    #[inline(always)]
                    || {
                        let sums = products.sums.chunks_exact(width).zip(&products.rows);
                        for (index, (y, (sums, row))) in y.chunks_exact_mut(width).zip(sums).enumerate() {
                            kernels::rescale(sums, row.grid, &int8.columns, y);
                            for loud in &products.aside[row.aside.clone()] {
                                let weights = &int8.exact[loud.place * width..(loud.place + 1) * width];
                                kernels::add_times(y, loud.number, weights);
                            }
                            finish(index, y, &self.bias);
                        }
                    },
                );
            }
        }
        Ok(y)
    }

    fn inputs(&self) -> usize {
        match &self.weight {
            Weight::Full(weight) => weight.rows(),
            Weight::Int8(int8) => int8.weight.rows(),
        }
    }
}

/// `rows` as in the file: one for each output.
fn full(rows: &[f32], inputs: usize) -> Weight {
    let rows = NdTensorView::from_data([rows.len() / inputs, inputs], rows);
    Weight::Full(Products::default().full.prepack_b(rows.transposed()))
}

/// The same, each row on a scale of its own that is symmetric about zero.
fn int8(rows: &[f32], inputs: usize) -> Weight {
    let (mut wholes, mut columns) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len() / inputs));
    for row in rows.chunks_exact(inputs) {
        let step = row.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs())) / 127.0;
        let first = wholes.len();
        wholes.extend(row.iter().map(|x| (x / step).round() as i8));
        columns.push(Column { step, sum: wholes[first..].iter().copied().map(i32::from).sum() });
    }
    let wholes = NdTensorView::from_data([columns.len(), inputs], wholes.as_slice());
    let weight = Products::default().int8.prepack_b(wholes.transposed());
    let exact = (0..inputs).flat_map(|input| rows.iter().skip(input).step_by(inputs)).map(|x| bf16::from_f32(*x));
    Weight::Int8(Int8 { weight, columns, exact: exact.collect() })
}
