//! Products whose blocks join their sums in clusters, which the plan has as two launches: the product and `skinny_join`.
use gpu_kernels::{QuantGemm, SkinnyGemm, SkinnyJoin};

use super::collective;
use super::launch::KernelLaunch;
use super::program::{Enqueued, PrepareContext, Prepared};
use crate::device::{PlannedKernel, Step};
use crate::error::Result;

/// Prepares `step` with the join behind it as one launch, where the device runs its blocks as clusters, all at once, and the join sends
/// nothing to other ranks.
///
/// # Errors
/// The kernel can not be prepared.
pub fn together(step: &Step, rest: &[Step], context: &mut PrepareContext) -> Result<Option<Vec<Prepared>>> {
    let (Step::Launch(product), [Step::Launch(second), behind @ ..]) = (step, rest) else { return Ok(None) };
    let Some(join) = second.as_any().downcast_ref::<SkinnyJoin>() else { return Ok(None) };
    if collective::sends(join, behind, context) {
        return Ok(None);
    }
    let any = product.as_any();
    let plain = any.downcast_ref::<SkinnyGemm>().and_then(|product| product.with_join(join, context.info));
    let of_codes = any.downcast_ref::<QuantGemm>().and_then(|product| product.with_join(join, context.info));
    let joined: &dyn PlannedKernel = match (&plain, &of_codes) {
        (Some(product), _) => product,
        (_, Some(product)) => product,
        _ => return Ok(None),
    };
    let arena = context.arena;
    let launch =
        KernelLaunch::new(joined, context, &mut |buffer, offset, element| arena.address(buffer, offset, element))?;
    if !launch.runs_at_once()? {
        return Ok(None);
    }
    let launch = vec![Enqueued::Launch(launch)];
    Ok(Some(vec![Prepared::new(joined.name(), launch), Prepared::new(second.name(), Vec::new())]))
}
