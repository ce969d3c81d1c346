//! A trained text-to-image model, ready to paint: generator, sentence encoder, tokenizer and what they were trained on,
//! in one safetensors file that Python reads without our code.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shenbi_nn::weights::{self, Named};
use shenbi_nn::{Init, file};

use super::network::{PainterGenerator, PainterNetwork};
use crate::encoder::pretrained::Pretrained;
use crate::encoder::sentence::{Projection, Reader, SentenceEncoder, Tuned};
use crate::encoder::tail::{Tail, TailConfig};
use crate::encoder::text::{TextConfig, TextEncoder};
use crate::encoder::tokenizer::{Tokenizer, TokenizerError};
use crate::model::FORMAT;

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PainterConfig {
    /// The generator.
    #[serde(flatten)]
    pub network: PainterNetwork,
    /// The sentence encoder.
    pub text: TextConfig,
    /// The text encoder that others trained, where one reads the prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PretrainedConfig>,
}

/// Which text encoder reads the prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainedConfig {
    /// Where it was when the model was trained.
    pub path: String,
    /// SHA-256 of its files.
    pub fingerprint: String,
    /// Numbers in an embedding.
    pub dim: usize,
    /// Its last layers, if they were trained on: this file has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned: Option<TailConfig>,
}

