//! The steps in which ranks meet, as launches of the kernels that sum and gather.
use gpu_kernels::{Gemv, OneShotAllGather, OneShotAllReduce, Ptr, QuantGemv, TwoShotAllReduce};

use super::launch::KernelLaunch;
use super::program::{PrepareContext, Prepared};
use super::rank::Rank;
use crate::device::{AllGather, AllReduce, Output, PlannedKernel, Step};
use crate::error::{Category, Error, Result};

/// Prepares a product that sends its results to the ranks itself, where it is one and the sum `behind` is theirs.
///
/// # Errors
/// The kernel can not be prepared.
pub fn sending(
    kernel: &dyn PlannedKernel,
    behind: Option<&Step>,
    context: &mut PrepareContext,
) -> Result<Option<Prepared>> {
    let (Some(rank), Some(Step::AllReduce(sum))) = (context.rank, behind) else { return Ok(None) };
    let Output::F32(part) = sum.x else { return Ok(None) };
    let part = (part, [sum.rows, sum.n]);
    let outbox = rank.communicator().meeting(rank.number()).outbox();
    let any = kernel.as_any();
    let gemv = any.downcast_ref::<Gemv>().and_then(|gemv| gemv.sending(part, outbox));
    let quant_gemv = any.downcast_ref::<QuantGemv>().and_then(|gemv| gemv.sending(part, outbox));
    let launch = match (&gemv, &quant_gemv) {
        (Some(gemv), _) => prepare(gemv, rank, context)?,
        (_, Some(gemv)) => prepare(gemv, rank, context)?,
        _ => return Ok(None),
    };
    Ok(Some(Prepared::sending(kernel.name(), launch)))
}

/// Prepares a sum over all ranks: in one shot of packets, which may be `sent` already, or in two where those have no room for as many
/// activations.
///
/// # Errors
/// The device is no rank, or the kernel can not be prepared.
pub fn all_reduce(step: &AllReduce, sent: bool, context: &mut PrepareContext) -> Result<Prepared> {
    let rank = rank_of(context)?;
    let communicator = rank.communicator();
    let AllReduce { bias, residual, y, rows, n, .. } = *step;
    let (meeting, (x, x_act)) = (communicator.meeting(rank.number()), split(step.x));
    let x = if sent { Ptr::NULL } else { x };
    let one_shot = OneShotAllReduce { x, x_act, bias, residual, y, meeting, rows, n };
    let launch = if x_act.is_null() || one_shot.words() <= u64::from(meeting.packed) {
        prepare(&one_shot, rank, context)?
    } else {
        let [x, y] = [x_act, y].map(|place| communicator.of_ranks(place));
        prepare(&TwoShotAllReduce { x, bias, residual, y, meeting, rows, n }, rank, context)?
    };
    Ok(Prepared::meeting("all_reduce", launch))
}

/// Prepares a gathering of all ranks' columns.
///
/// # Errors
/// As of [`all_reduce`].
pub fn all_gather(step: &AllGather, context: &mut PrepareContext) -> Result<Prepared> {
    let rank = rank_of(context)?;
    let communicator = rank.communicator();
    let AllGather { rows, n, .. } = *step;
    let (meeting, (x, x_act), (y_f32, y)) = (communicator.meeting(rank.number()), split(step.x), split(step.y));
    let (y, y_f32) = (communicator.of_ranks(y), communicator.of_ranks(y_f32));
    let launch = prepare(&OneShotAllGather { x, x_act, y, y_f32, meeting, rows, n }, rank, context)?;
    Ok(Prepared::meeting("all_gather", launch))
}

fn split(output: Output) -> (Ptr<f32>, Ptr<gpu_kernels::Act>) {
    match output {
        Output::F32(pointer) => (pointer, Ptr::NULL),
        Output::Act(pointer) => (Ptr::NULL, pointer),
    }
}

fn rank_of<'a>(context: &PrepareContext<'a>) -> Result<&'a Rank> {
    context.rank.ok_or_else(|| {
        Error::new(Category::Internal, "A plan of several ranks has one device")
            .details("a step in which ranks meet, on a GPU by itself")
            .hint("report this with the command and the model: it is a fault of the program")
    })
}

fn prepare(kernel: &dyn PlannedKernel, rank: &Rank, context: &mut PrepareContext) -> Result<KernelLaunch> {
    let arena = context.arena;
    KernelLaunch::new(kernel, context, &mut |buffer, offset, element| {
        let shared = rank.communicator().address(buffer, offset, element);
        shared.unwrap_or_else(|| arena.address(buffer, offset, element))
    })
}
