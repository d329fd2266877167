//! Functions of one number that a mixer's kernels share, and the prefix sums of a chunk.
use super::{Mixer, TAPS};
use crate::{Act, Ptr};
use cuda_std::shared::Shared;
use cuda_std::thread::lane_id;
use cuda_std::{bf16, global, math, warp};

/// `x / (1 + e^(−x))`, or 0 where a subnormal share of x is left.
///
/// The power's argument is rounded, which moves it by |x|·2⁻²⁴ of itself: a rounding to bf16 has no sight of that.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x * math::rcp_flushed(1.0 + math::ex2_flushed(x * -core::f32::consts::LOG2_E))
}

/// Δ of a token: `ln(1 + e^v)`, at least `least`.
///
/// `ln(1 + e)` of an e up to 1 is `2·artanh(e / (2 + e))`, whose series ends behind seven terms more: the chip's own
/// logarithm has an absolute error near 1, and Δ is small.
#[inline(always)]
pub fn step_width(v: f32, least: f32) -> f32 {
    let e = math::exp(-v.abs());
    let s = e * math::rcp(2.0 + e);
    let square = s * s;
    let mut series = 1.0 / 15.0;
    for divisor in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = math::fma(series, square, 1.0 / divisor);
    }
    math::max(math::fma(2.0 * s, series, math::max(v, 0.0)), least)
}

/// A channel behind the convolution and SiLU: its taps, two to a word, its bias and its inputs, oldest first.
#[inline(always)]
pub fn convolved(taps: [u32; 2], bias: f32, inputs: [f32; TAPS as usize]) -> f32 {
    let ([w0, w1], [w2, w3]) = (bf16::unpack(taps[0]), bf16::unpack(taps[1]));
    let sum = math::fma(w1, inputs[1], math::fma(w0, inputs[0], bias));
    silu(math::fma(w3, inputs[3], math::fma(w2, inputs[2], sum)))
}

/// The address of dt of a head, in row `row` of what the input product gives.
#[inline(always)]
pub fn dt_address(zxbcdt: Ptr<Act>, stride: u32, mixer: &Mixer, (row, head): (u32, u32)) -> u64 {
    let column = mixer.inner() + mixer.conv_dim() + head;
    zxbcdt.addr + 2 * (u64::from(row) * u64::from(stride) + u64::from(column))
}

/// Stores `Σ_(k ≤ j) widths_k · rate` for the 64 entries j of a chunk, of which each lane has two neighbours, and the widths.
///
/// # Safety
/// The whole warp calls it; both arrays have 64 elements, which no other thread touches without a barrier between.
#[inline(always)]
pub unsafe fn store_sums(widths: [f32; 2], rate: f32, kept: Shared<f32>, sums: Shared<f32>) {
    // SAFETY: the caller's promise.
    unsafe {
        let own = [widths[0] * rate, widths[1] * rate];
        let mut before = own[0] + own[1];
        let mut delta = 1;
        while delta < 32 {
            let below = warp::shuffle_up(before, delta);
            if lane_id() >= delta {
                before += below;
            }
            delta *= 2;
        }
        let below = warp::shuffle_up(before, 1);
        let first = if lane_id() == 0 { own[0] } else { below + own[0] };
        kept.cast::<[f32; 2]>().store(lane_id(), widths);
        sums.cast::<[f32; 2]>().store(lane_id(), [first, first + own[1]]);
    }
}

/// Element `index` of a list of integers.
///
/// # Safety
/// The list has the element, and nobody writes it.
#[inline(always)]
pub unsafe fn integer(list: Ptr<i32>, index: u32) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { global::load(list.addr + 4 * u64::from(index)) }
}

/// Element `index` of a list of numbers.
///
/// # Safety
/// As for [`integer`].
#[inline(always)]
pub unsafe fn number(list: Ptr<f32>, index: u32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { global::load(list.addr + 4 * u64::from(index)) }
}
