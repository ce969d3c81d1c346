//! Text encoders that others trained, from a folder as Hugging Face has them (or the file of weights in it):
//!
//! ```text
//! config.json                          open_clip_config.json for OpenCLIP
//! tokenizer.json                       or vocab.txt, vocab.json and merges.txt, bpe_simple_vocab_16e6.txt.gz
//! model.safetensors                    or pytorch_model.bin, or an index of several (*.index.json)
//! modules.json, 1_Pooling/config.json  sentence-transformers: how tokens become a sentence
//! ```
//!
//! BERT's kin: the mean over tokens where no file says otherwise. CLIP: the end token, projected. Unlike the other networks
//! this one opens files: which of them it needs is told by their contents.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shenbi_nn::kernels::in_f32;
use shenbi_nn::ops::normalize;
use shenbi_nn::weights;
use std::path::Path;

use super::bert::{Bert, BertConfig};
use super::clip_text::{ClipText, ClipTextConfig};
use super::folder::Folder;
pub use super::folder::PretrainedError;
use super::tail::{Tail, TailConfig};
use super::tokenizer::{TokenizerError, Tokens};
use super::vocabulary::{Plain, Vocabulary};
use crate::backbone::Tensors;

/// What can be opened, for messages.
const KNOWN: &str = "bert, roberta, xlm-roberta, camembert, clip, clip_text_model (and OpenCLIP's)";
/// Tokens that are encoded at once.
const TOKENS: usize = 2048;
/// No table of a network is larger.
const LARGEST: u64 = 1 << 24;

/// How tokens become a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean over tokens.
    Mean,
    /// The first token.
    First,
    /// CLIP's end token.
    End,
}

/// The networks.
#[derive(Clone, Debug)]
enum Network {
    Bert(Bert),
    Clip(ClipText),
}

/// A text encoder that others trained. It is never trained here, but for copies of its last layers ([`Pretrained::tail`]).
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// Its tokenizer.
    pub vocabulary: Vocabulary,
    /// How tokens become a sentence.
    pub pooling: Pooling,
    /// Whether embeddings are brought to length one.
    pub normalized: bool,
    /// SHA-256 of all its files, in hexadecimal.
    pub fingerprint: String,
    network: Network,
    device: Device,
}

impl Pretrained {
    /// The encoder in `path`, on `device`.
    ///
    /// # Errors
    /// A file is missing or damaged; the architecture is unknown; a tensor has another shape than the configuration says;
    /// the vocabulary is another network's.
    pub fn open(path: &Path, device: &Device) -> Result<Self, PretrainedError> {
        let mut folder = Folder::open(path)?;
        let modules = Modules::read(&mut folder)?;
        let device = device.clone().without_autodiff();
        let (network, vocabulary, rows) = match folder.json("config.json")? {
            Some(config) => read_transformers(&mut folder, &config, modules.max_tokens, &device)?,
            None => read_open_clip(&mut folder, &device)?,
        };
        if vocabulary.size() > rows {
            let message = format!(
                "its vocabulary has {} tokens, the network knows {rows}: they belong to different encoders; copy the \
                 tokenizer's files from where the weights are from",
                vocabulary.size()
            );
            return Err(folder.error(message));
        }
        let pooling = match (&network, modules.pooling) {
            (Network::Clip(_), _) => Pooling::End,
            (Network::Bert(_), pooling) => pooling.unwrap_or(Pooling::Mean),
        };
        let fingerprint = folder.fingerprint();
        Ok(Self { vocabulary, pooling, normalized: modules.normalized, fingerprint, network, device })
    }

    /// Numbers in an embedding.
    pub fn dim(&self) -> usize {
        match &self.network {
            Network::Bert(bert) => bert.norm.weight.dims()[0],
            Network::Clip(clip) => clip.dim(),
        }
    }

    /// What the last layer says of each token, `[b, t, n]`.
    pub fn hidden(&self, tokens: &Tokens) -> Tensor<3> {
        match &self.network {
            Network::Bert(bert) => bert.forward(tokens, &self.device),
            Network::Clip(clip) => clip.forward(tokens, &self.device),
        }
    }

