//! The steps at which ranks meet: sums in the order of the ranks, and columns side by side.
use gpu_kernels::{Argmax, Ptr, Role};

use super::{argmax, product, reduction};
use crate::device::{Activation, AllGather, AllReduce, Memory, Output, Seat, Stored};
use crate::error::Result;

/// Runs an `AllReduce` on the rank of `seat`.
///
/// # Errors
/// Another rank does not come.
pub fn all_reduce<A: Activation>(step: &AllReduce, memory: &Memory, seat: &Seat) -> Result<()> {
    let n = step.n as usize;
    let all = seat.meet(numbers::<A>(memory, step.x, step.rows as usize * n))?;
    let mut sums = reduction::sum(&all);
    if let Some(bias) = product::bias(memory, step.bias, step.n) {
        sums.chunks_mut(n).for_each(|row| row.iter_mut().zip(&bias).for_each(|(sum, bias)| *sum += bias));
    }
    reduction::store::<A>(memory, &sums, step.residual, step.y);
    Ok(())
}

/// Runs an `AllGather` on the rank of `seat`.
///
/// # Errors
/// Another rank does not come.
pub fn all_gather<A: Activation>(step: &AllGather, memory: &Memory, seat: &Seat) -> Result<()> {
    let (rows, n) = (step.rows as usize, step.n as usize);
    let all = seat.meet(numbers::<A>(memory, step.x, rows * n))?;
    let row = |row: usize| all.iter().flat_map(move |columns| &columns[row * n..][..n]).copied();
    let gathered = (0..rows).flat_map(row);
    match step.y {
        Output::Act(y) => store::<A>(memory, y, gathered.map(A::from_f32).collect()),
        Output::F32(y) => store::<f32>(memory, y, gathered.collect()),
    }
    Ok(())
}

/// Runs an `AllArgmax` on the rank of `seat`: the chosen id of each row, and its fault.
///
/// # Errors
/// Another rank does not come.
pub fn all_argmax(step: &Argmax, memory: &Memory, seat: &Seat) -> Result<Vec<(i32, i32)>> {
    let vocab = step.vocab as usize;
    let all = seat.meet(memory.read::<f32>(step.logits, step.rows as usize * vocab).to_vec())?;
    let row = |row: usize| all.iter().flat_map(|columns| &columns[row * vocab..][..vocab]).copied().collect::<Vec<_>>();
    Ok((0..step.rows as usize).map(|number| argmax::choose(&row(number))).collect())
}

/// What stands there, in f32, which holds every activation exactly.
fn numbers<A: Activation>(memory: &Memory, from: Output, count: usize) -> Vec<f32> {
    match from {
        Output::Act(x) => memory.read::<A>(x, count).iter().map(|x| x.to_f32()).collect(),
        Output::F32(x) => memory.read::<f32>(x, count).to_vec(),
    }
}

fn store<T: Stored>(memory: &Memory, to: Ptr<impl Role>, values: Vec<T>) {
    memory.write::<T>(to, values.len()).copy_from_slice(&values);
}
