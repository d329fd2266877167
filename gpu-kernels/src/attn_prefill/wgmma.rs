//! The entry points of `attn_prefill` for compute capability 9.0: a warpgroup for each query head of a team.
mod ring;
mod turns;

use self::ring::{Ring, Way};
use self::turns::Turns;
use super::entry::{KEY_TILES, Scores, Weights, scale};
use super::softmax::{Softmax, mask, round};
use super::tile::Tile;
use super::{AttnPrefill, MOST_IN_TEAM, stages};
use crate::cached::{E4m3, Plain};
use crate::{PAGE_TOKENS, TILE_ROWS};
use cuda_std::barrier::{sync_named, sync_threads};
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::unroll;
use cuda_std::wgmma::{self, Accumulator};
use cuda_std::{bf16, fragment, grid, kernel, thread, warp};

kernel! {
    /// Heads of 64.
    pub fn attn_prefill_wgmma_64(args: AttnPrefill) {
        attend::<64, 4, 8, Plain>(&args);
    }

    /// Heads of 128.
    pub fn attn_prefill_wgmma_128(args: AttnPrefill) {
        attend::<128, 8, 16, Plain>(&args);
    }

    /// Heads of 64, with pools of codes.
    pub fn attn_prefill_fp8_wgmma_64(args: AttnPrefill) {
        attend::<64, 4, 8, E4m3>(&args);
    }

    /// Heads of 128, with pools of codes.
    pub fn attn_prefill_fp8_wgmma_128(args: AttnPrefill) {
        attend::<128, 8, 16, E4m3>(&args);
    }
}

/// Bytes of a tile of queries, a page of keys or of values.
const fn buffer_bytes(head_dim: u32) -> u32 {
    TILE_ROWS * head_dim * 2
}

/// Bytes of 64 columns of a buffer.
const MATRIX_BYTES: u32 = TILE_ROWS * wgmma::ROW_BYTES;

/// Offset in its buffer of a group of eight elements.
#[inline(always)]
const fn place(row: u32, group: u32) -> u32 {
    const PIECES: u32 = wgmma::ROW_BYTES / 16;
    group / PIECES * MATRIX_BYTES + wgmma::place(row, group % PIECES)
}

/// `STEPS` depths of `wgmma` and `TILES` times eight columns of it make a head of `DIM`.
///
/// # Safety
/// The kernel's Requires hold for heads of `DIM` and pools of `E`; the block has a warpgroup for each head of a team, which is a part of
/// those that share a kv head.
#[inline(always)]
unsafe fn attend<const DIM: u32, const STEPS: usize, const TILES: usize, E: Way>(args: &AttnPrefill)
where
    [[f32; 4]; TILES]: Accumulator,
{
    wgmma::threads_at_most::<{ MOST_IN_TEAM * wgmma::THREADS }>();
    grid::launch_dependents();
    grid::wait_for_dependencies();
    // SAFETY: the tile's rows are the same for the whole block, and so is the way through it.
    unsafe {
        // The whole warp has the same; only so does the compiler know it.
        let member = warp::shuffle(thread::thread_idx_x() / wgmma::THREADS, 0);
        let thread = thread::thread_idx_x() % wgmma::THREADS;
        let team = thread::block_dim_x() / wgmma::THREADS;
        let Some(tile) = Tile::<DIM>::of_block(args, thread::block_idx_x() * team + member) else { return };
        let Ok(sequence) = u32::try_from(tile.sequence) else {
            return tile.store::<STEPS>(|_, _| [0; 4]);
        };
        let position = tile.position(sequence);
        let Some(sight) = tile.sight(sequence, position, E::BYTES) else { return };
        let (first, end) = (sight.first / PAGE_TOKENS * PAGE_TOKENS, sight.end);
        let buffers = shared::dynamic::<u8>().address();
        let own = buffers + member * buffer_bytes(DIM);
        tile.copy_queries::<STEPS>(|row, group| own + place(row, group));
        let ring = Ring::<DIM, E>::fill(sight, buffers + team * buffer_bytes(DIM), stages(team));
        E::land::<DIM, 1>(&ring);
        sync_threads();
        let turns = Turns::begin(member, team);
        let row = thread / 32 * fragment::M + fragment::c_element(thread::lane_id(), 0).0;
        let mut rows = Rows::<DIM, STEPS, TILES, E> {
            tile,
            position,
            row,
            queries: wgmma::describe(own, 0),
            ring,
            turns,
            softmax: Softmax::new(args.scale * E::rest(args.k_scale)),
            rest: E::rest(args.v_scale),
            weights: [[0; 4]; KEY_TILES / 2],
            outputs: [[0.0; 4]; TILES],
        };
        rows.first_page(first);
        let mut page = first + PAGE_TOKENS;
        while page < end {
            rows.page(page);
            page += PAGE_TOKENS;
        }
        rows.last_values();
        stage(&rows.outputs, own, row);
        sync_named(1 + MOST_IN_TEAM + member, wgmma::THREADS);
        let staged = |row, group| Shared::<[u32; 4]>::from_address(own + place(row, group)).load(0);
        rows.tile.store::<STEPS>(staged);
    }
}

/// A tile of one query head, on its way through the pages of keys.
struct Rows<const DIM: u32, const STEPS: usize, const TILES: usize, E> {
    tile: Tile<DIM>,
    /// Position of the tile's first row, and the lane's first row in the tile.
    position: u32,
    row: u32,
    /// Describes the queries.
    queries: u64,
    ring: Ring<DIM, E>,
    turns: Turns,
    softmax: Softmax,
    /// What the outputs are still to be multiplied by.
    rest: f32,
    /// Of the page whose values are to be added next.
    weights: Weights,
    outputs: [[f32; 4]; TILES],
}

