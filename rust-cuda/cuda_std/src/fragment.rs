//! Which lane of a warp holds which element of a tensor core's operand, and which rows it names to `ldmatrix`.
//!
//! For [`mma::m16n8k16_bf16`](crate::mma::m16n8k16_bf16), from the PTX ISA's "Matrix Fragments for mma.m16n8k16". In a
//! register of two bf16 the element with the lower index is in the low half. Rows and columns count from the operand's
//! corner.

/// Rows of a and of the result.
pub const M: u32 = 16;
/// Columns of b and of the result.
pub const N: u32 = 8;
/// Columns of a, rows of b.
pub const K: u32 = 16;

/// (row, column) in a of half `half` (0, 1) of register `register` (0 to 3).
#[inline(always)]
pub const fn a_element(lane: u32, register: u32, half: u32) -> (u32, u32) {
    (lane / 4 + 8 * (register % 2), lane % 4 * 2 + half + 8 * (register / 2))
}

/// (row, column) in b of half `half` (0, 1) of register `register` (0, 1).
#[inline(always)]
pub const fn b_element(lane: u32, register: u32, half: u32) -> (u32, u32) {
    (lane % 4 * 2 + half + 8 * register, lane / 4)
}

/// (row, column) in c, and in the result, of register `register` (0 to 3).
#[inline(always)]
pub const fn c_element(lane: u32, register: u32) -> (u32, u32) {
    (lane / 4 + 8 * (register / 2), lane % 4 * 2 + register % 2)
}

/// (row, first column) of the 8 elements that a lane names to `ldmatrix_x4` to get a, stored row by row.
#[inline(always)]
pub const fn a_source(lane: u32) -> (u32, u32) {
    (lane % 16, lane / 16 * 8)
}

/// (column, first row) of the 8 elements that a lane names to `ldmatrix_x4` to get two b side by side, stored column by
/// column: registers 0 and 1 are columns 0 to 7, registers 2 and 3 columns 8 to 15. Keys are such a b for queries.
#[inline(always)]
pub const fn b_source_by_columns(lane: u32) -> (u32, u32) {
    (lane % 8 + lane / 16 * 8, lane / 8 % 2 * 8)
}

/// (row, first column) of the 8 elements that a lane names to `ldmatrix_x4_transposed` to get two b side by side, stored
/// row by row: registers 0 and 1 are columns 0 to 7, registers 2 and 3 columns 8 to 15. Values are such a b for
/// probabilities.
#[inline(always)]
pub const fn b_source_by_rows(lane: u32) -> (u32, u32) {
    (lane % 16, lane / 16 * 8)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashSet;

    /// (matrix row, matrix column) that `ldmatrix` gives to a lane: source lane of the row, element within it.
    fn ldmatrix(lane: u32, register: u32, half: u32, transposed: bool) -> (u32, u32) {
        let (row, column) = (lane / 4, lane % 4 * 2 + half);
        if transposed { (register * 8 + column, row) } else { (register * 8 + row, column) }
    }

    #[test]
    fn fragments_hold_every_element_once() {
        let a: HashSet<_> = each(4).map(|(l, r, h)| a_element(l, r, h)).collect();
        let b: HashSet<_> = each(2).map(|(l, r, h)| b_element(l, r, h)).collect();
        let c: HashSet<_> = each(4).map(|(l, r, _)| c_element(l, r)).collect();
        assert_eq!(a, (0..M).flat_map(|m| (0..K).map(move |k| (m, k))).collect());
        assert_eq!(b, (0..K).flat_map(|k| (0..N).map(move |n| (k, n))).collect());
        assert_eq!(c, (0..M).flat_map(|m| (0..N).map(move |n| (m, n))).collect());
    }

    #[test]
    fn ldmatrix_fills_a() {
        for (lane, register, half) in each(4) {
            let (source, within) = ldmatrix(lane, register, half, false);
            let (row, first) = a_source(source);
            assert_eq!((row, first + within), a_element(lane, register, half));
        }
    }

    #[test]
    fn ldmatrix_fills_two_b_stored_by_columns() {
        for (lane, register, half) in each(4) {
            let (source, within) = ldmatrix(lane, register, half, false);
            let (column, first) = b_source_by_columns(source);
            let (k, n) = b_element(lane, register % 2, half);
            assert_eq!((first + within, column), (k, n + register / 2 * N));
        }
    }

    #[test]
    fn ldmatrix_transposed_fills_two_b_stored_by_rows() {
        for (lane, register, half) in each(4) {
            let (source, within) = ldmatrix(lane, register, half, true);
            let (row, first) = b_source_by_rows(source);
            let (k, n) = b_element(lane, register % 2, half);
            assert_eq!((row, first + within), (k, n + register / 2 * N));
        }
    }

    fn each(registers: u32) -> impl Iterator<Item = (u32, u32, u32)> {
        (0..32).flat_map(move |l| (0..registers).flat_map(move |r| (0..2).map(move |h| (l, r, h))))
    }
}
