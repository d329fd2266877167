//! What is kept of each position of a chunk: Δ, the sums of its exponents, and what it counts behind the chunk.
use super::Stage;
use crate::ssm::arithmetic::{number, store_sums};
use crate::ssm_scan::SsmScan;
use crate::ssm_scan::span::{Span, widths};
use cuda_std::{math, thread, warp};

/// The warp that stores them; other warps do nothing here.
pub struct Numbers {
    stores: bool,
    /// A, as an exponent of 2.
    rate: f32,
    /// Δ of the next chunk to store.
    ahead: [f32; 2],
}

impl Numbers {
    /// Asks for the numbers of the first chunk.
    ///
    /// # Safety
    /// The kernel's Requires hold; the kernel in front has ended; `thread` counts those that take S along.
    #[inline(always)]
    pub unsafe fn new(args: &SsmScan, span: &Span, thread: u32) -> Numbers {
        // SAFETY: the caller's promise.
        unsafe {
            let rate = -math::exp(number(args.a_log, span.head));
            let stores = thread < thread::WARP_SIZE;
            let ahead = if stores { widths::<true>(args, span, span.front) } else { [0.0; 2] };
            Numbers { stores, rate: rate * core::f32::consts::LOG2_E, ahead }
        }
    }

    /// Asks for the numbers of a chunk behind the first one: long before they are stored, so that nobody waits for them.
    ///
    /// # Safety
    /// As for [`Numbers::new`].
    #[inline(always)]
    pub unsafe fn ask(&mut self, args: &SsmScan, span: &Span, chunk: u32) {
        if self.stores {
            // SAFETY: the caller's promise. Behind the span nothing is asked for.
            self.ahead = unsafe { widths::<false>(args, span, chunk) };
        }
    }

    /// Stores the numbers that were asked for last.
    ///
    /// # Safety
    /// As for [`Numbers::new`]; nobody reads the stage's numbers.
    #[inline(always)]
    pub unsafe fn store(&self, stage: &Stage) {
        if self.stores {
            // SAFETY: the caller's promise; the whole warp comes here.
            unsafe {
                let own = self.ahead;
                let sums = store_sums(own, self.rate, stage.widths, stage.sums);
                let last = warp::shuffle(sums[1], thread::WARP_SIZE - 1);
                let factor = |i: usize| math::ex2_flushed(last - sums[i]) * own[i];
                stage.factors.cast::<[f32; 2]>().store(thread::lane_id(), [factor(0), factor(1)]);
            }
        }
    }
}
