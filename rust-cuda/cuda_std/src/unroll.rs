//! Loops that are unrolled for certain, so that what they index stays in registers.
//!
//! LLVM unrolls a loop only as far as it thinks worthwhile, and an array that a remaining loop indexes moves to local
//! memory. Here every index is a constant whatever the size of the body. Closures that hold more than a line are marked
//! `#[inline(always)]`, so that none of their calls remains.

/// Most repetitions that [`unroll`] knows.
pub const MAX: usize = 32;

/// Calls `body` with 0 to `N − 1`; `N` is at most [`MAX`].
#[inline(always)]
pub fn unroll<const N: usize>(mut body: impl FnMut(usize)) {
    const { assert!(N <= MAX) };
    macro_rules! calls {
        ($($i:literal)*) => { $(if $i < N { body($i) })* };
    }
    calls!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
}

/// The array of `element(0)` to `element(N − 1)`, made in that order; `N` is at most [`MAX`].
#[inline(always)]
pub fn array<const N: usize, T: Copy + Default>(mut element: impl FnMut(usize) -> T) -> [T; N] {
    let mut made = [T::default(); N];
    unroll::<N>(|i| made[i] = element(i));
    made
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn every_index_comes_once_and_in_order() {
        let mut seen = std::vec::Vec::new();
        unroll::<MAX>(|i| seen.push(i));
        assert!(seen.into_iter().eq(0..MAX));
        unroll::<0>(|_| panic!("nothing to repeat"));
        assert_eq!(array::<3, usize>(|i| i * i), [0, 1, 4]);
    }
}
