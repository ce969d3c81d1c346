//! PyTorch's files, and whatever else `file::open` is given.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static PATH: OnceLock<std::path::PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| std::env::temp_dir().join(format!("shenbi-fuzz-{}", std::process::id())));
    if std::fs::write(path, bytes).is_ok()
        && let Ok((named, _)) = shenbi_fuzz::file::open(path)
    {
        assert!(named.values().all(|values| values.shape.iter().product::<usize>() == values.data.len()));
    }
});
