//! `Lists`: which passes are timed, and that the model has room for them.
use super::Work;
use crate::error::{Category, Error, Result};

/// What is timed where the user does not say, as far as it fits the model.
const PROMPTS: [usize; 3] = [128, 512, 2048];
const DEPTHS: [usize; 3] = [0, 128, 3968];
const BATCHES: [usize; 3] = [1, 8, 32];

/// Decode steps that a look at single kernels has room for.
pub const KERNEL_STEPS: usize = 32;

/// What the user asked for; none for the usual.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Lengths of prompts; empty for no prefill.
    pub prompts: Option<Vec<usize>>,
    /// Tokens in the cache before a decode.
    pub depths: Option<Vec<usize>>,
    /// Sequences that decode together; empty for no decode.
    pub batches: Option<Vec<usize>>,
    /// Decode steps of a block.
    pub generate: usize,
}

/// The passes, as many of each kind as were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    prompts: Vec<usize>,
    depths: Vec<usize>,
    batches: Vec<usize>,
    generate: usize,
}

impl Lists {
    /// Checks what was asked for against a model of `context` tokens.
    ///
    /// # Errors
    /// A number is 0 where that means nothing, or a prompt or a decode is longer than the context.
    pub fn new(wanted: &Wanted, context: usize) -> Result<Lists> {
        let generate = wanted.generate;
        let usual = |values: &[usize], room: usize| {
            let fitting: Vec<usize> = values.iter().copied().filter(|value| *value <= room).collect();
            if fitting.is_empty() { vec![room.max(1)] } else { fitting }
        };
        let lists = Lists {
            prompts: wanted.prompts.clone().unwrap_or_else(|| usual(&PROMPTS, context.saturating_sub(1))),
            depths: wanted.depths.clone().unwrap_or_else(|| usual(&DEPTHS, context.saturating_sub(generate))),
            batches: wanted.batches.clone().unwrap_or_else(|| BATCHES.to_vec()),
            generate,
        };
        lists.check(context)?;
        Ok(lists)
    }

    fn check(&self, context: usize) -> Result<()> {
        if self.generate == 0 || self.prompts.contains(&0) || self.batches.contains(&0) {
            return Err(Error::new(Category::Input, "There is nothing to time")
                .details("found 0 in --prompt, --batch or --generate, expected at least 1")
                .hint("`nemotron bench prefill` times prompts alone, `nemotron bench decode` decode steps alone"));
        }
        if let Some(prompt) = self.prompts.iter().find(|&&prompt| prompt >= context) {
            return Err(too_long(format!("--prompt {prompt} and a token of an answer"), prompt + 1, context));
        }
        let decodes = if self.batches.is_empty() { &[] } else { self.depths.as_slice() };
        match decodes.iter().find(|&&depth| depth + self.generate > context) {
            None => Ok(()),
            Some(depth) => {
                let what = format!("--depth {depth} and --generate {}", self.generate);
                Err(too_long(what, depth + self.generate, context))
            }
        }
    }

    /// Decode steps of a block.
    pub fn generate(&self) -> usize {
        self.generate
    }

    /// Tokens of the longest sequence.
    pub fn tokens(&self) -> usize {
        let decode = self.depths.iter().max().filter(|_| !self.batches.is_empty()).map_or(1, |d| d + self.generate);
        self.prompts.iter().max().map_or(1, |prompt| prompt + 1).max(decode)
    }

    /// Sequences of the largest batch.
    pub fn sequences(&self) -> usize {
        self.batches.iter().copied().max().unwrap_or(1)
    }

    /// Every pass: the prompts, then each batch at each depth.
    pub fn works(&self) -> Vec<Work> {
        let prefills = self.prompts.iter().map(|&tokens| Work::Prefill { tokens });
        let decodes =
            self.batches.iter().flat_map(|&batch| self.depths.iter().map(move |&depth| Work::Decode { batch, depth }));
        prefills.chain(decodes).collect()
    }
}

fn too_long(what: String, tokens: usize, context: usize) -> Error {
    Error::new(Category::Input, "A sequence is longer than the model's context")
        .details(format!("{what} make {tokens} tokens, the model has {context}"))
        .hint("choose smaller numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Wanted = Wanted { prompts: None, depths: None, batches: None, generate: 64 };

    #[test]
    fn the_usual_lists_shrink_to_the_model() {
        let all = Lists::new(&USUAL, 4096).unwrap();
        assert_eq!((all.tokens(), all.sequences(), all.works().len()), (4032, 32, 3 + 9));
        let small = Lists::new(&USUAL, 300).unwrap();
        assert_eq!((small.prompts.as_slice(), small.depths.as_slice()), (&[128][..], &[0, 128][..]));
        let tiny = Lists::new(&USUAL, 100).unwrap();
        assert_eq!((tiny.prompts.as_slice(), tiny.depths.as_slice()), (&[99][..], &[0][..]));
    }

    #[test]
    fn what_was_asked_for_is_never_changed_but_refused() {
        let ask = |prompts: &[usize], depths: &[usize], generate| {
            let wanted =
                Wanted { prompts: Some(prompts.to_vec()), depths: Some(depths.to_vec()), batches: None, generate };
            Lists::new(&wanted, 100).map(|lists| lists.tokens())
        };
        assert_eq!((ask(&[99], &[0], 4), ask(&[1], &[36], 64)), (Ok(100), Ok(100)));
        for refused in [ask(&[100], &[0], 4), ask(&[1], &[37], 64), ask(&[0], &[1], 4), ask(&[1], &[1], 0)] {
            assert!(refused.is_err());
        }
    }
}
