//! A cross-encoder of two small layers with weights made of a seed, and what it says, computed plainly in `f64`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

const HIDDEN: usize = 16;
const HEADS: usize = 2;
const INNER: usize = 32;
const LAYERS: usize = 2;
const WORDS: usize = 40;
const POSITIONS: usize = 32;
const EPS: f64 = 1e-12;

const UNKNOWN: usize = 0;
const CLS: usize = 1;
const SEP: usize = 2;
/// The number of the word `w0`.
const FIRST_WORD: usize = 3;

type Rows = Vec<Vec<f64>>;

pub struct TinyBert(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl TinyBert {
    pub fn new(seed: u64) -> Self {
        let mut tensors = Self(BTreeMap::new());
        let mut state = seed;
        let mut add = |name: &str, shape: &[usize], about: f32| {
            let numbers = (0..shape.iter().product()).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                about + (state >> 40) as f32 / (1 << 24) as f32 - 0.5
            });
            let numbers: Vec<f32> = numbers.collect();
            tensors.0.insert(name.to_owned(), (shape.to_vec(), numbers));
        };
        for (kind, rows) in [("word", WORDS), ("position", POSITIONS), ("token_type", 2)] {
            add(&format!("bert.embeddings.{kind}_embeddings.weight"), &[rows, HIDDEN], 0.0);
        }
        let mut norms = vec!["bert.embeddings.LayerNorm".to_owned()];
        let mut dense = vec![("bert.pooler.dense".to_owned(), HIDDEN, HIDDEN), ("classifier".to_owned(), HIDDEN, 1)];
        for layer in 0..LAYERS {
            let part = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
            norms.extend([part("attention.output.LayerNorm"), part("output.LayerNorm")]);
            for name in ["self.query", "self.key", "self.value", "output.dense"] {
                dense.push((part(&format!("attention.{name}")), HIDDEN, HIDDEN));
            }
            dense.extend([(part("intermediate.dense"), HIDDEN, INNER), (part("output.dense"), INNER, HIDDEN)]);
        }
        for name in norms {
            add(&format!("{name}.weight"), &[HIDDEN], 1.0);
            add(&format!("{name}.bias"), &[HIDDEN], 0.0);
        }
        for (name, from, to) in dense {
            add(&format!("{name}.weight"), &[to, from], 0.0);
            add(&format!("{name}.bias"), &[to], 0.0);
        }
        tensors
    }

    /// The folder of it, in Hugging Face layout.
    pub fn write(&self, folder: &Path) {
        let config = json!({
            "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "intermediate_size": INNER, "vocab_size": WORDS,
            "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": EPS,
        });
        fs::write(folder.join("config.json"), config.to_string()).expect("config.json");
        fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).expect("tokenizer.json");
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, (shape, numbers)) in &self.0 {
            let from = data.len();
            data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
            let tensor = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
            header.insert(name.clone(), tensor);
        }
        let header = Value::Object(header).to_string();
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        fs::write(folder.join("model.safetensors"), file).expect("model.safetensors");
    }

    /// What the weights say of a pair of texts, whose words are `w0`, `w1` and so on.
    pub fn score(&self, query: &str, document: &str) -> f64 {
        let words = |text: &str| text.split(' ').map(|word| FIRST_WORD + number(word)).collect::<Vec<_>>();
        let first = [vec![CLS], words(query), vec![SEP]].concat();
        let second = [words(document), vec![SEP]].concat();
        let types = first.iter().map(|_| 0).chain(second.iter().map(|_| 1));
        let ids = first.iter().chain(&second).map(|id| if *id < WORDS { *id } else { UNKNOWN });
        let row = |kind: &str, index: usize| self.row(&format!("bert.embeddings.{kind}_embeddings.weight"), index);
        let tokens = ids.zip(types).enumerate();
        let sums =
            tokens.map(|(at, (id, kind))| add(&add(&row("word", id), &row("position", at)), &row("token_type", kind)));
        let mut x = self.norm("bert.embeddings.LayerNorm", sums.collect());
        for layer in 0..LAYERS {
            x = self.layer(&format!("bert.encoder.layer.{layer}"), &x);
        }
        let pooled: Rows = self.dense("bert.pooler.dense", &x[..1]).iter().map(|row| map(row, f64::tanh)).collect();
        1.0 / (1.0 + (-self.dense("classifier", &pooled)[0][0]).exp())
    }

    fn layer(&self, name: &str, x: &Rows) -> Rows {
        let [q, k, v] = ["query", "key", "value"].map(|part| self.dense(&format!("{name}.attention.self.{part}"), x));
        let width = HIDDEN / HEADS;
        let mut mixed = vec![vec![0.0; HIDDEN]; x.len()];
        for (at, row) in mixed.iter_mut().enumerate() {
            for head in 0..HEADS {
                let of = |rows: &Rows, at: usize| rows[at][head * width..(head + 1) * width].to_vec();
                let score = |other| dot(&of(&q, at), &of(&k, other)) / (width as f64).sqrt();
                let shares: Vec<f64> = (0..x.len()).map(|other| score(other).exp()).collect();
                let whole: f64 = shares.iter().sum();
                for (other, share) in shares.iter().enumerate() {
                    for (place, value) in of(&v, other).iter().enumerate() {
                        row[head * width + place] += share / whole * value;
                    }
                }
            }
        }
        let sum = |a: Rows, b: &Rows| a.iter().zip(b).map(|(a, b)| add(a, b)).collect();
        let attended = sum(self.dense(&format!("{name}.attention.output.dense"), &mixed), x);
        let x = self.norm(&format!("{name}.attention.output.LayerNorm"), attended);
        let inner: Rows =
            self.dense(&format!("{name}.intermediate.dense"), &x).iter().map(|row| map(row, gelu)).collect();
        self.norm(&format!("{name}.output.LayerNorm"), sum(self.dense(&format!("{name}.output.dense"), &inner), &x))
    }

    fn dense(&self, name: &str, x: &[Vec<f64>]) -> Rows {
        let bias = self.row(&format!("{name}.bias"), 0);
        let weights = format!("{name}.weight");
        let weights: Rows = (0..bias.len()).map(|output| self.row(&weights, output)).collect();
        x.iter()
            .map(|row| weights.iter().zip(&bias).map(|(weights, bias)| dot(row, weights) + bias).collect())
            .collect()
    }

    fn norm(&self, name: &str, x: Rows) -> Rows {
        let (gamma, beta) = (self.row(&format!("{name}.weight"), 0), self.row(&format!("{name}.bias"), 0));
        let one = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / HIDDEN as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / HIDDEN as f64;
            let scaled = row.iter().map(|x| (x - mean) / (variance + EPS).sqrt());
            scaled.zip(gamma.iter().zip(&beta)).map(|(x, (gamma, beta))| x * gamma + beta).collect()
        };
        x.iter().map(one).collect()
    }

    /// A row of a matrix, or all of a vector.
    fn row(&self, name: &str, index: usize) -> Vec<f64> {
        let (shape, numbers) = &self.0[name];
        let width = shape[shape.len() - 1];
        numbers[index * width..(index + 1) * width].iter().map(|x| f64::from(*x)).collect()
    }
}

