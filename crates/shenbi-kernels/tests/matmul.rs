//! Matrix products on every instruction set against a naive f64 reference.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use shenbi_kernels::*;

fn check(m: usize, n: usize, k: usize, transposed: [Transpose; 2]) {
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    for p in PRECISIONS {
        let (ra, rb) = (rounded(&a, p), rounded(&b, p));
        let mut want = vec![Sum::default(); m * n];
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            for l in 0..k {
                let x = if transposed[0] == Transpose::Yes { ra[l * m + i] } else { ra[i * k + l] };
                let y = if transposed[1] == Transpose::Yes { rb[j * k + l] } else { rb[l * n + j] };
                want[i * n + j].add(x * y);
            }
        }
        for isa in available_isas() {
            let (a, b) = (Guarded::before_guard(&a), Guarded::before_guard(&b));
            let mut c = Guarded::before_guard(&vec![f32::NAN; m * n]);
            with_isa(isa, || gemm(m, n, k, &a, &b, &mut c, transposed, p)).unwrap().unwrap();
            assert_close(&format!("gemm {m} {n} {k} {transposed:?} {isa:?} {p:?}"), &c, &want);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_shape(m in 1usize..80, n in 1usize..80, k in 1usize..130, ta: bool, tb: bool) {
        let t = |t| if t { Transpose::Yes } else { Transpose::No };
        check(m, n, k, [t(ta), t(tb)]);
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let (m, n, k) = (100, 40, 300);
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    for p in PRECISIONS {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0.0; m * n];
            pool.install(|| gemm(m, n, k, &a, &b, &mut c, [Transpose::No; 2], p)).unwrap();
            c
        };
        let one = run(1);
        assert!([2, 3, 5].into_iter().all(|t| run(t) == one));
    }
}

#[test]
fn errors_name_the_shapes() {
    let mut c = [0.0; 6];
    let no = [Transpose::No; 2];
    let text = gemm(2, 3, 4, &[0.0; 7], &[0.0; 12], &mut c, no, Precision::F32).unwrap_err().to_string();
    assert!(text.contains("`a` has 7") && text.contains("[2, 4]"), "{text}");
    let text = gemm(2, 3, 0, &[], &[], &mut c, no, Precision::F32).unwrap_err().to_string();
    assert!(text.contains("k is 0"), "{text}");
    assert!(gemm(usize::MAX, 3, 4, &[], &[], &mut c, no, Precision::F32).is_err());
}
