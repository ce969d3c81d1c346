//! Running the binary, and small things to run it on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use shenbi_data::{Picture, decode};
use tempfile::TempDir;

/// The smallest networks that train: some hundred steps a second.
pub const TINY: &str = "--size 16 --set batch=8 --set generator_width=8 --set discriminator_width=8 --set features=16 \
    --set noise=4 --set sentence=16 --set text_width=16 --set text_layers=1 --set vocabulary=300 --set max_tokens=24 \
    --threads 1";

/// What a run of the program gave.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// It succeeded.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// It failed with `code`, and its error holds `words`.
    #[track_caller]
    pub fn bad(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(self.err.contains("error: "), "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "expected '{word}' in: {}", self.err);
        }
    }

    /// Standard output as one JSON object.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_str(&self.out).unwrap();
        assert!(value.is_object() && self.out.lines().count() == 1, "{}", self.out);
        value
    }

    /// The lines of standard output as paths below `folder`.
    pub fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        self.out.lines().map(|line| folder.join(line)).collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The program in `folder`; arguments are split at spaces.
pub fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shenbi"));
    command.current_dir(folder).args(args.split_whitespace()).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(folder: &Path, args: &str) -> Ran {
    command(folder, args).output().unwrap().into()
}

/// Runs it with arguments that hold spaces.
pub fn run_with(folder: &Path, args: &str, more: &[&str]) -> Ran {
    command(folder, args).args(more).output().unwrap().into()
}

/// Starts it and returns once `file` exists.
pub fn start(folder: &Path, args: &str, file: &Path) -> Child {
    let child = command(folder, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| file.exists());
    child
}

/// Waits until `done`.
#[track_caller]
pub fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A tiny run on scenes, trained once for all tests: they may read it, not change it.
pub fn trained() -> &'static Path {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let parent = tempfile::tempdir().unwrap();
        run(parent.path(), &format!("train {TINY} --kimg 0.2 --out tiny")).good();
        let run = parent.path().join("tiny");
        (parent, run)
    });
    run
}

/// A folder of `n` discs on nothing (RGBA), captioned in two languages.
pub fn discs(folder: &Path, n: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let colours = [("red", "红色", [220, 30, 30]), ("green", "绿色", [30, 180, 60]), ("blue", "蓝色", [40, 60, 220])];
    let mut metadata = String::new();
    for i in 0..n {
        let (english, chinese, [r, g, b]) = colours[i % 3];
        let radius = 4 + i % 3;
        let mut pixels = Vec::new();
        for (y, x) in (0..16_usize).flat_map(|y| (0..16_usize).map(move |x| (y, x))) {
            let inside = x.abs_diff(8).pow(2) + y.abs_diff(8).pow(2) < radius * radius;
            pixels.extend([r, g, b, if inside { 255 } else { 0 }]);
        }
        decode::write_png(folder.join(format!("{i}.png")), &Picture { width: 16, height: 16, channels: 4, pixels })
            .unwrap();
        let line = serde_json::json!({
            "file_name": format!("{i}.png"), "text": format!("a {english} disc"), "text_zh": format!("{chinese}的圆盘"),
        });
        metadata += &format!("{line}\n");
    }
    std::fs::write(folder.join("metadata.jsonl"), metadata).unwrap();
}

/// The picture in a PNG file.
#[track_caller]
pub fn picture(path: &Path) -> Picture {
    decode::decode(path, &std::fs::read(path).unwrap(), decode::MAX_PIXELS).unwrap()
}
