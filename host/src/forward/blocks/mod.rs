//! The block kinds, a file each: which buffers a kind needs, and which steps it makes.
mod attention;
mod linear;
mod mamba2;
mod mlp;
mod moe;
#[cfg(test)]
mod tests;

use super::builder::Builder;
use super::pass::Pass;
use crate::models::spec::{Block, for_each_block};

/// A block as its family describes it.
pub(super) trait Kind {
    /// Asks for every buffer that the block needs, with sizes from the description and the limits alone.
    fn lay_out(&self, builder: &mut Builder) -> Box<dyn PlacedBlock>;
}

/// A block whose buffers have numbers.
pub(super) trait PlacedBlock: Send + Sync {
    /// Appends the block's steps, from the residual stream to the residual stream.
    fn steps(&self, pass: &mut Pass);

    /// Appends the steps that copy what the block keeps in slots, as the input `copies` says: none for a block that
    /// has no slots. Without them a sequence that begins with a cached prefix would go on from another state.
    fn copy_slots(&self, pass: &mut Pass);
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $file:ident $kind:ident,)*) => {
        /// The kind that a block is of.
        pub(super) fn kind(block: &Block) -> &dyn Kind {
            match block {
                $(Block::$kind(block) => block,)*
            }
        }
    };
}
for_each_block!(kinds);
