//! Captions as a pretrained encoder embeds them: computed once, kept in the run folder, looked up in every step.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use shenbi_data::Source;
use shenbi_models::encoder::pretrained::Pretrained;
use shenbi_models::encoder::tokenizer::{Tokenizer, TokenizerError};
use shenbi_models::text_to_image::painter::PretrainedConfig;
use shenbi_nn::file;
use shenbi_nn::weights::{Named, Values};

use crate::atomic::write_atomic;
use crate::error::RunError;

/// Examples of an endless source whose captions are embedded before the first step.
const EXAMPLES: u64 = 8_000;
/// Numbers that are kept in memory at most: 1 GiB. What comes later is computed whenever it is needed.
const KEPT: usize = 1 << 28;
/// The tensor in the file.
const TENSOR: &str = "embeddings";

/// Why captions cannot be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingsError {
    /// They cannot be read.
    #[error(transparent)]
    Data(#[from] shenbi_data::DataError),
    /// The encoder refuses one.
    #[error(transparent)]
    Text(#[from] TokenizerError),
    /// What was computed cannot be kept.
    #[error(transparent)]
    Keep(#[from] RunError),
}

/// What turns captions into numbers before anything is trained.
#[expect(clippy::large_enum_variant, reason = "there is one a process")]
pub enum Captions {
    /// Tokens learnt from the captions themselves.
    Own(Tokenizer),
    /// Embeddings of an encoder that others trained.
    Pretrained(Embeddings),
}

impl From<Tokenizer> for Captions {
    fn from(tokenizer: Tokenizer) -> Self {
        Self::Own(tokenizer)
    }
}

/// An encoder, and the captions that it has read.
pub struct Embeddings {
    /// The encoder.
    pub encoder: Arc<Pretrained>,
    /// Which one it is.
    pub config: PretrainedConfig,
    rows: HashMap<String, usize>,
    values: Vec<f32>,
}

impl Embeddings {
    /// An encoder that has read nothing yet. path: where it was opened.
    pub fn new(encoder: Pretrained, path: &str) -> Self {
        let (fingerprint, dim) = (encoder.fingerprint.clone(), encoder.dim());
        let config = PretrainedConfig { path: path.to_string(), fingerprint, dim, tuned: None };
        Self { encoder: Arc::new(encoder), config, rows: HashMap::new(), values: Vec::new() }
    }

    /// Reads all captions of a source, and what is false of its pictures; of an endless one, the first ones. They are kept in
    /// `folder`, under a name that follows from the encoder and the captions, and taken from there the next time.
    ///
    /// # Errors
    /// The captions cannot be read or encoded, or the file not be written.
    pub fn read(&mut self, source: &dyn Source, folder: &Path) -> Result<(), EmbeddingsError> {
        let dim = self.config.dim.max(1);
        let mut captions = BTreeSet::new();
        for index in 0..source.len().unwrap_or(EXAMPLES) {
            captions.extend(source.captions(index)?);
            captions.extend(source.contraries(index)?);
            if captions.len() >= KEPT / dim {
                break;
            }
        }
        let captions: Vec<String> = captions.into_iter().collect();
        let mut hash = Sha256::new();
        hash.update(&self.config.fingerprint);
        for caption in &captions {
            hash.update((caption.len() as u64).to_le_bytes());
            hash.update(caption);
        }
        let name: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("{name}.safetensors"));
        let shape = vec![captions.len(), dim];
        let kept = std::fs::read(&path).ok().and_then(|bytes| file::from_bytes(&bytes).ok());
        let kept = kept.and_then(|(mut named, _)| named.remove(TENSOR));
        // A damaged file is written again.
        let whole = |values: &Values| values.shape == shape && values.data.iter().all(|value| value.is_finite());
        self.values = match kept.filter(whole) {
            Some(values) => values.data,
            None => {
                let data = self.encoder.encode(&captions, &mut |_| {})?;
                let named = Named::from([(TENSOR.to_string(), Values { shape, data })]);
                let bytes = file::to_bytes(&named, HashMap::new(), false);
                let bytes = bytes.map_err(|error| RunError::encode(&path, &error))?;
                std::fs::create_dir_all(folder).map_err(|error| RunError::io("create", folder, error))?;
                write_atomic(&path, &bytes)?;
                named.into_values().next().map(|values| values.data).unwrap_or_default()
            }
        };
        self.rows = captions.into_iter().enumerate().map(|(row, caption)| (caption, row)).collect();
        Ok(())
    }

    /// The embeddings of captions, one after the other. One that is new is read alone, so that its last bit does not depend
    /// on its neighbours.
    pub(crate) fn get(&mut self, captions: &[&str]) -> Result<Vec<f32>, TokenizerError> {
        let dim = self.config.dim;
        let mut found = Vec::with_capacity(captions.len() * dim);
        for &caption in captions {
            if let Some(&row) = self.rows.get(caption) {
                found.extend_from_slice(&self.values[row * dim..][..dim]);
                continue;
            }
            let embedding = self.encoder.encode(&[caption], &mut |_| {})?;
            found.extend_from_slice(&embedding);
            if self.values.len() < KEPT {
                self.rows.insert(caption.to_string(), self.values.len() / dim.max(1));
                self.values.extend(embedding);
            }
        }
        Ok(found)
    }
}
