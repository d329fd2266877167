//! The steps in which ranks meet, as launches of `all_reduce` and `all_gather`: as many as rows need that meet some at a time.
use gpu_kernels::{OneShotAllGather, OneShotAllReduce, Ptr};

use super::communicator::CAPACITY;
use super::launch::KernelLaunch;
use super::program::{PrepareContext, Prepared};
use super::rank::Rank;
use crate::device::{AllGather, AllReduce, Output, PlannedKernel};
use crate::error::{Category, Error, Result};

/// Prepares a sum over all ranks.
///
/// # Errors
/// The device is no rank, or the kernel can not be prepared.
pub fn all_reduce(step: &AllReduce, context: &mut PrepareContext) -> Result<Prepared> {
    let (rank, n) = (rank_of(context)?, step.n);
    let meeting = rank.communicator().meeting(rank.number());
    let launch = |(first, rows)| {
        let offset = u64::from(first) * u64::from(n);
        let (x, x_act) = split(step.x.offset(offset));
        let residual = if step.residual.is_null() { step.residual } else { step.residual.offset(offset) };
        let (bias, y, sums) = (step.bias, step.y.offset(offset), Ptr::NULL);
        prepare(&OneShotAllReduce { x, x_act, bias, residual, y, sums, meeting, rows, n }, rank, context)
    };
    let launches = parts(step.rows, n).map(launch).collect::<Result<_>>()?;
    Ok(Prepared::meeting("all_reduce", launches))
}

/// Prepares a gathering of all ranks' columns.
///
/// # Errors
/// As of [`all_reduce`].
pub fn all_gather(step: &AllGather, context: &mut PrepareContext) -> Result<Prepared> {
    let (rank, n) = (rank_of(context)?, step.n);
    let meeting = rank.communicator().meeting(rank.number());
    let launch = |(first, rows)| {
        let offset = u64::from(first) * u64::from(n);
        let (x, x_act) = split(step.x.offset(offset));
        let (y_f32, y) = split(step.y.offset(offset * u64::from(meeting.ranks)));
        prepare(&OneShotAllGather { x, x_act, y, y_f32, meeting, rows, n }, rank, context)
    };
    let launches = parts(step.rows, n).map(launch).collect::<Result<_>>()?;
    Ok(Prepared::meeting("all_gather", launches))
}

/// First rows and numbers of rows that meet together.
fn parts(rows: u32, n: u32) -> impl Iterator<Item = (u32, u32)> {
    let most = (CAPACITY / n.max(1)).max(1);
    (0..rows).step_by(most as usize).map(move |first| (first, most.min(rows - first)))
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
        let shared = rank.communicator().address(buffer, offset);
        shared.unwrap_or_else(|| arena.address(buffer, offset, element))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_meet_as_many_at_a_time_as_the_parts_hold() {
        let all = |rows, n| parts(rows, n).collect::<Vec<_>>();
        assert_eq!(all(3, 4096), [(0, 3)]);
        assert_eq!(all(1025, 4096), [(0, 512), (512, 512), (1024, 1)]);
        assert_eq!(all(2, CAPACITY + 4), [(0, 1), (1, 1)], "which the kernel refuses");
    }
}
