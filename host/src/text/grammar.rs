//! Grammars: which tokens may come next where an answer must be JSON of a schema, match an expression, or follow a grammar.
//! llguidance knows the grammars; here are the tokens' bytes, and bounds on what a grammar may cost.
mod fields;
mod schema;
mod source;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, earley::SlicedBiasComputer, panic_utils};
use rayon::prelude::*;
use serde_json::Value;

use super::Tokenizer;
use crate::error::{Category, Error, Result};

pub use fields::{GRAMMAR_FIELDS, GrammarFault, GrammarField};
pub(super) use llguidance::regex_to_lark;
pub(super) use schema::{narrowed, rooted};
pub use source::GrammarSource;
pub(super) use source::{bounded, literal};

/// States of a grammar's lexer, of 1 to 2 KB each.
const MOST_LEXER_STATES: usize = 50_000;

/// Bytes of stack for a grammar of as many rules as one may have. Only what is used of them is memory.
const COMPILE_STACK: usize = 1 << 30;

/// How long a grammar may take, and how many may be made at a time, those included that took longer.
const LONGEST: Duration = Duration::from_secs(5);
const MOST_COMPILING: usize = 16;
static COMPILING: AtomicUsize = AtomicUsize::new(0);

/// How long parts of a schema are tried to find its fault.
const SEARCH: Duration = Duration::from_millis(200);

/// A tokenizer's tokens, as grammars are held against them.
pub struct GrammarTokens {
    factory: Arc<ParserFactory>,
}

impl GrammarTokens {
    /// The tokens of `tokenizer`; those of `eos` end a text.
    ///
    /// # Errors
    /// A token has no text.
    pub fn new(tokenizer: &Tokenizer, eos: &[u32]) -> Result<GrammarTokens> {
        let count = tokenizer.names().map(|(_, id)| id + 1).max().unwrap_or(0);
        let words: Vec<Vec<u8>> = (0..count).into_par_iter().map(|id| word(tokenizer, id)).collect::<Result<_>>()?;
        let eos: Vec<u32> = eos.iter().copied().filter(|id| *id < count).collect();
        let factory = guarded(|| {
            let mut tokens = TokTrie::from(&TokRxInfo::new(count, INVALID_TOKEN), &words);
            if !eos.is_empty() {
                tokens = tokens.with_eos_tokens(&eos);
            }
            // Bytes alone count: which tokens write them is the model's choice.
            let tokens = Arc::new(ApproximateTokEnv::new(tokens)) as _;
            let slices = SlicedBiasComputer::general_slices();
            let factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices);
            let mut factory = factory.map_err(|error| error.to_string())?;
            factory.quiet();
            *factory.limits_mut() =
                ParserLimits { max_lexer_states: MOST_LEXER_STATES, verbose_errors: false, ..ParserLimits::default() };
            Ok(factory)
        });
        let factory = factory.map_err(|found| {
            Error::new(Category::Tokenizer, "The tokens cannot be held against a grammar")
                .details(found)
                .hint("tokenizer.json may be damaged; download it again")
        })?;
        Ok(GrammarTokens { factory: Arc::new(factory) })
    }

    /// What `source` asks for.
    ///
    /// # Errors
    /// It is no such schema, expression or grammar, has what is not supported, or would cost too much.
    pub fn compile(&self, source: &GrammarSource) -> Result<Grammar> {
        let matcher = self.made(source.grammar()?).map_err(|found| match source {
            GrammarSource::JsonSchema(schema) => source.refused(format!("{}: {found}", self.place_of_fault(schema))),
            _ => source.refused(found),
        })?;
        Ok(Grammar { matcher: Arc::new(Mutex::new(matcher)) })
    }

    /// The deepest part of a schema that is refused by itself, as far as the time allows.
    fn place_of_fault(&self, root: &Value) -> String {
        let (mut schema, mut place, start) = (root, "#".to_owned(), Instant::now());
        let refuses = |part: &Value| {
            let alone = GrammarSource::JsonSchema(schema::alone(part, root));
            start.elapsed() < SEARCH && alone.grammar().is_ok_and(|grammar| self.made(grammar).is_err())
        };
        while let Some((name, part)) = schema::parts(schema).into_iter().find(|(_, part)| refuses(part)) {
            place += &name;
            schema = part;
        }
        place
    }

    /// What llguidance makes of a grammar, on a thread of its own: it follows rules that name each other by recursion, and nothing
    /// ends it where it takes too long.
    fn made(&self, grammar: TopLevelGrammar) -> std::result::Result<Matcher, String> {
        if COMPILING.fetch_add(1, Ordering::Relaxed) >= MOST_COMPILING {
            COMPILING.fetch_sub(1, Ordering::Relaxed);
            return Err("others take too long to be worked out; try again later".to_owned());
        }
        let ((made, taken), factory) = (channel(), self.factory.clone());
        let compile = move || {
            let mut matcher = Matcher::new(factory.create_parser(grammar));
            match matcher.get_error() {
                Some(error) => Err(error),
                // What allows nothing at all is told before anybody waits for it.
                None => matcher.compute_mask_or_eos().map(|_| matcher).map_err(|error| error.to_string()),
            }
        };
        let work = move || {
            // Nobody takes it any more where it took too long.
            let _ = made.send(guarded(compile));
            COMPILING.fetch_sub(1, Ordering::Relaxed);
        };
        let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(COMPILE_STACK);
        if let Err(error) = thread.spawn(work) {
            COMPILING.fetch_sub(1, Ordering::Relaxed);
            return Err(error.to_string());
        }
        taken.recv_timeout(LONGEST).unwrap_or_else(|_| Err("it takes too long to be worked out".to_owned()))
    }
}

