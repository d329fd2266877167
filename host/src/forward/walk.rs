//! The walk: blocks in order become the steps of a plan.
use super::head::TOKEN_WORDS;
use super::pass::Pass;
use super::{Bucket, Layout};
use crate::device::Plan;

/// The plan of one pass over the model for steps of `bucket`.
pub fn plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass = begin(layout, bucket);
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
    let mut pass = begin(layout, bucket);
    pass.history_append();
    pass.plan
}

fn begin<'a>(layout: &'a Layout, bucket: &'a Bucket) -> Pass<'a> {
    // All that stands in front of the log-probabilities.
    let tokens = TOKEN_WORDS * layout.limits().slots();
    let published = (!bucket.logprobs).then_some(tokens);
    Pass { shared: &layout.shared, bucket, plan: Plan { decode: bucket.is_decode(), published, steps: Vec::new() } }
}
