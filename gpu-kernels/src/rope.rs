//! What the rotating kernels share: a rotation of any width, and how the threads of a block share heads out.
use core::num::NonZero;

use crate::cached::Divisor;
use crate::row;
use cuda_std::{bf16, codes, global, shared, thread};

/// Calls `visit(head, part)` for all `heads · parts`; the block's threads take turns.
#[inline(always)]
pub fn for_each_of(heads: u32, parts: u32, visit: impl Fn(u32, u32)) {
    for_each_from(thread::thread_idx_x(), heads, parts, visit);
}

/// As [`for_each_of`], for the thread whose turn is the `first`.
#[inline(always)]
pub fn for_each_from(first: u32, heads: u32, parts: u32, visit: impl Fn(u32, u32)) {
    // A divisor that may be zero would bring a panic, and its message, into the kernel.
    let Some(parts) = NonZero::new(parts) else { return };
    let mut i = first;
    while i < heads * parts.get() {
        visit(i / parts, i % parts);
        i += thread::block_dim_x();
    }
}

/// Neighbouring elements that one access moves.
pub trait Access: global::Word + shared::Word + Default {
    /// How many.
    const COUNT: u32;
    /// As many codes of a byte.
    type Codes: global::Word + shared::Word + Default;

    /// The rotated `(low, high)`.
    fn rotate(low: Self, high: Self, cos: Self, sin: Self) -> (Self, Self);

    /// The e4m3 codes of the elements divided by a scale.
    fn codes(self, scale: Divisor) -> Self::Codes;
}

impl Access for u16 {
    const COUNT: u32 = 1;
    type Codes = u8;
    #[inline(always)]
    fn rotate(low: u16, high: u16, cos: u16, sin: u16) -> (u16, u16) {
        let [low, high, cos, sin] = [low, high, cos, sin].map(bf16::to_f32);
        let (low, high) = rotated(low, high, cos, sin);
        (bf16::from_f32(low), bf16::from_f32(high))
    }

    #[inline(always)]
    fn codes(self, scale: Divisor) -> u8 {
        codes::to_e4m3(scale.divide(bf16::to_f32(self))) as u8
    }
}

impl Access for u32 {
    const COUNT: u32 = 2;
    type Codes = u16;
    #[inline(always)]
    fn rotate(low: u32, high: u32, cos: u32, sin: u32) -> (u32, u32) {
        let [low, high, cos, sin] = [low, high, cos, sin].map(bf16::unpack);
        let pairs: [(f32, f32); 2] = core::array::from_fn(|i| rotated(low[i], high[i], cos[i], sin[i]));
        (bf16::pack(pairs.map(|pair| pair.0)), bf16::pack(pairs.map(|pair| pair.1)))
    }

    #[inline(always)]
    fn codes(self, scale: Divisor) -> u16 {
        let [low, high] = bf16::unpack(self).map(|element| codes::to_e4m3(scale.divide(element)));
        (low | high << 8) as u16
    }
}

impl Access for [u32; 4] {
    const COUNT: u32 = row::GROUP;
    type Codes = [u32; 2];
    #[inline(always)]
    fn rotate(low: [u32; 4], high: [u32; 4], cos: [u32; 4], sin: [u32; 4]) -> ([u32; 4], [u32; 4]) {
        let [low, high, cos, sin] = [low, high, cos, sin].map(bf16::unpack_8);
        let pairs: [(f32, f32); 8] = core::array::from_fn(|i| rotated(low[i], high[i], cos[i], sin[i]));
        (bf16::pack_8(pairs.map(|pair| pair.0)), bf16::pack_8(pairs.map(|pair| pair.1)))
    }

    #[inline(always)]
    fn codes(self, scale: Divisor) -> [u32; 2] {
        let codes = bf16::unpack_8(self).map(|element| codes::to_e4m3(scale.divide(element)));
        let word = |at: usize| codes[at] | codes[at + 1] << 8 | codes[at + 2] << 16 | codes[at + 3] << 24;
        [word(0), word(4)]
    }
}

/// Each product rounded to bf16; the sums are not yet.
#[inline(always)]
fn rotated(low: f32, high: f32, cos: f32, sin: f32) -> (f32, f32) {
    let product = |a: f32, b: f32| bf16::round(a * b);
    (product(low, cos) + product(-high, sin), product(high, cos) + product(low, sin))
}
