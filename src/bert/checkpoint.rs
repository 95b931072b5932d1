//! What a BERT checkpoint is made of: `config.json` and the tensors of `model.safetensors`.

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// The parts of `config.json` that the network depends on.
#[derive(Deserialize)]
pub struct Config {
    /// Numbers per token, and so per vector.
    pub hidden_size: usize,
    /// The longest window the position embeddings allow.
    pub max_position_embeddings: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub vocab_size: usize,
    #[serde(default = "default_types")]
    pub type_vocab_size: usize,
    hidden_act: String,
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f32,
    position_embedding_type: Option<String>,
}

fn default_types() -> usize {
    2
}

fn default_eps() -> f32 {
    1e-12
}

impl Config {
    /// Reads `config.json`, refusing models that are not BERT as this file computes it.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(json)?;
        match value["model_type"].as_str() {
            Some("bert") => {}
            Some(other) => bail!("model_type is \"{other}\", only \"bert\" is supported"),
            None => bail!("model_type is missing"),
        }
        let config: Self = serde_json::from_value(value)?;
        ensure!(config.hidden_act == "gelu", "hidden_act is \"{}\", only \"gelu\" is supported", config.hidden_act);
        if let Some(kind) = &config.position_embedding_type {
            ensure!(kind == "absolute", "position_embedding_type is \"{kind}\", only \"absolute\" is supported");
        }
        ensure!(
            config.hidden_size.is_multiple_of(config.num_attention_heads),
            "hidden_size is not a multiple of num_attention_heads"
        );
        Ok(config)
    }
}

/// The tensors of a safetensors file, by the names `BertModel` gives them.
pub struct Weights<'a> {
    file: SafeTensors<'a>,
    prefix: &'static str,
}

impl<'a> Weights<'a> {
    /// Reads the directory of the file. Names may stand under the prefix `bert.`.
    pub fn new(file: &'a [u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(file).context("not a complete safetensors file")?;
        let prefixed = file.tensor("bert.embeddings.word_embeddings.weight").is_ok();
        let prefix = if prefixed { "bert." } else { "" };
        Ok(Self { file, prefix })
    }

    /// The numbers of a tensor, row by row; it must have the `shape` that the configuration implies.
    pub fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut stored = format!("{}{name}", self.prefix);
        if self.file.tensor(name).is_ok() {
            // What stands on top of the network, as a classifier, has no prefix.
            stored = name.to_owned();
        }
        if self.file.tensor(&stored).is_err() {
            // Checkpoints from the TensorFlow days name the parts of a LayerNorm differently.
            stored = stored.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        }
        let tensor = self.file.tensor(&stored);
        let tensor = tensor.with_context(|| format!("tensor {name} cannot be read"))?;
        ensure!(tensor.shape() == shape, "tensor {name} is {:?} where {shape:?} is expected", tensor.shape());
        floats(&tensor).with_context(|| format!("tensor {name} is of type {:?}", tensor.dtype()))
    }
}

/// None for types that hold no floating-point numbers, or that no checkpoint of BERT is kept in.
fn floats(tensor: &TensorView) -> Option<Vec<f32>> {
    let halves = tensor.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    match tensor.dtype() {
        Dtype::F32 => Some(tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F16 => Some(halves.map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(halves.map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}
