//! A cross-encoder in this process: a BERT that reads query and text at once and says one number.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use tokenizers::{Tokenizer, TruncationParams, TruncationStrategy};

use super::sigmoid;
use crate::bert::{self, Bert, Config, Linear, Precision, Products, Weights, Window};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// A `BertForSequenceClassification` with one label, read from a folder in Hugging Face layout.
pub struct CrossEncoder {
    bert: Bert,
    pooler: Linear,
    classifier: Linear,
    tokenizer: Tokenizer,
    hidden: usize,
}

impl CrossEncoder {
    /// Reads the folder; errors name the file and what is wrong with it, in one line.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::load_with(folder, Precision::of_this_processor())
    }

    /// The same with weights in this precision.
    pub fn load_with(folder: &Path, precision: Precision) -> Result<Self> {
        let config = parse(folder, CONFIG, Config::parse)?;
        let longest = config.max_position_embeddings;
        let tokenizer = parse(folder, TOKENIZER, |json| tokenizer(json, longest))?;
        parse(folder, WEIGHTS, |file| {
            let (weights, hidden) = (Weights::new(file)?, config.hidden_size);
            // What comes after the network is small, and decides alone.
            let head =
                |name: &str, to| Linear::load(&weights, &[(name.to_owned(), 1.0)], [hidden, to], Precision::Full);
            let (pooler, classifier) = (head("pooler.dense", hidden)?, head("classifier", 1)?);
            let bert = Bert::load(&config, &weights, precision)?;
            Ok(Self { bert, pooler, classifier, tokenizer, hidden })
        })
    }

    /// How well each document answers the query, 0 to 1.
    pub fn scores(&self, query: &str, documents: &[String]) -> Result<Vec<f32>> {
        let windows = documents.iter().map(|document| self.window(query, document)).collect::<Result<Vec<_>>>()?;
        let mut first_tokens = Vec::with_capacity(windows.len() * self.hidden);
        for batch in bert::batches(&windows) {
            let mut states = self.bert.forward(batch)?.into_iter();
            for window in batch {
                let rows = states.by_ref().take(window.tokens() * self.hidden);
                first_tokens.extend(rows.collect::<Vec<_>>().drain(..self.hidden));
            }
        }
        let mut products = Products::default();
        let pooled = self.pooler.forward(&mut products, &first_tokens, |_, row, bias| {
            bert::add(row, bias);
            row.iter_mut().for_each(|x| *x = x.tanh());
        })?;
        let logits = self.classifier.forward(&mut products, &pooled, |_, row, bias| bert::add(row, bias))?;
        Ok(logits.into_iter().map(sigmoid).collect())
    }

    fn window(&self, query: &str, document: &str) -> Result<Window> {
        let pair = self.tokenizer.encode_fast((query, document), true);
        let pair = pair.map_err(|error| anyhow!("cannot tokenize: {error}"))?;
        Ok(Window { ids: pair.get_ids().to_vec(), types: pair.get_type_ids().to_vec() })
    }
}

/// Cuts off what is too long from the longer of the two texts.
fn tokenizer(json: &[u8], longest: usize) -> Result<Tokenizer> {
    let plain = |error: tokenizers::Error| anyhow!("{error}");
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(plain)?;
    let strategy = TruncationStrategy::LongestFirst;
    let truncation = TruncationParams { max_length: longest, strategy, ..TruncationParams::default() };
    tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(plain)?;
    Ok(tokenizer)
}

/// Runs `read` over a file, putting its name in front of what is wrong.
fn parse<T>(folder: &Path, name: &str, read: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    let path = folder.join(name);
    let file = std::fs::read(&path).with_context(|| path.display().to_string())?;
    read(&file).map_err(|error| anyhow!("{}: {error:#}", path.display()))
}
