//! The BERT network itself: weights in, hidden states out.
//!
//! A batch is packed: the tokens of all its windows stand one below the other, so no layer ever
//! computes padding and attention, which runs window by window, needs no mask.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use super::checkpoint::{Config, Weights};
use super::kernels::{self, InPlace};

// Enough rows to keep the matrix products busy, few enough to stay in the cache.
const BATCH_TOKENS: usize = 512;

/// A BERT encoder without its pooler.
pub struct Bert {
    words: Vec<f32>,
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    hidden: usize,
    heads: usize,
}

impl Bert {
    /// Copies the weights out of the bytes of a safetensors file, as `f32`.
    pub fn load(config: &Config, file: &[u8]) -> Result<Self> {
        let weights = Weights::new(file)?;
        let hidden = config.hidden_size;
        let embedding = |kind: &str, rows| {
            let name = format!("embeddings.{kind}_embeddings.weight");
            weights.numbers(&name, &[rows, hidden])
        };
        let mut positions = embedding("position", config.max_position_embeddings)?;
        let types = embedding("token_type", config.type_vocab_size)?;
        for row in positions.chunks_exact_mut(hidden) {
            // A window is one segment, so every token is of type 0.
            kernels::add(row, &types);
        }
        Ok(Self {
            words: embedding("word", config.vocab_size)?,
            positions,
            norm: Norm::load(&weights, "embeddings.LayerNorm", config)?,
            layers: (0..config.num_hidden_layers)
                .map(|layer| Layer::load(&weights, &format!("encoder.layer.{layer}"), config))
                .collect::<Result<_>>()?,
            hidden,
            heads: config.num_attention_heads,
        })
    }

    /// The hidden states of all tokens of all `windows`, one row after the other.
    pub fn forward(&self, windows: &[Vec<u32>]) -> Result<Vec<f32>> {
        let lengths: Vec<usize> = windows.iter().map(Vec::len).collect();
        let tokens = lengths.iter().sum::<usize>();
        let x = self.embed(windows)?;
        let mut x = Tensor::from_vec(x, (tokens, self.hidden), &Device::Cpu)?;
        for layer in &self.layers {
            x = layer.forward(&x, &lengths, self.heads)?;
        }
        Ok(x.flatten_all()?.to_vec1()?)
    }

    fn embed(&self, windows: &[Vec<u32>]) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(windows.iter().map(Vec::len).sum::<usize>() * self.hidden);
        for window in windows {
            for (&id, position) in window.iter().zip(self.positions.chunks_exact(self.hidden)) {
                let from = id as usize * self.hidden;
                let word = self.words.get(from..from + self.hidden);
                let word = word.with_context(|| format!("token {id} has no embedding"))?;
                rows.extend(word.iter().zip(position).map(|(w, p)| w + p));
            }
        }
        self.norm.apply(&mut rows);
        Ok(rows)
    }
}

/// Neighbouring windows of together about `BATCH_TOKENS`. The network packs a batch without
/// padding, so windows of different lengths go together at no loss.
pub fn batches(windows: &[Vec<u32>]) -> impl Iterator<Item = &[Vec<u32>]> {
    let mut tokens = 0;
    windows.chunk_by(move |window, next| {
        tokens += window.len();
        let fits = tokens + next.len() <= BATCH_TOKENS;
        if !fits {
            tokens = 0;
        }
        fits
    })
}

struct Layer {
    qkv: Linear,
    mix: Linear,
    mix_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

impl Layer {
    fn load(weights: &Weights, name: &str, config: &Config) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |part: &str, from, to| Linear::load(weights, &format!("{name}.{part}"), from, to);
        let norm = |part: &str| Norm::load(weights, &format!("{name}.{part}"), config);
        let projection = |part: &str| linear(&format!("attention.self.{part}"), hidden, hidden);
        let (q, k, v) = (projection("query")?, projection("key")?, projection("value")?);
        // Scores are divided by the root of a head's width; doing it here does it once.
        let scale = 1.0 / ((hidden / config.num_attention_heads) as f64).sqrt();
        let weight = Tensor::cat(&[&(q.weight * scale)?, &k.weight, &v.weight], 1)?;
        let q_bias = q.bias.iter().map(|b| b * scale as f32);
        Ok(Self {
            qkv: Linear { weight, bias: q_bias.chain(k.bias).chain(v.bias).collect() },
            mix: linear("attention.output.dense", hidden, hidden)?,
            mix_norm: norm("attention.output.LayerNorm")?,
            up: linear("intermediate.dense", hidden, inner)?,
            down: linear("output.dense", inner, hidden)?,
            down_norm: norm("output.LayerNorm")?,
        })
    }

