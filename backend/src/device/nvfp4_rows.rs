//! Codes and scales of NVFP4, as a file has them, become rows as devices read them (docs/formats.md): the reference of
//! `gpu_kernels::nvfp4_rows`, and what a device does that has no kernel for it.
use gpu_kernels::Format;
use gpu_kernels::format::{NVFP4_GROUP, nibble_bytes};

use super::e2m1_word;

/// Bytes of the codes of a row of `columns` columns, and of its scales, as a file has them.
pub const fn nvfp4_apart(columns: usize) -> [usize; 2] {
    [columns / 2, columns / NVFP4_GROUP as usize]
}

/// Makes rows of `columns` columns of what `apart` has: their codes, two in a byte, the earlier column lower; then their scales.
///
/// # Panics
/// If there are not as many rows of `apart` as of `rows`.
pub fn nvfp4_rows(columns: usize, apart: &[u8], rows: &mut [u8]) {
    let row_bytes = Format::Nvfp4.row_bytes(columns as u64) as usize;
    let (count, [code_bytes, scale_bytes]) = (rows.len() / row_bytes, nvfp4_apart(columns));
    assert_eq!(apart.len(), count * (code_bytes + scale_bytes), "as many rows");
    let (codes, scales) = apart.split_at(count * code_bytes);
    let stored = codes.chunks_exact(code_bytes).zip(scales.chunks_exact(scale_bytes));
    for (row, (codes, scales)) in rows.chunks_exact_mut(row_bytes).zip(stored) {
        let (front, back) = row.split_at_mut(nibble_bytes(columns as u32) as usize);
        let words = filled_up(front, codes.len()).as_chunks_mut::<4>().0;
        for (word, codes) in words.iter_mut().zip(codes.as_chunks::<4>().0) {
            *word = e2m1_word(u32::from_le_bytes(*codes)).to_le_bytes();
        }
        filled_up(back, scales.len()).copy_from_slice(scales);
    }
}

/// The first bytes, with zeros behind them.
fn filled_up(target: &mut [u8], count: usize) -> &mut [u8] {
    let (target, rest) = target.split_at_mut(count);
    rest.fill(0);
    target
}
