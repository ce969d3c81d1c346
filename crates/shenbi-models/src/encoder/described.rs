//! What the files of a text encoder's folder say: its architecture, its tokenizer, how its tokens become a sentence.

use burn::tensor::Device;
use serde_json::Value;

use super::bert::{Bert, BertConfig};
use super::clip_text::{ClipText, ClipTextConfig};
use super::folder::{Folder, PretrainedError};
use super::pretrained::{Network, Pooling};
use super::vocabulary::{Plain, Vocabulary};
use crate::backbone::Tensors;

/// What can be opened, for messages.
const KNOWN: &str = "bert, roberta, xlm-roberta, camembert, clip, clip_text_model (and OpenCLIP's)";
/// No table of a network is larger.
const LARGEST: u64 = 1 << 24;

/// What sentence-transformers' files say.
#[derive(Default)]
pub(super) struct Modules {
    pub(super) pooling: Option<Pooling>,
    pub(super) normalized: bool,
    pub(super) max_tokens: Option<usize>,
}

impl Modules {
    pub(super) fn read(folder: &mut Folder) -> Result<Self, PretrainedError> {
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
pub(super) type Parts = (Network, Vocabulary, usize);

/// By transformers' `config.json`.
pub(super) fn read_transformers(
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
pub(super) fn read_open_clip(folder: &mut Folder, device: &Device) -> Result<Parts, PretrainedError> {
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
