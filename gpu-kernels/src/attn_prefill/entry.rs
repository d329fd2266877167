//! The entry points of `attn_prefill`.
use super::ring::Ring;
use super::softmax::{Softmax, mask, round};
use super::tile::Tile;
use super::{AttnPrefill, ahead, queries_in_registers, row_bytes};
use crate::PAGE_TOKENS;
use crate::cached::{Cached, E4m3, Plain};
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, cp_async, fragment, grid, kernel, mma, thread};

kernel! {
    /// Heads of 32.
    pub fn attn_prefill_32(args: AttnPrefill) {
        attend::<32, 2, 4, 2, 2, Plain>(&args);
    }

    /// Heads of 64.
    pub fn attn_prefill_64(args: AttnPrefill) {
        attend::<64, 4, 8, 4, 2, Plain>(&args);
    }

    /// Heads of 96.
    pub fn attn_prefill_96(args: AttnPrefill) {
        attend::<96, 6, 12, 6, 2, Plain>(&args);
    }

    /// Heads of 128.
    pub fn attn_prefill_128(args: AttnPrefill) {
        attend::<128, 8, 16, 8, 2, Plain>(&args);
    }

    /// Heads of 192.
    pub fn attn_prefill_192(args: AttnPrefill) {
        attend::<192, 12, 24, 12, 1, Plain>(&args);
    }

    /// Heads of 256.
    pub fn attn_prefill_256(args: AttnPrefill) {
        attend::<256, 16, 32, 16, 0, Plain>(&args);
    }

    /// Heads of 32, with pools of codes.
    pub fn attn_prefill_fp8_32(args: AttnPrefill) {
        attend::<32, 2, 4, 1, 2, E4m3>(&args);
    }

    /// Heads of 64, with pools of codes.
    pub fn attn_prefill_fp8_64(args: AttnPrefill) {
        attend::<64, 4, 8, 2, 2, E4m3>(&args);
    }

    /// Heads of 96, with pools of codes.
    pub fn attn_prefill_fp8_96(args: AttnPrefill) {
        attend::<96, 6, 12, 3, 2, E4m3>(&args);
    }

    /// Heads of 128, with pools of codes.
    pub fn attn_prefill_fp8_128(args: AttnPrefill) {
        attend::<128, 8, 16, 4, 2, E4m3>(&args);
    }

    /// Heads of 192, with pools of codes.
    pub fn attn_prefill_fp8_192(args: AttnPrefill) {
        attend::<192, 12, 24, 6, 2, E4m3>(&args);
    }

    /// Heads of 256, with pools of codes.
    pub fn attn_prefill_fp8_256(args: AttnPrefill) {
        attend::<256, 16, 32, 8, 1, E4m3>(&args);
    }
}

/// Columns of `mma` that a page of keys has.
pub const KEY_TILES: usize = (PAGE_TOKENS / fragment::N) as usize;
/// A warp's scores of a page: results of `mma`.
pub type Scores = [[f32; 4]; KEY_TILES];
/// A warp's weights of a page: operands a of `mma`.
pub type Weights = [[u32; 4]; KEY_TILES / 2];

/// `STEPS` depths of `mma` and `TILES` columns of it make a head of `DIM`; a thread copies `SHARES` pieces of a page.
///
/// # Safety
/// The kernel's Requires hold for heads of `DIM` and pools of `E`.
#[inline(always)]
unsafe fn attend<
    const DIM: u32,
    const STEPS: usize,
    const TILES: usize,
    const SHARES: usize,
    const AHEAD: u32,
    E: Cached,
