//! The GPU's clock.
use crate::instruction::ptx;

/// Nanoseconds of a clock that all multiprocessors share and that goes on between launches. Some GPUs move it on only every
/// microsecond, so single differences are rough; sums of many are not.
#[inline(always)]
pub fn nanoseconds() -> u64 {
    let now: u64;
    // SAFETY: a special register can be read at any time. Not `pure`: it is another value every time.
    ptx!("mov.u64 {}, %globaltimer;", out(reg64) now, options(nostack));
    now
}
