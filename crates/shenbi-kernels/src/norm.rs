//! Batch normalisation fused with its scale, shift and activation, forward and backward.
//!
//! One work item is a channel: its planes are read from memory once and from the L2 cache afterwards. Sums are f32 over
//! short runs and f64 over those, in an order that depends on the shape alone.
#![allow(unsafe_code)]

use crate::activation::{Activation, leaky};
use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::isa::{Isa, Work, active_isa, vectorize};
use crate::parallel::{SharedMut, for_items};

/// Batch normalisation (Ioffe & Szegedy, 2015), plain or conditional (de Vries et al., 2017).
///
/// # Shapes
/// `x`, `y`, `dx`, `dy`: `[batch, channels, plane]` (plane = height x width). `gamma` and `beta`: `[channels]`, or
/// `[batch, channels]` with `per_sample`. Instance normalisation is the same with batch 1 and batch x channels channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Pictures.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels of one channel of one picture.
    pub plane: usize,
    /// Whether every picture has its own scale and shift.
    pub per_sample: bool,
    /// Added to the variance.
    pub eps: f32,
    /// Applied to the result.
    pub activation: Activation,
}

/// Per channel, what the forward pass measured and the backward pass needs.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormStats {
    /// Mean.
    pub mean: Vec<f32>,
    /// Biased variance (divided by the number of values).
    pub variance: Vec<f32>,
}

impl BatchNorm {
    fn shape(&self) -> [usize; 3] {
        [self.batch, self.channels, self.plane]
    }

