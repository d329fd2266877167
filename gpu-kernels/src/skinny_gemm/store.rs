//! What becomes of a tile's sums in `skinny_gemm`.
use super::MOST_SPLITS;
use super::multiply::Sums;
use crate::activation::{RELU2, SWIGLU};
use crate::relu2::entry::relu2_of;
use crate::swiglu::entry::gated;
use crate::{Act, Ptr, Weight};
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, fragment, global, thread, warp};

/// Where outputs go, and what is added to them.
#[derive(Clone, Copy)]
pub struct Outputs {
    pub bias: Ptr<Weight>,
    pub residual: Ptr<Act>,
    pub y: Ptr<Act>,
    pub y_f32: Ptr<f32>,
    pub rows: u32,
    pub n: u32,
    pub activation: u32,
}

impl Outputs {
    #[inline(always)]
    fn width(&self) -> u32 {
        if self.activation == SWIGLU { self.n / 2 } else { self.n }
    }

    /// Bytes in front of a column of a token row.
    #[inline(always)]
    fn offset(&self, token: u32, column: u32) -> u64 {
        (u64::from(token) * u64::from(self.width()) + u64::from(column)) * 2
    }
}

/// A lane's sums of every split for 16 rows of a tile and eight token rows; anything behind the last split.
pub type Parts = [[f32; 4]; MOST_SPLITS as usize];

/// The sums of `splits` splits in their order.
#[inline(always)]
pub fn added(parts: &Parts, splits: u32) -> [f32; 4] {
    let mut sums = parts[0];
    unroll::<{ MOST_SPLITS as usize }>(
        #[inline(always)]
        |i| {
            if i > 0 && (i as u32) < splits {
                unroll::<4>(|c| sums[c] += parts[i][c]);
            }
        },
    );
    sums
}

/// A lane's place among the sums of a warp: 16 rows of a tile.
struct Place {
    /// The row of its first sums, of 16, and the first of its two tokens.
    row: u32,
    token: u32,
    /// The output's column of that row, and of the row eight further on.
    columns: [u32; 2],
}

impl Place {
    #[inline(always)]
    fn new(to: &Outputs, sixteen: u32, eight: u32) -> Place {
        let (row, token) = fragment::c_element(thread::lane_id(), 0);
        // With gates there are eight, and what stands beside them.
        let of_warp = if to.activation == SWIGLU { fragment::M / 2 } else { fragment::M };
        let column = sixteen * of_warp + row;
        let other = if to.activation == SWIGLU { column + to.width() } else { column + fragment::M / 2 };
        Place { row, token: eight * fragment::N + token, columns: [column, other] }
    }

    /// The first token row and column of the pairs that the lane stores of its row, or of that `further` on, and the token rows that
    /// are there.
    #[inline(always)]
    fn stored(&self, to: &Outputs, further: u32) -> [u32; 3] {
        let column = self.columns[0] / 2 * 2 + further;
        [self.token + self.row % 2, column, if column < to.width() { to.rows } else { 0 }]
    }
}

/// What is added to a warp's sums for 16 rows of the weight and eight token rows. It may be asked for before they are there.
pub struct Added {
    bias: [f32; 2],
    /// The residuals of the lane's row, and of that eight further on.
    residuals: [u32; 2],
}

impl Added {
    /// That of the weight's rows number `sixteen` of 16 each, and the token rows number `eight` of eight each.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn load(to: &Outputs, [sixteen, eight]: [u32; 2]) -> Added {
        let place = Place::new(to, sixteen, eight);
        // SAFETY: the caller's promise; what is there is loaded.
        unsafe {
            let bias = place.columns.map(|column| bias(to.bias, column, to.n));
            let residual = |further| {
                let [first, column, live] = place.stored(to, further);
                let at = to.residual.addr + to.offset(first, column);
                if first < live && !to.residual.is_null() { global::load(at) } else { 0 }
            };
            Added { bias, residuals: [residual(0), residual(8)] }
        }
    }
}

/// Stores the outputs of a warp's sums: of the weight's rows number `sixteen` of 16 each, for the token rows from number
/// `eight` of eight each on.
///
/// # Safety
/// The kernel's Requires hold; the whole warp comes here.
#[inline(always)]
pub unsafe fn store<const TILES: usize>(to: &Outputs, [sixteen, eight]: [u32; 2], sums: &Sums<TILES>) {
    let place = Place::new(to, sixteen, eight);
    // SAFETY: the caller's promise.
    unsafe {
        let bias = place.columns.map(|column| bias(to.bias, column, to.n));
        finish(to, &place, bias, [None; 2], sums);
    }
}

/// The same for eight token rows, with what was loaded for them.
///
/// # Safety
/// As for [`store`].
#[inline(always)]
pub unsafe fn store_eight(to: &Outputs, [sixteen, eight]: [u32; 2], added: &Added, sums: [f32; 4]) {
    // SAFETY: the caller's promise.
    unsafe { finish(to, &Place::new(to, sixteen, eight), added.bias, added.residuals.map(Some), &[sums]) }
}

