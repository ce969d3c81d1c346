//! PyTorch's files (fixtures/pth.py): read as they are, refused where they ask for more than tensors.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shenbi_nn::file::{self, Format};
use shenbi_nn::pth;
use shenbi_nn::weights::{Named, Values};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pth")
}

fn open(name: &str) -> Result<Named, String> {
    pth::open(&folder().join(name)).map_err(|error| error.to_string())
}

fn values(shape: &[usize], data: impl IntoIterator<Item = f32>) -> Values {
    Values { shape: shape.to_vec(), data: data.into_iter().collect() }
}

/// What pth.py saves.
fn expected() -> Named {
    let grid: Vec<f32> = (0..12).map(|i| i as f32 - 5.5).collect();
    let turned = (0..4).flat_map(|column| (0..3).map(move |row| (row * 4 + column) as f32 - 5.5));
    let entries = [
        ("layer.weight", values(&[3, 4], grid.clone())),
        ("layer.bias", values(&[4], grid[..4].to_vec())),
        ("turned", values(&[4, 3], turned)),
        ("part", values(&[2, 2], [grid[5], grid[7], grid[9], grid[11]])),
        ("half", values(&[3, 4], grid.clone())),
        ("bfloat", values(&[3, 4], grid.clone())),
        ("double", values(&[3, 4], grid.clone())),
        ("counter", values(&[], [7.0])),
        ("mask", values(&[2], [1.0, 0.0])),
        ("empty", values(&[0, 3], [])),
        ("shared.a", values(&[4], [0.0, 1.0, 2.0, 3.0])),
        ("shared.b", values(&[6], [2.0, 3.0, 4.0, 5.0, 6.0, 7.0])),
    ];
    entries.into_iter().map(|(name, values)| (name.to_string(), values)).collect()
}

#[test]
fn every_format_gives_the_same_tensors() {
    for name in ["zip.pth", "legacy.pth", "protocol4.pth"] {
        assert_eq!(open(name).as_ref(), Ok(&expected()), "{name}");
        assert_eq!(file::open(&folder().join(name)).unwrap(), (expected(), Format::PyTorch));
    }
    let nested = expected().into_iter().map(|(name, values)| (format!("state_dict.{name}"), values)).collect();
    assert_eq!(open("nested.pth"), Ok(nested));
    let names: Vec<String> = open("module.pth").unwrap().into_keys().collect();
    let norm = ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"].map(|part| format!("1.{part}"));
    assert_eq!(names, [vec!["0.bias".to_string(), "0.weight".to_string()], norm.to_vec()].concat());
}

#[test]
fn files_that_ask_for_more_are_refused_by_name() {
    for (name, parts) in [
        ("evil-value.pth", ["posix.system", "nothing was run"]),
        ("evil-root.pth", ["posix.system", "nothing was run"]),
        ("evil-deep.pth", ["builtin", "eval"]),
        ("evil-legacy.pth", ["builtin", "exec"]),
        ("evil-pickle.pth", ["posix.system", "nothing was run"]),
        ("huge-view.pth", ["4000000000 bytes", "damaged"]),
        ("deep.pth", ["nesting", "copy it again"]),
        ("bomb.pth", ["dictionary", "found str"]),
        ("memo.pth", ["memo", "copy it again"]),
        ("length.pth", ["2147483647", "copy it again"]),
        ("no-storage.pth", ["data/0", "copy"]),
    ] {
        let started = Instant::now();
        let error = open(name).expect_err(name);
        println!("{name}: {error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
        assert!(started.elapsed() < Duration::from_secs(10), "{name} took {:?}", started.elapsed());
    }
    assert!(!Path::new("/tmp/shenbi-was-here").exists());
    assert!(file::open(&folder().join("none.pth")).is_err_and(|error| error.to_string().contains("cannot be read")));
}

/// Whatever the bytes are, an answer and not a panic.
fn survives(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("written");
    if let Ok((named, _)) = file::open(path) {
        for (name, Values { shape, data }) in named {
            assert_eq!(shape.iter().product::<usize>(), data.len(), "{name}");
        }
    }
}

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    /// A file with some bytes changed, cut out, repeated, or taken from another.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 | 2 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                3 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                4 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    let piece = other[from..(from + self.below(64)).min(other.len())].to_vec();
                    let end = (at + piece.len()).min(bytes.len());
                    bytes.splice(at..end, piece);
                }
            }
        }
        bytes
    }
}

/// Small files of both kinds, and what fuzzing kept.
fn seeds() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folders = [folder(), corpus.join("pth"), corpus.join("safetensors")];
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder").flatten())
        .map(|e| e.path())
        .collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("readable")).collect();
    seeds.push(file::to_bytes(&expected(), Default::default(), false).expect("safetensors"));
    seeds.push(file::to_bytes(&expected(), Default::default(), true).expect("safetensors"));
    seeds.retain(|bytes| bytes.len() < 20_000);
    seeds
}

#[test]
fn damaged_files_are_refused_without_a_panic() {
    let scratch = tempfile::NamedTempFile::new().expect("a file");
    let seeds = seeds();
    for bytes in &seeds {
        survives(scratch.path(), bytes);
    }
    // Cut off anywhere.
    let whole = std::fs::read(folder().join("zip.pth")).expect("readable");
    for length in (0..whole.len()).step_by(7) {
        std::fs::write(scratch.path(), &whole[..length]).expect("written");
        assert!(file::open(scratch.path()).is_err(), "{length} of {} bytes", whole.len());
    }
    let mut draws = Draws(1);
    for _ in 0..3000 {
        let bytes = draws.mutate(&seeds);
        survives(scratch.path(), &bytes);
    }
}

/// The same for `MINUTES` minutes (10 unless set), from a seed of the clock: `cargo test --release --test pth -- --ignored`.
#[test]
#[ignore = "runs for minutes"]
fn damaged_files_for_long() {
    let minutes = std::env::var("MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(10.0);
    let scratch =
        tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new()).expect("a file");
    let mut seeds = seeds();
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let (mut draws, mut files, start) = (Draws(since), 0u64, Instant::now());
    while start.elapsed().as_secs_f64() < minutes * 60.0 {
        let bytes = draws.mutate(&seeds);
        survives(scratch.path(), &bytes);
        files += 1;
        // Files that still read are worth going on from.
        if seeds.len() < 500 && file::open(scratch.path()).is_ok() {
            seeds.push(bytes);
        }
    }
    println!("{files} files, seed {since}");
}
