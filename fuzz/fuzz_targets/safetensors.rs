//! safetensors
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((named, _)) = shenbi_fuzz::file::from_bytes(bytes) {
        assert!(named.values().all(|values| values.shape.iter().product::<usize>() == values.data.len()));
    }
});
