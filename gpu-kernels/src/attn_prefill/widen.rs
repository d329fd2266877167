//! Pages of codes on their way to the tensor core: in shared memory they become bf16.
use cuda_std::codes;
use cuda_std::unroll::unroll;

/// Sixteen neighbouring codes of e4m3 as bf16.
#[inline(always)]
pub fn widened(words: [u32; 4]) -> [[u32; 4]; 2] {
    let (mut pairs, mut seen) = ([[0; 4]; 2], 0);
    unroll::<4>(|i| {
        let [low, high] = codes::e4m3(words[i]);
        seen = codes::note_nan(seen, words[i]);
        pairs[i / 2][i % 2 * 2] = low;
        pairs[i / 2][i % 2 * 2 + 1] = high;
    });
    if codes::has_nan(seen) { [[codes::NANS; 4]; 2] } else { pairs }
}