>(
    args: &AttnPrefill,
) {
    const {
        assert!(STEPS as u32 * fragment::K == DIM && TILES as u32 * fragment::N == DIM);
        assert!(SHARES as u32 * 32 == DIM * E::BYTES && AHEAD == ahead(DIM, E::FORMAT));
    }
    grid::launch_dependents();
    grid::wait_for_dependencies();
    // SAFETY: the tile is the same for the whole block, and so is the way through it.
    unsafe {
        let Some(tile) = Tile::<DIM>::of_block(args, thread::block_idx_x()) else { return };
        let Ok(sequence) = u32::try_from(tile.sequence) else {
            return tile.store::<STEPS>(|_, _| [0; 4]);
        };
        let position = tile.position(sequence);
        let buffers = shared::dynamic::<u8>().address();
        let Some(sight) = tile.sight(sequence, position, E::BYTES) else { return };
        let (first, end) = (sight.first, sight.end);
        let mut ring = Ring::<DIM, SHARES, AHEAD, E>::new(sight, buffers);
        // Queries that stay in registers pass through the buffer that the ring fills last.
        let at = Ring::<DIM, SHARES, AHEAD, E>::queries(buffers);
        tile.copy_queries::<STEPS>(|row, group| at + row * row_bytes(DIM) + group * 16);
        ring.fill();
        let queries = Queries::<DIM, STEPS>::landed::<AHEAD>(at);
        let mut softmax = Softmax::new(args.scale * E::rest(args.k_scale));
        let mut outputs = [[0.0; 4]; TILES];
        let mut page = first / PAGE_TOKENS * PAGE_TOKENS;
        while page < end {
            let mut scores = queries.score(ring.next(false));
            if tile.is_ragged(position, page) {
                mask(&mut scores, position + own_row(), tile.reach, page);
            }
            let mut weights = [[0; 4]; KEY_TILES / 2];
            let rescale = softmax.weigh(
                &scores,
                #[inline(always)]
                |n, row, pair| round(&mut weights, n, row, pair),
            );
            scale(&mut outputs, rescale);
            add_values::<DIM, STEPS, TILES>(&mut outputs, &weights, ring.next(true));
            page += PAGE_TOKENS;
        }
        scale(&mut outputs, softmax.normalizer().map(|factor| factor * E::rest(args.v_scale)));
        sync_threads();
        stage::<DIM, TILES>(&outputs, buffers);
        sync_threads();
        tile.store::<STEPS>(|row, group| Shared::<[u32; 4]>::from_address(buffers + row * row_bytes(DIM)).load(group));
    }
}

/// First row of this warp in its tile.
#[inline(always)]
fn warp_row() -> u32 {
    thread::warp_id() * fragment::M
}

/// The lane's first row in its tile.
#[inline(always)]
fn own_row() -> u32 {
    warp_row() + fragment::c_element(thread::lane_id(), 0).0
}

/// A warp's queries as operands a of `mma`, or where `ldmatrix` finds them.
struct Queries<const DIM: u32, const STEPS: usize> {
    address: u32,
    kept: [[u32; 4]; STEPS],
}

impl<const DIM: u32, const STEPS: usize> Queries<DIM, STEPS> {
    /// Those that were copied to the buffer at shared address `buffer`, `AHEAD + 1` groups of copies ago.
    ///
    /// # Safety
    /// The whole block comes here.
    #[inline(always)]
    unsafe fn landed<const AHEAD: u32>(buffer: u32) -> Self {
        let (row, column) = fragment::a_source(thread::lane_id());
        let address = buffer + (warp_row() + row) * row_bytes(DIM) + column * 2;
        let mut queries = Queries { address, kept: [[0; 4]; STEPS] };
        if queries_in_registers(DIM) {
            match AHEAD {
                0 => cp_async::wait::<1>(),
                1 => cp_async::wait::<2>(),
                _ => cp_async::wait::<3>(),
            }
            // SAFETY: behind the barrier all threads' copies have landed.
            unsafe {
                sync_threads();
                unroll::<STEPS>(|k| queries.kept[k] = queries.load(k));
            }
        }
        queries
    }

    /// # Safety
    /// The whole warp comes here; the queries have landed.
    #[inline(always)]
    unsafe fn load(&self, k: usize) -> [u32; 4] {
        // SAFETY: the caller's promise.
        unsafe { mma::ldmatrix_x4(self.address + k as u32 * fragment::K * 2) }
    }

