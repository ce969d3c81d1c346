//! `shenbi evaluate`.

use crate::support::run;
use tempfile::TempDir;

#[test]
fn scores_the_built_in_model() {
    let folder = TempDir::new().unwrap();
    let json = run(folder.path(), "evaluate -n 6 --level one --json --sheet s.png").good().json();
    assert_eq!((json["model"].as_str(), json["rows"].as_array().map(Vec::len)), (Some("builtin"), Some(2)));
    let report = &json["rows"][1]["attributes"];
    assert!((0.0..=1.0).contains(&report["shape"].as_f64().unwrap()), "{report}");
    assert!(report["protocol"].as_str().unwrap().contains("held out/seed=1"), "{report}");
    assert!(folder.path().join("s.png").exists());
    run(folder.path(), "evaluate --level many").bad(2, &["many", "one, two or mixed"]);
    run(folder.path(), "evaluate --data nowhere").bad(1, &["nowhere"]);
}
