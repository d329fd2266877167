//! A chunk's outputs, and the way of S over it.
use super::span::{Room, Span, Stage};
use super::{SsmScan, THREADS, stride};
use crate::ssm::CHUNK;
use cuda_std::shared::Shared;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, fragment, global, math, mma, thread};

/// Steps of the tensor core over a chunk's positions.
const STEPS: usize = (CHUNK / fragment::K) as usize;
const WARPS: u32 = THREADS / 32;

/// `e^x` where x is not above 0 and what is tiny may be 0.
#[inline(always)]
pub fn decay(x: f32) -> f32 {
    math::ex2_flushed(x * core::f32::consts::LOG2_E)
}

/// The shared address of what a lane names to `ldmatrix`.
#[inline(always)]
fn at(matrix: Shared<u16>, width: u32, (row, column): (u32, u32)) -> u32 {
    matrix.offset(row * stride(width) + column).address()
}

/// Stores the outputs of the warp's 16 rows of a chunk, for every other group of eight channels.
///
/// # Safety
/// The whole warp comes here, behind a barrier that orders the chunk, its sums and S.
#[inline(always)]
pub unsafe fn output(args: &SsmScan, span: &Span, room: &Room, stage: &Stage, chunk: u32, skip: f32) {
    let warp = thread::warp_id();
    // Two warps share a scheduler of the chip, and later rows see more: so a scheduler has the first and the last.
    let (tile, half) = if warp < 4 { (warp, 0) } else { (7 - warp, 1) };
    let first = chunk * CHUNK + tile * fragment::M;
    if first >= span.end || first + fragment::M <= span.position {
        return;
    }
    // SAFETY: the caller's promise; the tile is the same for the whole warp.
    unsafe {
        let weights = weights(args, stage, tile);
        let mut channels = half * fragment::N;
        while channels < args.head_dim {
            let from_state = state_product(args, room, stage, tile, channels);
            let mut from_x = [0.0; 4];
            unroll::<STEPS>(
                #[inline(always)]
                |step| {
                    if step as u32 <= tile {
                        let row = step as u32 * fragment::K + thread::lane_id() % fragment::K;
                        let x = mma::ldmatrix_x2_transposed(at(stage.x, args.head_dim, (row, channels)));
                        from_x = mma::m16n8k16_bf16(weights[step], x, from_x);
                    }
                },
            );
            unroll::<2>(
                #[inline(always)]
                |i| {
                    let (row, column) = fragment::c_element(thread::lane_id(), 2 * i as u32);
                    let (row, channel) = (tile * fragment::M + row, channels + column);
                    let position = chunk * CHUNK + row;
                    if position >= span.position && position < span.end {
                        let decay = decay(stage.sums.load(row));
                        let x = stage.x.offset(row * stride(args.head_dim) + channel).cast::<u32>().load(0);
                        let x = bf16::unpack(x);
                        let y = |j: usize| {
                            math::fma(skip, x[j], math::fma(decay, from_state[2 * i + j], from_x[2 * i + j]))
                        };
                        let at = u64::from(span.row_at(position)) * u64::from(args.mixer().inner());
                        let at = at + u64::from(span.head * args.head_dim + channel);
                        global::store(args.y.addr + 2 * at, bf16::pack([y(0), y(1)]));
                    }
                },
            );
            channels += 2 * fragment::N;
        }
    }
}

/// What each position of the chunk counts for the tile's 16 rows, as the left operands of a product with x.
///
/// # Safety
/// As for [`output`].
#[inline(always)]
unsafe fn weights(args: &SsmScan, stage: &Stage, tile: u32) -> [[u32; 4]; STEPS] {
    let lane = thread::lane_id();
    let mut scores = [[0.0; 4]; 2 * STEPS];
    let mut depth = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while depth < args.state_size {
            let (row, column) = fragment::a_source(lane);
            let c = mma::ldmatrix_x4(at(stage.c, args.state_size, (tile * fragment::M + row, depth + column)));
            unroll::<STEPS>(
                #[inline(always)]
                |step| {
                    if step as u32 <= tile {
                        let (row, column) = fragment::b_source_by_columns(lane);
                        let place = (step as u32 * fragment::K + row, depth + column);
                        let b = mma::ldmatrix_x4(at(stage.b, args.state_size, place));
                        scores[2 * step] = mma::m16n8k16_bf16(c, [b[0], b[1]], scores[2 * step]);
                        scores[2 * step + 1] = mma::m16n8k16_bf16(c, [b[2], b[3]], scores[2 * step + 1]);
                    }
                },
            );
            depth += fragment::K;
        }
        let mut weights = [[0; 4]; STEPS];
        unroll::<STEPS>(
            #[inline(always)]
            |step| {
                if step as u32 <= tile {
                    unroll::<4>(
                        #[inline(always)]
                        |register| {
                            let (row, column) = fragment::a_element(lane, register as u32, 0);
                            let entry = step as u32 * fragment::K + column;
                            let pair = register % 2 * 2;
                            let scores = scores[2 * step + register / 2];
                            let scores = [scores[pair], scores[pair + 1]];
                            // Of the last step, which only the last tile sees, a quarter is above the diagonal.
                            if step + 1 < STEPS || register != 2 {
                                weights[step][register] = weigh(stage, tile * fragment::M + row, entry, scores);
                            }
                        },
                    );
                }
            },
        );
        weights
    }
}

