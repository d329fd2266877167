//! The only walk over the blocks: (model, bucket) → plan, the same on every device.
//!
//! [`Layout`] names every buffer once; [`Bucket`] rounds a step's shape up to one of few; [`plan`] writes the steps.
mod bucket;
mod inputs;
mod layout;
mod limits;
mod rope;
mod walk;

pub use bucket::Bucket;
pub use inputs::{Span, StepInputs};
pub use layout::Layout;
pub use limits::Limits;
pub use rope::table_bytes;
pub use walk::plan;

/// Where the bytes of a tensor list come from.
pub type WeightSource<'a> =
    &'a dyn Fn(&[crate::models::spec::Tensor]) -> crate::error::Result<crate::device::WeightParts>;
