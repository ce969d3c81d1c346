//! Texts: trained on lines and tables, written, gone on with from a prompt, and scored.

use std::fs;
use std::path::Path;

use crate::support::{run, run_with, trained};

const SMALL: &str = "--set batch=8 --set embedding=8 --set hidden=16 --set text_width=16 --set layers=1 --set heads=2 \
    --set rate=0.01 --threads 1";

fn lines(folder: &Path) {
    let (who, does) = (["a dog", "the cat", "one bird"], ["runs home", "sleeps", "eats the fish", "sings"]);
    let text: String = (0..48).map(|i| format!("{} {}\n", who[i % 3], does[i % 4])).collect();
    fs::write(folder.join("lines.txt"), format!("{text}\n")).unwrap();
    let rows: String = (0..20).map(|i| format!("{},\"{}, he said\"\n", who[i % 3], does[i % 4])).collect();
    fs::write(folder.join("jokes.csv"), format!("title,selftext\n{rows}")).unwrap();
}

#[test]
fn lines_to_texts() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    lines(folder);
    let ran = run(folder, &format!("train --recipe mle-lstm --data lines.txt {SMALL} --kimg 1.2 --out run")).good();
    for words in ["46 texts and 2 held out", "1 empty", "shenbi generate -n 8 --model run"] {
        assert!(ran.err.contains(words), "'{words}' in {}", ran.err);
    }
    let sample = fs::read_to_string(folder.join(ran.out.trim())).unwrap();
    assert_eq!(sample.lines().count(), 40);

    let texts = run(folder, "generate --model run -n 20 --temperature 0.9").good();
    assert_eq!(texts.out.lines().count(), 20, "{}", texts.out);
    assert_eq!(run(folder, "generate --model run -n 20 --temperature 0.9").good().out, texts.out);
    assert_ne!(run(folder, "generate --model run -n 20 --temperature 0.9 --seed 2").good().out, texts.out);
    let ran = run_with(folder, "generate --model run -n 3 --temperature 0 --prompt", &["the cat"]).good();
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("the cat ")).count(), 3, "{}", ran.out);
    let ran = run_with(folder, "generate --model run --json", &["a zyx"]).good();
    assert!(ran.err.contains("does not know zyx"), "{}", ran.err);
    assert_eq!(ran.json()["texts"][0]["prompt"], "a zyx");
    run_with(folder, "generate --model run -n 5 --out", &["texts.txt"]).good();
    assert_eq!(fs::read_to_string(folder.join("texts.txt")).unwrap().lines().count(), 5);

    let bad = |args: &str, words: &[&str]| run(folder, &format!("generate --model run {args}")).bad(2, words);
    bad("zyx", &["'zyx'", "no word that the model has learnt"]);
    bad("--class a", &["--class", "knows no classes"]);
    bad("--temperature 101", &["0 to 100"]);
    run_with(folder, "generate --model run", &[&"dog ".repeat(50)]).bad(2, &["50 tokens", "no room"]);

    let json = run(folder, "evaluate --model run --data lines.txt -n 40 --temperature 1 --temperature 0.5 --json")
        .good()
        .json();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{json}");
    assert_eq!(rows[0]["what"], "real texts");
    let scores = &rows[1]["text"];
    assert!(scores["held_out"]["bits_per_character"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!(scores["bleu"].as_array().unwrap().len(), 4, "{json}");
    assert!(rows[0]["text"]["bleu"][0].as_f64().unwrap() > 0.9, "{json}");
    // The run says what it learnt from; of real texts there is no such thing.
    assert!(scores["by_heart"]["ngrams"].as_f64().unwrap() > 0.0, "{json}");
    assert!(rows[0]["text"].get("by_heart").is_none(), "{json}");
    run(folder, "evaluate --model run").bad(2, &["--data", "--oracle"]);
    let sweep =
        "evaluate --model run --against run --data lines.txt -n 40 --temperature 0.7 --temperature 1 --plot a.svg";
    let rows = run(folder, &format!("{sweep} --json")).good().json()["rows"].as_array().unwrap().len();
    assert_eq!(rows, 5, "real texts, and two models at two temperatures");
    let svg = fs::read_to_string(folder.join("a.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("real texts") && svg.contains("\n0.7\n"), "{svg}");
    run(folder, "evaluate --model run --data lines.txt --sentence-encoder nowhere")
        .bad(1, &["--sentence-encoder nowhere"]);
    run(folder, "evaluate --model run --data lines.txt --against builtin").bad(2, &["--against builtin", "pictures"]);

    let ran = run(folder, "train --resume run --kimg 1.4").good();
    assert!(ran.err.contains("resumed"), "{}", ran.err);
}

#[test]
fn columns_and_what_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    lines(folder);
    let train = |args: &str| run(folder, &format!("train {SMALL} --kimg 0.08 --out run {args}"));
    train("--recipe mle-lstm --data jokes.csv").bad(1, &["jokes.csv", "--column", "`title`, `selftext`"]);
    train("--recipe mle-lstm").bad(2, &["learns texts", "--data"]);
    train("--recipe mle-lstm --data lines.txt --size 64").bad(2, &["of pictures"]);
    train("--recipe relgan --data lines.txt --set writer=lstm").bad(2, &["writer = relational"]);
    train("--recipe mle-lstm --data lines.txt --set length=1 --set long=skip").bad(1, &["longer than 1 tokens"]);
    train("--recipe mle-lstm --data lines.txt --set text_width=15 --set writer=transformer").bad(2, &["no multiple"]);
    train("--recipe mle-lstn --data lines.txt").bad(2, &["did you mean 'mle-lstm'"]);
    fs::write(folder.join("latin.txt"), b"good\nb\xe4d\n").unwrap();
    train("--recipe mle-lstm --data latin.txt").bad(1, &["latin.txt, line 2", "UTF-8"]);
    fs::write(folder.join("empty.txt"), "").unwrap();
    train("--recipe mle-lstm --data empty.txt").bad(1, &["empty.txt", "an empty file"]);
    train("--recipe mle-lstm --data oracle:lines.txt").bad(1, &["lines.txt"]);
    assert!(!folder.join("run").exists());
    let ran = train("--recipe mle-transformer --data jokes.csv --column title --column selftext").good();
    assert!(ran.err.contains("19 texts and 1 held out") && !ran.err.contains("warning"), "{}", ran.err);
    fs::write(folder.join("few.txt"), "every word is new\nand none comes again\n").unwrap();
    let ran = run(folder, &format!("train --recipe mle-lstm --data few.txt {SMALL} --kimg 0.08 --out few")).good();
    assert!(ran.err.contains("warning: a vocabulary of 10 is large for 8 tokens"), "{}", ran.err);
    run(folder, &format!("generate --model {} --temperature 0.5", trained().display())).bad(2, &["--temperature"]);
    let json = run(folder, "train --recipe seqgan --data lines.txt --dry-run --json").good().json();
    assert!(json["parameters"]["discriminator"].as_u64().unwrap() > 1000, "{json}");
}