    fn check(
        &self,
        op: &'static str,
        tensors: &[(&'static str, usize)],
        affine: &[(&'static str, Option<usize>)],
    ) -> Result<Isa, KernelError> {
        expect_nonzero(op, &[("batch", self.batch), ("channels", self.channels), ("plane", self.plane)])?;
        for &(name, len) in tensors {
            expect_len(op, name, len, &self.shape())?;
        }
        let scales = [if self.per_sample { self.batch } else { 1 }, self.channels];
        for &(name, len) in affine {
            if let Some(len) = len {
                expect_len(op, name, len, if self.per_sample { &scales } else { &scales[1..] })?;
            }
        }
        active_isa()
    }

    /// Where picture `n`'s scale of channel `c` is.
    #[inline(always)]
    fn at(&self, n: usize, c: usize) -> usize {
        if self.per_sample { n * self.channels + c } else { c }
    }

    #[inline(always)]
    fn plane_of<'a>(&self, x: &'a [f32], n: usize, c: usize) -> &'a [f32] {
        &x[(n * self.channels + c) * self.plane..][..self.plane]
    }
}

/// `y = act((x - mean) / sqrt(variance + eps) * gamma + beta)` with the batch's statistics, which are returned.
/// A missing `gamma` is 1, a missing `beta` 0.
///
/// # Errors
/// If a slice does not fit its shape or a dimension is zero; then `y` is untouched.
pub fn batch_norm_forward(
    g: &BatchNorm,
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [f32],
) -> Result<BatchNormStats, KernelError> {
    let affine = [("gamma", gamma.map(<[f32]>::len)), ("beta", beta.map(<[f32]>::len))];
    let isa = g.check("batch_norm_forward", &[("x", x.len()), ("y", y.len())], &affine)?;
    let mut stats = BatchNormStats { mean: vec![0.0; g.channels], variance: vec![0.0; g.channels] };
    let [mean, variance] = [&mut stats.mean, &mut stats.variance].map(|v| SharedMut::new(v));
    let y = SharedMut::new(y);
    for_items(g.channels, |c| {
        // SAFETY: each item has its own channel.
        let stats = unsafe { (&mut mean.slice(c, 1)[0], &mut variance.slice(c, 1)[0]) };
        vectorize(isa, Forward { g: *g, c, x, gamma, beta, measure: true, stats, y });
    });
    Ok(stats)
}

/// The same with given statistics (running averages, for inference).
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn batch_norm_apply(
    g: &BatchNorm,
    x: &[f32],
    stats: &BatchNormStats,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), KernelError> {
    const OP: &str = "batch_norm_apply";
    let affine = [("gamma", gamma.map(<[f32]>::len)), ("beta", beta.map(<[f32]>::len))];
    let isa = g.check(OP, &[("x", x.len()), ("y", y.len())], &affine)?;
    expect_len(OP, "mean", stats.mean.len(), &[g.channels])?;
    expect_len(OP, "variance", stats.variance.len(), &[g.channels])?;
    let y = SharedMut::new(y);
    for_items(g.channels, |c| {
        let (mut mean, mut variance) = (stats.mean[c], stats.variance[c]);
        let stats = (&mut mean, &mut variance);
        vectorize(isa, Forward { g: *g, c, x, gamma, beta, measure: false, stats, y });
    });
    Ok(())
}

/// Where [`batch_norm_backward`] writes.
#[derive(Debug)]
pub struct BatchNormGradients<'a> {
    /// `[batch, channels, plane]`.
    pub dx: &'a mut [f32],
    /// As `gamma`.
    pub dgamma: Option<&'a mut [f32]>,
    /// As `beta`.
    pub dbeta: Option<&'a mut [f32]>,
}

/// The gradients of [`batch_norm_forward`]; the activation's is recomputed from `x`.
///
/// # Errors
/// As [`batch_norm_forward`].
pub fn batch_norm_backward(
    g: &BatchNorm,
    x: &[f32],
    stats: &BatchNormStats,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    dy: &[f32],
    out: BatchNormGradients<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "batch_norm_backward";
    let affine = [
        ("gamma", gamma.map(<[f32]>::len)),
        ("beta", beta.map(<[f32]>::len)),
        ("dgamma", out.dgamma.as_ref().map(|v| v.len())),
        ("dbeta", out.dbeta.as_ref().map(|v| v.len())),
    ];
    let isa = g.check(OP, &[("x", x.len()), ("dy", dy.len()), ("dx", out.dx.len())], &affine)?;
    expect_len(OP, "mean", stats.mean.len(), &[g.channels])?;
    expect_len(OP, "variance", stats.variance.len(), &[g.channels])?;
    let dx = SharedMut::new(out.dx);
    let [dgamma, dbeta] = [out.dgamma, out.dbeta].map(|v| v.map(SharedMut::new));
    for_items(g.channels, |c| {
        vectorize(isa, Backward { g: *g, c, x, stats, gamma, beta, dy, dx, dgamma, dbeta });
    });
    Ok(())
}

/// Lanes of the sums: the same on every instruction set, so the results are too.
const LANES: usize = 32;
/// Values that are added up in f32 before f64 takes over.
const RUN: usize = 1024;

/// Sums of `f(x, y)` over two slices.
#[inline(always)]
fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> (f32, f32)) -> (f64, f64) {
    let mut total = (0.0, 0.0);
    for (x, y) in x.chunks(RUN).zip(y.chunks(RUN)) {
        let (mut a, mut b) = ([0.0f32; LANES], [0.0f32; LANES]);
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in x.iter().zip(y) {
            for i in 0..LANES {
                let (p, q) = f(x[i], y[i]);
                a[i] += p;
                b[i] += q;
            }
        }
        for (i, (&x, &y)) in x_rest.iter().zip(y_rest).enumerate() {
            let (p, q) = f(x, y);
            a[i] += p;
            b[i] += q;
        }
        total.0 += a.iter().map(|&v| f64::from(v)).sum::<f64>();
        total.1 += b.iter().map(|&v| f64::from(v)).sum::<f64>();
    }
    total
}

