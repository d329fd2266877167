//! The only walk over the blocks: it makes plans.
