//! Two folders picture by picture: files of one name (whatever their endings) belong together.

use std::collections::HashMap;
use std::path::Path;

use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_metrics::{PairSum, Pairs};

use super::failed;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

/// PSNR and SSIM of the pictures in `images` against those of the same name in `data`.
pub fn pairs(images: &Path, data: &Path, most: u64) -> Result<Pairs, Failure> {
    let open = |flag: &str, path: &Path| {
        if !path.exists() {
            return Err(Failure::Failed(format!("{flag} {}: no such folder or archive", path.display())));
        }
        Ok(Folder::open(path, &FolderOptions { captions_required: false, ..FolderOptions::default() })?)
    };
    let (ours, theirs) = (open("--images", images)?, open("--data", data)?);
    let stem = |folder: &Folder, i: usize| Path::new(folder.name(i)).with_extension("").display().to_string();
    let by_name: HashMap<String, usize> = (0..theirs.count()).map(|i| (stem(&theirs, i), i)).collect();
    let found: Vec<(usize, usize)> =
        (0..ours.count()).filter_map(|i| by_name.get(&stem(&ours, i)).map(|other| (i, *other))).collect();
    if found.is_empty() {
        let example = stem(&ours, 0);
        let message = format!(
            "--metrics pairs: no picture of {} has the name of one of {}; the first is called '{example}'",
            images.display(),
            data.display()
        );
        return Err(Failure::Failed(message));
    }
    let alone = ours.count() - found.len();
    if alone > 0 {
        output::note(&format!("warning: pairs: {alone} pictures have no partner of their name in {}", data.display()));
    }
    let n = found.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    let bar = Bar::new("pairs", n as u64);
    let mut sum = PairSum::default();
    for (done, (i, other)) in found.into_iter().take(n).enumerate() {
        let at = |error: shenbi_metrics::MetricsError| Failure::Failed(format!("{}: {error}", ours.name(i)));
        sum.add(&ours.original(i)?, &theirs.original(other)?).map_err(at)?;
        bar.at(done as u64 + 1);
    }
    sum.finish(&format!("images={}/reference={}", images.display(), data.display())).map_err(failed)
}
