//! The steps in which ranks meet, as launches of the kernels that sum and gather: in each other's memory, or by packets alone where
//! those are in the host's.
use gpu_kernels::{
    Argmax, Embed, Gemv, OneShotAllArgmax, OneShotAllGather, OneShotAllReduce, PacketAllGather, Ptr, QuantGemv,
    SkinnyJoin, TwoShotAllReduce,
};

use super::launch::KernelLaunch;
use super::program::{Enqueued, PrepareContext, Prepared};
use super::rank::Rank;
use super::shots::{row_ranges, rows_of_gathering, rows_of_sum};
use crate::device::{AllGather, AllReduce, Output, PlannedKernel, Step};
use crate::error::{Category, Error, Result};

/// Prepares `step` with the first of the `rest` behind it where that changes both: a product that sends its results itself to the sum
/// behind, or rows of the embedding that are read where they are, with nothing to gather. Of ranks without peers nothing is changed: a
/// `gemv` has its words one by one, of which each would be a write over PCIe, and joins stand in clusters.
///
/// # Errors
/// A kernel can not be prepared.
pub fn together(step: &Step, rest: &[Step], context: &mut PrepareContext) -> Result<Option<Vec<Prepared>>> {
    let Some(rank) = context.rank.filter(|rank| rank.communicator().has_peers()) else { return Ok(None) };
    match (step, rest) {
        (Step::Launch(kernel), [Step::AllGather(gather), ..]) => embed(kernel.as_ref(), gather, rank, context),
        (Step::Launch(kernel), [Step::AllReduce(sum), ..]) => match sending(kernel.as_ref(), sum, rank, context)? {
            Some(product) => Ok(Some(vec![product, all_reduce(sum, true, context)?])),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Rows of the embedding table whose columns are gathered behind: each is read from the tables of all ranks, which are constant.
fn embed(
    kernel: &dyn PlannedKernel,
    gather: &AllGather,
    rank: &Rank,
    context: &mut PrepareContext,
) -> Result<Option<Vec<Prepared>>> {
    let (Some(embed), (Output::Act(x), Output::Act(out))) =
        (kernel.as_any().downcast_ref::<Embed>(), (gather.x, gather.y))
    else {
        return Ok(None);
    };
    if (x.target(), gather.rows, gather.n) != (embed.out.target(), embed.rows, embed.hidden) {
        return Ok(None);
    }
    let communicator = rank.communicator();
    let ranks = communicator.meeting(rank.number()).ranks;
    let whole = Embed { tables: communicator.of_ranks(embed.tables[0]), out, ranks, ..*embed };
    let launch = Enqueued::Launch(prepare(&whole, rank, context)?);
    Ok(Some(vec![Prepared::new(kernel.name(), vec![launch]), Prepared::new("all_gather", Vec::new())]))
}

/// A product that sends its results to the ranks itself, where it is one and the sum behind is theirs.
fn sending(
    kernel: &dyn PlannedKernel,
    sum: &AllReduce,
    rank: &Rank,
    context: &mut PrepareContext,
) -> Result<Option<Prepared>> {
    let outbox = rank.communicator().meeting(rank.number()).outbox();
    let (any, shape) = (kernel.as_any(), [sum.rows, sum.n]);
    let sending: Option<Box<dyn PlannedKernel>> = match sum.x {
        Output::F32(part) => {
            let gemv = any.downcast_ref::<Gemv>().and_then(|gemv| gemv.sending((part, shape), outbox));
            let of_codes = any.downcast_ref::<QuantGemv>().and_then(|gemv| gemv.sending((part, shape), outbox));
            gemv.map(boxed).or(of_codes.map(boxed))
        }
        Output::Act(_) => any.downcast_ref::<SkinnyJoin>().and_then(|join| sending_join(join, sum, rank)).map(boxed),
    };
    let Some(sending) = sending else { return Ok(None) };
    let launch = prepare(sending.as_ref(), rank, context)?;
    Ok(Some(Prepared::new(kernel.name(), vec![Enqueued::Launch(launch)])))
}

/// The join that sends its results to the ranks itself, where the sum behind is theirs.
fn sending_join(join: &SkinnyJoin, sum: &AllReduce, rank: &Rank) -> Option<SkinnyJoin> {
    let outbox = rank.communicator().meeting(rank.number()).outbox();
    let Output::Act(part) = sum.x else { return None };
    join.sending((part, [sum.rows, sum.n]), outbox).filter(|_| sum.n.is_multiple_of(8))
}

/// Whether a join sends its results itself to a sum of the ranks that stands behind it.
pub fn sends(join: &SkinnyJoin, behind: &[Step], context: &PrepareContext) -> bool {
    match (context.rank, behind) {
        (Some(rank), [Step::AllReduce(sum), ..]) if rank.communicator().has_peers() => {
            sending_join(join, sum, rank).is_some()
        }
        _ => false,
    }
}

fn boxed<K: PlannedKernel + 'static>(kernel: K) -> Box<dyn PlannedKernel> {
    Box::new(kernel)
}

/// Prepares a sum over all ranks: in one shot of packets, which may be `sent` already; where those have no room for as many activations, in
/// two, or without peers in several shots.
///
/// # Errors
/// The device is no rank, or the kernel can not be prepared.
pub fn all_reduce(step: &AllReduce, sent: bool, context: &mut PrepareContext) -> Result<Prepared> {
    let rank = rank_of(context)?;
    let (communicator, one_shot) = (rank.communicator(), one_shot(step, sent, rank));
    let OneShotAllReduce { x_act, bias, residual, y, meeting, rows, n, .. } = one_shot;
    if !communicator.has_peers() {
        let shots = row_ranges(rows, one_shot.words() / u64::from(rows), meeting.packed);
        let shot = |(first, rows)| Ok(Enqueued::Meeting(prepare(&rows_of_sum(one_shot, first, rows), rank, context)?));
        return Ok(Prepared::new("all_reduce", shots.map(shot).collect::<Result<_>>()?));
    }
    let launch = if x_act.is_null() || one_shot.words() <= u64::from(meeting.packed) {
        prepare(&one_shot, rank, context)?
    } else {
        let [x, y] = [x_act, y].map(|place| communicator.of_ranks(place));
        prepare(&TwoShotAllReduce { x, bias, residual, y, meeting, rows, n }, rank, context)?
    };
    Ok(Prepared::new("all_reduce", vec![Enqueued::Meeting(launch)]))
}

/// The sum in one shot, of a part that may be `sent` already.
fn one_shot(step: &AllReduce, sent: bool, rank: &Rank) -> OneShotAllReduce {
    let AllReduce { bias, residual, y, rows, n, .. } = *step;
    let (meeting, (x, x_act)) = (rank.communicator().meeting(rank.number()), split(step.x));
    let (x, x_act, sent) = match (sent, x_act.is_null()) {
        (false, _) => (x, x_act, 0),
        (true, true) => (Ptr::NULL, Ptr::NULL, 1),
        (true, false) => (Ptr::NULL, Ptr::NULL, 2),
    };
    OneShotAllReduce { x, x_act, sent, bias, residual, y, meeting, rows, n }
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
    if !communicator.has_peers() {
        let whole = PacketAllGather { x, x_act, y, y_f32, meeting, rows, n };
        let shot = |(first, rows)| {
            let of_rows = rows_of_gathering(whole, first, rows);
            Ok(Enqueued::Meeting(prepare(&of_rows, rank, context)?))
        };
        let shots = row_ranges(rows, u64::from(whole.width()), meeting.packed).map(shot);
        return Ok(Prepared::new("all_gather", shots.collect::<Result<_>>()?));
    }
    let (y, y_f32) = (communicator.of_ranks(y), communicator.of_ranks(y_f32));
    let launch = prepare(&OneShotAllGather { x, x_act, y, y_f32, meeting, rows, n }, rank, context)?;
    Ok(Prepared::new("all_gather", vec![Enqueued::Meeting(launch)]))
}

/// Prepares a choice among all ranks' columns: each sends the best of its own, and then chooses among what all have sent.
///
/// # Errors
/// As of [`all_reduce`].
pub fn all_argmax(own: &Argmax, context: &mut PrepareContext) -> Result<Prepared> {
    let rank = rank_of(context)?;
    let meeting = rank.communicator().meeting(rank.number());
    let Argmax { slots, sampled, faults, rows, .. } = *own;
    let sending = prepare(&Argmax { outbox: meeting.outbox(), ..*own }, rank, context)?;
    let choosing = prepare(&OneShotAllArgmax { slots, sampled, faults, meeting, rows }, rank, context)?;
    Ok(Prepared::new("all_argmax", vec![Enqueued::Launch(sending), Enqueued::Meeting(choosing)]))
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
