//! The entry points of `attn_decode`.
use super::form::{Apart, Compact, Form, OfFew};
use super::rows::Operand;
use super::split::{Split, clear_pad};
use super::{AttnDecode, THREADS};
use crate::cached::{E4m3, Plain};
use cuda_std::barrier::sync_threads;
use cuda_std::{cluster, grid, kernel, thread};

kernel! {
    /// Heads of 32.
    pub fn attn_decode_32(args: AttnDecode) {
        attend::<32, 1, 1, Plain, false, Apart>(&args);
    }

    /// Heads of 64.
    pub fn attn_decode_64(args: AttnDecode) {
        attend::<64, 2, 1, Plain, false, Apart>(&args);
    }

    /// Heads of 96.
    pub fn attn_decode_96(args: AttnDecode) {
        attend::<96, 3, 2, Plain, false, Apart>(&args);
    }

    /// Heads of 128.
    pub fn attn_decode_128(args: AttnDecode) {
        attend::<128, 4, 2, Plain, false, Apart>(&args);
    }

    /// Heads of 192.
    pub fn attn_decode_192(args: AttnDecode) {
        attend::<192, 6, 3, Plain, false, Compact>(&args);
    }

    /// Heads of 256.
    pub fn attn_decode_256(args: AttnDecode) {
        attend::<256, 8, 4, Plain, false, Compact>(&args);
    }

    /// Heads of 128, values in the keys' place.
    pub fn attn_decode_compact_128(args: AttnDecode) {
        attend::<128, 4, 2, Plain, false, Compact>(&args);
    }

    /// Heads of 32, with pools of codes.
    pub fn attn_decode_fp8_32(args: AttnDecode) {
        attend::<32, 1, 1, E4m3, false, Apart>(&args);
    }

    /// Heads of 64, with pools of codes.
    pub fn attn_decode_fp8_64(args: AttnDecode) {
        attend::<64, 2, 1, E4m3, false, Apart>(&args);
    }

    /// Heads of 96, with pools of codes.
    pub fn attn_decode_fp8_96(args: AttnDecode) {
        attend::<96, 3, 2, E4m3, false, Apart>(&args);
    }

    /// Heads of 128, with pools of codes.
    pub fn attn_decode_fp8_128(args: AttnDecode) {
        attend::<128, 4, 2, E4m3, false, Apart>(&args);
    }

    /// Heads of 128, with pools of codes, values in the keys' place.
    pub fn attn_decode_compact_fp8_128(args: AttnDecode) {
        attend::<128, 4, 2, E4m3, false, Compact>(&args);
    }

    /// Heads of 128, with pools of codes, of small teams.
    pub fn attn_decode_few_fp8_128(args: AttnDecode) {
        attend::<128, 4, 2, E4m3, false, OfFew>(&args);
    }

    /// Heads of 192, with pools of codes.
    pub fn attn_decode_fp8_192(args: AttnDecode) {
        attend::<192, 6, 3, E4m3, false, Compact>(&args);
    }

    /// Heads of 256, with pools of codes.
    pub fn attn_decode_fp8_256(args: AttnDecode) {
        attend::<256, 8, 4, E4m3, false, Compact>(&args);
    }

    /// Heads of 32, splits in clusters.
    pub fn attn_decode_cluster_32(args: AttnDecode) {
        attend::<32, 1, 1, Plain, true, Apart>(&args);
    }

    /// Heads of 64, splits in clusters.
    pub fn attn_decode_cluster_64(args: AttnDecode) {
        attend::<64, 2, 1, Plain, true, Apart>(&args);
    }

    /// Heads of 96, splits in clusters.
    pub fn attn_decode_cluster_96(args: AttnDecode) {
        attend::<96, 3, 2, Plain, true, Apart>(&args);
    }

    /// Heads of 128, splits in clusters.
    pub fn attn_decode_cluster_128(args: AttnDecode) {
        attend::<128, 4, 2, Plain, true, Apart>(&args);
    }

    /// Heads of 192, splits in clusters.
    pub fn attn_decode_cluster_192(args: AttnDecode) {
        attend::<192, 6, 3, Plain, true, Compact>(&args);
    }

    /// Heads of 256, splits in clusters.
    pub fn attn_decode_cluster_256(args: AttnDecode) {
        attend::<256, 8, 4, Plain, true, Compact>(&args);
    }

    /// Heads of 32, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_32(args: AttnDecode) {
        attend::<32, 1, 1, E4m3, true, Apart>(&args);
    }

    /// Heads of 64, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_64(args: AttnDecode) {
        attend::<64, 2, 1, E4m3, true, Apart>(&args);
    }

    /// Heads of 96, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_96(args: AttnDecode) {
        attend::<96, 3, 2, E4m3, true, Apart>(&args);
    }

    /// Heads of 128, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_128(args: AttnDecode) {
        attend::<128, 4, 2, E4m3, true, Apart>(&args);
    }

    /// Heads of 192, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_192(args: AttnDecode) {
        attend::<192, 6, 3, E4m3, true, Compact>(&args);
    }

    /// Heads of 256, with pools of codes, splits in clusters.
    pub fn attn_decode_cluster_fp8_256(args: AttnDecode) {
        attend::<256, 8, 4, E4m3, true, Compact>(&args);
    }
}

/// A lane has `K` pieces of a key, `V` of a value. The splits of a team are a cluster, or not.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn attend<const DIM: u32, const K: usize, const V: usize, E: Operand, const CLUSTERED: bool, F: Form>(
    args: &AttnDecode,
) {
    const { assert!(K as u32 * 32 == DIM && V as u32 == DIM.div_ceil(64)) };
    // SAFETY: the splits are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        match () {
            () if CLUSTERED || DIM > 128 => thread::blocks_at_once::<THREADS, 2>(),
            // As many as shared memory has room for.
            () if F::SLOTS.compact || E::BYTES == 1 => thread::blocks_at_once::<THREADS, 4>(),
            () => thread::blocks_at_once::<THREADS, 3>(),
        }
        if CLUSTERED {
            cluster::always();
        }
        grid::launch_dependents();
        let Some(split) = Split::<DIM, E, F>::of_block(args) else {
            grid::wait_for_dependencies();
            return clear_pad::<DIM>(args);
        };
        if args.cos.is_null() {
            // A kernel in front may have stored keys.
            grid::wait_for_dependencies();
        }
        split.keep();
        split.ask_first();
        let sends = CLUSTERED && split.live.count > 1;
        if sends {
            split.open_mailbox();
        }
        grid::wait_for_dependencies();
        split.share_rows();
        split.share_value();
        sync_threads();
        if E::BYTES == 1 {
            split.scale_queries();
            sync_threads();
        }
        split.work::<K, V, CLUSTERED>();
        sync_threads();
        let Some(split) = split.anew() else { return };
        if sends {
            split.send_stats();
        }
        split.join_warps::<CLUSTERED>();
        if sends {
            split.join_sent();
        } else if !CLUSTERED && !split.is_whole() {
            sync_threads();
            let Some(split) = split.anew() else { return };
            if split.arrives_last() {
                split.join();
            }
        }
    }
}
