//! Batch, instance and group normalisation, or none, fused with scale, shift and activation, forward and backward,
//! channels-last.
//!
//! Pictures are taken in pieces whose sums, f32, are combined in f64 in an order that depends on the shape alone.
#![allow(unsafe_code)]

mod pieces;

use crate::activation::Activation;
use crate::element::Element;
use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::isa::{Isa, active_isa, vectorize};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};
use pieces::{Apply, Backward, Dots, Moments};

/// Whose values share a mean and a variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// One channel of all pictures (batch normalisation; Ioffe & Szegedy, 2015).
    Batch,
    /// So many groups of channels of each picture (group normalisation; Wu & He, 2018). As many groups as channels make
    /// it instance normalisation (Ulyanov et al., 2016).
    Groups(usize),
    /// None do: x is scaled and shifted as it is (DF-GAN's affine transformation, 2008.05865). Statistics are then 0 and 1,
    /// and `eps` is ignored.
    Nothing,
}

/// A normalisation, plain or conditional (de Vries et al., 2017).
///
/// # Shapes
/// `x`, `y`, `dx`, `dy`: `[batch, plane, channels]` (plane = height x width). `gamma` and `beta`: `[channels]`, or
/// `[batch, channels]` with `per_sample`. Statistics: `[channels]` over the batch, else `[batch, groups]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Pictures.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels of one picture.
    pub plane: usize,
    /// Whose values share statistics.
    pub over: Over,
    /// Whether every picture has its own scale and shift.
    pub per_sample: bool,
    /// Added to the variance.
    pub eps: f32,
    /// Applied to the result.
    pub activation: Activation,
}

/// What the forward pass measured and the backward pass needs.
#[derive(Debug, Clone, PartialEq)]
pub struct NormStats {
    /// Mean.
    pub mean: Vec<f32>,
    /// Biased variance (divided by the number of values).
    pub variance: Vec<f32>,
}

/// Pixels whose sums are f32 before f64 takes over.
const PIECE: usize = 512;
/// Elements of one work item, about.
const ITEM: usize = 32 * 1024;