/// The bytes that a token writes; a special one is told from a text by a byte that no text has.
fn word(tokenizer: &Tokenizer, id: u32) -> Result<Vec<u8>> {
    match tokenizer.hidden_name(id) {
        Some(name) => Ok([&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()),
        None => tokenizer.token_bytes(id),
    }
}

/// A compiled grammar.
#[derive(Clone)]
pub struct Grammar {
    matcher: Arc<Mutex<Matcher>>,
}

impl Grammar {
    /// A text's way through the grammar, from its beginning.
    pub fn start(&self) -> GrammarMatcher {
        GrammarMatcher { matcher: self.matcher.lock().unwrap_or_else(PoisonError::into_inner).deep_clone() }
    }
}

/// A text's way through a grammar.
pub struct GrammarMatcher {
    matcher: Matcher,
}

impl GrammarMatcher {
    /// Takes the next token.
    ///
    /// # Errors
    /// The grammar does not allow it here.
    pub fn push(&mut self, token: u32) -> Result<()> {
        self.matcher.consume_token(token).map_err(ended)
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    /// A token was pushed that may not come.
    pub fn is_whole(&mut self) -> Result<bool> {
        self.matcher.is_accepting().map_err(ended)
    }

    /// The tokens that may come next, 32 a word, the lowest bit first; those that end a text where it may end.
    ///
    /// # Errors
    /// Nothing may come, or it would take too long to say what.
    pub fn mask(&mut self) -> Result<Vec<u32>> {
        self.matcher.compute_mask_or_eos().map(|mask| mask.as_slice().to_vec()).map_err(ended)
    }
}

fn ended(error: impl Display) -> Error {
    Error::new(Category::Input, "The answer's form allows no further token")
        .details(short(&error.to_string()))
        .hint("simplify the schema, expression or grammar")
}

/// What llguidance makes, or its first line on why it does not.
fn guarded<T>(make: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    let made = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| Ok(make())));
    made.unwrap_or_else(|panic| Err(panic.to_string())).map_err(|message| short(&message))
}

/// The first lines of a message, without a place in the program and without what the source looks like there.
fn short(message: &str) -> String {
    let told = message.split("\n<backtrace>").next().unwrap_or_default();
    let looks = |line: &&str| {
        line.trim_start_matches(|letter: char| letter.is_ascii_digit()).starts_with(" | ")
            || line.trim_matches(['^', ' ']).is_empty()
    };
    if told.starts_with("panic: ") {
        return "its numbers or its parts are too large to be worked out".to_owned();
    }
    if told.contains("NoExtensionBias") {
        return "it allows nothing at all, as a $ref to itself does".to_owned();
    }
    let lines: Vec<&str> = told.lines().map(str::trim).filter(|line| !looks(line)).take(4).collect();
    lines.join("; ").replace("Unimplemented keys:", "not supported:").chars().take(300).collect()
}