    fn forward(&self, x: &Tensor, lengths: &[usize], heads: usize) -> Result<Tensor> {
        let qkv = self.qkv.forward(x, kernels::add)?;
        let x = self.mix_norm.after(&self.mix, &attention(&qkv, lengths, heads)?, x)?;
        let inner = self.up.forward(&x, kernels::gelu)?;
        self.down_norm.after(&self.down, &inner, &x)
    }
}

/// Each window attends to itself only: `softmax(q k) v`, head by head.
fn attention(qkv: &Tensor, lengths: &[usize], heads: usize) -> Result<Tensor> {
    let head_width = qkv.dim(1)? / heads / 3;
    let mut start = 0;
    let mut mixed = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let window = qkv.narrow(0, start, length)?;
        let window = window.reshape((length, 3, heads, head_width))?;
        let part = |index| window.get_on_dim(1, index)?.transpose(0, 1);
        let shares = part(0)?.matmul(&part(1)?.t()?)?;
        shares.inplace_op1(&InPlace(|rows: &mut [f32]| {
            rows.chunks_exact_mut(length).for_each(kernels::softmax);
        }))?;
        let values = shares.matmul(&part(2)?)?;
        mixed.push(values.transpose(0, 1)?.reshape((length, heads * head_width))?);
        start += length;
    }
    match mixed.as_slice() {
        [only] => Ok(only.clone()),
        _ => Ok(Tensor::cat(&mixed, 0)?),
    }
}

/// A dense layer. The weight is stored input by output, contiguous: the other way round (as in
/// the file) `gemm` would have to turn it over again for every product.
struct Linear {
    weight: Tensor,
    bias: Vec<f32>,
}

impl Linear {
    fn load(weights: &Weights, name: &str, from: usize, to: usize) -> Result<Self> {
        let weight = weights.tensor(&format!("{name}.weight"), &[to, from])?;
        Ok(Self { weight: weight.t()?.contiguous()?, bias: weights.numbers(&format!("{name}.bias"), &[to])? })
    }

    /// `finish` takes each row of the product, and the bias it has to add.
    fn forward(&self, x: &Tensor, finish: impl Fn(&mut [f32], &[f32])) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        y.inplace_op1(&InPlace(|rows: &mut [f32]| {
            rows.chunks_exact_mut(self.bias.len()).for_each(|row| finish(row, &self.bias));
        }))?;
        Ok(y)
    }
}

struct Norm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
}

impl Norm {
    fn load(weights: &Weights, name: &str, config: &Config) -> Result<Self> {
        let numbers = |part| weights.numbers(&format!("{name}.{part}"), &[config.hidden_size]);
        Ok(Self { gamma: numbers("weight")?, beta: numbers("bias")?, eps: config.layer_norm_eps })
    }

    /// `norm(linear(x) + residual)`.
    fn after(&self, linear: &Linear, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let y = linear.forward(x, kernels::add)?;
        y.inplace_op2(
            residual,
            &InPlace(|rows: &mut [f32], residual: &[f32]| {
                kernels::add(rows, residual);
                self.apply(rows);
            }),
        )?;
        Ok(y)
    }

    fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.gamma.len()) {
            kernels::layer_norm(row, &self.gamma, &self.beta, self.eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_order_and_stay_small() {
        let windows: Vec<Vec<u32>> = [500, 10, 3, 400, 600, 1].map(|n| vec![0; n]).into();
        let lengths = batches(&windows).map(|batch| batch.iter().map(Vec::len).collect());
        let lengths: Vec<Vec<usize>> = lengths.collect();
        assert_eq!(lengths, [vec![500, 10], vec![3, 400], vec![600], vec![1]]);
    }
}
