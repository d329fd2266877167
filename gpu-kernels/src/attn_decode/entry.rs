//! The entry points of `attn_decode`.
use super::score::Multiply;
use super::split::{Split, clear_pad};
use super::{AttnDecode, THREADS};
use crate::cached::{E4m3, Plain};
use cuda_std::barrier::sync_threads;
use cuda_std::{cluster, cp_async, fragment, grid, kernel, thread};

kernel! {
    /// Heads of 32.
    pub fn attn_decode_32(args: AttnDecode) {
        attend::<32, 2, 2, Plain, false>(&args);
    }

    /// Heads of 64.
    pub fn attn_decode_64(args: AttnDecode) {
        attend::<64, 4, 4, Plain, false>(&args);
    }

    /// Heads of 96.
    pub fn attn_decode_96(args: AttnDecode) {
        attend::<96, 6, 6, Plain, false>(&args);
    }

    /// Heads of 128.
    pub fn attn_decode_128(args: AttnDecode) {
        attend::<128, 8, 8, Plain, false>(&args);
    }

    /// Heads of 192.
    pub fn attn_decode_192(args: AttnDecode) {
        attend::<192, 12, 12, Plain, false>(&args);
    }

    /// Heads of 256.
    pub fn attn_decode_256(args: AttnDecode) {
        attend::<256, 16, 16, Plain, false>(&args);
    }

    /// Heads of 32, with pools of codes.
    pub fn attn_decode_fp8_32(args: AttnDecode) {
        attend::<32, 2, 1, E4m3, false>(&args);
    }

    /// Heads of 64, with pools of codes.
    pub fn attn_decode_fp8_64(args: AttnDecode) {
        attend::<64, 4, 2, E4m3, false>(&args);
    }

    /// Heads of 96, with pools of codes.
    pub fn attn_decode_fp8_96(args: AttnDecode) {
        attend::<96, 6, 3, E4m3, false>(&args);
    }

    /// Heads of 128, with pools of codes.
    pub fn attn_decode_fp8_128(args: AttnDecode) {
        attend::<128, 8, 4, E4m3, false>(&args);
    }

    /// Heads of 192, with pools of codes.
    pub fn attn_decode_fp8_192(args: AttnDecode) {
        attend::<192, 12, 6, E4m3, false>(&args);
    }

    /// Heads of 256, with pools of codes.
    pub fn attn_decode_fp8_256(args: AttnDecode) {
        attend::<256, 16, 8, E4m3, false>(&args);
    }

    /// Heads of 32, splits in clusters.
    pub fn attn_decode_cluster_32(args: AttnDecode) {
        attend::<32, 2, 2, Plain, true>(&args);
    }

    /// Heads of 64, splits in clusters.
    pub fn attn_decode_cluster_64(args: AttnDecode) {
        attend::<64, 4, 4, Plain, true>(&args);
    }

    /// Heads of 96, splits in clusters.
    pub fn attn_decode_cluster_96(args: AttnDecode) {
        attend::<96, 6, 6, Plain, true>(&args);
    }

    /// Heads of 128, splits in clusters.
    pub fn attn_decode_cluster_128(args: AttnDecode) {
        attend::<128, 8, 8, Plain, true>(&args);
    }

    /// Heads of 192, splits in clusters.
    pub fn attn_decode_cluster_192(args: AttnDecode) {
        attend::<192, 12, 12, Plain, true>(&args);
    }

    /// Heads of 256, splits in clusters.
    pub fn attn_decode_cluster_256(args: AttnDecode) {
        attend::<256, 16, 16, Plain, true>(&args);
    }

    /// Heads of 32, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_32(args: AttnDecode) {
        attend::<32, 2, 1, E4m3, true>(&args);
    }

    /// Heads of 64, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_64(args: AttnDecode) {
        attend::<64, 4, 2, E4m3, true>(&args);
    }

    /// Heads of 96, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_96(args: AttnDecode) {
        attend::<96, 6, 3, E4m3, true>(&args);
    }

    /// Heads of 128, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_128(args: AttnDecode) {
        attend::<128, 8, 4, E4m3, true>(&args);
    }

    /// Heads of 192, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_192(args: AttnDecode) {
        attend::<192, 12, 6, E4m3, true>(&args);
    }

    /// Heads of 256, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_256(args: AttnDecode) {
        attend::<256, 16, 8, E4m3, true>(&args);
    }
}

/// `STEPS` depths of `mma` make a head of `DIM`; a thread copies `SHARES` pieces of the keys of a split. The splits of a team
/// are a cluster, or not.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn attend<const DIM: u32, const STEPS: usize, const SHARES: usize, E: Multiply, const CLUSTERED: bool>(
    args: &AttnDecode,
) {
    const { assert!(STEPS as u32 * fragment::K == DIM) };
    // SAFETY: the split is the same for the whole block, so all its threads come to the barriers.
    unsafe {
        if Split::<DIM, E>::CROWDED {
            thread::blocks_at_once::<THREADS, 4>();
        }
        if CLUSTERED {
            cluster::always();
        }
        grid::launch_dependents();
        let Some(split) = Split::<DIM, E>::of_block(args, CLUSTERED) else {
            grid::wait_for_dependencies();
            return clear_pad::<DIM>(args);
        };
        if args.cos.is_null() {
            // A kernel in front may have stored keys.
            grid::wait_for_dependencies();
        }
        split.copy::<SHARES>(args.k_pool, split.keys());
        if Split::<DIM, E>::APART {
            split.copy::<SHARES>(args.v_pool, split.values());
        }
        let sends = CLUSTERED && split.live.count > 1;
        if sends {
            split.open_mailbox();
        }
        grid::wait_for_dependencies();
        split.share_rows();
        if Split::<DIM, E>::APART {
            split.add_value();
            cp_async::wait::<1>();
        } else {
            cp_async::wait::<0>();
        }
        sync_threads();
        let scores = split.score::<STEPS>();
        split.share_maxima(&scores);
        sync_threads();
        if !Split::<DIM, E>::APART {
            split.copy::<SHARES>(args.v_pool, split.values());
            split.add_value();
        }
        split.weigh(&scores);
        cp_async::wait::<0>();
        sync_threads();
        if sends {
            split.send_stats();
        }
        E::sum(&split);
        join(&split, sends);
    }
}

/// Joins the splits, if this block is the one that does it, or its part of those that were sent.
///
/// # Safety
/// The whole block comes here, behind its sums.
#[inline(always)]
unsafe fn join<const DIM: u32, E: Multiply>(split: &Split<DIM, E>, sent: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if sent {
            split.join_sent();
        } else if split.live.count > 1 {
            sync_threads();
            if split.arrives_last() {
                split.join();
            }
        }
    }
}
