//! What each rank has of the parts of a weight, as the cuts of its tensors say.
use std::ops::Range;

use crate::device::{Weight, WeightPart};
use crate::error::Result;
use crate::models::spec::{Cut, CutDimension, Tensor};

/// The parts of `tensors`, whole, as a weight: where a tensor is cut, with the share of each rank.
///
/// # Errors
/// A vector can not be read.
pub fn of_ranks(tensors: &[Tensor], whole: Vec<WeightPart>) -> Result<Weight> {
    let Some(ranks) = tensors.iter().find_map(|tensor| Some(tensor.cut.as_ref()?.ranks)) else {
        return Ok(Weight::new(whole));
    };
    let share = |rank| {
        let parts = tensors.iter().zip(&whole).map(|(tensor, part)| match &tensor.cut {
            Some(cut) => pieces(tensor, part, (cut, rank)),
            None => Ok(vec![part.clone()]),
        });
        Ok(Weight::new(parts.collect::<Result<Vec<_>>>()?.concat()))
    };
    Ok(Weight::of_ranks((0..ranks).map(share).collect::<Result<_>>()?))
}

/// What a rank has of a tensor, from top to bottom.
fn pieces(tensor: &Tensor, part: &WeightPart, (cut, rank): (&Cut, usize)) -> Result<Vec<WeightPart>> {
    let pieces = cut.pieces(rank);
    if tensor.shape.len() == 1 {
        return Ok(vec![part.joined(&pieces)?]);
    }
    match (cut.dimension, &pieces[..]) {
        (CutDimension::Rows, pieces) => Ok(pieces.iter().flat_map(|piece| rows(part, piece)).collect()),
        (CutDimension::Columns, [(piece, width)]) => Ok(vec![part.some_columns(piece.clone(), *width)]),
        (CutDimension::Columns, _) => unreachable!("columns of a matrix are cut as one segment"),
    }
}

fn rows(part: &WeightPart, (piece, width): &(Range<usize>, usize)) -> Vec<WeightPart> {
    let zeros = width - piece.len();
    let below = (zeros > 0).then(|| part.zeros_below(zeros));
    [part.some_rows(piece.clone())].into_iter().chain(below).collect()
}
