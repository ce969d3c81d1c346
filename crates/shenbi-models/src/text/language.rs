//! What every language model does: likelihoods of given tokens, and tokens one after the other.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use shenbi_nn::kernels::{Head, Rows, nll, precision, sample};
use shenbi_nn::lstm::LstmReader;
use shenbi_nn::weights::values;
use shenbi_nn::{Init, Linear, ops};

use super::gpt::{Gpt, GptConfig, GptReader};
use super::lstm::{LstmConfig, LstmLanguage};
use super::relgan::{Relational, RelationalConfig, RelationalReader};
use super::{END, Sequences};

/// Shape of a [`Language`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "network")]
pub enum LanguageConfig {
    /// LSTM.
    Lstm(LstmConfig),
    /// Transformer.
    Gpt(GptConfig),
    /// Relational memory.
    Relational(RelationalConfig),
}

impl LanguageConfig {
    /// # Errors
    /// The sizes make no network; the text says which.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Lstm(config) => config.check(),
            Self::Gpt(config) => config.check(),
            Self::Relational(config) => config.check(),
        }
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Lstm(config) => config.vocabulary,
            Self::Gpt(config) => config.vocabulary,
            Self::Relational(config) => config.vocabulary,
        }
    }
}

/// Refuses the first size that is out of its range.
pub(crate) fn check_sizes(sizes: &[(&str, usize, usize, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, size, low, high)| !(low..=high).contains(&size)) {
        Some((name, size, low, high)) => Err(format!("{name} {size}: expected {low} to {high}")),
        None => Ok(()),
    }
}

/// Reads and writes tokens.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few in a process")]
pub enum Language {
    /// LSTM.
    Lstm(LstmLanguage),
    /// Transformer.
    Gpt(Gpt),
    /// Relational memory.
    Relational(Relational),
}

impl Language {
    /// Untrained.
    ///
    /// # Errors
    /// As [`LanguageConfig::check`].
    pub fn new(config: &LanguageConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        Ok(match config {
            LanguageConfig::Lstm(config) => Self::Lstm(LstmLanguage::new(config, init)),
            LanguageConfig::Gpt(config) => Self::Gpt(Gpt::new(config, init)),
            LanguageConfig::Relational(config) => Self::Relational(Relational::new(config, init)),
        })
    }

    /// From features to logits.
    pub fn out(&self) -> &Linear {
        match self {
            Self::Lstm(network) => &network.out,
            Self::Gpt(network) => &network.out,
            Self::Relational(network) => &network.out,
        }
    }

    /// Time first, or texts first: the order of [`Language::features`].
    fn time_first(&self) -> bool {
        !matches!(self, Self::Gpt(_))
    }

    /// `values`, one a token, in the order of the features.
    pub fn in_order<T: Copy>(&self, values: &[T], length: usize) -> Vec<T> {
        if !self.time_first() {
            return values.to_vec();
        }
        (0..length).flat_map(|t| values.iter().skip(t).step_by(length).copied()).collect()
    }

    /// What the network knows before each token, `[tokens, width]`; see [`Language::in_order`].
    pub fn features(&self, texts: &Sequences, device: &Device) -> Tensor<2> {
        let before = |row: &[u32]| -> Vec<i32> {
            std::iter::once(END).chain(row.iter().copied()).take(row.len()).map(|id| id as i32).collect()
        };
        let inputs: Vec<i32> = texts.iter().flat_map(before).collect();
        let (b, t) = (texts.rows(), texts.length);
        let inputs = self.in_order(&inputs, t);
        match self {
            Self::Lstm(network) => network.features(inputs, [t, b], device),
            Self::Gpt(network) => network.features(inputs, [b, t], device),
            Self::Relational(network) => network.features(inputs, [t, b], device),
        }
    }

    /// The sum of every token's -log p times its weight, `[1]`. weights: one a token, row by row.
    pub fn nll(&self, texts: &Sequences, weights: &[f32], device: &Device) -> Tensor<1> {
        self.nll_of(self.features(texts, device), texts, weights)
    }

    /// The same from [`Language::features`].
    pub fn nll_of(&self, features: Tensor<2>, texts: &Sequences, weights: &[f32]) -> Tensor<1> {
        let rows = Rows::new(self.in_order(&texts.ids, texts.length), self.in_order(weights, texts.length));
        let (weight, bias) = self.out_parts();
        ops::nll(features, weight, bias, rows)
    }

