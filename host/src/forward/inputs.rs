//! The one table of step inputs: the integers that tell a plan which rows of which sequences it works on.
use gpu_kernels::{PAGE_TOKENS, TILE_ROWS, sampling};

use super::builder::Builder;
use super::limits::SCRAP_PAGE;
use super::placed_span::{PlacedSpan, tiles};
use super::{Bucket, Limits, Span};
use crate::device::BufferId;
use crate::sample::{MAX_BIASES, MAX_PHRASE_WORDS, RowParameters};

/// What pads stand behind.
struct Pads<'a> {
    /// Rows of sequences.
    rows: usize,
    bucket: &'a Bucket,
    limits: &'a Limits,
}

impl Pads<'_> {
    /// Pad rows that are no sequences of their own are covered by tiles of no sequence, so that their attention is zeros.
    fn tile(&self, index: usize) -> [i32; 2] {
        tiles(self.rows, self.bucket.rows - self.rows).nth(index).unwrap_or_default()
    }
}

/// An input of a step.
struct Input {
    name: &'static str,
    /// Values of the largest step.
    most: fn(&Limits) -> usize,
    /// Values of a step of this bucket, pads included: none where the plan does not read the input. Not known for what only
    /// spans fill.
    count: fn(&Bucket, &Limits) -> Option<usize>,
    /// Appends the values of a span.
    fill: fn(&PlacedSpan, &mut Vec<i32>),
    /// The pad of a number, counted from 0.
    pad: fn(&Pads, usize) -> i32,
}

