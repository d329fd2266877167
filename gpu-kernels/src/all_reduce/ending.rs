//! `Ending`: what is done with the sums of all ranks: bias, residual, rounding; by groups of 4 or 8 neighbours.
use core::num::NonZero;

use cuda_std::unroll::unroll;
use cuda_std::{bf16, global};

use crate::{Act, Ptr, Weight};

/// What stands behind a sum of rows of `n` values.
#[derive(Clone, Copy)]
pub struct Ending {
    /// `[n]` or null.
    pub bias: Ptr<Weight>,
    /// `[rows, n]` or null.
    pub residual: Ptr<Act>,
    /// Columns.
    pub n: u32,
}

/// What is added to a group, packed, where there is any.
#[derive(Clone, Copy, Default)]
pub struct Addends {
    bias: [u32; 4],
    residual: [u32; 4],
}

impl Ending {
    /// What is added to a group of `N`.
    ///
    /// # Safety
    /// `group` is within the rows.
    #[inline(always)]
    pub unsafe fn addends<const N: usize>(self, group: u32) -> Addends {
        let mut found = Addends::default();
        // SAFETY: the caller's promise.
        unsafe {
            if !self.bias.is_null() {
                let column = NonZero::new(self.n / N as u32).map_or(0, |row| group % row);
                found.bias = load::<N, true>(self.bias.addr, column);
            }
            if !self.residual.is_null() {
                found.residual = load::<N, false>(self.residual.addr, group);
            }
        }
        found
    }

    /// The result, packed.
    #[inline(always)]
    pub fn result<const N: usize>(self, mut sums: [f32; N], addends: Addends) -> [u32; 4] {
        if !self.bias.is_null() {
            sums = added(sums, unpacked(addends.bias));
        }
        if !self.residual.is_null() {
            let mut rounded = [0.0; N];
            unroll::<N>(
                #[inline(always)]
                |i| rounded[i] = bf16::round(sums[i]),
            );
            sums = added(unpacked(addends.residual), rounded);
        }
        let mut words = [0; 4];
        unroll::<4>(
            #[inline(always)]
            |i| {
                if 2 * i < N {
                    words[i] = bf16::pack([sums[2 * i], sums[2 * i + 1]]);
                }
            },
        );
        words
    }
}

/// The sums of two groups.
#[inline(always)]
pub fn added<const N: usize>(a: [f32; N], b: [f32; N]) -> [f32; N] {
    let mut sums = a;
    unroll::<N>(
        #[inline(always)]
        |i| sums[i] = a[i] + b[i],
    );
    sums
}

/// The values of a group of activations.
#[inline(always)]
pub fn unpacked<const N: usize>(words: [u32; 4]) -> [f32; N] {
    let all = bf16::unpack_8(words);
    let mut values = [0.0; N];
    unroll::<N>(
        #[inline(always)]
        |i| values[i] = all[i],
    );
    values
}

/// A group of activations: of what nobody writes while the kernel runs where it is `CONSTANT`, else past the L1 cache, where a kernel that
/// begins early may find what stood there before.
///
/// # Safety
/// It stands there, and nobody writes it.
#[inline(always)]
unsafe fn load<const N: usize, const CONSTANT: bool>(start: u64, group: u32) -> [u32; 4] {
    let at = start + 2 * N as u64 * u64::from(group);
    // SAFETY: the caller's promise.
    unsafe {
        if N == 8 {
            return if CONSTANT { global::load_readonly(at) } else { global::load_volatile(at) };
        }
        let [a, b]: [u32; 2] = if CONSTANT { global::load_readonly(at) } else { global::load_volatile(at) };
        [a, b, 0, 0]
    }
}

/// Stores a group of activations.
///
/// # Safety
/// There is room for it.
#[inline(always)]
pub unsafe fn store<const N: usize>(start: u64, group: u32, words: [u32; 4]) {
    let at = start + 2 * N as u64 * u64::from(group);
    // SAFETY: the caller's promise.
    unsafe {
        if N == 8 {
            global::store(at, words);
        } else {
            global::store(at, [words[0], words[1]]);
        }
    }
}
