//! `verify`: a loaded model against what a reference computed: relative errors of logits, and greedy tokens that agree.
use gpu_kernels::KvFormat;
use gpu_kernels::skinny_gemm::MAX_ROWS as FEW_ROWS;

use super::expected::{Expected, ExpectedPrompt, Fp8Errors};
use super::{Activations, Model};
use crate::engine::{EngineHandle, Request, Update};
use crate::error::{Category, Error, Result};
use crate::models::spec::{Block, ModelSpec};

/// Relative error that f32 activations may have; the orders of summation alone give 1.5e-6.
pub const F32_BOUND: f64 = 2e-5;

/// How many times the reference's own BF16 error bf16 activations may have; other orders of rounding give up to 1.43.
pub const BF16_FACTOR: f64 = 1.5;

/// The error that any row of a prompt may have in a hybrid with bf16 activations: a rounding that sends a token to another expert throws
/// its row off by a tenth and more, and what has nothing to do with the reference is off by 1.
pub const BF16_ROW_BOUND: f64 = 0.5;

/// How a prompt came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromptReport {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// ‖got − f32‖ / ‖f32‖ over the logits of all rows; for a hybrid with bf16 activations that of the median row, which no
    /// single row that a rounding throws off decides.
    pub error: f64,
    /// The same of the reference's own BF16 run.
    pub reference_bf16_error: f64,
    /// What `error` may be at most.
    pub bound: f64,
    /// Greedy tokens that agree, counted up to the first that does not.
    pub greedy_agreeing: usize,
    /// Greedy tokens of the reference.
    pub greedy_expected: usize,
    /// Whether the error is inside its bound and, with f32 activations and no inputs in FP8, all greedy tokens agree; for a hybrid with bf16
    /// activations, no row has more than [`BF16_ROW_BOUND`].
    pub passed: bool,
}

/// Runs every prompt: first its logits, then all greedy continuations as one batch.
///
/// # Errors
/// The file is for another vocabulary, a prompt does not fit the context, or the device failed.
pub fn verify(model: &Model, expected: &Expected) -> Result<Vec<PromptReport>> {
    if expected.vocab != model.spec.vocab {
        return Err(Error::new(Category::Input, "The expected file is for another model")
            .details(format!("its logits are {} wide, the model's vocabulary is {}", expected.vocab, model.spec.vocab))
            .hint("name the --expected file that was made from this checkpoint"));
    }
    let unknown = |prompt: &ExpectedPrompt| match Rule::of(model, prompt) {
        Rule::Fp8 { what, .. } => what.error_of(prompt).is_none().then_some(what),
        _ => None,
    };
    if let Some(what) = expected.prompts.iter().find_map(unknown) {
        let (kind, option) = what.names();
        return Err(Error::new(Category::Input, "The expected file does not say what FP8 may change")
            .details(format!(
                "its metadata has no quantized_{kind}_error_L and quantized_{kind}_bf16_error_L for some prompt"
            ))
            .hint(format!("leave {option} out, or name a file that has them")));
    }
    let logits = expected.prompts.iter().map(|prompt| model.engine.logits(&prompt.ids, prompt.rows));
    let logits = logits.collect::<Result<Vec<_>>>()?;
    let greedy = greedy(&model.engine, &expected.prompts)?;
    let reports = expected.prompts.iter().zip(logits).zip(greedy);
    Ok(reports.map(|((prompt, logits), greedy)| report(prompt, &logits, &greedy, Rule::of(model, prompt))).collect())
}

/// How errors are measured and judged.
#[derive(Clone, Copy)]
enum Rule {
    /// f32 activations: all rows together, and every greedy token, unless prompts that run together are so many rows that
    /// their inputs become FP8.
    F32 { tokens: bool },
    /// bf16 activations of a dense model: all rows together.
    Bf16,
    /// bf16 activations of a hybrid: the median row. A rounding may send a token to another expert.
    Bf16Median,
    /// Something in FP8: the reference's own error with that; of the median row or all together.
    Fp8 { what: InFp8, median: bool },
}

/// What is in FP8 beside weights.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InFp8 {
    Cache,
    Inputs,
    Both,
}