fn tokenizer() -> Value {
    let names = ["[UNK]", "[CLS]", "[SEP]"].map(str::to_owned).into_iter();
    let names = names.chain((FIRST_WORD..WORDS).map(|id| format!("w{}", id - FIRST_WORD)));
    let vocab: serde_json::Map<String, Value> = names.enumerate().map(|(id, name)| (name, json!(id))).collect();
    let special = |name: &str, kind: u32| json!({"SpecialToken": {"id": name, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    let first = [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)];
    let pair: Vec<Value> = first.iter().cloned().chain([text("B", 1), special("[SEP]", 1)]).collect();
    let token = |name: &str, id: usize| json!({"id": name, "ids": [id], "tokens": [name]});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
        "post_processor": {
            "type": "TemplateProcessing", "single": first, "pair": pair,
            "special_tokens": {"[CLS]": token("[CLS]", CLS), "[SEP]": token("[SEP]", SEP)},
        },
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    })
}

fn number(word: &str) -> usize {
    word[1..].parse().expect("a word of this model")
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn map(row: &[f64], with: fn(f64) -> f64) -> Vec<f64> {
    row.iter().map(|x| with(*x)).collect()
}

/// By its integral: slow, and independent of any approximation.
fn gelu(x: f64) -> f64 {
    const STEPS: u32 = 2_000;
    let step = x / f64::from(STEPS);
    let density = |at: f64| (-at * at / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let area: f64 = (0..STEPS).map(|index| density((f64::from(index) + 0.5) * step) * step).sum();
    x * (0.5 + area)
}
