//! NumPy's arrays, as `evaluate --reference` is given them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shenbi_fuzz::npy;

fuzz_target!(|bytes: &[u8]| {
    for array in [npy::from_npy(bytes), npy::from_npz(bytes, "mu"), npy::from_npz(bytes, "sigma")].into_iter().flatten() {
        assert_eq!(array.shape.iter().product::<usize>(), array.values.len());
    }
});