macro_rules! inputs {
    ($($(#[doc = $doc:literal])* $name:ident [$most:expr] $count:expr, $fill:expr, $pad:expr;)*) => {
        /// The device inputs.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct InputBuffers {
            $($(#[doc = $doc])* pub $name: BufferId,)*
        }

        const TABLE: &[Input] = &[
            $(Input { name: stringify!($name), most: $most, count: $count, fill: $fill, pad: $pad },)*
        ];

        impl InputBuffers {
            fn from_table(mut input: impl FnMut(&Input) -> BufferId) -> InputBuffers {
                let mut rows = TABLE.iter();
                InputBuffers { $($name: input(rows.next().expect("a row for each field")),)* }
            }

            /// The buffers in the order of the table.
            pub(super) fn all(&self) -> Vec<BufferId> {
                vec![$(self.$name,)*]
            }
        }
    };
}

// name [values of the largest step] values of a bucket, values of a span, pad;
//
// Pad rows hold token 0 at position 0, write the scrap page, and their attention is zeros: by a pad sequence each in a decode
// bucket, by pad tiles in others.
inputs! {
    /// `[rows]`: token id, or −1 − slot.
    ids [|limits| limits.rows] |bucket, _| Some(bucket.rows),
        |at, out| out.extend(&at.span.ids),
        |_, _| 0;
    /// `[rows]`.
    positions [|limits| limits.rows] |bucket, _| Some(bucket.rows),
        |at, out| out.extend(at.span.positions().map(|position| position as i32)),
        |_, _| 0;
    /// `[rows]`: row of the KV pools.
    slot_mapping [|limits| limits.rows] |bucket, _| Some(bucket.rows),
        |at, out| out.extend(at.span.positions().map(|position| at.span.cache_row(position))),
        |_, _| (SCRAP_PAGE * PAGE_TOKENS as usize) as i32;
    /// `[sequences + 1]`: the first row of each sequence, and the end of the last. Pads are sequences of one row in a decode
    /// bucket, of none in others.
    row_start [|limits| limits.sequences + 1] |bucket, _| Some(bucket.sequences + 1),
        |at, out| out.push(at.first_row as i32),
        |pads, index| (pads.rows + if pads.bucket.is_decode() { index } else { 0 }) as i32;
    /// `[sequences]`: 0 for pads.
    lengths [|limits| limits.sequences] |bucket, _| Some(bucket.sequences),
        |at, out| out.push(at.span.length() as i32),
        |_, _| 0;
    /// `[sequences]`: the slot of each sequence, where it keeps what is no key or value; −1 for pads, which keep nothing.
    slots [|limits| limits.sequences] |bucket, _| Some(bucket.sequences),
        |at, out| out.push(at.span.slot as i32),
        |_, _| -1;
    /// `[sequences, pages_per_sequence]`.
    block_table [|limits| limits.sequences * limits.pages_per_sequence()]
        |bucket, limits| Some(bucket.sequences * limits.pages_per_sequence()),
        |at, out| {
            let pages = at.span.pages.iter().copied().chain(std::iter::repeat(SCRAP_PAGE));
            out.extend(pages.take(at.limits.pages_per_sequence()).map(|page| page as i32));
        },
        |_, _| SCRAP_PAGE as i32;
    /// `[tiles]`: −1 for pads.
    tile_sequence [most_tiles] |bucket, _| Some(bucket.tiles),
        |at, out| out.extend(at.tiles().map(|_| at.sequence as i32)),
        |_, _| -1;
    /// `[tiles]`: first row of the step.
    tile_row [most_tiles] |bucket, _| Some(bucket.tiles),
        |at, out| out.extend(at.tiles().map(|[row, _]| row)),
        |pads, index| pads.tile(index)[0];
    /// `[tiles]`: rows of the tile.
    tile_rows [most_tiles] |bucket, _| Some(bucket.tiles),
        |at, out| out.extend(at.tiles().map(|[_, rows]| rows)),
        |pads, index| pads.tile(index)[1];
    /// `[logit_rows]`: row of the step.
    logit_index [Limits::logit_rows] |bucket, _| Some(bucket.logit_rows),
        |at, out| out.extend(at.logit_rows().map(|row| row as i32)),
        |_, _| 0;
    /// `[logit_rows]`: sequence slot.
    logit_slots [Limits::logit_rows] |bucket, _| Some(bucket.logit_rows),
        |at, out| {
            let slot = |row| if at.keeps(row) { at.span.slot } else { at.limits.scrap_slot() };
            out.extend(at.logit_rows().map(|row| slot(row) as i32));
        },
        |pads, _| pads.limits.scrap_slot() as i32;
    /// `[rows]`: sequence slot.
    row_slots [|limits| limits.rows] |bucket, _| Some(if bucket.sampling { bucket.rows } else { 0 }),
        |at, out| out.extend(std::iter::repeat_n(at.span.slot as i32, at.span.rows())),
        |pads, _| pads.limits.scrap_slot() as i32;
    /// `[logit_rows, 16]`: see `gpu_kernels::sampling`.
    sampling [|limits| limits.logit_rows() * sampling::WORDS as usize]
        |bucket, _| Some(if bucket.sampling { bucket.logit_rows * sampling::WORDS as usize } else { 0 }),
        |at, out| out.extend(at.logit_rows().flat_map(|row| {
            at.parameters(row).map_or([0; sampling::WORDS as usize], |parameters| parameters.words(at.first_bias, at.first_phrase))
        })),
        |_, _| 0;
    /// `[logit_rows]`: whether log-probabilities are told of a row, and of which token, see `gpu_kernels::sampling`.
    logprobs [Limits::logit_rows] |bucket, _| Some(if bucket.logprobs { bucket.logit_rows } else { 0 }),
        |at, out| out.extend(at.logit_rows().map(|row| at.logprobs(row).word())),
        |_, _| sampling::NOT_ASKED;
    /// Ids of all rows' biases.
    bias_ids [|limits| limits.sequences * MAX_BIASES] biases,
        |at, out| out.extend(own_biases(at).iter().map(|bias| bias[0])),
        |_, _| 0;
    /// Bits of all rows' biases.
    bias_values [|limits| limits.sequences * MAX_BIASES] biases,
        |at, out| out.extend(own_biases(at).iter().map(|bias| bias[1])),
        |_, _| 0;
    /// How many tokens are there when each of those ids is no longer forbidden.
    bias_until [|limits| limits.sequences * MAX_BIASES] biases,
        |at, out| out.extend(own_biases(at).iter().map(|bias| bias[2])),
        |_, _| 0;
    /// Tables of phrases, see `gpu_kernels::sampling::PHRASES`.
    phrases [|limits| 1 + limits.sequences * MAX_PHRASE_WORDS] biases,
        |at, out| {
            out.resize(out.len().max(1), 0);
            out.extend(at.own_parameters().map_or(&[][..], RowParameters::phrases));
        },
        |_, _| 0;
    /// `[1 + 2·copies]`: see [`gpu_kernels::SsmCopy`]; no step reads it.
    copies [|limits| 1 + 2 * limits.slots()] |_, _| Some(0),
        |_, _| {},
        |_, _| 0;
    /// `[1]`: always 1.
    fresh [|_| 1] |_, _| Some(1),
        |_, _| {},
        |_, _| 1;
}

/// Tiles of the largest step.
fn most_tiles(limits: &Limits) -> usize {
    limits.rows.div_ceil(TILE_ROWS as usize) + limits.sequences + 1
}

fn own_biases<'a>(at: &'a PlacedSpan) -> &'a [[i32; 3]] {
    at.own_parameters().map_or(&[], RowParameters::biases)
}

/// As many as the spans have, where one samples.
fn biases(bucket: &Bucket, _: &Limits) -> Option<usize> {
    if bucket.sampling { None } else { Some(0) }
}

impl InputBuffers {
    /// Asks for a buffer for each row of the table.
    pub(super) fn lay_out(builder: &mut Builder) -> InputBuffers {
        let limits = builder.limits;
        InputBuffers::from_table(|input| builder.input(input.name, (input.most)(&limits)))
    }
}

/// The integers of one step, one list for each row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepInputs(Vec<Vec<i32>>);

impl StepInputs {
    /// The inputs of a step of `spans`, padded to `bucket`.
    pub fn new(spans: &[Span], bucket: &Bucket, limits: &Limits) -> StepInputs {
        debug_assert!(spans.is_sorted_by_key(|span| span.rows() == 1), "spans of several tokens come first");
        let (mut rows, mut biases, mut phrases) = (0, 0, 1);
        let mut placed = Vec::with_capacity(spans.len());
        for (sequence, span) in spans.iter().enumerate() {
            let at = PlacedSpan {
                span,
                sequence,
                first_row: rows,
                first_bias: biases,
                first_phrase: phrases,
                bucket,
                limits,
            };
            rows += span.rows();
            biases += own_biases(&at).len();
            phrases += at.own_parameters().map_or(0, |parameters| parameters.phrases().len());
            placed.push(at);
        }
        let pads = Pads { rows, bucket, limits };
        StepInputs(TABLE.iter().map(|input| input.values(&placed, &pads)).collect())
    }

    /// The lists in the order of the table.
    pub(super) fn values(&self) -> &[Vec<i32>] {
        &self.0
    }
}

impl Input {
    fn values(&self, placed: &[PlacedSpan], pads: &Pads) -> Vec<i32> {
        let count = (self.count)(pads.bucket, pads.limits);
        let mut values = Vec::with_capacity(count.unwrap_or(0));
        if count == Some(0) {
            return values;
        }
        placed.iter().for_each(|at| (self.fill)(at, &mut values));
        let filled = values.len();
        values.extend((filled..count.unwrap_or(filled)).map(|index| (self.pad)(pads, index - filled)));
        values
    }
}
