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
            // Behind the span the last token's stand, until they are stored: a choice here would wait for them.
            self.ahead = [0, 1].map(|i| {
                let position = (chunk * CHUNK + 2 * thread::lane_id() + i).min(span.end - 1);
                // SAFETY: the caller's promise; a row of the span.
                unsafe { number(args.dt, span.row_at(position) * args.heads + span.head) }
            });
        }
    }

    /// Stores the numbers that were asked for last, those of `chunk`.
    ///
    /// # Safety
    /// As for [`Numbers::new`]; nobody reads the stage's numbers.
    #[inline(always)]
    pub unsafe fn store(&self, span: &Span, stage: &Stage, chunk: u32) {
        if self.stores {
            let position = chunk * CHUNK + 2 * thread::lane_id();
            let width = |i: usize| if position + (i as u32) < span.end { self.ahead[i] } else { 0.0 };
            // SAFETY: the caller's promise; the whole warp comes here.
            unsafe {
                let own = [width(0), width(1)];
                let sums = store_sums(own, self.rate, stage.widths, stage.sums);
                let last = warp::shuffle(sums[1], thread::WARP_SIZE - 1);
                let factor = |i: usize| math::ex2_flushed(last - sums[i]) * own[i];
                stage.factors.cast::<[f32; 2]>().store(thread::lane_id(), [factor(0), factor(1)]);
            }
        }
    }
}
