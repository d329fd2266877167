//! The entry points of `ssm_scan`.
use super::span::{Room, Span, ask_for_chunk, ask_for_state, widths};
use super::{SsmScan, chunk, end};
use crate::ssm::CHUNK;
use crate::ssm::arithmetic::{number, store_sums};
use cuda_std::barrier::sync_threads;
use cuda_std::{cp_async, grid, kernel, math, thread};

kernel! {
    /// A head of a sequence to a block; two chunks in shared memory.
    pub fn ssm_scan(args: SsmScan) {
        scan::<2>(&args);
    }

    /// A head of a sequence to a block; one chunk in shared memory.
    pub fn ssm_scan_narrow(args: SsmScan) {
        scan::<1>(&args);
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn scan<const STAGES: u32>(args: &SsmScan) {
    grid::launch_dependents();
    // SAFETY: the caller's promise.
    unsafe {
        let span = Span::of_block(args);
        grid::wait_for_dependencies();
        end::fill_pads(args);
        if let Some(span) = span {
            run::<STAGES>(args, &span);
        }
    }
}

/// # Safety
/// As for [`scan`]; the kernel in front has ended.
#[inline(always)]
unsafe fn run<const STAGES: u32>(args: &SsmScan, span: &Span) {
    let room = Room::new(args, STAGES);
    let last = (span.end - 1) / CHUNK;
    // SAFETY: chunks are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let (rate, skip) = (-math::exp(number(args.a_log, span.head)), number(args.d, span.head));
        ask_for_state(args, span, &room);
        ask_for_chunk::<true>(args, span, &room.stage(args, span.front, STAGES), span.front);
        cp_async::commit();
        let mut ahead = widths::<true>(args, span, span.front);
        let mut at = span.front;
        while at <= last {
            let stage = room.stage(args, at, STAGES);
            if thread::warp_id() == 0 {
                store_sums(ahead, rate, stage.widths, stage.sums);
            }
            cp_async::wait::<0>();
            sync_threads();
            if at < last {
                ahead = widths::<false>(args, span, at + 1);
                if STAGES > 1 {
                    ask_for_chunk::<false>(args, span, &room.stage(args, at + 1, STAGES), at + 1);
                    cp_async::commit();
                }
            }
            chunk::output(args, span, &room, &stage, at, skip);
            if span.completes(at) {
                sync_threads();
                chunk::advance(args, &room, &stage);
            }
            if STAGES == 1 && at < last {
                sync_threads();
                ask_for_chunk::<false>(args, span, &room.stage(args, at + 1, STAGES), at + 1);
                cp_async::commit();
            }
            at += 1;
        }
        sync_threads();
        if span.end / CHUNK > span.front {
            end::store_state(args, span, &room);
        }
        end::store_tokens(args, span);
    }
}
