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
use shenbi_nn::kernels::in_f32;
use shenbi_nn::ops::normalize;
use shenbi_nn::weights;
use std::path::Path;

use super::bert::Bert;
use super::clip_text::ClipText;
use super::described::{Modules, read_open_clip, read_transformers};
use super::folder::Folder;
pub use super::folder::PretrainedError;
use super::tail::{Tail, TailConfig};
use super::tokenizer::{TokenizerError, Tokens};
use super::vocabulary::Vocabulary;

/// Tokens that are encoded at once.
const TOKENS: usize = 2048;

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
pub(super) enum Network {
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
