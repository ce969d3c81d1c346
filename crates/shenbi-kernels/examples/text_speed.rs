//! Milliseconds of the language kernels at SeqGAN's sizes (64 texts of 20 tokens, 32 numbers of state, 5,000 tokens).

use shenbi_kernels::{
    Head, KernelError, Lstm, NllGradients, Precision, Transpose, gemm, lstm_backward, lstm_forward, nll, sample,
};

/// Seconds that this thread has computed; other programs may run in between.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}

fn time(name: &str, mut f: impl FnMut() -> Result<(), KernelError>) -> Result<(), KernelError> {
    f()?;
    let start = cpu();
    for _ in 0..40 {
        f()?;
    }
    let best = (cpu() - start) / 40.0;
    println!("{name:32} {:8.3} ms", best * 1e3);
    Ok(())
}

fn main() -> Result<(), KernelError> {
    let (steps, batch, hidden, v) = (20, 64, 32, 5000);
    let n = steps * batch;
    let (x, weight, bias) = (numbers(n * hidden), numbers(v * hidden), numbers(v));
    let head = Head::new(&weight, &bias)?;
    let targets: Vec<u32> = (0..n as u32).map(|i| i * 7 % v as u32).collect();
    let (weights, mut losses) = (vec![1.0 / n as f32; n], vec![0.0; n]);
    let (mut dx, mut dweight, mut dbias) = (vec![0.0; n * hidden], vec![0.0; v * hidden], vec![0.0; v]);
    time("head", || Head::new(&weight, &bias).map(drop))?;
    let (uniforms, mut tokens) = (vec![0.5; n], vec![0; n]);
    for (name, p) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
        println!("{name}:");
        time("  nll", || nll(&head, &x, &targets, &weights, &mut losses, None, p))?;
        time("  nll and gradients", || {
            let to = NllGradients { weight: &weight, dx: &mut dx, dweight: &mut dweight, dbias: &mut dbias };
            nll(&head, &x, &targets, &weights, &mut losses, Some(to), p)
        })?;
        time("  sample", || sample(&head, &x, 1.0, &uniforms, &mut tokens, p))?;
    }
    let size = Lstm { steps, batch, hidden };
    let (gates, recurrent) = (numbers(n * 4 * hidden), numbers(4 * hidden * hidden));
    let (mut work, mut cells, mut states) = (gates.clone(), vec![0.0; n * hidden], vec![0.0; n * hidden]);
    time("lstm", || {
        work.copy_from_slice(&gates);
        lstm_forward(size, &mut work, &recurrent, None, &mut cells, &mut states)
    })?;
    let (mut dgates, mut drecurrent) = (vec![0.0; work.len()], vec![0.0; recurrent.len()]);
    time("lstm backward", || {
        lstm_backward(size, &work, &recurrent, &cells, &states, &states, &mut dgates, &mut drecurrent)
    })?;
    let rows = 128;
    let (mut logits, mut small) = (vec![0.0; rows * v], vec![0.0; rows * hidden]);
    let turned = numbers(v * hidden);
    time("product to logits, 128 rows", || {
        gemm(rows, v, hidden, &x[..rows * hidden], &turned, &mut logits, [Transpose::No; 2], Precision::F32)
    })?;
    time("product to inputs, 128 rows", || {
        gemm(rows, hidden, v, &logits, &weight, &mut small, [Transpose::No; 2], Precision::F32)
    })?;
    let mut block = vec![0.0; v * hidden];
    time("product to weights, 128 rows", || {
        let how = [Transpose::Yes, Transpose::No];
        gemm(hidden, v, rows, &x[..rows * hidden], &logits, &mut block, how, Precision::F32)
    })
}
