//! The BERT network itself: weights in, hidden states out. Knows nothing of texts.
//!
//! A batch is packed: the tokens of all its windows stand one below the other, so no layer ever
//! computes padding and attention, which runs window by window, needs no mask. A forward pass
//! stays on the thread that makes it.

mod checkpoint;
mod kernels;
mod layer;
mod linear;

use anyhow::{Context, Result};

pub use checkpoint::{Config, Weights};
pub use kernels::{add, normalize};
use layer::{Layer, Norm};
pub use linear::{Linear, Precision, Products};

// Enough rows to keep the matrix products busy, few enough to stay in the cache.
const BATCH_TOKENS: usize = 256;

/// A BERT encoder without its pooler.
pub struct Bert {
    words: Vec<f32>,
    positions: Vec<f32>,
    types: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    hidden: usize,
}

/// The tokens that are looked at together: a text, a part of it, or two texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub ids: Vec<u32>,
    /// For each token, which of two texts it belongs to.
    pub types: Vec<u32>,
}

impl Window {
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

impl Bert {
    /// Copies the weights out of those of a file.
    pub fn load(config: &Config, weights: &Weights, precision: Precision) -> Result<Self> {
        one_thread();
        let hidden = config.hidden_size;
        let embedding = |kind: &str, rows| {
            let name = format!("embeddings.{kind}_embeddings.weight");
            weights.numbers(&name, &[rows, hidden])
        };
        let layer = |index| Layer::load(weights, &format!("encoder.layer.{index}"), config, precision);
        Ok(Self {
            words: embedding("word", config.vocab_size)?,
            positions: embedding("position", config.max_position_embeddings)?,
            types: embedding("token_type", config.type_vocab_size)?,
            norm: Norm::load(weights, "embeddings.LayerNorm", config)?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            hidden,
        })
    }

    /// The hidden states of all tokens of all `windows`, one row after the other.
    pub fn forward(&self, windows: &[Window]) -> Result<Vec<f32>> {
        let lengths: Vec<usize> = windows.iter().map(Window::tokens).collect();
        let mut products = Products::default();
        let mut x = self.embed(windows)?;
        for layer in &self.layers {
            x = layer.forward(&mut products, &x, &lengths)?;
        }
        Ok(x)
    }

    fn embed(&self, windows: &[Window]) -> Result<Vec<f32>> {
        let row = |table: &'_ [f32], index: u32| {
            let from = index as usize * self.hidden;
            table.get(from..from + self.hidden).map(<[f32]>::to_vec)
        };
        let mut rows = Vec::with_capacity(windows.iter().map(Window::tokens).sum::<usize>() * self.hidden);
        for window in windows {
            let positions = self.positions.chunks_exact(self.hidden);
            for ((&id, &kind), position) in window.ids.iter().zip(&window.types).zip(positions) {
                let mut sum = row(&self.words, id).with_context(|| format!("token {id} has no embedding"))?;
                add(&mut sum, position);
                add(&mut sum, &row(&self.types, kind).with_context(|| format!("type {kind} has no embedding"))?);
                rows.extend(sum);
            }
        }
        self.norm.apply(&mut rows);
        Ok(rows)
    }
}

/// One forward pass stays on one thread: a short text is too little work to share, and callers bring their own
/// threads. The products ask rayon how many it has; whoever set it up before must have had a reason.
fn one_thread() {
    if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(1).build_global() {
        tracing::debug!(%error, "the shared threads were set up already");
    }
}

/// Neighbouring windows of together about `BATCH_TOKENS`. The network packs a batch without
/// padding, so windows of different lengths go together at no loss.
pub fn batches(windows: &[Window]) -> impl Iterator<Item = &[Window]> {
    let mut tokens = 0;
    windows.chunk_by(move |window, next| {
        tokens += window.tokens();
        let fits = tokens + next.tokens() <= BATCH_TOKENS;
        if !fits {
            tokens = 0;
        }
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_order_and_stay_small() {
        let windows = [250, 6, 3, 200, 600, 1].map(|n| Window { ids: vec![0; n], types: vec![0; n] });
        let lengths = batches(&windows).map(|batch| batch.iter().map(Window::tokens).collect());
        let lengths: Vec<Vec<usize>> = lengths.collect();
        assert_eq!(lengths, [vec![250, 6], vec![3, 200], vec![600], vec![1]]);
    }
}
