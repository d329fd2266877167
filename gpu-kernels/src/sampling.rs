//! Sampling parameters of a row of logits, as words of a device input: `[rows, WORDS]`, floats by their bits.
//!
//! A row of zeros is a greedy row without penalties.

/// Words of a row.
pub const WORDS: u32 = 16;

/// 1 / temperature as f32; 0 for the greedy choice.
pub const INVERSE_TEMPERATURE: u32 = 0;
/// Candidates that `top-k` keeps, at most the vocabulary; 0 for all.
pub const TOP_K: u32 = 1;
/// `top-p` in units of 2⁻³²; 0 for all.
pub const TOP_P: u32 = 2;
/// The largest [distance](crate::sample) that `min-p` keeps; [`MAX_DISTANCE`] for all.
pub const MIN_P_DISTANCE: u32 = 3;
/// Low word of the seed.
pub const SEED: u32 = 4;
/// High word of the seed.
pub const SEED_HIGH: u32 = 5;
/// Which of the random streams of a seed.
pub const STREAM: u32 = 6;
/// Whether tokens that are there already are penalized.
pub const PENALIZES: u32 = 7;
/// Divides positive logits and multiplies others of tokens that are there, as f32.
pub const REPEAT_PENALTY: u32 = 8;
/// Taken from logits of generated tokens, as f32.
pub const PRESENCE_PENALTY: u32 = 9;
/// Taken from logits once for every time that the token was generated, as f32.
pub const FREQUENCY_PENALTY: u32 = 10;
/// Positions below it are the prompt's.
pub const PROMPT_LENGTH: u32 = 11;
/// First of the row's biases.
pub const BIAS_START: u32 = 12;
/// Number of the row's biases.
pub const BIAS_COUNT: u32 = 13;

/// Tokens of an n-gram that may not come twice; 0 where any may.
pub const NGRAM: u32 = 14;
/// Where the row's table of phrases starts in `phrases`; 0 for none.
///
/// A table is the number of phrases; for each [`PHRASE_WORDS`] words: its last id, the value as f32, where its other ids start
/// in the table, and how many these are; then the ids. Phrases stand in the order of their last ids.
pub const PHRASES: u32 = 15;

/// Words of a phrase in its table, beside its ids.
pub const PHRASE_WORDS: u32 = 4;

/// The largest distance from the best logit, in units of 2⁻¹⁹ after the temperature; all further ones count as this.
pub const MAX_DISTANCE: u32 = (1 << 24) - 1;

/// Nobody asks for the log-probabilities of a row of logits.
pub const NOT_ASKED: i32 = -2;
/// A row is asked for with the token that is chosen from it; with another one where its id stands instead.
pub const CHOSEN: i32 = -1;
