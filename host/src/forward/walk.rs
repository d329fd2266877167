//! The walk: blocks in order become the steps of a plan.
use super::pass::Pass;
use super::{Bucket, Layout};
use crate::device::Plan;

/// The plan of one pass over the model for steps of `bucket`.
pub fn plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass =
        Pass { shared: &layout.shared, bucket, plan: Plan { decode: bucket.is_decode(), steps: Vec::new() } };
    if bucket.is_decode() {
        pass.advance();
    }
    if bucket.sampling {
        pass.history_append();
    }
    pass.embed();
    layout.blocks.iter().for_each(|block| block.steps(&mut pass));
    if bucket.logit_rows > 0 {
        pass.head();
    }
    pass.plan
}

/// The plan that notes the ids of a step of `bucket`, and does nothing else.
pub fn history_plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass =
        Pass { shared: &layout.shared, bucket, plan: Plan { decode: bucket.is_decode(), steps: Vec::new() } };
    pass.history_append();
    pass.plan
}
