//! A local sentence encoder: a model folder in, unit vectors out.
//!
//! Reads the folder, cuts texts into windows of tokens, and pools what the network (`bert.rs`)
//! says about each window. Runs on the CPU, each call on the thread that makes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::{Encoding, PostProcessor, Tokenizer, TruncationDirection};

use crate::bert::{self, Bert, Config, Precision, Weights, Window};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const POOLING: &str = "1_Pooling/config.json";
const MODULES: &str = "modules.json";
const WINDOW: &str = "sentence_bert_config.json";

/// A BERT-family sentence encoder read from a folder in Hugging Face layout.
pub struct LocalModel {
    bert: Bert,
    tokenizer: Tokenizer,
    pooling: Pooling,
    dims: usize,
    window_tokens: usize,
    revision: String,
}

impl LocalModel {
    /// Reads the folder; errors name the file and what is wrong with it, in one line.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::load_with(folder, Precision::of_this_processor())
    }

    /// The same with weights in this precision.
    pub fn load_with(folder: &Path, precision: Precision) -> Result<Self> {
        let files = Files::read(folder)?;
        let config = files.parse(CONFIG, &files.config, Config::parse)?;
        let pooling = match &files.pooling {
            Some(json) => files.parse(POOLING, json, Pooling::parse)?,
            None => Pooling::Mean,
        };
        if let Some(json) = &files.modules {
            files.parse(MODULES, json, check_modules)?;
        }
        let (tokenizer, truncation) = files.parse(TOKENIZER, &files.tokenizer, parse_tokenizer)?;
        let window_tokens = files.window_tokens(&config, truncation)?;
        let (bert, revision) = std::thread::scope(|scope| {
            let revision = scope.spawn(|| files.revision());
            let bert =
                files.parse(WEIGHTS, &files.weights, |file| Bert::load(&config, &Weights::new(file)?, precision));
            (bert, revision.join())
        });
        Ok(Self {
            bert: bert?,
            tokenizer,
            pooling,
            dims: config.hidden_size,
            window_tokens,
            revision: revision.map_err(|_| anyhow!("hashing {} failed", folder.display()))?,
        })
    }

    /// How many numbers a vector has.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Tokens that fit into one window, special tokens included.
    pub fn window_tokens(&self) -> usize {
        self.window_tokens
    }

    /// Hex SHA-256 over the files that decide what the vectors are.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// For each text its windows, each a unit vector of `dims()` floats. A text that fits gives
    /// one window; a longer one is cut between tokens into windows that overlap a little.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<Vec<f32>>>> {
        let windows = texts.iter().map(|text| self.windows(text)).collect::<Result<Vec<_>>>()?;
        let counts: Vec<usize> = windows.iter().map(Vec::len).collect();
        let windows: Vec<Window> = windows.into_iter().flatten().collect();
        let mut vectors = Vec::with_capacity(windows.len());
        for batch in bert::batches(&windows) {
            let mut rows = self.bert.forward(batch)?.into_iter();
            for window in batch {
                let rows: Vec<f32> = rows.by_ref().take(window.tokens() * self.dims).collect();
                vectors.push(self.pooling.pool(&rows, self.dims));
            }
        }
        let mut vectors = vectors.into_iter();
        Ok(counts.into_iter().map(|count| vectors.by_ref().take(count).collect()).collect())
    }

    fn windows(&self, text: &str) -> Result<Vec<Window>> {
        let room = self.window_tokens - special_tokens(&self.tokenizer);
        // Cut here because the tokenizer's own truncation gives up after the second window.
        let windows = self.tokenizer.encode_fast(text, false).and_then(|mut all| {
            let overlap = self.window_tokens / 8;
            let right = TruncationDirection::Right;
            all.truncate(room, overlap, right);
            self.tokenizer.post_process(all, None, true)
        });
        let first = windows.map_err(|error| anyhow!("cannot tokenize: {error}"))?;
        let windows = std::iter::once(&first).chain(first.get_overflowing());
        let window = |window: &Encoding| Window { ids: window.get_ids().to_vec(), types: vec![0; window.len()] };
        Ok(windows.map(window).collect())
    }
}

/// How the states of a window's tokens become one vector.
#[derive(Debug, PartialEq)]
enum Pooling {
    Mean,
    Cls,
}

impl Pooling {
    fn parse(json: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(json)?;
        let fields = value.as_object().context("not a JSON object")?;
        let mut modes = fields
            .iter()
            .filter(|(_, on)| on.as_bool() == Some(true))
            .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
            .chain(value["pooling_mode"].as_str());
        match (modes.next(), modes.next()) {
            (Some("mean_tokens" | "mean"), None) => Ok(Self::Mean),
            (Some("cls_token" | "cls"), None) => Ok(Self::Cls),
            (None, _) => bail!("no pooling mode is switched on"),
            (Some(mode), None) => bail!("pooling mode {mode} is not supported, only mean and cls"),
            _ => bail!("several pooling modes at once are not supported"),
        }
    }

