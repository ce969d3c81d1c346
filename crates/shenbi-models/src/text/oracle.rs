//! The oracle of the SeqGAN paper (1609.05473, section 4.1): an LSTM with random weights that writes the real texts, and
//! says how likely the generated ones are.

use burn::tensor::Device;
use shenbi_nn::Init;
use shenbi_nn::weights::{self, Named, Values};

use super::language::Language;
use super::lstm::{LstmConfig, LstmLanguage};

/// Tokens of the paper's texts.
pub const LENGTH: usize = 20;

/// The oracle in the published tensors: `emb`, `W*`, `U*`, `b*` for the gates i, f, og (output) and c, `Wo` and `bo`;
/// weights are `[in, out]`.
///
/// # Errors
/// A tensor is missing or has a shape that does not fit.
pub fn oracle(named: &Named, device: &Device) -> Result<Language, String> {
    let get = |name: &str| named.get(name).ok_or_else(|| format!("tensor '{name}' is missing: no oracle of SeqGAN"));
    let (embed, first) = (get("emb")?, get("Ui")?);
    let ([vocabulary, embedding], [_, hidden]) = (matrix(embed)?, matrix(first)?);
    let config = LstmConfig { vocabulary, embedding, hidden };
    config.check()?;
    // Ours are i, f, g, o.
    let gates = |prefix: &str, rows: usize| -> Result<Values, String> {
        let mut data = Vec::new();
        for gate in ["i", "f", "c", "og"] {
            data.extend(transposed(get(&format!("{prefix}{gate}"))?, [rows, hidden])?);
        }
        Ok(Values { shape: vec![4 * hidden, rows], data })
    };
    let bias = gates("b", 1)?.data;
    let out = transposed(get("Wo")?, [hidden, vocabulary])?;
    let ours = Named::from([
        ("embed.weight".to_string(), embed.clone()),
        ("lstm.input.weight".to_string(), gates("W", embedding)?),
        ("lstm.input.bias".to_string(), Values { shape: vec![4 * hidden], data: bias }),
        ("lstm.recurrent".to_string(), gates("U", hidden)?),
        ("out.weight".to_string(), Values { shape: vec![vocabulary, hidden], data: out }),
        ("out.bias".to_string(), get("bo")?.clone()),
    ]);
    let network = LstmLanguage::new(&config, &mut Init::zeros(device));
    weights::apply(network, &ours, "").map(Language::Lstm).map_err(|error| error.to_string())
}

fn matrix(values: &Values) -> Result<[usize; 2], String> {
    values.shape.clone().try_into().map_err(|shape| format!("a matrix of shape {shape:?}: no oracle of SeqGAN"))
}

/// `[rows, columns]` (or `[columns]`, for one row) as `[columns, rows]`.
fn transposed(values: &Values, [rows, columns]: [usize; 2]) -> Result<Vec<f32>, String> {
    if values.data.len() != rows * columns || values.shape.last() != Some(&columns) {
        return Err(format!("a tensor of shape {:?}, expected {rows}x{columns}: no oracle of SeqGAN", values.shape));
    }
    Ok((0..columns).flat_map(|column| values.data.iter().skip(column).step_by(columns).copied()).collect())
}