    /// The scores, without their factor, of the page of keys at shared address `keys`.
    ///
    /// # Safety
    /// The whole warp comes here; the page has landed.
    #[inline(always)]
    unsafe fn score(&self, keys: u32) -> Scores {
        let (key, column) = fragment::b_source_by_columns(thread::lane_id());
        let keys = keys + key * row_bytes(DIM) + column * 2;
        let mut scores = [[0.0; 4]; KEY_TILES];
        unroll::<STEPS>(
            #[inline(always)]
            |k| {
                // SAFETY: the whole warp is here; queries that were not awaited came before the first page.
                unsafe {
                    let query = if queries_in_registers(DIM) { self.kept[k] } else { self.load(k) };
                    unroll::<{ KEY_TILES / 2 }>(
                        #[inline(always)]
                        |n| {
                            let (row, column) = (n as u32 * 2 * fragment::N, k as u32 * fragment::K);
                            let [a, b, c, d] = mma::ldmatrix_x4(keys + row * row_bytes(DIM) + column * 2);
                            scores[2 * n] = mma::m16n8k16_bf16(query, [a, b], scores[2 * n]);
                            scores[2 * n + 1] = mma::m16n8k16_bf16(query, [c, d], scores[2 * n + 1]);
                        },
                    );
                }
            },
        );
        scores
    }
}

/// Multiplies the outputs of the lane's two rows.
#[inline(always)]
pub fn scale<const TILES: usize>(outputs: &mut [[f32; 4]; TILES], factors: [f32; 2]) {
    unroll::<TILES>(
        #[inline(always)]
        |n| outputs[n] = array(|i| outputs[n][i] * factors[i / 2]),
    );
}

/// Adds the weighted values of the page at shared address `values`.
///
/// # Safety
/// The whole warp comes here; the page has landed.
#[inline(always)]
unsafe fn add_values<const DIM: u32, const STEPS: usize, const TILES: usize>(
    outputs: &mut [[f32; 4]; TILES],
    weights: &Weights,
    values: u32,
) {
    let (key, column) = fragment::b_source_by_rows(thread::lane_id());
    let values = values + key * row_bytes(DIM) + column * 2;
    unroll::<{ KEY_TILES / 2 }>(
        #[inline(always)]
        |k| {
            unroll::<STEPS>(
                #[inline(always)]
                |n| {
                    let (row, column) = (k as u32 * fragment::K, n as u32 * 2 * fragment::N);
                    // SAFETY: the whole warp is here.
                    unsafe {
                        let [a, b, c, d] = mma::ldmatrix_x4_transposed(values + row * row_bytes(DIM) + column * 2);
                        outputs[2 * n] = mma::m16n8k16_bf16(weights[k], [a, b], outputs[2 * n]);
                        outputs[2 * n + 1] = mma::m16n8k16_bf16(weights[k], [c, d], outputs[2 * n + 1]);
                    }
                },
            );
        },
    );
}

/// Leaves the outputs, rounded, in the buffer at shared address `to`, from where they are stored 16 bytes at a time.
///
/// # Safety
/// The buffer is free.
#[inline(always)]
unsafe fn stage<const DIM: u32, const TILES: usize>(outputs: &[[f32; 4]; TILES], to: u32) {
    let (row, column) = fragment::c_element(thread::lane_id(), 0);
    let to = to + (warp_row() + row) * row_bytes(DIM) + column * 2;
    unroll::<TILES>(
        #[inline(always)]
        |n| {
            let [a, b, c, d] = outputs[n];
            let to = Shared::from_address(to + n as u32 * fragment::N * 2);
            // SAFETY: the words are the lane's own.
            unsafe {
                to.store(0, bf16::pack([a, b]));
                to.store(2 * row_bytes(DIM), bf16::pack([c, d]));
            }
        },
    );
}