impl<const DIM: u32, const STEPS: usize, const TILES: usize, E: Way> Rows<DIM, STEPS, TILES, E>
where
    [[f32; 4]; TILES]: Accumulator,
{
    /// Weighs the keys of the first page, from `page` on.
    ///
    /// # Safety
    /// The warpgroup comes here, and all of its block do so together; the same holds for the functions below.
    #[inline(always)]
    unsafe fn first_page(&mut self, page: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            self.turns.take();
            let (keys, _) = self.ring.next();
            self.outputs.fence();
            let mut scores = score::<STEPS>(self.queries, keys);
            E::land::<DIM, 0>(&self.ring);
            scores.wait::<0>();
            self.turns.pass();
            self.ring.ask();
            self.mask(&mut scores, page);
            let weights = &mut self.weights;
            self.softmax.weigh(
                &scores,
                #[inline(always)]
                |n, row, pair| round(weights, n, row, pair),
            );
        }
    }

    /// Weighs the keys of a later page, from `page` on, while the values of the page before are added.
    #[inline(always)]
    unsafe fn page(&mut self, page: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            self.turns.take();
            let (keys, values) = self.ring.next();
            self.outputs.fence();
            wgmma::hold(&mut self.weights);
            let mut scores = score::<STEPS>(self.queries, keys);
            add_values(&mut self.outputs, &self.weights, values);
            E::land::<DIM, 0>(&self.ring);
            scores.wait::<1>();
            self.turns.pass();
            self.ring.ask();
            self.mask(&mut scores, page);
            let mut exact = scores;
            let rescale = self.softmax.weigh(
                &scores,
                #[inline(always)]
                |n, row, pair| [exact[n][2 * row], exact[n][2 * row + 1]] = pair,
            );
            self.outputs.wait::<0>();
            wgmma::hold(&mut self.weights);
            // Not before: the products still read them.
            let weights = &mut self.weights;
            unroll::<KEY_TILES>(|n| {
                unroll::<2>(|row| round(weights, n, row, [exact[n][2 * row], exact[n][2 * row + 1]]));
            });
            scale(&mut self.outputs, rescale);
        }
    }

    /// Adds the values of the last page, and divides by the weights' sum.
    #[inline(always)]
    unsafe fn last_values(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.turns.take();
            let (_, values) = self.ring.next();
            self.outputs.fence();
            wgmma::hold(&mut self.weights);
            add_values(&mut self.outputs, &self.weights, values);
            self.turns.end();
            self.outputs.wait::<0>();
            wgmma::hold(&mut self.weights);
            scale(&mut self.outputs, self.softmax.normalizer().map(|factor| factor * self.rest));
        }
    }

    /// Hides the keys of the page from `page` on from rows that do not see them.
    #[inline(always)]
    fn mask(&self, scores: &mut Scores, page: u32) {
        if self.tile.is_ragged(self.position, page) {
            mask(scores, self.position + self.row, self.tile.reach, page);
        }
    }
}

/// Starts the product of the queries and keys that are described: the scores without their factor.
///
/// # Safety
/// As for [`Accumulator::start`].
#[inline(always)]
unsafe fn score<const STEPS: usize>(queries: u64, keys: u64) -> Scores {
    // SAFETY: the caller's promise.
    unsafe {
        let mut scores = Scores::start(queries, keys);
        unroll::<STEPS>(
            #[inline(always)]
            |k| {
                if k > 0 {
                    let (matrix, column) = (k as u32 / 4, k as u32 % 4);
                    let bytes = matrix * MATRIX_BYTES + column * wgmma::K * 2;
                    scores.add(wgmma::along(queries, bytes), wgmma::along(keys, bytes));
                }
            },
        );
        wgmma::commit();
        scores
    }
}

/// Starts the addition of the weighted values that are described.
///
/// # Safety
/// As for [`Accumulator::start`].
#[inline(always)]
unsafe fn add_values<const TILES: usize>(outputs: &mut [[f32; 4]; TILES], weights: &Weights, values: u64)
where
    [[f32; 4]; TILES]: Accumulator,
{
    unroll::<{ (PAGE_TOKENS / wgmma::K) as usize }>(
        #[inline(always)]
        |k| {
            // SAFETY: the caller's promise.
            unsafe { outputs.add_rows(weights[k], wgmma::along(values, k as u32 * wgmma::K * wgmma::ROW_BYTES)) };
        },
    );
    wgmma::commit();
}

/// Leaves the outputs, rounded, in the buffer at shared address `to`; the lane's first row is `row`.
///
/// # Safety
/// The buffer is free.
#[inline(always)]
unsafe fn stage<const TILES: usize>(outputs: &[[f32; 4]; TILES], to: u32, row: u32) {
    let word = fragment::c_element(thread::lane_id(), 0).1 * 2;
    unroll::<TILES>(
        #[inline(always)]
        |n| {
            let [a, b, c, d] = outputs[n];
            // SAFETY: the words are the lane's own.
            unsafe {
                Shared::from_address(to + place(row, n as u32) + word).store(0, bf16::pack([a, b]));
                Shared::from_address(to + place(row + 8, n as u32) + word).store(0, bf16::pack([c, d]));
            }
        },
    );
}
