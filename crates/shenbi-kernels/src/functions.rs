//! Functions of one number that the compiler vectorises: plain arithmetic, no tables, no branches.

/// tanh(x) within 5e-7: the ratio of an odd polynomial of degree 13 and an even one of degree 6 (the minimax
/// coefficients that Eigen and XLA use) on |x| < 7.9; beyond, tanh is 1 in f32.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const ODD: [f32; 7] = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297_2e-8,
        1.485_722_4e-5,
        6.372_619_4e-4,
        4.893_524_6e-3,
    ];
    const EVEN: [f32; 4] = [1.198_258_4e-6, 1.185_347e-4, 2.268_434_6e-3, 4.893_525e-3];
    let x = x.clamp(-7.905_311, 7.905_311);
    let square = x * x;
    let odd = ODD.iter().fold(0.0, |sum, &c| sum * square + c);
    let even = EVEN.iter().fold(0.0, |sum, &c| sum * square + c);
    x * odd / even
}

/// 1 / (1 + e⁻ˣ) within 3e-7.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    0.5 + 0.5 * tanh(0.5 * x)
}

/// eˣ, relative error under 3e-7 (Cephes' polynomial on |x| ≤ ln 2 / 2); below e⁻⁸⁷ it stays there.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding it rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let sum = POLYNOMIAL[1..].iter().fold(POLYNOMIAL[0], |sum, &c| sum * r + c);
    (sum * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for i in -8700..=8800 {
            let x = i as f32 * 0.01;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 4e-7, "exp({x}) = {found}, expected {expected}");
        }
        assert!(exp(f32::NAN).is_nan() && exp(f32::NEG_INFINITY) < 1e-37 && exp(0.0) == 1.0);
    }

    #[test]
    fn sigmoid_is_the_logistic_function() {
        for i in -2000..=2000 {
            let x = f64::from(i) * 0.01;
            assert!((f64::from(sigmoid(x as f32)) - 1.0 / (1.0 + (-x).exp())).abs() < 3e-7, "sigmoid({x})");
        }
    }
}