impl InFp8 {
    fn of(spec: &ModelSpec, inputs: bool) -> Option<InFp8> {
        let cache = |block: &Block| matches!(block, Block::Attention(it) if it.cache.format == KvFormat::Fp8);
        match (spec.blocks.iter().any(cache), inputs) {
            (false, false) => None,
            (true, false) => Some(InFp8::Cache),
            (false, true) => Some(InFp8::Inputs),
            (true, true) => Some(InFp8::Both),
        }
    }

    /// The reference's error, where the file says it; that with both stands for that with inputs alone, if there is no other.
    fn error_of(self, prompt: &ExpectedPrompt) -> Option<f64> {
        let Fp8Errors { kv, activations, both } = prompt.fp8_errors;
        match self {
            InFp8::Cache => kv,
            InFp8::Inputs => activations.or(both),
            InFp8::Both => both,
        }
    }

    /// What it is in the names of metadata, and the option that asks for it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            InFp8::Cache => ("kv", "--kv-cache"),
            InFp8::Inputs => ("activations", "--activations"),
            InFp8::Both => ("activations_and_kv", "--activations or --kv-cache"),
        }
    }
}

impl Rule {
    fn of(model: &Model, prompt: &ExpectedPrompt) -> Rule {
        let (spec, activations) = (&model.spec, model.activations());
        // Products of fewer rows take inputs as they are (`forward/products.rs`).
        let in_fp8 = model.fp8_inputs && prompt.ids.len() > FEW_ROWS as usize;
        let is_hybrid = spec.blocks.iter().any(|block| matches!(block, Block::Mamba2(_) | Block::Moe(_)));
        if let Some(what) = InFp8::of(spec, in_fp8) {
            return Rule::Fp8 { what, median: is_hybrid && activations == Activations::Bf16 };
        }
        match activations {
            Activations::F32 => Rule::F32 { tokens: !model.fp8_inputs },
            Activations::Bf16 if is_hybrid => Rule::Bf16Median,
            Activations::Bf16 => Rule::Bf16,
        }
    }
}

fn report(prompt: &ExpectedPrompt, logits: &[f32], greedy: &[u32], rule: Rule) -> PromptReport {
    let measured = |logits: &[f32]| match rule {
        Rule::F32 { .. } | Rule::Bf16 | Rule::Fp8 { median: false, .. } => relative_error(logits, &prompt.logits_f32),
        Rule::Bf16Median | Rule::Fp8 { median: true, .. } => median(row_errors(logits, prompt)),
    };
    let (error, reference_bf16_error) = (measured(logits), measured(&prompt.logits_bf16));
    let greedy_agreeing = greedy.iter().zip(&prompt.greedy).take_while(|(got, want)| got == want).count();
    let (bound, others_pass) = match rule {
        Rule::F32 { tokens } => (F32_BOUND, !tokens || greedy_agreeing == prompt.greedy.len()),
        Rule::Bf16 => (BF16_FACTOR * reference_bf16_error, true),
        Rule::Fp8 { what, .. } => (BF16_FACTOR * what.error_of(prompt).unwrap_or(0.0), true),
        Rule::Bf16Median => {
            let rows_pass = row_errors(logits, prompt).iter().all(|error| *error <= BF16_ROW_BOUND);
            (BF16_FACTOR * reference_bf16_error, rows_pass)
        }
    };
    PromptReport {
        tokens: prompt.ids.len(),
        error,
        reference_bf16_error,
        bound,
        greedy_agreeing,
        greedy_expected: prompt.greedy.len(),
        // An error that is no number is inside no bound.
        passed: error <= bound && others_pass,
    }
}

