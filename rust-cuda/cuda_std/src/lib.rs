//! What a GPU kernel written in Rust may use; rust-cuda's `cuda_std`, on rustc's own NVPTX backend.
//!
//! ```text
//! cuda_std::kernel! {
//!     /// Doubles `count` floats.
//!     pub fn double(args: Double) {
//!         let i = thread::global_index();
//!         if i < args.count {
//!             let at = args.x.addr + 4 * u64::from(i);
//!             global::store(at, 2.0 * global::load::<f32>(at));
//!         }
//!     }
//! }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`kernel!`] | the entry point of a kernel |
//! | [`thread`] | indices and sizes of the thread, its block and its grid |
//! | [`barrier`] | barriers of a block and of a part of it |
//! | [`warp`] | shuffles, votes and reductions over 32 lanes |
//! | [`block`] | reductions over a block |
//! | [`mod@shared`] | shared memory: static and dynamic, loads and stores |
//! | [`global`] | global memory: loads and stores of 2 to 16 bytes with cache hints and orderings, atomics |
//! | [`cp_async`] | copies from global to shared memory behind the threads' back |
//! | [`mma`] | the tensor core's instructions, raw |
//! | [`wgmma`] | the same of a warpgroup, on compute capability 9.0 |
//! | [`fragment`] | which lane holds which element of a tensor core's operand |
//! | [`math`] | approximate functions of the chip and the few exact ones built on them |
//! | [`bf16`] | conversions between bf16 and f32 |
//! | [`codes`] | codes of 8 and 4 bits as bf16 |
//! | [`mod@f16`] | codes of e4m3 and bf16 as f16 |
//! | [`mod@unroll`] | loops over arrays in registers |
//! | [`cluster`] | blocks that send words into each other's shared memory, on compute capability 9.0 |
//! | [`grid`] | the barrier over a cooperative grid, and dependent launches |
//! | [`time`] | the GPU's clock |
//!
//! # Rules that the compiler does not check
//!
//! * **Collectives** (barriers, shuffles, votes, reductions, tensor core instructions) are called by all threads they name,
//!   together: never behind a condition that differs between those threads.
//! * **Addresses** are plain integers, `u64` for global memory and `u32` for shared memory, as the instructions take them.
//!   Nothing checks bounds; the emulator does.
//! * **Arrays in registers** are indexed by constants after unrolling; an index known only at run time moves the array to
//!   local memory, which is slow. [`mod@unroll`] makes sure of it.
//!
//! # On other targets
//!
//! The crate compiles for every target, so that its documentation and its checks need no special compiler. What only a GPU
//! can do then panics when called; [`bf16`], [`codes`] and [`fragment`] are plain arithmetic and work everywhere.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(asm_experimental_arch, link_llvm_intrinsics, abi_unadjusted))]
#![cfg_attr(
    target_arch = "nvptx64",
    expect(internal_features, reason = "LLVM's intrinsics are how collectives stay convergent")
)]
#![cfg_attr(
    not(target_arch = "nvptx64"),
    expect(
        unreachable_code,
        unused_mut,
        unused_variables,
        clippy::too_many_arguments,
        reason = "instructions of a GPU"
    )
)]
#![expect(unsafe_code, reason = "instructions and raw addresses are what this crate is about")]

mod instruction;
mod kernel;
#[cfg(target_arch = "nvptx64")]
mod panic;
mod word;

pub mod barrier;
pub mod bf16;
pub mod block;
pub mod cluster;
pub mod codes;
pub mod cp_async;
pub mod f16;
pub mod fragment;
pub mod global;
pub mod grid;
pub mod math;
pub mod mma;
pub mod shared;
pub mod thread;
pub mod time;
pub mod unroll;
pub mod warp;
pub mod wgmma;