/// Stores the outputs of a warp's sums, if so with the first residuals of both halves.
///
/// # Safety
/// As for [`store`].
#[inline(always)]
unsafe fn finish<const TILES: usize>(
    to: &Outputs,
    place: &Place,
    bias: [f32; 2],
    residuals: [Option<u32>; 2],
    sums: &Sums<TILES>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if to.y.is_null() {
            store_f32(to, place, bias, sums);
        } else if to.activation == SWIGLU {
            let outputs = |[a, b, c, d]: [f32; 4]| {
                let gated = |gate: f32, up: f32| gated(bf16::round(gate + bias[0]), bf16::round(up + bias[1]));
                [gated(a, c), gated(b, d)]
            };
            store_pairs::<TILES, false>(to, place, (0, None), |i| outputs(sums[i]));
        } else {
            let output = |sum: f32| if to.activation == RELU2 { relu2_of(bf16::round(sum)) } else { sum };
            store_pairs::<TILES, true>(to, place, (0, residuals[0]), |i| {
                [sums[i][0], sums[i][1]].map(|sum: f32| output(sum + bias[0]))
            });
            store_pairs::<TILES, true>(to, place, (8, residuals[1]), |i| {
                [sums[i][2], sums[i][3]].map(|sum: f32| output(sum + bias[1]))
            });
        }
    }
}

/// A bias; 0 where there is none.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn bias(bias: Ptr<Weight>, row: u32, n: u32) -> f32 {
    if bias.is_null() || row >= n {
        return 0.0;
    }
    // SAFETY: the row is there.
    bf16::to_f32(unsafe { global::load(bias.addr + u64::from(row) * 2) })
}

/// The addresses of every eighth token row, one after the other: all at once would take too many registers.
struct Places {
    next: u64,
    apart: u64,
}

impl Places {
    #[inline(always)]
    fn new(first: u64, row_bytes: u32) -> Places {
        Places { next: first, apart: u64::from(row_bytes) * 8 }
    }

    #[inline(always)]
    fn next(&mut self) -> u64 {
        let at = self.next;
        self.next = thread::hidden(at + self.apart);
        at
    }
}

/// Stores f32 sums: eight lanes have neighbours, 32 bytes.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn store_f32<const TILES: usize>(to: &Outputs, place: &Place, bias: [f32; 2], sums: &Sums<TILES>) {
    unroll::<4>(
        #[inline(always)]
        |c| {
            let (first, column) = (place.token + c as u32 % 2, place.columns[c / 2]);
            if column < to.n {
                let mut places =
                    Places::new(to.y_f32.addr + (u64::from(first) * u64::from(to.n) + u64::from(column)) * 4, to.n * 4);
                unroll::<TILES>(
                    #[inline(always)]
                    |i| {
                        let at = places.next();
                        if first + (i as u32) * 8 < to.rows {
                            // SAFETY: the output is there.
                            unsafe { global::store(at, sums[i][c] + bias[c / 2]) };
                        }
                    },
                );
            }
        },
    );
}

/// Eights of token rows whose residuals are on their way together.
const TOGETHER: usize = 8;

/// Stores the outputs of a lane's row, or of the row `further` on, of which `outputs` gives two tokens' for each eight; where
/// `ADDS`, on top of the residual, if there is one; the first may be `loaded`. Lanes of
/// neighbouring rows exchange them, so that each has two neighbours of one token.
///
/// # Safety
/// The kernel's Requires hold; the whole warp comes here.
#[inline(always)]
unsafe fn store_pairs<const TILES: usize, const ADDS: bool>(
    to: &Outputs,
    place: &Place,
    (further, loaded): (u32, Option<u32>),
    outputs: impl Fn(usize) -> [f32; 2],
) {
    let ([first, column, live], width) = (place.stored(to, further), to.width());
    let start = to.offset(first, column);
    let adds = ADDS && !to.residual.is_null();
    let mut added = Places::new(to.residual.addr + start, width * 2);
    let mut stored = Places::new(to.y.addr + start, width * 2);
    let is_live = |i: usize| first + (i as u32) * 8 < live;
    // Where there are many sums, fewer residuals have room beside them.
    let eights = if TILES > TOGETHER / 2 { TOGETHER / 2 } else { TILES };
    unroll::<4>(
        #[inline(always)]
        |part| {
            if part * eights < TILES {
                let own = |i: usize| part * eights + i;
                // All at once: one behind the other, each would be waited for.
                let residuals: [u32; TOGETHER] = array(
                    #[inline(always)]
                    |i| {
                        if i >= eights {
                            return 0;
                        }
                        if let (0, Some(loaded)) = (i, loaded) {
                            return loaded;
                        }
                        let at = added.next();
                        // SAFETY: the element is there.
                        if is_live(own(i)) && adds { unsafe { global::load(at) } } else { 0 }
                    },
                );
                unroll::<TOGETHER>(
                    #[inline(always)]
                    |i| {
                        if i < eights {
                            let [one, other] = outputs(own(i));
                            // SAFETY: the whole warp is here; what is there is stored.
                            unsafe {
                                let mut pair = exchange(place.row, one, other);
                                if adds {
                                    let residual = bf16::unpack(residuals[i]);
                                    pair = [residual[0] + bf16::round(pair[0]), residual[1] + bf16::round(pair[1])];
                                }
                                let at = stored.next();
                                if is_live(own(i)) {
                                    global::store(at, bf16::pack(pair));
                                }
                            }
                        }
                    },
                );
            }
        },
    );
}

/// Of a row's outputs for two tokens, and the neighbouring row's: both rows' outputs for one token, the first for the even row.
///
/// Bits change places by masks: conditions would come apart around the shuffle.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
pub unsafe fn exchange(row: u32, first: f32, second: f32) -> [f32; 2] {
    let is_odd = 0_u32.wrapping_sub(row % 2);
    let swapped = |a: u32, b: u32| {
        let change = (a ^ b) & is_odd;
        (a ^ change, b ^ change)
    };
    let (kept, given) = swapped(first.to_bits(), second.to_bits());
    // SAFETY: the caller's promise. Neighbouring rows are four lanes apart.
    let got = unsafe { warp::shuffle_xor(given, 4) };
    let (even, odd) = swapped(kept, got);
    [f32::from_bits(even), f32::from_bits(odd)]
}
