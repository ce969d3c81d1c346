//! Prompts in other words than a model was trained on: is what it paints of them what the captions they stand for say?

use std::path::Path;

use burn::tensor::Device;
use shenbi_data::text;
use shenbi_metrics::r_precision;
use shenbi_models::text_to_image::painter::Painter;

use super::sentences::{NUMBER, POOL, judge, paint, write_sheet};
use super::{Args, Row, Scores, failed};
use crate::failure::Failure;

/// R-precision of pictures painted from the prompts in `path`, and from the captions beside them, as often as the number of
/// pictures allows: each has to find its caption among all of them.
pub fn rows(args: &Args, path: &Path, painter: &Painter, device: &Device) -> Result<Vec<Row>, Failure> {
    let [captions, prompts] = pairs(path)?;
    let judge = judge(args, painter, device)?;
    let times = (args.number.unwrap_or(NUMBER) as usize / captions.len()).max(1);
    let repeat = |texts: &[String]| (0..times).flat_map(|_| texts.iter().cloned()).collect::<Vec<_>>();
    let (wanted, prompts) = (repeat(&captions), repeat(&prompts));
    let mut rows = Vec::new();
    let mut cells = Vec::new();
    for (what, asked) in [("prompts", prompts), ("captions", wanted.clone())] {
        let painted = paint(painter, &asked, args.seed, what)?;
        let mut found = r_precision(&judge, &painted, &wanted, POOL, args.seed).map_err(failed)?;
        found.protocol += &format!("/{what}-of={}", path.file_name().unwrap_or_default().display());
        rows.push(Row { what: format!("painted from {what}"), scores: Scores::RPrecision(found) });
        cells.push((asked, painted));
    }
    write_sheet(args, painter, &cells)?;
    Ok(rows)
}

/// The columns `caption` and `prompt` of a table.
fn pairs(path: &Path) -> Result<[Vec<String>; 2], Failure> {
    let column = |name: &str| {
        let read =
            text::read(path, &[name.to_string()]).map_err(|error| Failure::Failed(format!("--prompts {error}")))?;
        if read.empty > 0 {
            let path = path.display();
            return Err(Failure::Failed(format!("--prompts {path}: {} rows have no {name}; fill them in", read.empty)));
        }
        Ok(read.texts)
    };
    Ok([column("caption")?, column("prompt")?])
}