/// Greedy continuations of all prompts, as long as the reference's; no token ends them.
fn greedy(engine: &EngineHandle, prompts: &[ExpectedPrompt]) -> Result<Vec<Vec<u32>>> {
    let ask = |prompt: &ExpectedPrompt| {
        let wanted = !prompt.greedy.is_empty();
        let request = Request { prompt: prompt.ids.clone(), max_tokens: prompt.greedy.len(), ..Request::default() };
        wanted.then(|| engine.submit(request)).transpose()
    };
    let streams = prompts.iter().map(ask).collect::<Result<Vec<_>>>()?;
    let mut tokens = vec![Vec::new(); prompts.len()];
    for (stream, tokens) in
        streams.iter().zip(&mut tokens).filter_map(|(stream, tokens)| Some((stream.as_ref()?, tokens)))
    {
        let mut last = false;
        while !last {
            let update = stream.next()?;
            last = update.is_last();
            if let Update::Token(event) = update {
                tokens.push(event.token?);
            }
        }
    }
    Ok(tokens)
}

/// The relative error of each row.
fn row_errors(logits: &[f32], prompt: &ExpectedPrompt) -> Vec<f64> {
    let width = prompt.logits_f32.len() / prompt.rows;
    logits.chunks(width).zip(prompt.logits_f32.chunks(width)).map(|(got, want)| relative_error(got, want)).collect()
}

/// The middle of the errors; of two the larger. What is no number counts as the largest.
fn median(mut errors: Vec<f64>) -> f64 {
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

/// ‖got − want‖ / ‖want‖.
fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let difference: f64 = got.iter().zip(want).map(|(g, w)| square(f64::from(*g) - f64::from(*w))).sum();
    let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    (difference / norm).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt() -> ExpectedPrompt {
        let (logits_f32, logits_bf16) = (vec![3.0, 4.0], vec![3.0, 4.05]);
        ExpectedPrompt {
            ids: vec![1],
            rows: 1,
            logits_f32,
            logits_bf16,
            greedy: vec![7, 8, 9],
            fp8_errors: Fp8Errors::default(),
        }
    }

    #[test]
    fn the_error_is_relative_to_the_norm() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((relative_error(&[3.0, 9.0], &[3.0, 4.0]) - 1.0).abs() < 1e-12);
        assert!(relative_error(&[f32::NAN, 4.0], &[3.0, 4.0]).is_nan());
    }

    #[test]
    fn f32_needs_every_token_and_bf16_is_held_to_the_references_own_error() {
        let judge = |logits: &[f32], greedy: &[u32], rule| report(&prompt(), logits, greedy, rule);
        assert!(judge(&[3.0, 4.00001], &[7, 8, 9], Rule::F32 { tokens: true }).passed);
        assert!(!judge(&[3.0, 4.001], &[7, 8, 9], Rule::F32 { tokens: true }).passed);
        let early = judge(&[3.0, 4.0], &[7, 1, 9], Rule::F32 { tokens: true });
        assert_eq!((early.passed, early.greedy_agreeing, early.greedy_expected), (false, 1, 3));
        assert!(judge(&[3.0, 4.0], &[7, 1, 9], Rule::F32 { tokens: false }).passed);
        assert!(judge(&[3.0, 4.07], &[1], Rule::Bf16).passed);
        assert!(!judge(&[3.0, 4.08], &[7, 8, 9], Rule::Bf16).passed);
        assert!(!judge(&[f32::NAN, 4.0], &[7, 8, 9], Rule::Bf16).passed);
    }

    #[test]
    fn one_row_of_a_hybrid_that_a_rounding_throws_off_does_not_decide() {
        let (logits_f32, logits_bf16) = ([3.0, 4.0].repeat(3), [3.0, 4.05].repeat(3));
        let (greedy, fp8_errors) = (Vec::new(), Fp8Errors::default());
        let prompt = ExpectedPrompt { ids: vec![1; 3], rows: 3, logits_f32, logits_bf16, greedy, fp8_errors };
        let passes = |row: [f32; 2], rule| {
            let logits = [[3.0, 4.07], row, [3.0, 4.07]].concat();
            report(&prompt, &logits, &[], rule).passed
        };
        let hybrid = |row| passes(row, Rule::Bf16Median);
        assert!(hybrid([3.0, 5.0]) && !hybrid([3.0, 7.0]) && !hybrid([3.0, f32::NAN]));
        assert!(passes([3.0, 4.07], Rule::Bf16) && !passes([3.0, 5.0], Rule::Bf16), "a dense model has no such row");
    }
}
