//! Text: tokenizer and incremental detokenizer.
mod detokenizer;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use tokenizer::Tokenizer;
