//! The walk: blocks in order become the steps of a plan.
use super::pass::Pass;
use super::{Bucket, Layout};
use crate::device::Plan;

/// The plan of one pass over the model for steps of `bucket`. Where masks may say which tokens may come, it ends with the logits,
/// and [`choice_plan`] goes on from there.
pub fn plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass = Pass::new(&layout.shared, bucket);
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
        if !bucket.masked {
            pass.choice();
        }
    }
    pass.plan
}

/// The plan that chooses tokens from the logits of the plan in front of it, by the masks that [`Layout::masks`] takes.
pub fn choice_plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass = Pass::new(&layout.shared, bucket);
    pass.plan.continues = true;
    pass.choice();
    pass.plan
}

/// The plan that notes the ids of a step of `bucket`, and does nothing else.
pub fn history_plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass = Pass::new(&layout.shared, bucket);
    pass.history_append();
    pass.plan
}

/// The plan that copies slots as the input `copies` says, [`Layout::copies`].
pub fn copy_plan(layout: &Layout) -> Plan {
    let [bucket, _] = Bucket::first(layout.limits());
    let mut pass = Pass::new(&layout.shared, &bucket);
    layout.blocks.iter().for_each(|block| block.copy_slots(&mut pass));
    pass.plan
}