    /// A copy of the last layers and what follows them, to be trained on, and its shapes.
    ///
    /// # Errors
    /// It has fewer layers.
    pub fn tail(&self, layers: usize) -> Result<(TailConfig, Tail), String> {
        let (all, after, project, end) = match &self.network {
            Network::Bert(bert) => (&bert.layers, None, None, None),
            Network::Clip(clip) => (&clip.layers, Some(clip.after.clone()), clip.project.clone(), clip.end),
        };
        let last = all.len().checked_sub(layers).and_then(|first| all.get(first..)).filter(|last| !last.is_empty());
        let Some(([first, ..], last)) = last.map(|last| (last, last)) else {
            return Err(format!("the text encoder has {} layers: tune 1 to {} of them", all.len(), all.len()));
        };
        let config = TailConfig {
            layers,
            width: first.norm1.weight.dims()[0],
            heads: first.heads,
            inner: first.up.weight.dims()[0],
            epsilon: first.norm1.epsilon,
            quick: first.quick,
            post: first.post,
            pooling: self.pooling,
            end,
            projected: project.as_ref().map(|project| project.weight.dims()[0]),
            normalized: self.normalized,
        };
        let (pooling, normalized) = (self.pooling, self.normalized);
        Ok((config, Tail { layers: last.to_vec(), after, project, pooling, end, normalized }))
    }

    /// The hidden states that a [`Tail`] of so many layers begins with, `[b, t, n]`: f32 whatever precision is in force.
    pub fn below(&self, tokens: &Tokens, layers: usize) -> Tensor<3> {
        in_f32(|| match &self.network {
            Network::Bert(bert) => bert.below(tokens, bert.layers.len().saturating_sub(layers), &self.device),
            Network::Clip(clip) => clip.below(tokens, clip.layers.len().saturating_sub(layers), &self.device),
        })
    }

    /// The embeddings of texts, `[b, dim]`.
    pub fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        let hidden = self.hidden(tokens);
        let pooled = match (&self.network, self.pooling) {
            (Network::Clip(clip), _) => clip.embedding(hidden, tokens),
            (_, Pooling::Mean) => tokens.mean(hidden),
            (_, Pooling::First | Pooling::End) => tokens.pick(hidden, &vec![0; tokens.batch]),
        };
        if self.normalized { normalize(pooled) } else { pooled }
    }

    /// The embeddings of any number of texts, [`Self::dim`] numbers each, in their order: f32 whatever precision is in
    /// force, texts of like length together. progress: told how many are done.
    ///
    /// # Errors
    /// The tokenizer refuses a text.
    pub fn encode<S: AsRef<str>>(
        &self,
        texts: &[S],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, TokenizerError> {
        in_f32(|| self.encode_in_force(texts, progress))
    }

    fn encode_in_force<S: AsRef<str>>(
        &self,
        texts: &[S],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, TokenizerError> {
        let all = self.vocabulary.encode(texts)?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| all.lengths[i]); // stable: the same every time
        let mut embeddings = vec![0.0; texts.len() * self.dim()];
        let mut left = &order[..];
        while let Some(&first) = left.first() {
            // As many as fit if all were as long as the longest of them.
            let fits = |n: &usize| (n + 1) * all.lengths[left[*n]] <= TOKENS.max(all.lengths[first]);
            let (batch, rest) = left.split_at((0..left.len()).take_while(fits).count().max(1));
            let row = |&i: &usize| all.ids[i * all.length..][..all.lengths[i]].to_vec();
            let rows: Vec<Vec<i32>> = batch.iter().map(row).collect();
            let values = weights::values(self.embed(&Tokens::padded(&rows, vec![false; rows.len()]))).data;
            for (&i, embedding) in batch.iter().zip(values.chunks_exact(self.dim())) {
                embeddings[i * self.dim()..][..self.dim()].copy_from_slice(embedding);
            }
            left = rest;
            progress(texts.len() - left.len());
        }
        Ok(embeddings)
    }
}

/// What sentence-transformers' files say.
#[derive(Default)]
struct Modules {
    pooling: Option<Pooling>,
    normalized: bool,
    max_tokens: Option<usize>,
}

impl Modules {
    fn read(folder: &mut Folder) -> Result<Self, PretrainedError> {
        let mut this = Self::default();
        let Some(modules) = folder.json("modules.json")? else { return Ok(this) };
        for module in modules.as_array().map_or(&[][..], Vec::as_slice) {
            let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
            let (kind, path) = (text("type"), text("path"));
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {
                    folder.enter(&path)?;
                    if let Some(config) = folder.json("sentence_bert_config.json")? {
                        this.max_tokens = config.get("max_seq_length").and_then(Value::as_u64).map(|n| n as usize);
                    }
                }
                "Pooling" => this.pooling = Some(pooling(folder, &path)?),
                "Normalize" => this.normalized = true,
                other => {
                    return Err(folder.error(format!(
                        "modules.json asks for a '{other}' (known: Transformer, Pooling, Normalize); choose another encoder"
                    )));
                }
            }
        }
        Ok(this)
    }
}

