//! One kernel per collective, each of a shape that invites LLVM to move it into a branch.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch))]
#![cfg(target_arch = "nvptx64")]

use cuda_std::{barrier, bf16, block, cp_async, fragment, global, grid, kernel, math, mma, shared, thread, warp};

shared! {
    fn scratch() -> [f32; 32];
}

/// The result of the collective is used only by the threads below `n`; the collective itself belongs to all.
macro_rules! used_by_some {
    ($($name:ident: $type:ty = |$value:ident| $collective:expr;)*) => { kernel! { $(
        pub fn $name(x: u64, n: u32) {
            let i = thread::thread_idx_x();
            let at = x + 4 * i as u64;
            let $value: $type = global::load(at);
            let result: $type = $collective;
            if i < n {
                global::store(at, result);
            }
        }
    )* } };
}

used_by_some! {
    shuffle: f32 = |v| warp::shuffle(v, 3);
    shuffle_up: u32 = |v| warp::shuffle_up(v, 1);
    shuffle_down: i32 = |v| warp::shuffle_down(v, 1);
    shuffle_xor: f32 = |v| warp::shuffle_xor(v, 16);
    ballot: u32 = |v| warp::ballot(v > 7);
    all: u32 = |v| u32::from(warp::all(v > 7));
    any: u32 = |v| u32::from(warp::any(v > 7));
    warp_sum: f32 = |v| warp::sum_f32(v);
    block_sum: f32 = |v| block::sum_f32(v, scratch());
    block_max: u32 = |v| block::max_u32(v, shared::dynamic());
    tensor_core: u32 = |v| bf16::pack(bf16::unpack(mma::m16n8k16_bf16([v; 4], [v; 2], [0.0; 4])[0].to_bits()));
    load_matrix: u32 = |v| mma::ldmatrix_x4(v)[1];
    load_matrix_transposed: u32 = |v| mma::ldmatrix_x2_transposed(v)[0];
    load_matrix_one: u32 = |v| mma::ldmatrix_x1(v)[0];
}

kernel! {
    pub fn others(x: u64, n: u32) {
        let s = shared::dynamic::<f32>();
        let i = thread::thread_idx_x();
        cp_async::copy_16(s.address() + 16 * i, x + 16 * i as u64);
        cp_async::copy_16_or_zero(s.address() + 1024 + 16 * i, x, n);
        cp_async::commit();
        cp_async::wait::<0>();
        barrier::sync_named(1, 64);
        barrier::arrive_named(2, 64);
        warp::sync();
        let v = s.load(i);
        let w = *s.pointer().add(7);
        let e = math::exp(v) + math::rcp(w) * math::rsqrt(v) + math::lg2(math::sqrt(w)) + v / w;
        let (row, column) = fragment::c_element(thread::lane_id(), 1);
        global::store(x + 4 * (row * 8 + column) as u64, e);
        let q: [f32; 4] = global::load_streaming(x);
        let r: [u32; 2] = global::load_readonly(x);
        let t: u64 = global::load_volatile(x);
        global::store(x, q);
        global::store(x + 16, r);
        global::store_volatile(x + 24, t);
        let h: u16 = global::load(x);
        global::store(x + 2, h);
        global::store_release(x, global::load_relaxed(x));
        global::add_relaxed(x, t);
        if grid::arrives_last(x, n) {
            global::store(x, q);
        }
    }
}
