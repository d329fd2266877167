//! Running a decoded program: launch → blocks → warps → instructions.

mod access;
mod atomic;
mod block;
pub mod cluster;
mod collective;
mod copy;
mod devices;
mod diverge;
mod launch;
mod local;
mod mailbox;
mod matrix;
mod product;
mod seen;
mod tracked;
mod warp;
pub mod window;

use crate::memory::{Memory, USER_BASE, view::View};
use crate::program::Program;
pub use devices::Queued;
pub(crate) use devices::run as run_devices;
pub(crate) use launch::launch;
pub use launch::{Launch, Options, Stats};

/// What every block of a launch shares.
pub(crate) struct Env<'a> {
    pub program: &'a Program,
    pub memory: &'a Memory,
    /// The module's own variables.
    pub variables: &'a Memory,
    pub params: &'a [u8],
    pub launch: &'a Launch,
    pub options: &'a Options,
    /// The device's view of the memory, where several run at once.
    pub view: Option<View<'a>>,
}

impl Env<'_> {
    /// The memory that a global address belongs to.
    #[inline(always)]
    pub fn global(&self, address: u64) -> &Memory {
        if address >= USER_BASE { self.memory } else { self.variables }
    }

    pub fn threads(&self) -> u32 {
        self.launch.block.iter().product()
    }

    /// Position of a thread of a block in three dimensions.
    pub fn thread(&self, linear: u32) -> [u32; 3] {
        let [x, y, _] = self.launch.block;
        [linear % x, linear / x % y, linear / (x * y)]
    }
}

/// Runs the body for each lane of a mask, in order; a full mask takes a loop without tests.
macro_rules! each_lane {
    ($mask:expr, $lane:ident => $body:block) => {
        if $mask == crate::lanes::FULL {
            for $lane in 0..crate::lanes::LANES $body
        } else {
            let mut left: u32 = $mask;
            while left != 0 {
                let $lane = left.trailing_zeros() as usize;
                left &= left - 1;
                $body
            }
        }
    };
}
pub(crate) use each_lane;