impl Norm {
    fn check(
        &self,
        op: &'static str,
        tensors: &[(&'static str, usize)],
        affine: &[(&'static str, Option<usize>)],
    ) -> Result<Isa, KernelError> {
        expect_nonzero(op, &[("batch", self.batch), ("channels", self.channels), ("plane", self.plane)])?;
        if let Over::Groups(groups) = self.over
            && (groups == 0 || !self.channels.is_multiple_of(groups))
        {
            let message = format!("{} channels do not divide into {groups} groups", self.channels);
            return Err(KernelError::Shape { op, message });
        }
        for &(name, len) in tensors {
            expect_len(op, name, len, &[self.batch, self.plane, self.channels])?;
        }
        let scales = [if self.per_sample { self.batch } else { 1 }, self.channels];
        for &(name, len) in affine {
            if let Some(len) = len {
                expect_len(op, name, len, if self.per_sample { &scales } else { &scales[1..] })?;
            }
        }
        active_isa()
    }

    /// How many means there are.
    fn sets(&self) -> usize {
        match self.over {
            Over::Batch | Over::Nothing => self.channels,
            Over::Groups(groups) => self.batch * groups,
        }
    }

    /// Which mean is that of channel `c` of picture `n`.
    #[inline(always)]
    fn set(&self, n: usize, c: usize) -> usize {
        match self.over {
            Over::Batch | Over::Nothing => c,
            Over::Groups(groups) => n * groups + c / (self.channels / groups),
        }
    }

    /// Values that share a mean.
    fn count(&self) -> f64 {
        (self.batch * self.plane * self.channels / self.sets()) as f64
    }

    fn pieces(&self) -> usize {
        self.batch * self.plane.div_ceil(PIECE)
    }

    /// Picture and first element of a piece, and its pixels.
    #[inline(always)]
    fn piece(&self, i: usize) -> (usize, usize, usize) {
        let each = self.plane.div_ceil(PIECE);
        let (n, first) = (i / each, i % each * PIECE);
        (n, (n * self.plane + first) * self.channels, PIECE.min(self.plane - first))
    }

    /// Runs `f` on every piece, some of them at a time.
    fn for_pieces(&self, f: impl Fn(usize) + Sync + Send) {
        let some = (ITEM / (self.channels * self.plane.min(PIECE))).max(1);
        for_items(self.pieces().div_ceil(some), |i| (i * some..self.pieces().min((i + 1) * some)).for_each(&f));
    }

    /// Scale and shift of the channels, `y = x * scale + shift`: `[2, channels]` for each picture, or for all.
    fn affine(&self, stats: &NormStats, gamma: Option<&[f32]>, beta: Option<&[f32]>) -> Vec<f32> {
        let rstd: Vec<f32> = stats.variance.iter().map(|&v| self.inverse_std(v)).collect();
        let pictures = if self.per_sample || matches!(self.over, Over::Groups(_)) { self.batch } else { 1 };
        let mut out = vec![0.0; pictures * 2 * self.channels];
        for (n, out) in out.chunks_exact_mut(2 * self.channels).enumerate() {
            let (scale, shift) = out.split_at_mut(self.channels);
            for c in 0..self.channels {
                let (set, at) = (self.set(n, c), if self.per_sample { n * self.channels + c } else { c });
                scale[c] = gamma.map_or(1.0, |v| v[at]) * rstd[set];
                shift[c] = beta.map_or(0.0, |v| v[at]) - stats.mean[set] * scale[c];
            }
        }
        out
    }

    #[inline(always)]
    fn inverse_std(&self, variance: f32) -> f32 {
        if self.over == Over::Nothing { 1.0 } else { (1.0 / (f64::from(variance) + f64::from(self.eps)).sqrt()) as f32 }
    }

    /// Picture `n`'s part of [`Self::affine`].
    #[inline(always)]
    fn affine_of<'a>(&self, affine: &'a [f32], n: usize) -> (&'a [f32], &'a [f32]) {
        let each = 2 * self.channels;
        let at = if affine.len() == each { 0 } else { n * each };
        affine[at..at + each].split_at(self.channels)
    }
}

/// `y = act((x - mean) / sqrt(variance + eps) * gamma + beta)` with `x`'s own statistics, which are returned.
/// A missing `gamma` is 1, a missing `beta` 0.
///
/// # Errors
/// If a slice does not fit its shape or a dimension is zero; then `y` is untouched.
pub fn norm_forward<E: Element>(
    g: &Norm,
    x: &[E],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [E],
) -> Result<NormStats, KernelError> {
    let affine = [("gamma", gamma.map(<[f32]>::len)), ("beta", beta.map(<[f32]>::len))];
    let isa = g.check("norm_forward", &[("x", x.len()), ("y", y.len())], &affine)?;
    let stats = measure(g, isa, x);
    apply(g, isa, x, &stats, gamma, beta, y);
    Ok(stats)
}

/// The same with given statistics (running averages, for inference).
///
/// # Errors
/// As [`norm_forward`].
pub fn norm_apply<E: Element>(
    g: &Norm,
    x: &[E],
    stats: &NormStats,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [E],
) -> Result<(), KernelError> {
    const OP: &str = "norm_apply";
    let affine = [("gamma", gamma.map(<[f32]>::len)), ("beta", beta.map(<[f32]>::len))];
    let isa = g.check(OP, &[("x", x.len()), ("y", y.len())], &affine)?;
    expect_len(OP, "mean", stats.mean.len(), &[g.sets()])?;
    expect_len(OP, "variance", stats.variance.len(), &[g.sets()])?;
    apply(g, isa, x, stats, gamma, beta, y);
    Ok(())
}

/// Where [`norm_backward`] writes.
#[derive(Debug)]
pub struct NormGradients<'a, E> {
    /// As `x`.
    pub dx: &'a mut [E],
    /// As `gamma`.
    pub dgamma: Option<&'a mut [f32]>,
    /// As `beta`.
    pub dbeta: Option<&'a mut [f32]>,
}

/// The gradients of [`norm_forward`]; the activation's is recomputed from `x`.
///
/// With x^ = (x - mean) / std, z = gamma x^ + beta, dz = act'(z) dy and means over the values that share statistics:
/// `dx = (gamma dz - mean(gamma dz) - x^ mean(gamma dz x^)) / std`.
///
/// # Errors
/// As [`norm_forward`].
pub fn norm_backward<E: Element>(
    g: &Norm,
    x: &[E],
    stats: &NormStats,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    dy: &[E],
    mut out: NormGradients<'_, E>,
) -> Result<(), KernelError> {
    const OP: &str = "norm_backward";
    let affine = [
        ("gamma", gamma.map(<[f32]>::len)),
        ("beta", beta.map(<[f32]>::len)),
        ("dgamma", out.dgamma.as_ref().map(|v| v.len())),
        ("dbeta", out.dbeta.as_ref().map(|v| v.len())),
    ];
    let isa = g.check(OP, &[("x", x.len()), ("dy", dy.len()), ("dx", out.dx.len())], &affine)?;
    expect_len(OP, "mean", stats.mean.len(), &[g.sets()])?;
    expect_len(OP, "variance", stats.variance.len(), &[g.sets()])?;

    let affine = g.affine(stats, gamma, beta);
    let mut sums = scratch::take(Slot::Accumulators, g.pieces() * 2 * g.channels);
    let shared = SharedMut::new(sums.as_f32_mut());
    g.for_pieces(|i| {
        // SAFETY: each piece has its own sums.
        let sums = unsafe { shared.slice(i * 2 * g.channels, 2 * g.channels) };
        vectorize(isa, Dots { g, i, x, dy, stats, affine: &affine, sums });
    });

    // Per set: the means of gamma dz and gamma dz (x - mean); per channel (and picture): the gradients.
    let rstd: Vec<f64> = stats.variance.iter().map(|&v| f64::from(g.inverse_std(v))).collect();
    let mut means = vec![(0.0f64, 0.0f64); g.sets()];
    let mut channel = vec![(0.0f64, 0.0f64); if g.per_sample { g.batch * g.channels } else { g.channels }];
    for (i, sums) in sums.as_f32_mut().chunks_exact(2 * g.channels).take(g.pieces()).enumerate() {
        let n = g.piece(i).0;
        for c in 0..g.channels {
            let (set, at) = (g.set(n, c), if g.per_sample { n * g.channels + c } else { c });
            let rstd = rstd[set];
            let (sum, dot) = (f64::from(sums[c]), f64::from(sums[g.channels + c]));
            let scale = f64::from(gamma.map_or(1.0, |v| v[at])) * rstd;
            means[set].0 += sum * scale;
            means[set].1 += dot * scale * rstd * rstd;
            channel[at].0 += dot * rstd;
            channel[at].1 += sum;
        }
    }
    for (to, from) in out.dgamma.iter_mut().flat_map(|v| v.iter_mut()).zip(&channel) {
        *to = from.0 as f32;
    }
    for (to, from) in out.dbeta.iter_mut().flat_map(|v| v.iter_mut()).zip(&channel) {
        *to = from.1 as f32;
    }
    if g.over == Over::Nothing {
        means.fill((0.0, 0.0)); // nothing was subtracted
    }
    let means: Vec<_> = means.iter().map(|&(sum, dot)| ((sum / g.count()) as f32, (dot / g.count()) as f32)).collect();
    let dx = SharedMut::new(out.dx);
    g.for_pieces(|i| {
        let (_, at, pixels) = g.piece(i);
        // SAFETY: each piece has its own pixels.
        let dx = unsafe { dx.slice(at, pixels * g.channels) };
        vectorize(isa, Backward { g, i, x, dy, stats, affine: &affine, means: &means, dx });
    });
    Ok(())
}

/// Mean and variance of each set.
fn measure<E: Element>(g: &Norm, isa: Isa, x: &[E]) -> NormStats {
    if g.over == Over::Nothing {
        return NormStats { mean: vec![0.0; g.channels], variance: vec![1.0; g.channels] };
    }
    let mut moments = scratch::take(Slot::Accumulators, g.pieces() * 2 * g.channels);
    let shared = SharedMut::new(moments.as_f32_mut());
    g.for_pieces(|i| {
        let (_, at, pixels) = g.piece(i);
        // SAFETY: each piece has its own moments.
        let out = unsafe { shared.slice(i * 2 * g.channels, 2 * g.channels) };
        vectorize(isa, Moments { channels: g.channels, x: &x[at..at + pixels * g.channels], out });
    });
    // Pieces are combined exactly (Chan, Golub & LeVeque, 1983).
    let moments = &moments.as_f32_mut()[..g.pieces() * 2 * g.channels];
    let (mut mean, mut square) = (vec![0.0f64; g.sets()], vec![0.0f64; g.sets()]);
    for (i, piece) in moments.chunks_exact(2 * g.channels).enumerate() {
        let (n, _, pixels) = g.piece(i);
        for (c, m) in piece[..g.channels].iter().enumerate() {
            mean[g.set(n, c)] += f64::from(*m) * pixels as f64;
        }
    }
    mean.iter_mut().for_each(|m| *m /= g.count());
    for (i, piece) in moments.chunks_exact(2 * g.channels).enumerate() {
        let (n, _, pixels) = g.piece(i);
        let (means, squares) = piece.split_at(g.channels);
        for (c, (m, s)) in means.iter().zip(squares).enumerate() {
            let set = g.set(n, c);
            let distance = f64::from(*m) - mean[set];
            square[set] += f64::from(*s) + pixels as f64 * distance * distance;
        }
    }
    NormStats {
        mean: mean.iter().map(|&m| m as f32).collect(),
        variance: square.iter().map(|s| (s / g.count()) as f32).collect(),
    }
}

fn apply<E: Element>(
    g: &Norm,
    isa: Isa,
    x: &[E],
    stats: &NormStats,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [E],
) {
    let affine = g.affine(stats, gamma, beta);
    let y = SharedMut::new(y);
    g.for_pieces(|i| {
        let (_, at, pixels) = g.piece(i);
        // SAFETY: each piece has its own pixels.
        let y = unsafe { y.slice(at, pixels * g.channels) };
        vectorize(isa, Apply { g, i, x: &x[at..at + pixels * g.channels], affine: &affine, y });
    });
}
