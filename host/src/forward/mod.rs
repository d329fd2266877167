//! The only walk over the blocks: (model, bucket) → plan, the same on every device.
//!
//! [`Layout`] names every buffer once, sized from the model alone ([`MemoryPlan`]); [`Bucket`] rounds a step's shape up to one
//! of few; [`plan`] writes the steps.
//!
//! * `blocks`: a block kind = a file: its buffers and its steps; `head`: what follows the last of them
//! * `builder`: what a block asks its buffers of; `memory_plan`: what is asked for, and how it is loaded
//! * `products`: the one place that chooses what runs a product; `product_buffers`: its weight, and which kernels take that
//! * `inputs`: the one table of step inputs, filled from the `span`s of a step
mod blocks;
mod bucket;
mod builder;
mod end;
mod head;
mod inputs;
mod layout;
mod limits;
mod memory_plan;
mod pass;
mod placed_span;
mod product_buffers;
mod products;
mod rope;
mod shared;
mod span;
mod walk;

pub use bucket::Bucket;
pub use builder::PARTIAL_PRODUCTS;
pub use inputs::StepInputs;
pub use layout::Layout;
pub use limits::Limits;
pub use memory_plan::{MemoryPlan, MemorySizes};
pub use rope::table_bytes;
pub use span::{Logprobs, Span};
pub use walk::{choice_plan, copy_plan, history_plan, plan};

/// Where the weight of a tensor list comes from.
pub type WeightSource<'a> = &'a dyn Fn(&[crate::models::spec::Tensor]) -> crate::error::Result<crate::device::Weight>;
