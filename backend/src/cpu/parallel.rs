//! Work on all cores where there is enough of it to pay for waking them.
use rayon::prelude::*;

/// Scalar operations that one core does in the time it takes to wake another.
const WORTH_WAKING: usize = 1 << 16;

/// Calls `f` with every item: in order on this thread if all items together take `operations` below the worth of a second
/// core, else on all cores.
pub fn for_each<I: Send>(operations: usize, items: Vec<I>, f: impl Fn(I) + Sync + Send) {
    if operations < WORTH_WAKING {
        items.into_iter().for_each(f);
    } else {
        items.into_par_iter().for_each(f);
    }
}
