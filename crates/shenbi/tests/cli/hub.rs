//! Networks by name, from a server on this machine and from the cache. Only where the program can fetch.
#![cfg(feature = "hub")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::support::{TINY, command};

const NAME: &str = "shenbi/words";
const COMMIT: &str = "0123456789abcdef";

fn words() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shenbi-models/tests/fixtures/encoders/bert")
}

/// Serves the files of a folder as the Hub does, as long as the tests run; returns its address.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.map_while(|line| line.ok().filter(|line| !line.is_empty())).collect();
            let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let range =
                head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(String::from));
            let (body, more) = if path.starts_with("/api/models/") {
                let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name());
                let files: Vec<_> =
                    files.map(|name| serde_json::json!({"rfilename": name.to_str().unwrap()})).collect();
                (serde_json::json!({"sha": COMMIT, "siblings": files}).to_string().into_bytes(), String::new())
            } else {
                let name = path.rsplit('/').next().unwrap();
                let all = std::fs::read(folder.join(name)).unwrap();
                let (from, to) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
                let from: usize = from.parse().unwrap();
                let to = to.parse().map_or(all.len(), |to: usize| to + 1);
                let range = format!("content-range: bytes {from}-{}/{}\r\n", to.max(1) - 1, all.len());
                (all[from..to].to_vec(), format!("etag: \"{name}\"\r\nx-repo-commit: {COMMIT}\r\n{range}"))
            };
            let status = if more.is_empty() { "200 OK" } else { "206 Partial Content" };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
fn an_encoder_is_fetched_once_and_then_taken_from_the_cache() {
    let parent = tempfile::tempdir().unwrap();
    let train = |out: &str, endpoint: &str| {
        let args = format!("train {TINY} --kimg 0.05 --text-encoder hf:{NAME} --out {out}");
        let mut command = command(parent.path(), &args);
        let output = command.env("HF_HOME", parent.path().join("home")).env("HF_ENDPOINT", endpoint).output().unwrap();
        crate::support::Ran::from(output)
    };
    train("none", "http://127.0.0.1:9").bad(1, &["hf:shenbi/words", "huggingface.co/shenbi/words"]);
    train("fetched", &serve(words())).good();
    let cached = parent.path().join(format!("home/hub/models--shenbi--words/snapshots/{COMMIT}"));
    assert!(cached.join("config.json").exists() && cached.join("model-00001-of-00002.safetensors").exists());
    // No server now.
    train("again", "http://127.0.0.1:9").good();
    let config = std::fs::read_to_string(parent.path().join("again/config.toml")).unwrap();
    assert!(config.contains(COMMIT), "the run names the folder: {config}");
}
