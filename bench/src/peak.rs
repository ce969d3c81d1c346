//! What the machine can do at most, and how much memory was in use.

use std::time::Instant;

use shenbi_kernels::{KernelError, Precision, Transpose, gemm};

/// The most memory that this process ever held, in MB.
pub fn memory_mb() -> u64 {
    // Linux says it in kB; elsewhere there is no figure.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kb| kb.parse::<u64>().ok());
    kb.unwrap_or(0) / 1024
}

/// GFLOP/s of a matrix product that stays in the caches, the best of many: what kernels are measured by.
pub fn report() -> Result<String, KernelError> {
    let (m, n, k) = (1024, 1024, 512);
    let (a, b, mut c) = (vec![0.5; m * k], vec![0.25; k * n], vec![0.0; m * n]);
    let mut best = |p| -> Result<f64, KernelError> {
        let mut least = f64::INFINITY;
        for _ in 0..50 {
            let start = Instant::now();
            gemm(m, n, k, &a, &b, &mut c, [Transpose::No, Transpose::No], p)?;
            least = least.min(start.elapsed().as_secs_f64());
        }
        Ok(2.0 * (m * n * k) as f64 / least / 1e9)
    };
    let (f32, bf16) = (best(Precision::F32)?, best(Precision::Bf16)?);
    Ok(format!("{{\"f32_gflops\": {f32:.0}, \"bf16_gflops\": {bf16:.0}}}"))
}
