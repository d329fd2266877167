//! Runs PTX on the CPU, without a GPU, and sanitizes it.
//!
//! A [`Module`] is parsed from text, a [`Memory`] holds the buffers, [`Module::launch`] runs an entry over a grid:
//!
//! ```
//! use ptx_emulator::{FaultKind, Launch, Memory, Module};
//!
//! let module = Module::parse(
//!     ".version 7.4
//!      .target sm_80
//!      .address_size 64
//!      .visible .entry double(.param .u64 numbers) {
//!          .reg .b32 %r<3>;
//!          .reg .b64 %a;
//!          ld.param.u64 %a, [numbers];
//!          mov.u32 %r1, %tid.x;
//!          mad.wide.u32 %a, %r1, 4, %a;
//!          ld.global.u32 %r2, [%a];
//!          shl.b32 %r2, %r2, 1;
//!          st.global.u32 [%a], %r2;
//!          ret;
//!      }",
//! )?;
//! let mut memory = Memory::new();
//! let numbers = memory.allocate("numbers", 16);
//! memory.write(numbers, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])?;
//! let four = Launch { grid: [1, 1, 1], block: [4, 1, 1], shared_bytes: 0, cluster: 1 };
//! module.launch(&memory, "double", &four, &numbers.to_le_bytes())?;
//! let mut doubled = [0; 16];
//! memory.read(numbers, &mut doubled)?;
//! assert_eq!(doubled, [2, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0]);
//!
//! let five = Launch { block: [5, 1, 1], ..four };
//! let fault = module.launch(&memory, "double", &five, &numbers.to_le_bytes()).unwrap_err();
//! assert_eq!(fault.kind, FaultKind::OutOfBounds);
//! assert_eq!(fault.place.unwrap().thread, [4, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What runs
//!
//! What LLVM's NVPTX backend emits for an sm_80 and what hand-written inline assembly adds to it: arithmetic of all
//! integer and floating-point types, `bf16` and `f16` too, memory of every state space and by generic addresses,
//! functions (decoded in place of their calls), barriers, shuffles, votes, matches, reductions, atomics, `cp.async`,
//! `ldmatrix`, `mma.sync` with f32 accumulators, of sm_90a `wgmma` of bf16 with matrices of 128-byte swizzle, and of sm_90
//! clusters: their barrier, `mapa`, `st.async`, and `mbarrier`s that count its bytes.
//! `tests/instructions` has a file for each form. An instruction or a modifier that is not known is a [`ParseError`]; those
//! of sm_90 alone (bulk copies, loads of other blocks' shared memory) are a fault when they are executed, so that the other entries of
//! their module run. Recursion and calls through a pointer are treated the same way.
//!
//! Arithmetic has the bits of the hardware, canonical NaN included. The approximate functions (`ex2.approx`,
//! `rsqrt.approx`, …) are computed in f64 and rounded once, which is closer than any GPU promises. `mma.sync` sums in
//! f64 and rounds once; a GPU rounds, or truncates, in between.
//!
//! # How it runs
//!
//! The lanes of a warp run in lock step. Where a branch divides them, each side runs until the branch's immediate
//! post-dominator; an instruction that needs lanes from another side waits until they come. A block's warps take turns
//! in a fixed order. Blocks run in parallel on the host's cores, except where a kernel could wait for another block (it
//! contains a global atomic, or a volatile, relaxed or acquiring load): then up to 512 blocks are resident and take
//! turns in a fixed order on one thread. So do the blocks of a cluster, among themselves. Results, faults and [`Stats`] depend neither on the number of host threads nor
//! on chance, as long as blocks do not race with each other through global memory (which is not checked).
//!
//! # What is checked
//!
//! [`FaultKind`] lists it. Some points:
//!
//! * Allocations lie apart, and each is checked to the byte. Shared memory is one piece: running from one variable into
//!   the next is not seen.
//! * A load of memory that was never written is a fault, except from local memory: copying a struct with padding is
//!   legal, so such a value, like a register that was never written, may be moved about and computed with. It is a fault
//!   once it decides an address or a branch, is stored outside the thread's own memory, or enters a collective.
//! * Two accesses to a byte of shared memory race unless a barrier of both warps, or within a warp any `.sync`
//!   instruction, lies between them. Atomics, volatile, relaxed, acquire and release accesses do not race with each other.
//! * `cp.async` delivers at the wait: until then its destination is undefined, and from then on it counts as written by
//!   the waiting thread, so that others need a barrier.
//! * A product of `wgmma` multiplies when it is issued, each warp its own rows. From then until the wait its registers may
//!   be touched by products alone, and before it they need a fence; what it reads needs a proxy fence of its writer behind
//!   the write, and stays as it is until the wait. That the four warps come to it together is not seen.
//! * A store by `st.async` lands at some time; until a thread has waited for the `mbarrier` that counts it, its place is
//!   undefined. It needs a barrier of the cluster behind the `mbarrier`'s initialisation and its fence, a place that its block touches
//!   only in front of its arrival at that barrier, with or without a release (what has been read cannot change any more), and a block that ends only when all bytes have come, no more and no less.
//! * [`Module::launch_devices`] runs several devices at once over one memory, and finds what no release and acquire of the
//!   system's scope orders between them, as a wrong value, an undefined read or a deadlock of some seeds.
//! * Lanes that have exited are not waited for, but their registers cannot be read by a shuffle.

#![forbid(unsafe_code)]

mod decode;
mod fault;
mod float;
mod lanes;
mod memory;
mod module;
mod parse;
mod program;
mod run;
mod types;

pub use fault::{Fault, FaultKind, Place};
pub use memory::Memory;
pub use module::Module;
pub use parse::ParseError;
pub use run::{Launch, Options, Queued, Stats};
