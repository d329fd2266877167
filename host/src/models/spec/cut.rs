//! `Cut`: which share of a tensor each rank has.
use std::ops::Range;

/// Which share of a tensor each rank has.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The tensor's shape in the file.
    pub whole: Vec<usize>,
    /// How many ranks there are.
    pub ranks: usize,
    /// What is cut.
    pub dimension: CutDimension,
    /// What that dimension is made of, in order: each rank has a piece of each.
    pub segments: Vec<Segment>,
}

/// What is cut of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutDimension {
    /// Its first dimension.
    Rows,
    /// Its last dimension: that of a vector too.
    Columns,
}

/// A part of a dimension that is cut by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Elements of it.
    pub size: usize,
    /// Elements from the piece of one rank to that of the next.
    pub step: usize,
    /// Neighbouring ranks that have the same piece.
    pub copies: usize,
    /// Elements of a piece on a rank: behind what the tensor has, zeros.
    pub width: usize,
}

impl Segment {
    /// Equal pieces.
    pub fn even(size: usize, ranks: usize) -> Segment {
        Segment { size, step: size / ranks, copies: 1, width: size / ranks }
    }

    /// The elements that a rank has.
    fn piece(&self, rank: usize) -> Range<usize> {
        let start = (rank / self.copies * self.step).min(self.size);
        start..(start + self.step).min(self.size)
    }
}

impl Cut {
    /// What rank `rank` has of each segment, counted in the tensor, and how wide that is with the zeros behind it.
    pub fn pieces(&self, rank: usize) -> Vec<(Range<usize>, usize)> {
        let mut first = 0;
        let piece = |segment: &Segment| {
            let Range { start, end } = segment.piece(rank);
            let piece = first + start..first + end;
            first += segment.size;
            (piece, segment.width)
        };
        self.segments.iter().map(piece).collect()
    }

    /// Elements of the cut dimension on a rank.
    pub fn width(&self) -> usize {
        self.segments.iter().map(|segment| segment.width).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_have_pieces_of_each_segment() {
        let copied = Segment { size: 6, step: 3, copies: 2, width: 3 };
        let padded = Segment { size: 5, step: 2, copies: 1, width: 3 };
        let segments = vec![Segment::even(8, 4), copied, padded];
        let cut = Cut { whole: vec![19, 1], ranks: 4, dimension: CutDimension::Rows, segments };
        assert_eq!(cut.pieces(0), [(0..2, 2), (8..11, 3), (14..16, 3)]);
        assert_eq!(cut.pieces(1), [(2..4, 2), (8..11, 3), (16..18, 3)]);
        assert_eq!(cut.pieces(2), [(4..6, 2), (11..14, 3), (18..19, 3)]);
        assert_eq!(cut.width(), 8);
    }
}
