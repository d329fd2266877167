//! What is kept of each position of a chunk: Δ, the sums of its exponents, and what it counts behind the chunk.
use super::Stage;
use crate::ssm::CHUNK;
use crate::ssm::arithmetic::{number, store_sums};
use crate::ssm_scan::SsmScan;
use crate::ssm_scan::span::{Span, widths};
use cuda_std::{math, thread, warp};

/// The warp that stores them; other warps do nothing here.
pub struct Numbers {
    stores: bool,
    /// A, as an exponent of 2.
    rate: f32,
}

impl Numbers {
    /// # Safety
    /// The kernel's Requires hold; `thread` counts those that take S along.
    #[inline(always)]
    pub unsafe fn of_thread(args: &SsmScan, span: &Span, thread: u32) -> Numbers {
        // SAFETY: the caller's promise.
        let rate = -math::exp(unsafe { number(args.a_log, span.head) });
        Numbers { stores: thread < thread::WARP_SIZE, rate: rate * core::f32::consts::LOG2_E }
    }

    /// Stores the numbers of a chunk, of which only the `FIRST` one begins before the span.
    ///
    /// # Safety
    /// The kernel's Requires hold; the kernel in front has ended; nobody reads the stage's numbers.
    #[inline(always)]
    pub unsafe fn store<const FIRST: bool>(&self, args: &SsmScan, span: &Span, stage: &Stage, chunk: u32) {
        if self.stores {
            // SAFETY: the caller's promise; the whole warp comes here.
            unsafe {
                let widths = widths::<FIRST>(args, span, chunk);
                store_sums(widths, self.rate, stage.widths, stage.sums);
                warp::sync();
                let (last, lane) = (stage.sums.load(CHUNK - 1), thread::lane_id());
                let sums = stage.sums.cast::<[f32; 2]>().load(lane);
                let factor = |i: usize| math::ex2_flushed(last - sums[i]) * widths[i];
                stage.factors.cast::<[f32; 2]>().store(lane, [factor(0), factor(1)]);
            }
        }
    }
}
