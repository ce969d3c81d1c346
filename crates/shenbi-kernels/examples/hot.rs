use shenbi_kernels::*;
fn main() -> Result<(), KernelError> {
    let a: Vec<usize> = std::env::args().skip(2).map(|v| v.parse().unwrap()).collect();
    let op = std::env::args().nth(1).unwrap();
    let [ci, co, size, k, s] = a[..5] else { panic!() };
    let g = Conv2d { batch: 32, in_channels: ci, out_channels: co, in_h: size, in_w: size, kernel: [k, k], stride: [s, s], padding: [usize::from(k > 1); 2], groups: 1 };
    let [oh, ow] = g.out_size()?;
    let fill = |n: usize| (0..n).map(|i| bf16::from_f32((i * 7919 % 1013) as f32 / 506.0 - 1.0)).collect::<Vec<_>>();
    let x = fill(32 * ci * size * size);
    let dy = fill(32 * co * oh * ow);
    let w = vec![0.01; ci * co * k * k];
    let (bias, act) = (vec![0.0; co], Activation::LeakyRelu(0.2));
    let (mut dx, mut dw, mut y) = (x.clone(), w.clone(), dy.clone());
    let t = std::time::Instant::now();
    for _ in 0..500 {
        match &op[..] {
            "f" => conv2d_forward(&g, &x, &w, Some(&bias), act, &mut y, Precision::Bf16)?,
            "d" => conv2d_backward_data(&g, &dy, &w, None, Activation::None, &mut dx, Precision::Bf16)?,
            _ => conv2d_backward_weights(&g, &x, &dy, &mut dw, Precision::Bf16)?,
        }
    }
    println!("{:.3} ms", t.elapsed().as_secs_f64() * 2.0);
    Ok(())
}