/// Why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PainterError {
    /// The bytes are no safetensors file, or a truncated one.
    #[error("not a whole safetensors file ({0}); copy or train the model again")]
    File(#[from] file::FileError),
    /// Metadata is missing or of another kind.
    #[error("{0}")]
    Metadata(String),
    /// A tensor does not fit.
    #[error("{0}; the file belongs to another version of the program")]
    Weights(#[from] weights::WeightsError),
    /// The config asks for what the network cannot be.
    #[error("{0}")]
    Size(String),
    /// Its text encoder is not at hand, or another one.
    #[error("{0}")]
    Encoder(String),
    /// The tokenizer is damaged.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Paints sentences.
#[derive(Clone, Debug)]
pub struct Painter {
    /// Shapes of the networks.
    pub config: PainterConfig,
    /// Prompts to tokens or embeddings.
    pub reader: Reader,
    /// Those to sentences.
    pub text: SentenceEncoder,
    /// Sentences to pictures.
    pub generator: PainterGenerator,
}

impl Painter {
    /// The file's bytes. half: weights as f16, half the size.
    ///
    /// # Errors
    /// The tokenizer or the tensors cannot be written.
    pub fn to_bytes(&self, half: bool) -> Result<Vec<u8>, PainterError> {
        let mut named = weights::collect(&self.generator, "generator");
        named.extend(weights::collect(&self.text, "text"));
        let config = serde_json::to_string(&self.config).map_err(|e| PainterError::Metadata(e.to_string()))?;
        let mut metadata = HashMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("recipe".to_string(), self.config.network.recipe().to_string()),
            ("config".to_string(), config),
        ]);
        if let Reader::Own(tokenizer) = &self.reader {
            metadata.insert("tokenizer".to_string(), tokenizer.to_json()?);
        }
        Ok(file::to_bytes(&named, metadata, half)?)
    }

    /// The model in `bytes`, on `device`.
    ///
    /// # Errors
    /// The bytes are no such model; the message says in what way.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self, PainterError> {
        let (named, metadata) = file::from_bytes(bytes)?;
        Self::from_named(&named, &metadata, device)
    }

    /// The model of a file's tensors and metadata.
    pub(crate) fn from_named(
        named: &Named,
        metadata: &HashMap<String, String>,
        device: &Device,
    ) -> Result<Self, PainterError> {
        let get = |key: &str| {
            let absent =
                || PainterError::Metadata(format!("no '{key}' in the file's metadata: not a model of this program"));
            metadata.get(key).map(String::as_str).ok_or_else(absent)
        };
        if !["brush", "dfgan"].contains(&get("recipe")?) {
            return Err(PainterError::Metadata(format!("recipe '{}' does not paint from text", get("recipe")?)));
        }
        if get("format")? != FORMAT {
            let found = get("format")?;
            return Err(PainterError::Metadata(format!("file format {found}, this program reads {FORMAT}: update it")));
        }
        let config: PainterConfig = serde_json::from_str(get("config")?)
            .map_err(|error| PainterError::Metadata(format!("the file's config is damaged: {error}")))?;
        let tokenizer = match config.pretrained {
            Some(_) => None,
            None => Some(Tokenizer::from_json(get("tokenizer")?, config.text.max_tokens)?),
        };
        Self::from_parts(config, tokenizer, named, device)
    }

    /// The model of named tensors (`generator.*` and `text.*`), with its own tokenizer, or to be given its encoder
    /// ([`Self::attach`]).
    ///
    /// # Errors
    /// The tensors do not fit the config.
    pub fn from_parts(
        config: PainterConfig,
        tokenizer: Option<Tokenizer>,
        named: &Named,
        device: &Device,
    ) -> Result<Self, PainterError> {
        config.network.check().map_err(PainterError::Size)?;
        config.text.check().map_err(PainterError::Metadata)?;
        if config.pretrained.as_ref().is_some_and(|encoder| encoder.dim == 0) {
            return Err(PainterError::Metadata("its text encoder has embeddings of no numbers: damaged".into()));
        }
        let tuned = config.pretrained.as_ref().and_then(|encoder| encoder.tuned.clone());
        if let Some(tuned) = &tuned {
            tuned.check().map_err(PainterError::Metadata)?;
        }
        // Before anything is allocated: a damaged config may ask for far more than the file holds.
        let generator = config.network.parameters().map_err(PainterError::Size)?;
        let (dim, sentence) = (config.pretrained.as_ref().map_or(0, |encoder| encoder.dim), config.text.sentence);
        let text = match &tokenizer {
            Some(tokenizer) => config.text.parameters(tokenizer.vocabulary()),
            None => {
                Projection::parameters(dim, sentence).saturating_add(tuned.as_ref().map_or(0, TailConfig::parameters))
            }
        };
        let held: usize = named.iter().filter(|(name, _)| !name.starts_with("adam")).map(|(_, v)| v.data.len()).sum();
        if generator.saturating_add(text) > held {
            let message = format!("its config asks for {generator} + {text} weights, it holds {held}: damaged");
            return Err(PainterError::Metadata(message));
        }
        let mut init = Init::zeros(device);
        let generator = PainterGenerator::new(&config.network, &mut init).map_err(PainterError::Size)?;
        let generator = weights::apply(generator, named, "generator")?;
        let (text, reader) = match tokenizer {
            Some(tokenizer) => {
                let text = TextEncoder::new(&config.text, tokenizer.vocabulary(), &mut init);
                (SentenceEncoder::Own(text), Reader::Own(tokenizer))
            }
            None => {
                let projection = Projection::new(dim, sentence, &mut init);
                let text = match &tuned {
                    None => SentenceEncoder::Pretrained(projection),
                    Some(tuned) => {
                        SentenceEncoder::Tuned(Tuned { tail: Tail::new(tuned, &mut init), above: projection })
                    }
                };
                (text, Reader::Absent)
            }
        };
        let text = weights::apply(text, named, "text")?;
        Ok(Self { config, reader, text, generator })
    }

    /// Gives the model the text encoder it was trained with.
    ///
    /// # Errors
    /// It reads prompts by itself, or was trained with another encoder.
    pub fn attach(&mut self, encoder: Arc<Pretrained>) -> Result<(), PainterError> {
        let Some(config) = &self.config.pretrained else {
            return Err(PainterError::Encoder("this model has a text encoder of its own: it takes no other".into()));
        };
        if config.fingerprint != encoder.fingerprint {
            let message = format!(
                "this is not the text encoder that the model was trained with: its fingerprint is {}, the model's {} \
                 (it was at {})",
                encoder.fingerprint, config.fingerprint, config.path
            );
            return Err(PainterError::Encoder(message));
        }
        if config.dim != encoder.dim() {
            let (found, dim) = (config.dim, encoder.dim());
            let message =
                format!("the model's file says embeddings of {found} numbers, its encoder has {dim}: damaged");
            return Err(PainterError::Encoder(message));
        }
        self.reader = Reader::Pretrained(encoder);
        Ok(())
    }

    /// Pictures of `prompts`, `[n, channels, h, w]` in [-1, 1].
    ///
    /// noise: one row of `config.network.noise()` normal numbers a prompt.
    ///
    /// # Errors
    /// A prompt cannot be encoded.
    pub fn paint<S: AsRef<str>>(&self, prompts: &[S], noise: Vec<f32>) -> Result<Tensor<4>, PainterError> {
        let device = self.generator.devices().into_iter().next().unwrap_or_default();
        let sentence = match (&self.reader, &self.text) {
            (Reader::Own(tokenizer), SentenceEncoder::Own(text)) => text.forward(&tokenizer.encode(prompts)?, &device),
            (Reader::Pretrained(encoder), SentenceEncoder::Pretrained(projection)) => {
                projection.forward(encoder.encode(prompts, &mut |_| {})?, prompts.len(), &device)
            }
            (Reader::Pretrained(encoder), SentenceEncoder::Tuned(tuned)) => tuned.forward(encoder, prompts, &device)?,
            _ => {
                let path = self.config.pretrained.as_ref().map_or("", |config| config.path.as_str());
                return Err(PainterError::Encoder(format!("the model's text encoder is missing: it was at {path}")));
            }
        };
        let shape = [prompts.len(), self.config.network.noise()];
        let noise = Tensor::from_data(TensorData::new(noise, shape), &device);
        Ok(self.generator.paint(noise, sentence))
    }
}
