//! Text: tokenizer and incremental detokenizer.
