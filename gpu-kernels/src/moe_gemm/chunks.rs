//! The chunks of `moe_gemm`, from the first tile's first row of the weight on.
use super::MoeGemm;
use crate::dense_gemm::product::Chunk;
use crate::moe_sort::max_tiles;

impl MoeGemm {
    /// The chunk of that number, if there is one.
    ///
    /// # Safety
    /// The kernel's Requires hold; the tiles are written.
    #[inline(always)]
    pub(super) unsafe fn find_chunk(&self, number: u32) -> Option<Chunk> {
        let [narrow, wide] = self.chunks();
        // SAFETY: the tile is there.
        let tile = |tile: u32| unsafe { self.tile(tile) };
        // The last tile that does not begin behind the chunk is between the two.
        let (mut low, mut high) = (0, max_tiles(self.rows * self.top_k, self.experts));
        let (mut found, mut before) = (tile(0), 0);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let words = tile(middle);
            let own = middle * narrow + words[3] * (wide - narrow);
            if own <= number {
                (low, found, before) = (middle, words, own);
            } else {
                high = middle;
            }
        }
        let [expert, first, live, _] = found;
        let mut chunk = Chunk { weights: 0, first, live, row: 0, rows: 0 };
        chunk.row = (number - before) * chunk.most_rows();
        chunk.rows = self.n.saturating_sub(chunk.row).min(chunk.most_rows());
        chunk.weights = self.weights(expert, chunk.row);
        (live > 0 && chunk.rows > 0).then_some(chunk)
    }
}