    fn pool(&self, rows: &[f32], dims: usize) -> Vec<f32> {
        let mut vector = rows[..dims].to_vec();
        if *self == Self::Mean {
            // The sum points where the mean does, and only the direction is kept.
            rows[dims..].chunks_exact(dims).for_each(|row| bert::add(&mut vector, row));
        }
        bert::normalize(&mut vector);
        vector
    }
}

/// Refuses steps that would change the vectors in ways this file does not know of.
fn check_modules(json: &[u8]) -> Result<()> {
    let modules: Vec<Value> = serde_json::from_slice(json)?;
    for module in &modules {
        let kind = module["type"].as_str().context("a module has no type")?;
        let known = ["Transformer", "Pooling", "Normalize"];
        ensure!(known.iter().any(|name| kind.ends_with(name)), "module {kind} is not supported");
    }
    Ok(())
}

/// The tokenizer, and apart from it the length that its file would truncate texts to.
fn parse_tokenizer(json: &[u8]) -> Result<(Tokenizer, Option<usize>)> {
    let plain = |error: tokenizers::Error| anyhow!("{error}");
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(plain)?;
    let truncation = tokenizer.get_truncation().map(|params| params.max_length);
    let bare = tokenizer.with_padding(None).with_truncation(None);
    bare.map_err(plain)?;
    let special = special_tokens(&tokenizer);
    ensure!(special == 2, "adds {special} tokens to a text, not [CLS] and [SEP]");
    Ok((tokenizer, truncation))
}

fn special_tokens(tokenizer: &Tokenizer) -> usize {
    let processor = tokenizer.get_post_processor();
    processor.map_or(0, |processor| processor.added_tokens(false))
}

/// What is read from the folder, until the model is built.
struct Files {
    folder: PathBuf,
    config: Vec<u8>,
    tokenizer: Vec<u8>,
    weights: Vec<u8>,
    pooling: Option<Vec<u8>>,
    modules: Option<Vec<u8>>,
    window: Option<Vec<u8>>,
}

impl Files {
    fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|error| anyhow!("{}: {error}", path.display()))
        };
        let optional = |name: &str| folder.join(name).exists().then(|| read(name)).transpose();
        Ok(Self {
            folder: folder.to_owned(),
            config: read(CONFIG)?,
            tokenizer: read(TOKENIZER)?,
            weights: read(WEIGHTS)?,
            pooling: optional(POOLING)?,
            modules: optional(MODULES)?,
            window: optional(WINDOW)?,
        })
    }

    /// Runs `parse`, putting the file's name in front of what it complains about.
    fn parse<T>(&self, name: &str, file: &[u8], parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        parse(file).map_err(|error| anyhow!("{}: {error:#}", self.folder.join(name).display()))
    }

    fn window_tokens(&self, config: &Config, truncation: Option<usize>) -> Result<usize> {
        let stated = |json: &[u8]| Ok(serde_json::from_slice::<Value>(json)?["max_seq_length"].as_u64());
        let stated = match &self.window {
            Some(json) => self.parse(WINDOW, json, stated)?,
            None => None,
        };
        let limit = config.max_position_embeddings;
        let window = stated.map(|n| n as usize).or(truncation).unwrap_or(limit).min(limit);
        let folder = self.folder.display();
        ensure!(window >= 8, "{folder}: a window of {window} tokens is too small");
        Ok(window)
    }

    fn revision(&self) -> String {
        let mut hash = Sha256::new();
        let files = [
            (WEIGHTS, Some(&self.weights)),
            (TOKENIZER, Some(&self.tokenizer)),
            (CONFIG, Some(&self.config)),
            (POOLING, self.pooling.as_ref()),
            (WINDOW, self.window.as_ref()),
        ];
        for (name, bytes) in files {
            if let Some(bytes) = bytes {
                hash.update(format!("{name} {}\n", bytes.len()));
                hash.update(bytes);
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_is_read_in_both_spellings() {
        let parse = |json: &str| Pooling::parse(json.as_bytes());
        let long = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
        assert!(parse(long).is_ok_and(|pooling| pooling == Pooling::Cls));
        assert!(parse(r#"{"pooling_mode": "mean"}"#).is_ok_and(|p| p == Pooling::Mean));
        assert!(parse(r#"{"pooling_mode": "max"}"#).is_err());
        assert!(parse("{}").is_err());
    }
}
