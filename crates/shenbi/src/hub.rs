//! Networks by their name on Hugging Face, `hf:org/name`: fetched by its client crate into the cache that its other tools
//! use (`HF_HOME`), in programs built with the feature `hub`.

use std::path::PathBuf;

use crate::failure::Failure;

/// What a name begins with.
const PREFIX: &str = "hf:";

/// The folder that a path or a name means.
///
/// # Errors
/// The name is none; this program cannot fetch; or the files cannot be had.
pub fn folder(flag: &str, path: &str) -> Result<PathBuf, Failure> {
    let Some(name) = path.strip_prefix(PREFIX) else { return Ok(path.into()) };
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c))
    };
    match name.split_once('/') {
        Some((organisation, network)) if plain(organisation) && plain(network) => fetched(flag, name),
        _ => Err(Failure::usage(format!(
            "{flag} {path}: expected {PREFIX}org/name, as {PREFIX}google-bert/bert-base-chinese"
        ))),
    }
}

#[cfg(not(feature = "hub"))]
fn fetched(flag: &str, name: &str) -> Result<PathBuf, Failure> {
    Err(Failure::usage(format!(
        "{flag} {PREFIX}{name}: this program was built without the feature hub, and fetches nothing. Put the files of \
         https://huggingface.co/{name}/tree/main (config.json, the tokenizer's and model.safetensors) into a folder, and name \
         that; or build with --features hub"
    )))
}

#[cfg(feature = "hub")]
fn fetched(flag: &str, name: &str) -> Result<PathBuf, Failure> {
    use hf_hub::Cache;
    use hf_hub::api::sync::ApiBuilder;

    /// Files that a network is made of, weights apart, by how their names end.
    const PARTS: [&str; 4] = [".json", "vocab.txt", "merges.txt", ".txt.gz"];
    /// Its weights, of which the first that is there is taken; with `.index.json`, all the files it names.
    const WEIGHTS: [&str; 4] =
        ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

    let failed = |error: &dyn std::fmt::Display| {
        Failure::Failed(format!(
            "{flag} {PREFIX}{name}: {error}; check the name and the network, or name a folder with the files of \
             https://huggingface.co/{name}/tree/main"
        ))
    };
    let cached = Cache::from_env().model(name.to_string());
    let weights = |has: &dyn Fn(&str) -> bool| WEIGHTS.into_iter().find(|file| has(file));
    // What is there is used as it is: nothing is asked of the network.
    if let (Some(config), Some(_)) = (cached.get("config.json"), weights(&|file| cached.get(file).is_some())) {
        return config.parent().map(Into::into).ok_or_else(|| failed(&"its cache is damaged"));
    }
    let api = ApiBuilder::from_env().build().map_err(|error| failed(&error))?.model(name.to_string());
    let names: Vec<String> =
        api.info().map_err(|error| failed(&error))?.siblings.into_iter().map(|file| file.rfilename).collect();
    let Some(weights) = weights(&|file| names.iter().any(|name| name == file)) else {
        return Err(failed(&format!("it has no weights ({})", WEIGHTS.join(", "))));
    };
    let shards = weights.strip_suffix(".index.json").map(|file| file.rsplit_once('.').unwrap_or((file, "")));
    let needed = |file: &str| {
        let shard =
            shards.is_some_and(|(stem, ending)| file.starts_with(&format!("{stem}-")) && file.ends_with(ending));
        let part = PARTS.iter().any(|ending| file.ends_with(ending)) && !file.ends_with(".index.json");
        // Of folders inside only sentence-transformers' pooling.
        (file == weights || shard || part) && (!file.contains('/') || file == "1_Pooling/config.json")
    };
    let mut folder = None;
    // The weights come last: a folder that has them is whole.
    let (last, first): (Vec<&String>, Vec<&String>) =
        names.iter().filter(|file| needed(file)).partition(|file| file.as_str() == weights);
    for file in first.into_iter().chain(last) {
        let path = api.get(file).map_err(|error| failed(&format!("{file}: {error}")))?;
        if file == weights {
            folder = path.parent().map(Into::into);
        }
    }
    folder.ok_or_else(|| failed(&"its files went nowhere"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_paths_and_names_are_checked() {
        assert_eq!(folder("--clip", "my/clip").ok(), Some("my/clip".into()));
        for wrong in ["hf:", "hf:bert", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a b/c", "hf:/x"] {
            let error = folder("--text-encoder", wrong).map(drop).map_err(|failure| failure.message()).unwrap_err();
            assert!(error.contains("hf:org/name") && error.contains(wrong), "{error}");
        }
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_feature_the_files_to_put_there_are_named() {
        let error = folder("--text-encoder", "hf:google-bert/bert-base-chinese").map_err(|failure| failure.message());
        let error = error.map(drop).unwrap_err();
        for word in ["--text-encoder", "huggingface.co/google-bert/bert-base-chinese", "--features hub"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