struct Forward<'a> {
    g: BatchNorm,
    c: usize,
    x: &'a [f32],
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
    measure: bool,
    stats: (&'a mut f32, &'a mut f32),
    y: SharedMut<'a, f32>,
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { g, c, x, .. } = self;
        let (mean_out, variance_out) = self.stats;
        if self.measure {
            let count = (g.batch * g.plane) as f64;
            let planes = || (0..g.batch).map(|n| g.plane_of(x, n, c));
            let mut sum = 0.0;
            for p in planes() {
                sum += sum2(p, p, |x, _| (x, 0.0)).0;
            }
            let mean = (sum / count) as f32;
            // The second sum corrects for the mean's rounding.
            let (mut first, mut second) = (0.0, 0.0);
            for p in planes() {
                let (d, s) = sum2(p, p, |x, _| (x - mean, (x - mean) * (x - mean)));
                first += d;
                second += s;
            }
            *mean_out = mean;
            *variance_out = ((second - first * first / count) / count) as f32;
        }
        let (mean, rstd) = (*mean_out, inverse_std(*variance_out, g.eps));
        let slope = g.activation.slope();
        for n in 0..g.batch {
            let scale = self.gamma.map_or(1.0, |v| v[g.at(n, c)]) * rstd;
            let shift = self.beta.map_or(0.0, |v| v[g.at(n, c)]);
            // SAFETY: each item has its own channel.
            let y = unsafe { self.y.slice((n * g.channels + c) * g.plane, g.plane) };
            for (y, &x) in y.iter_mut().zip(g.plane_of(x, n, c)) {
                *y = leaky((x - mean) * scale + shift, slope);
            }
        }
    }
}

#[inline(always)]
fn inverse_std(variance: f32, eps: f32) -> f32 {
    (1.0 / (f64::from(variance) + f64::from(eps)).sqrt()) as f32
}

struct Backward<'a> {
    g: BatchNorm,
    c: usize,
    x: &'a [f32],
    stats: &'a BatchNormStats,
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
    dy: &'a [f32],
    dx: SharedMut<'a, f32>,
    dgamma: Option<SharedMut<'a, f32>>,
    dbeta: Option<SharedMut<'a, f32>>,
}

impl Work for Backward<'_> {
    /// With x^ = (x - mean) / std, z = gamma x^ + beta, dz = act'(z) dy and means over the channel's values:
    /// `dx = (gamma dz - mean(gamma dz) - x^ mean(gamma dz x^)) / std`.
    #[inline(always)]
    fn run(self) {
        let Self { g, c, x, dy, .. } = self;
        let (mean, rstd) = (self.stats.mean[c], inverse_std(self.stats.variance[c], g.eps));
        let slope = g.activation.slope();
        let gamma = |n: usize| self.gamma.map_or(1.0, |v| v[g.at(n, c)]);
        let beta = |n: usize| self.beta.map_or(0.0, |v| v[g.at(n, c)]);
        let (mut sum, mut dot, mut all_dgamma, mut all_dbeta) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for n in 0..g.batch {
            let (scale, shift) = (gamma(n) * rstd, beta(n));
            let (s, d) = sum2(g.plane_of(x, n, c), g.plane_of(dy, n, c), |x, dy| {
                let centred = x - mean;
                let dz = if centred * scale + shift > 0.0 { dy } else { dy * slope };
                (dz, dz * centred)
            });
            let d = d * f64::from(rstd);
            sum += s * f64::from(gamma(n));
            dot += d * f64::from(gamma(n));
            all_dgamma += d;
            all_dbeta += s;
            if g.per_sample {
                self.write(n, d, s);
            }
        }
        if !g.per_sample {
            self.write(0, all_dgamma, all_dbeta);
        }
        let count = (g.batch * g.plane) as f64;
        let mean_sum = (sum / count) as f32 * rstd;
        let mean_dot = (dot / count) as f32 * rstd * rstd;
        for n in 0..g.batch {
            let (scale, shift) = (gamma(n) * rstd, beta(n));
            // SAFETY: each item has its own channel.
            let dx = unsafe { self.dx.slice((n * g.channels + c) * g.plane, g.plane) };
            let inputs = g.plane_of(x, n, c).iter().zip(g.plane_of(dy, n, c));
            for (dx, (&x, &dy)) in dx.iter_mut().zip(inputs) {
                let centred = x - mean;
                let dz = if centred * scale + shift > 0.0 { dy } else { dy * slope };
                *dx = dz * scale - mean_sum - centred * mean_dot;
            }
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn write(&self, n: usize, dgamma: f64, dbeta: f64) {
        for (to, value) in [(self.dgamma, dgamma), (self.dbeta, dbeta)] {
            if let Some(to) = to {
                // SAFETY: each item has its own channel.
                unsafe { to.slice(self.g.at(n, self.c), 1) }.fill(value as f32);
            }
        }
    }
}