    fn out_parts(&self) -> (Tensor<2>, Tensor<1>) {
        let weight = self.out().weight.val();
        let bias = match &self.out().bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([weight.dims()[0]], &weight.device()),
        };
        (weight, bias)
    }

    /// Every token's -log p, row by row, without gradients; 0 where the mask is 0.
    pub fn losses(&self, texts: &Sequences, mask: &[f32]) -> Vec<f32> {
        let plain = self.valid();
        let device = plain.devices().into_iter().next().unwrap_or_default();
        let mut losses = vec![0.0; texts.ids.len()];
        // Few texts at a time, so that memory stays bounded.
        let rows = (65_536 / texts.length.max(1)).max(1);
        for (i, places) in (0..texts.rows()).collect::<Vec<_>>().chunks(rows).enumerate() {
            let part = texts.select(places);
            let range = i * rows * texts.length..(i * rows + places.len()) * texts.length;
            let features = values(plain.features(&part, &device)).data;
            let (targets, weights) = (part.ids, &mask[range.clone()]);
            let (targets, weights) = (self.in_order(&targets, texts.length), self.in_order(weights, texts.length));
            let mut found = vec![0.0; targets.len()];
            run(nll(&plain.head(), &features, &targets, &weights, &mut found, None, precision()));
            for (loss, place) in found.into_iter().zip(self.in_order(&range.collect::<Vec<_>>(), texts.length)) {
                losses[place] = loss;
            }
        }
        losses
    }

    /// The last layer, to draw tokens with.
    pub fn head(&self) -> Head {
        let (weight, bias) = self.out_parts();
        run(Head::new(&values(weight).data, &values(bias).data))
    }

    /// Writes `rows` texts at once, from their beginning.
    pub fn reader(&self, rows: usize) -> Reader {
        match self {
            Self::Lstm(network) => Reader::Lstm(network.reader(rows)),
            Self::Gpt(network) => Reader::Gpt(network.reader()),
            Self::Relational(network) => Reader::Relational(network.reader(rows)),
        }
    }

    /// Texts of `length` tokens. uniform: numbers in [0, 1), asked for one a row at each step; after [`END`] there is no
    /// more of a text that ends.
    pub fn write(
        &self,
        rows: usize,
        length: usize,
        ends: bool,
        temperature: f32,
        uniform: impl FnMut() -> f32,
    ) -> Sequences {
        let texts = vec![Vec::new(); rows];
        self.continue_texts(self.reader(rows), &self.head(), texts, length, ends, temperature, uniform)
    }

    /// The token after `token`, for a reader of one text.
    pub fn next(&self, reader: &mut Reader, head: &Head, token: u32, temperature: f32, uniform: f32) -> u32 {
        let mut drawn = [END];
        run(sample(head, &reader.read(&[token]), temperature, &[uniform], &mut drawn, precision()));
        drawn[0]
    }

    /// Goes on with texts of equal lengths, of which `reader` has read all but the last token ([`END`] before the first).
    #[expect(clippy::too_many_arguments, reason = "each is one thing")]
    pub fn continue_texts(
        &self,
        mut reader: Reader,
        head: &Head,
        mut texts: Vec<Vec<u32>>,
        length: usize,
        ends: bool,
        temperature: f32,
        mut uniform: impl FnMut() -> f32,
    ) -> Sequences {
        let mut tokens: Vec<u32> = texts.iter().map(|text| text.last().copied().unwrap_or(END)).collect();
        let mut ended: Vec<bool> = texts.iter().map(|text| ends && text.contains(&END)).collect();
        let start = texts.first().map_or(0, Vec::len);
        for _ in start..length {
            let features = reader.read(&tokens);
            let uniforms: Vec<f32> = tokens.iter().map(|_| uniform()).collect();
            run(sample(head, &features, temperature, &uniforms, &mut tokens, precision()));
            for ((text, token), ended) in texts.iter_mut().zip(&mut tokens).zip(&mut ended) {
                if *ended {
                    *token = END;
                }
                text.push(*token);
                *ended |= ends && *token == END;
            }
            if ended.iter().all(|ended| *ended) {
                break;
            }
        }
        texts.iter_mut().for_each(|text| text.resize(length, END));
        Sequences { length, ids: texts.concat() }
    }
}

/// Sizes follow from the network: only a defect of ours makes them wrong.
fn run<T>(result: Result<T, shenbi_nn::kernels::KernelError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// A network that has read some tokens.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few in a process")]
pub enum Reader {
    /// LSTM.
    Lstm(LstmReader),
    /// Transformer.
    Gpt(GptReader),
    /// Relational memory.
    Relational(RelationalReader),
}

impl Reader {
    /// Reads one token a row; returns what the network knows then, `[rows, width]`.
    pub fn read(&mut self, tokens: &[u32]) -> Vec<f32> {
        match self {
            Self::Lstm(reader) => reader.read(tokens).to_vec(),
            Self::Gpt(reader) => reader.read(tokens),
            Self::Relational(reader) => reader.read(tokens),
        }
    }

    /// Each row `times` times, one after the other.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        match self {
            Self::Lstm(reader) => Self::Lstm(reader.repeat(times)),
            Self::Gpt(reader) => Self::Gpt(reader.repeat(times)),
            Self::Relational(reader) => Self::Relational(reader.repeat(times)),
        }
    }
}
