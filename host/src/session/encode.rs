//! Ids of prompts. A text that the context cannot hold is refused before it is tokenized, unless its tokens are only counted.
use super::prompt::{Prompt, Texts};
use crate::error::{Category, Error, Result};

/// Bytes of text that are tokenized whatever the context: a normalizer may leave less of a text.
const SHORT: usize = 1 << 20;

impl Texts {
    /// Most bytes of a text that is tokenized for a context of so many tokens.
    pub(super) fn most_bytes(&self, context: usize) -> usize {
        context.saturating_mul(self.tokenizer.longest()).max(SHORT)
    }

    /// Ids of a prompt. Of no text they are what the post-processor puts around one, if it does.
    ///
    /// # Errors
    /// There is no template, it refuses the messages, the tokenizer cannot take the text, or the context cannot hold it.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        self.ids(prompt, self.context)
    }

    /// As [`Texts::encode`], however long the prompt is.
    ///
    /// # Errors
    /// As [`Texts::encode`], but for the last one.
    pub fn encode_all(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        self.ids(prompt, None)
    }

    fn ids(&self, prompt: &Prompt, context: Option<usize>) -> Result<Vec<u32>> {
        let rendered;
        let (text, post_process) = match prompt {
            Prompt::Text(text) => (text, true),
            Prompt::Raw(text) => (text, false),
            Prompt::Chat(messages) => {
                rendered = self.render(messages.clone(), None)?;
                (&rendered, false)
            }
        };
        if let Some(context) = context.filter(|_| text.len() > SHORT) {
            self.check_bytes(text.len(), context)?;
        }
        self.tokenizer.encode(text, post_process)
    }

    fn check_bytes(&self, bytes: usize, context: usize) -> Result<()> {
        let most = self.most_bytes(context);
        if bytes <= most {
            return Ok(());
        }
        Err(Error::new(Category::Input, "The prompt is longer than the context")
            .details(format!("the prompt has {bytes} bytes; a context of {context} tokens holds at most {most}"))
            .hint("shorten the prompt, or raise --context up to the model's length"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_text_that_cannot_fit_is_refused_before_it_is_tokenized() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");
        let mut texts = Texts::open(Path::new(model), None).unwrap();
        let longest = texts.tokenizer.longest();
        texts.limit(100_000);
        let most = 100_000 * longest;
        let prompt = Prompt::Text("a".repeat(200_000_000));
        let chat = Prompt::question(None, &"a".repeat(most));
        let frame = "<extra_id_0>System\n\n<extra_id_1>User\n\n<extra_id_1>Assistant\n".len();
        let start = std::time::Instant::now();
        for (prompt, bytes) in [(prompt, 200_000_000), (chat, most + frame)] {
            let error = texts.encode(&prompt).unwrap_err();
            assert_eq!(error.message(), "The prompt is longer than the context");
            let details = format!("the prompt has {bytes} bytes; a context of 100000 tokens holds at most {most}");
            assert_eq!(error.details_text(), details);
        }
        assert!(start.elapsed().as_secs() < 10, "it was tokenized: {:?}", start.elapsed());
        // A text of as many bytes as the longest tokens can have is tokenized.
        texts.limit(1);
        assert!(texts.encode(&Prompt::Text("a".repeat(SHORT))).unwrap().len() > 1);
        let long = Prompt::Text("a".repeat(SHORT + 1));
        assert!(texts.encode(&long).is_err());
        assert!(texts.encode_all(&long).unwrap().len() > 1);
    }

    #[test]
    fn no_text_is_what_the_tokenizer_puts_around_one() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let ids = |model: &str, prompt: Prompt| Texts::open(&root.join(model), None).unwrap().encode(&prompt).unwrap();
        assert_eq!(ids("models/storyteller", Prompt::Text(String::new())).len(), 1);
        assert_eq!(ids("models/storyteller", Prompt::Raw(String::new())), [0; 0]);
    }
}
