//! How products of 9 to 64 token rows are shared out among blocks. Splits of columns go by the weight's shape and format alone, so that a
//! row's sums are the same on every device and in any company. What the numbers were chosen by is in docs/performance.md.
use super::{DEPTH, MOST_SPLITS, WARPS};
use crate::DeviceInfo;

/// The fewest pairs of 64 columns that a block of `skinny_gemm` has, and the fewest sixteens of rows of its tile.
const FEWEST_PAIRS: u32 = 2;
const LOWEST: u32 = 5;
/// Its blocks that an H200 runs at once, one to a multiprocessor, and by their size the clusters that it does, as far as
/// [`are_clusters`] makes them. On chips of another size some shapes leave more multiprocessors idle.
const PLACES: u32 = 132;
const CLUSTERS: [u32; MOST_SPLITS as usize + 1] = [0, PLACES, 64, 39, 30, 22, 16, 14, 14];
/// What a pair of 64 columns takes beside the weight's rows, and a join that is a launch, both in what such a pair of 16 rows takes. Where
/// ranks meet joins are always launches, which does not count here.
const BESIDE: u32 = 3;
const JOIN: u32 = 30;
/// Multiprocessors of a part of the chip within which a cluster runs, at least.
const OF_PART: u32 = 16;

/// Sixteens of rows in a tile of `skinny_gemm`, and blocks that share its columns, for a weight of `[n, k]`: those with which the busiest
/// multiprocessor has the least to do; of equal ones the fewest splits, then the highest tile. To fewer multiprocessors the memory of an
/// H200 gives less: 4 280 GB/s to 112, 4 520 to 132.
pub fn of_bf16([n, k]: [u32; 2]) -> [u32; 2] {
    let pairs = k.div_ceil(2 * DEPTH);
    let most = (pairs / FEWEST_PAIRS).clamp(1, MOST_SPLITS);
    let (mut best, mut least) = ([WARPS, 1], u64::MAX);
    for splits in 1..=most {
        for height in (LOWEST..=WARPS).rev() {
            let tiles = super::sixteens(n).div_ceil(height);
            let (turns, is_launch) = (tiles.div_ceil(PLACES), tiles > CLUSTERS[splits as usize]);
            let work = u64::from(turns) * u64::from(pairs.div_ceil(splits)) * u64::from(height + BESIDE);
            let work = work + u64::from(if splits > 1 && is_launch { JOIN } else { 0 });
            if work < least && (splits == 1 || tiles * splits <= PLACES) {
                (best, least) = ([height, splits], work);
            }
        }
    }
    best
}

/// Blocks that share the columns of each of `tiles` tiles, `most` at most; each has whole units of columns. Of the blocks of both numbers
/// in `fill` it is the smaller one if that gives no block more than `more` units beyond the other's; of equal longest shares, the
/// fewest blocks. A cluster is within a part of the chip, and parts that have lost a multiprocessor leave some unused.
pub fn of_codes([tiles, units]: [u32; 2], fill: [u32; 2], [most, more]: [u32; 2]) -> u32 {
    let [all, fewer] = fill.map(|blocks| units.div_ceil(units.div_ceil((blocks / tiles).clamp(1, most))));
    if units.div_ceil(fewer) <= units.div_ceil(all) + more { fewer } else { all }
}

/// Whether the splits of so many tiles run as clusters, all at once, where a multiprocessor has room for `resident` blocks.
pub fn are_clusters(device: &DeviceInfo, [tiles, splits]: [u32; 2], resident: u32) -> bool {
    let of_part = OF_PART * resident / splits;
    device.clusters && device.has_wgmma() && splits > 1 && tiles <= device.multiprocessors / OF_PART * of_part
}
