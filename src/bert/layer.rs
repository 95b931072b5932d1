//! One layer of the network: attention, then two dense layers, each brought back to its norm.

use anyhow::Result;
use rten_tensor::NdTensorView;

use super::checkpoint::{Config, Weights};
use super::kernels::{self, vectorised};
use super::linear::{Linear, Precision, Products};

pub struct Layer {
    qkv: Linear,
    mix: Linear,
    mix_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
    heads: usize,
}

impl Layer {
    pub fn load(weights: &Weights, name: &str, config: &Config, precision: Precision) -> Result<Self> {
        let (hidden, inner, heads) = (config.hidden_size, config.intermediate_size, config.num_attention_heads);
        let linear =
            |part: &str, from, to| Linear::load(weights, &[(format!("{name}.{part}"), 1.0)], [from, to], precision);
        let norm = |part: &str| Norm::load(weights, &format!("{name}.{part}"), config);
        let projection = |part: &str| format!("{name}.attention.self.{part}");
        // Scores are divided by the root of a head's width; doing it here does it once.
        let scale = 1.0 / ((hidden / heads) as f32).sqrt();
        let qkv = [(projection("query"), scale), (projection("key"), 1.0), (projection("value"), 1.0)];
        Ok(Self {
            qkv: Linear::load(weights, &qkv, [hidden, hidden], precision)?,
            mix: linear("attention.output.dense", hidden, hidden)?,
            mix_norm: norm("attention.output.LayerNorm")?,
            up: linear("intermediate.dense", hidden, inner)?,
            down: linear("output.dense", inner, hidden)?,
            down_norm: norm("output.LayerNorm")?,
            heads,
        })
    }

    /// Of windows of these `lengths`, one below the other.
    pub fn forward(&self, products: &mut Products, x: &[f32], lengths: &[usize]) -> Result<Vec<f32>> {
        let qkv = self.qkv.forward(
            products,
            x,
            #[inline(always)]
            |_, row, bias| kernels::add(row, bias),
        )?;
        let mixed = attention(products, &qkv, lengths, self.heads)?;
        let x = self.mix_norm.after(&self.mix, products, &mixed, x)?;
        let inner = self.up.forward(
            products,
            &x,
            #[inline(always)]
            |_, row, bias| kernels::gelu(row, bias),
        )?;
        self.down_norm.after(&self.down, products, &inner, &x)
    }
}

/// Each window attends to itself only: `softmax(q k) v`, head by head.
fn attention(products: &Products, qkv: &[f32], lengths: &[usize], heads: usize) -> Result<Vec<f32>> {
    let tokens: usize = lengths.iter().sum();
    let hidden = qkv.len() / tokens.max(1) / 3;
    let width = hidden / heads;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let (mut shares, mut values) = (vec![0.0; longest * longest], vec![0.0; longest * width]);
    let mut mixed = vec![0.0; tokens * hidden];
    let mut start = 0;
    for &length in lengths {
        let (shares, values) = (&mut shares[..length * length], &mut values[..length * width]);
        for head in 0..heads {
            let part = |index: usize| {
                let from = start * 3 * hidden + index * hidden + head * width;
                NdTensorView::from_slice_with_strides([length, width], &qkv[from..], [3 * hidden, 1])
            };
            products.multiply(part(0)?, part(1)?.transposed(), shares)?;
            vectorised(
                #[inline(always)]
                || {
                    for row in shares.chunks_exact_mut(length) {
                        kernels::softmax(row);
                    }
                },
            );
            products.multiply(NdTensorView::from_data([length, length], &*shares), part(2)?, values)?;
            let rows = mixed[start * hidden..].chunks_exact_mut(hidden);
            for (row, values) in rows.zip(values.chunks_exact(width)) {
                row[head * width..(head + 1) * width].copy_from_slice(values);
            }
        }
        start += length;
    }
    Ok(mixed)
}

pub struct Norm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
}

impl Norm {
    pub fn load(weights: &Weights, name: &str, config: &Config) -> Result<Self> {
        let numbers = |part| weights.numbers(&format!("{name}.{part}"), &[config.hidden_size]);
        Ok(Self { gamma: numbers("weight")?, beta: numbers("bias")?, eps: config.layer_norm_eps })
    }

    /// `norm(linear(x) + residual)`.
    fn after(&self, linear: &Linear, products: &mut Products, x: &[f32], residual: &[f32]) -> Result<Vec<f32>> {
        let width = self.gamma.len();
        linear.forward(
            products,
            x,
            #[inline(always)]
            |index, row, bias| {
                kernels::add(row, bias);
                kernels::add(row, &residual[index * width..(index + 1) * width]);
                kernels::layer_norm(row, &self.gamma, &self.beta, self.eps);
            },
        )
    }

    pub fn apply(&self, rows: &mut [f32]) {
        vectorised(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(self.gamma.len()) {
                    kernels::layer_norm(row, &self.gamma, &self.beta, self.eps);
                }
            },
        );
    }
}