fn pooling(folder: &mut Folder, path: &str) -> Result<Pooling, PretrainedError> {
    let name = format!("{path}/config.json");
    let config =
        folder.json_of_root(&name)?.ok_or_else(|| folder.error(format!("{name} is missing; copy it as well")))?;
    if let Some(mode) = config.get("pooling_mode").and_then(Value::as_str) {
        return match mode {
            "mean" => Ok(Pooling::Mean),
            "cls" => Ok(Pooling::First),
            other => Err(folder.error(format!("{name}: pooling '{other}' is not known (mean and cls are)"))),
        };
    }
    let on = |mode: &str| config.get(format!("pooling_mode_{mode}")).and_then(Value::as_bool).unwrap_or(false);
    let others = ["max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"];
    match (on("mean_tokens"), on("cls_token"), others.iter().find(|mode| on(mode))) {
        (true, false, None) => Ok(Pooling::Mean),
        (false, true, None) => Ok(Pooling::First),
        (_, _, other) => {
            let other = other.unwrap_or(&"of both or neither of mean_tokens and cls_token");
            Err(folder.error(format!("{name}: pooling '{other}' is not known (mean_tokens or cls_token is)")))
        }
    }
}

/// A network, its vocabulary, and the tokens that the network knows.
type Parts = (Network, Vocabulary, usize);

/// By transformers' `config.json`.
fn read_transformers(
    folder: &mut Folder,
    config: &Value,
    most: Option<usize>,
    device: &Device,
) -> Result<Parts, PretrainedError> {
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or("none").to_string();
    // Of both towers, this one's.
    let config = config.get("text_config").filter(|_| kind == "clip").unwrap_or(config);
    let get = |key: &str, default: u64| match config.get(key) {
        None | Some(Value::Null) => Ok(default as usize),
        Some(value) => value
            .as_u64()
            .filter(|n| *n <= LARGEST)
            .map(|n| n as usize)
            .ok_or_else(|| folder.error(format!("config.json: {key} {value}: expected a number up to {LARGEST}"))),
    };
    let act = |default| config.get("hidden_act").and_then(Value::as_str).unwrap_or(default);
    let epsilon = |default| config.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(default);
    let (width, heads);
    let network = match kind.as_str() {
        "bert" | "roberta" | "xlm-roberta" | "camembert" => {
            (width, heads) = (get("hidden_size", 768)?, get("num_attention_heads", 12)?);
            let offset = if kind == "bert" { 0 } else { get("pad_token_id", 1)? + 1 };
            let absolute = config.get("position_embedding_type").and_then(Value::as_str).unwrap_or("absolute");
            if act("gelu") != "gelu" || absolute != "absolute" {
                let message = format!("config.json: hidden_act '{}' with {absolute} positions", act("gelu"));
                return Err(folder.error(format!("{message}: only gelu with absolute positions is known")));
            }
            Kind::Bert(BertConfig {
                vocabulary: get("vocab_size", if kind == "bert" { 30_522 } else { 50_265 })?,
                width,
                layers: get("num_hidden_layers", 12)?,
                heads,
                positions: get("max_position_embeddings", 512)?,
                offset,
                epsilon: epsilon(1e-12),
            })
        }
        "clip" | "clip_text_model" => {
            (width, heads) = (get("hidden_size", 512)?, get("num_attention_heads", 8)?);
            let quick = match act("quick_gelu") {
                "quick_gelu" => true,
                "gelu" => false,
                other => {
                    return Err(
                        folder.error(format!("config.json: hidden_act '{other}': gelu and quick_gelu are known"))
                    );
                }
            };
            // 2 is what early files said, wrongly.
            let end = Some(get("eos_token_id", 49_407)? as i32).filter(|end| *end != 2);
            Kind::Clip(ClipTextConfig {
                vocabulary: get("vocab_size", 49_408)?,
                width,
                layers: get("num_hidden_layers", 12)?,
                heads,
                positions: get("max_position_embeddings", 77)?,
                epsilon: epsilon(1e-5),
                quick,
                end,
            })
        }
        other => {
            return Err(folder.error(format!("config.json: model_type '{other}' is not known; these are: {KNOWN}")));
        }
    };
    build(folder, network, &kind, most, device)
}

