//! The device side: one kernel = one file = doc block + args struct + entry point.
//!
//! The crate is compiled twice. For `nvptx64-nvidia-cuda` it becomes the PTX that runs; as an ordinary dependency of
//! the host it supplies the very same args structs, their launch shapes and the bytes they move.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch))]
#![cfg_attr(target_arch = "nvptx64", expect(unsafe_code, reason = "kernels work on raw addresses"))]

pub mod activation;
mod cached;
pub mod format;
mod kernel;
#[cfg(target_arch = "nvptx64")]
mod pages;
mod ptr;
#[cfg(target_arch = "nvptx64")]
mod rope;
#[cfg(target_arch = "nvptx64")]
mod row;
pub mod sampling;
pub mod ssm;
pub mod team;

pub use cached::{KV_SCALES, KvFormat};
pub use format::Format;
pub use kernel::{Args, DeviceInfo, Kernel, Launch, SequenceShape, StepShape};
pub use ptr::{Act, Element, Field, Kv, Packed, Ptr, Role, Weight};

/// Tokens in one page of the KV cache. A page of one layer's pool is `[kv_heads, PAGE_TOKENS, head_dim]`.
pub const PAGE_TOKENS: u32 = 64;

/// Keys that one split of [`AttnDecode`] covers. Fixed in tokens, so that a sequence's sums never depend on its
/// neighbours in the batch.
pub const SPLIT_TOKENS: u32 = 128;

/// Query rows of one sequence that one tile of [`AttnPrefill`] covers.
pub const TILE_ROWS: u32 = 64;

/// Token rows that a block of [`Gemv`] holds, and most that it serves with a large weight: larger products are GEMMs.
pub const GEMV_MAX_ROWS: u32 = 8;

/// The head sizes that the attention kernels are compiled for.
pub const HEAD_DIMS: [u32; 6] = [32, 64, 96, 128, 192, 256];

/// Calls `$callback!` with every kernel as `file Struct`: the one list that modules, tests and benches are made from.
#[macro_export]
macro_rules! for_each_kernel {
    ($callback:ident) => {
        $callback! {
            advance Advance,
            all_argmax OneShotAllArgmax,
            all_gather OneShotAllGather,
            all_gather_packets PacketAllGather,
            all_reduce OneShotAllReduce,
            all_reduce_two_shot TwoShotAllReduce,
            argmax Argmax,
            attn_decode AttnDecode,
            attn_prefill AttnPrefill,
            dense_gemm DenseGemm,
            embed Embed,
            gated_norm GatedNorm,
            gather_columns GatherColumns,
            gather_rows GatherRows,
            gemv Gemv,
            history_append HistoryAppend,
            keep_logits KeepLogits,
            layer_norm_1p LayerNorm1p,
            mask_logits MaskLogits,
            moe_combine MoeCombine,
            moe_gemm MoeGemm,
            moe_gemv MoeGemv,
            moe_quant_gemm MoeQuantGemm,
            moe_quant_gemv MoeQuantGemv,
            moe_route MoeRoute,
            moe_sort MoeSort,
            nvfp4_rows Nvfp4Rows,
            penalize Penalize,
            publish Publish,
            quant_gemm QuantGemm,
            quant_gemv QuantGemv,
            quantize_rows QuantizeRows,
            relu2 Relu2,
            rms_norm RmsNorm,
            rope_kv_append RopeKvAppend,
            sample Sample,
            sample_limit SampleLimit,
            skinny_gemm SkinnyGemm,
            skinny_join SkinnyJoin,
            ssm_conv SsmConv,
            ssm_copy SsmCopy,
            ssm_decode SsmDecode,
            ssm_scan SsmScan,
            step_gap StepGap,
            swiglu Swiglu,
            top_logprobs TopLogprobs,
            widen Widen,
        }
    };
}

macro_rules! modules {
    ($($file:ident $kernel:ident,)*) => { $(
        // On its way to PTX each kernel is compiled without those that it does not need: the builder says which.
        #[cfg_attr(target_arch = "nvptx64", cfg(not($file = "out")))]
        pub mod $file;
        #[cfg_attr(target_arch = "nvptx64", cfg(not($file = "out")))]
        pub use $file::$kernel;
    )* };
}
for_each_kernel!(modules);
