//! `Limits`: the sizes that are fixed at start, so that nothing is allocated later.
use gpu_kernels::gemv::SMALL_WEIGHT;
use gpu_kernels::{PAGE_TOKENS, SPLIT_TOKENS};

/// Fewest rows of logits that a step can give, so that a prompt's logits can be read in few steps.
const MIN_LOGIT_ROWS: usize = 64;

/// Fewest rows of logits for prompts that are scored beside as many sequences as there may be.
const SCORED_ROWS: usize = 16;

/// The largest step and the largest cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens that one sequence may have.
    pub context: usize,
    /// Sequences that run at the same time.
    pub sequences: usize,
    /// Slots beside those of running sequences: where a model keeps a state, for the states of cached prefixes.
    pub spare_slots: usize,
    /// Token rows of one step.
    pub rows: usize,
    /// KV pages, the scrap page included.
    pub pages: usize,
    /// Most elements of a weight that `gemv` multiplies more than 8 rows with; larger products are GEMMs.
    pub small_weight: u64,
    /// As [`Device::skinny_rows`](crate::device::Device::skinny_rows).
    pub skinny_rows: u32,
    /// Whether there is a [`Device::matrix_library`](crate::device::Device::matrix_library).
    pub gemms: bool,
    /// Most elements of a packed weight that are widened at a time, but for 16 rows.
    pub panel: usize,
}

/// 64 MB of bf16.
const PANEL: usize = 1 << 25;

impl Limits {
    /// Limits with enough pages for `sequences` sequences of `context` tokens each.
    pub fn new(context: usize, sequences: usize, chunk: usize) -> Limits {
        let pages = 1 + sequences * context.div_ceil(PAGE_TOKENS as usize);
        let rows = chunk.max(sequences);
        Limits {
            context,
            sequences,
            spare_slots: 0,
            rows,
            pages,
            small_weight: SMALL_WEIGHT,
            skinny_rows: 0,
            gemms: true,
            panel: PANEL,
        }
    }

    /// Row stride of the block table.
    pub fn pages_per_sequence(&self) -> usize {
        self.context.div_ceil(PAGE_TOKENS as usize)
    }

    /// Splits of the deepest decode.
    pub fn splits(&self) -> usize {
        self.context.div_ceil(SPLIT_TOKENS as usize)
    }

    /// Rows of logits that one step can give.
    pub fn logit_rows(&self) -> usize {
        (self.sequences + SCORED_ROWS).max(MIN_LOGIT_ROWS).min(self.rows.max(self.sequences))
    }

    /// Sequence slots, the scrap slot included.
    pub fn slots(&self) -> usize {
        self.scrap_slot() + 1
    }

    /// The sequence slot that pads are sampled into.
    pub fn scrap_slot(&self) -> usize {
        self.sequences + self.spare_slots
    }
}

/// The page that pad rows write; nobody reads it.
pub const SCRAP_PAGE: usize = 0;