/// By OpenCLIP's `open_clip_config.json`.
fn read_open_clip(folder: &mut Folder, device: &Device) -> Result<Parts, PretrainedError> {
    const NAME: &str = "open_clip_config.json";
    let missing = "it has no config.json (nor open_clip_config.json): give a folder as Hugging Face has them, complete";
    let config = folder.json(NAME)?.ok_or_else(|| folder.error(missing.into()))?;
    let model = config.get("model_cfg").unwrap_or(&config);
    let get = |key: &str, default: u64| {
        let value = model.get("text_cfg").and_then(|text| text.get(key)).and_then(Value::as_u64).unwrap_or(default);
        if value > LARGEST {
            Err(folder.error(format!("{NAME}: {key} {value} is too large")))
        } else {
            Ok(value as usize)
        }
    };
    if model.get("text_cfg").and_then(|text| text.get("hf_model_name")).is_some() {
        return Err(folder.error(format!("{NAME}: its text tower is another library's; these are known: {KNOWN}")));
    }
    let config = ClipTextConfig {
        vocabulary: get("vocab_size", 49_408)?,
        width: get("width", 512)?,
        layers: get("layers", 12)?,
        heads: get("heads", 8)?,
        positions: get("context_length", 77)?,
        epsilon: 1e-5,
        quick: model.get("quick_gelu").and_then(Value::as_bool).unwrap_or(false),
        end: None,
    };
    build(folder, Kind::Clip(config), "clip", None, device)
}

/// What to build.
enum Kind {
    Bert(BertConfig),
    Clip(ClipTextConfig),
}

fn build(
    folder: &mut Folder,
    kind: Kind,
    name: &str,
    most: Option<usize>,
    device: &Device,
) -> Result<Parts, PretrainedError> {
    let (width, heads, rows) = match &kind {
        Kind::Bert(config) => (config.width, config.heads, config.vocabulary),
        Kind::Clip(config) => (config.width, config.heads, config.vocabulary),
    };
    if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
        return Err(folder.error(format!("its width of {width} is no multiple of its {heads} attention heads")));
    }
    let named = folder.weights()?;
    let tensors = Tensors::new(&named, device);
    let built = match &kind {
        Kind::Bert(config) => Bert::from_tensors(&tensors, config).map(Network::Bert),
        Kind::Clip(config) => ClipText::from_tensors(&tensors, config).map(Network::Clip),
    };
    let network = built.map_err(|error| {
        folder.error(format!("{error}, by its configuration; weights and configuration must be of one encoder"))
    })?;
    let longest = match &network {
        Network::Bert(bert) => bert.max_tokens(),
        Network::Clip(clip) => clip.max_tokens(),
    };
    if longest < 3 {
        return Err(folder.error(format!("it has positions for {longest} tokens: at least 3 are needed")));
    }
    let vocabulary = vocabulary(folder, name, most.unwrap_or(longest).clamp(3, longest))?;
    Ok((network, vocabulary, rows))
}

/// The tokenizer of a family.
fn vocabulary(folder: &mut Folder, family: &str, most: usize) -> Result<Vocabulary, PretrainedError> {
    let settings = folder.json("tokenizer_config.json")?.unwrap_or_default();
    let read = if let Some(json) = folder.read("tokenizer.json")? {
        Vocabulary::from_json(&json, most)
    } else if family == "bert" {
        let on = |key: &str| settings.get(key).and_then(Value::as_bool);
        let plain = Plain {
            lower_case: on("do_lower_case").unwrap_or(true),
            strip_accents: on("strip_accents"),
            chinese: on("tokenize_chinese_chars").unwrap_or(true),
        };
        Vocabulary::word_piece(&folder.text("vocab.txt", "tokenizer.json or vocab.txt")?, plain, most)
    } else if family == "roberta" {
        let what = "tokenizer.json, or vocab.json and merges.txt";
        let vocab = folder.text("vocab.json", what)?;
        Vocabulary::roberta(vocab.as_bytes(), &folder.text("merges.txt", what)?, most)
    } else if family.starts_with("clip") {
        let what = "tokenizer.json, or vocab.json and merges.txt, or bpe_simple_vocab_16e6.txt.gz";
        match folder.read("bpe_simple_vocab_16e6.txt.gz")? {
            Some(packed) => Vocabulary::clip_merges(&packed, most),
            None => {
                let vocab = folder.text("vocab.json", what)?;
                Vocabulary::clip(vocab.as_bytes(), &folder.text("merges.txt", what)?, most)
            }
        }
    } else {
        return Err(folder.error(format!(
            "tokenizer.json is missing, which {family} needs (sentencepiece.bpe.model is not read): copy it, or write it \
             with transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )));
    };
    read.map_err(|error| folder.error(format!("{error}; copy its files again")))
}
