//! NumPy's statistics, as `evaluate --reference` is given them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shenbi_metrics::{Saved, npy};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(array) = npy::from_npy(bytes) {
        assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
    }
    if let Ok(saved) = Saved::from_bytes(bytes) {
        assert_eq!(saved.gaussian.covariance.len(), saved.gaussian.mean.len().pow(2));
    }
});
