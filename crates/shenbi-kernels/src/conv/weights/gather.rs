//! The end of a weight gradient: from blocks of sums to the weights' order.
#![allow(unsafe_code)]

use super::Geometry;
use crate::isa::{BLOCK, Work};
use crate::pack::transpose;
use crate::scratch::{self, Slot};

/// Brings one output channel's sums into the order of the weights, `[input channel][ky][kx]`.
pub(super) struct Gather<'a> {
    pub(super) job: &'a Geometry,
    pub(super) o: usize,
    pub(super) sums: &'a [f32],
    pub(super) dw: &'a mut [f32],
}

impl Work for Gather<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { job, sums, dw, .. } = self;
        let [kh, kw] = job.g.kernel;
        let (group, o) = (self.o / job.co, self.o % job.co);
        let row = kw * job.ci;
        let blocks = [job.g.groups * job.q_blocks(), kh, job.o_blocks()];
        // [ky][kx][input channel]
        let collect = |stage: &mut [f32]| {
            for split in 0..job.splits {
                for (ky, stage) in stage.chunks_exact_mut(row).enumerate() {
                    for (q, stage) in stage.chunks_mut(BLOCK).enumerate() {
                        let item = (split * blocks[0] + group * job.q_blocks() + q) * blocks[1];
                        let from = ((item + ky) * blocks[2] + o / BLOCK) * BLOCK + o % BLOCK;
                        let from = &sums[from * BLOCK..][..stage.len()];
                        if split == 0 {
                            stage.copy_from_slice(from);
                        } else {
                            stage.iter_mut().zip(from).for_each(|(s, f)| *s += f);
                        }
                    }
                }
            }
        };
        if kh * kw == 1 {
            return collect(dw);
        }
        let mut stage = scratch::take(Slot::Row, kh * row);
        let stage = stage.as_f32_mut();
        collect(stage);
        // SAFETY: f32 seen as words, twice.
        let ((_, stage, _), (_, dw, _)) = unsafe { (stage.align_to::<u32>(), dw.align_to_mut::<u32>()) };
        transpose(job.micro, stage, job.ci, dw, kh * kw, kh * kw, job.ci);
    }
}