/// Two neighbouring weights of a row: what the entries count in its output.
///
/// # Safety
/// As for [`output`].
#[inline(always)]
unsafe fn weigh(stage: &Stage, row: u32, entry: u32, scores: [f32; 2]) -> u32 {
    // SAFETY: the caller's promise.
    let (own, [sums, widths]) = unsafe {
        let pair = |numbers: Shared<f32>| numbers.cast::<[f32; 2]>().load(entry / 2);
        (stage.sums.load(row), [pair(stage.sums), pair(stage.widths)])
    };
    let weight = |i: usize| {
        let weight = decay(own - sums[i]) * widths[i] * scores[i];
        if entry + i as u32 <= row { weight } else { 0.0 }
    };
    bf16::pack([weight(0), weight(1)])
}

/// C·S of the tile's 16 rows for eight channels.
///
/// # Safety
/// As for [`output`].
#[inline(always)]
unsafe fn state_product(args: &SsmScan, room: &Room, stage: &Stage, tile: u32, channels: u32) -> [f32; 4] {
    let lane = thread::lane_id();
    let (depth_at, channel) = fragment::b_element(lane, 0, 0);
    let state = room.state.offset((channels + channel) * stride(args.state_size) + depth_at);
    let mut sums = [[0.0; 4]; 2];
    let mut depth = 0;
    while depth < args.state_size {
        // SAFETY: the caller's promise.
        unsafe {
            let (row, column) = fragment::a_source(lane);
            let c = mma::ldmatrix_x4(at(stage.c, args.state_size, (tile * fragment::M + row, depth + column)));
            let parts =
                [0, fragment::K / 2].map(|further| parts(state.offset(depth + further).cast::<[f32; 2]>().load(0)));
            sums[0] = mma::m16n8k16_bf16(c, [parts[0][0], parts[1][0]], sums[0]);
            sums[1] = mma::m16n8k16_bf16(c, [parts[0][1], parts[1][1]], sums[1]);
        }
        depth += fragment::K;
    }
    let [high, low] = sums;
    [high[0] + low[0], high[1] + low[1], high[2] + low[2], high[3] + low[3]]
}

/// Two neighbours as the nearest bf16, and as the nearest of what is left.
#[inline(always)]
pub fn parts(values: [f32; 2]) -> [u32; 2] {
    let high = bf16::pack(values);
    let of_high = bf16::unpack(high);
    [high, bf16::pack([values[0] - of_high[0], values[1] - of_high[1]])]
}

/// Takes S over a whole chunk: the warp's columns of it, eight at a time.
///
/// # Safety
/// The whole warp comes here, behind a barrier; nobody else reads or writes S.
#[inline(always)]
pub unsafe fn advance(args: &SsmScan, room: &Room, stage: &Stage) {
    let lane = thread::lane_id();
    // SAFETY: the caller's promise.
    unsafe {
        let last = stage.sums.load(CHUNK - 1);
        let mut factors = [[[0.0; 2]; 2]; STEPS];
        unroll::<{ 2 * STEPS }>(
            #[inline(always)]
            |i| {
                let entry = i as u32 * 8 + lane % 4 * 2;
                let pair = |numbers: Shared<f32>| numbers.cast::<[f32; 2]>().load(entry / 2);
                let (sums, widths) = (pair(stage.sums), pair(stage.widths));
                factors[i / 2][i % 2] = [decay(last - sums[0]) * widths[0], decay(last - sums[1]) * widths[1]];
            },
        );
        let mut channels = 0;
        while channels < args.head_dim {
            let mut x = [[0; 4]; STEPS];
            unroll::<STEPS>(
                #[inline(always)]
                |step| {
                    let (row, column) = fragment::b_source_by_columns(lane);
                    let place = (step as u32 * fragment::K + row, channels + column);
                    let plain = mma::ldmatrix_x4_transposed(at(stage.x, args.head_dim, place));
                    unroll::<4>(
                        #[inline(always)]
                        |register| {
                            let ([a, b], [f, g]) = (bf16::unpack(plain[register]), factors[step][register / 2]);
                            x[step][register] = bf16::pack([a * f, b * g]);
                        },
                    );
                },
            );
            let mut depth = thread::warp_id() * fragment::N;
            while depth < args.state_size {
                advance_tile(args, room, stage, (channels, depth), (&x, decay(last)));
                depth += WARPS * fragment::N;
            }
            channels += fragment::M;
        }
    }
}

/// Takes 16 channels of eight columns of S over a chunk; `x` are the chunk's, weighed.
///
/// # Safety
/// As for [`advance`].
#[inline(always)]
unsafe fn advance_tile(
    args: &SsmScan,
    room: &Room,
    stage: &Stage,
    (channels, depth): (u32, u32),
    (x, decay): (&[[u32; 4]; STEPS], f32),
) {
    let lane = thread::lane_id();
    let place = |i: u32| {
        let (row, column) = fragment::c_element(lane, 2 * i);
        room.state.offset((channels + row) * stride(args.state_size) + depth + column).cast::<[f32; 2]>()
    };
    // SAFETY: the caller's promise.
    unsafe {
        let ([a, b], [c, d]) = (place(0).load(0), place(1).load(0));
        let mut s = [a * decay, b * decay, c * decay, d * decay];
        unroll::<STEPS>(
            #[inline(always)]
            |step| {
                let row = step as u32 * fragment::K + lane % fragment::K;
                let b = mma::ldmatrix_x2_transposed(at(stage.b, args.state_size, (row, depth)));
                s = mma::m16n8k16_bf16(x[step], b, s);
            },
        );
        place(0).store(0, [s[0], s[1]]);
        place(1).store(0, [s[2], s[3]]);
    }
}
