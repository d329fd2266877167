//! `Streamed`: what a stream of events said, whichever server sent it, and when.
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

/// Why a request has no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A few words that many such failures have in common.
    pub kind: String,
    /// What exactly was found.
    pub what: String,
}

impl Fault {
    /// A failure of this kind.
    pub fn new(kind: impl Into<String>, what: impl ToString) -> Fault {
        Fault { kind: kind.into(), what: what.to_string() }
    }

    /// Whether another prompt may be answered: servers say in several ways that they know no such id.
    pub fn may_be_the_prompt(&self) -> bool {
        ["HTTP 400", "HTTP 422", "HTTP 500", IN_STREAM].contains(&&self.kind[..])
    }
}

/// The kind of a whole answer that showed no token.
pub const NO_TOKEN: &str = "an answer without a token";

/// The kind of an error that came when the answer had begun.
const IN_STREAM: &str = "an error inside the stream";

/// How tokens of answers are counted, the best way first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// As the server's `usage` says.
    #[default]
    Usage,
    /// By the ids that it names.
    Ids,
    /// One for each event with text, for it tells no more.
    Events,
}

/// What came of a request.
pub struct Seen {
    /// When it was due to be sent.
    pub due: Instant,
    /// When it was over.
    pub ended: Instant,
    pub answer: Result<Streamed, Fault>,
}

/// What a stream said so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Streamed {
    /// The text.
    pub text: String,
    /// The tokens, where the server names them.
    pub ids: Vec<u32>,
    /// When events with tokens came.
    pub events: Vec<Instant>,
    /// Tokens of the prompt, where the server counts them.
    pub prompt_tokens: Option<u64>,
    /// Those that it had computed before.
    pub cached_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    finished: bool,
}

/// An event of a completion or of a chat; servers leave out, or send as null, what they like.
#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    token_ids: Option<Vec<u32>>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

/// What an OpenAI server calls an error: an object with a message, or a text.
pub fn error_message(error: &Value) -> String {
    let message = error["message"].as_str().or(error.as_str());
    message.map_or_else(|| error.to_string(), str::to_owned)
}

impl Streamed {
    /// Takes the data of an event that came `at` that time. False where it was the last.
    ///
    /// # Errors
    /// It is an error, or nothing that can be understood.
    pub fn take(&mut self, data: &str, at: Instant) -> Result<bool, Fault> {
        if data.trim() == "[DONE]" {
            self.finished = true;
            return Ok(false);
        }
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|error| Fault::new("an event that is no completion", format_args!("{error}: {data:.200}")))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(Fault::new(IN_STREAM, error_message(&error)));
        }
        if let Some(usage) = chunk.usage {
            self.prompt_tokens = usage.prompt_tokens.or(self.prompt_tokens);
            self.completion_tokens = usage.completion_tokens.or(self.completion_tokens);
            let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
            self.cached_tokens = cached.or(self.cached_tokens);
        }
        let mut has_tokens = false;
        for choice in chunk.choices.unwrap_or_default() {
            let (text, ids) = (choice.text.unwrap_or_default(), choice.token_ids.unwrap_or_default());
            has_tokens |= !text.is_empty() || !ids.is_empty();
            self.text += &text;
            self.ids.extend(ids);
            self.finished |= choice.finish_reason.is_some();
        }
        self.events.extend(has_tokens.then_some(at));
        Ok(true)
    }

    /// The end of the stream.
    ///
    /// # Errors
    /// The answer was not at its end, or had no token.
    pub fn end(&self) -> Result<(), Fault> {
        if !self.finished {
            let so_far = format_args!("{} events had come", self.events.len());
            return Err(Fault::new("a stream that ended early", so_far));
        }
        // Tokens need not have a text: special ones have none, nor have the first bytes of a letter.
        if self.tokens() == 0 {
            return Err(Fault::new(NO_TOKEN, "neither a text nor an id nor a number of tokens came"));
        }
        Ok(())
    }

    /// Its tokens, where the server tells how many they are.
    pub fn known_tokens(&self) -> Option<u64> {
        (self.counted() < Counted::Events).then(|| self.tokens())
    }

    /// Its tokens; where the server does not tell, one for each event.
    pub fn tokens(&self) -> u64 {
        let ids = self.ids.len() as u64;
        self.completion_tokens.unwrap_or(if ids > 0 { ids } else { self.events.len() as u64 })
    }

    /// How [`Streamed::tokens`] are counted.
    pub fn counted(&self) -> Counted {
        match (self.completion_tokens, &self.ids[..]) {
            (Some(_), _) => Counted::Usage,
            (None, [_, ..]) => Counted::Ids,
            (None, []) => Counted::Events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventsource_stream::Eventsource;
    use futures_util::{StreamExt, stream};

    /// What is understood of the bytes of a stream, cut into pieces of so many bytes.
    fn read(bytes: &str, piece: usize) -> Result<Streamed, Fault> {
        let pieces: Vec<Result<Vec<u8>, std::convert::Infallible>> =
            bytes.as_bytes().chunks(piece).map(|piece| Ok(piece.to_vec())).collect();
        let threads = tokio::runtime::Builder::new_current_thread().build().unwrap();
        threads.block_on(async {
            let (mut answer, mut events) = (Streamed::default(), stream::iter(pieces).eventsource());
            while let Some(event) = events.next().await {
                if !answer.take(&event.unwrap().data, Instant::now())? {
                    break;
                }
            }
            answer.end().map(|()| answer)
        })
    }

    fn seen(bytes: &str) -> (String, usize, u64, Option<u64>) {
        let whole = read(bytes, usize::MAX).unwrap();
        for piece in [1, 7, 64] {
            let cut = read(bytes, piece).unwrap();
            assert_eq!((&cut.text, &cut.ids, cut.events.len()), (&whole.text, &whole.ids, whole.events.len()));
        }
        (whole.text.clone(), whole.events.len(), whole.tokens(), whole.cached_tokens)
    }

    #[test]
    fn vllm_sends_ids_several_tokens_at_once_and_usage_at_the_end() {
        let text = concat!(
            r#"data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":" a b","logprobs":null,"finish_reason":null,"stop_reason":null,"token_ids":[4,5]}],"usage":null}"#,
            "\n\n",
            r#"data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":[6]}]}"#,
            "\n\n",
            r#"data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}"#,
            "\n\ndata: [DONE]\n\n",
        );
        assert_eq!(seen(text), (" a b".to_owned(), 2, 3, Some(2)));
        assert_eq!(read(text, 9).unwrap().prompt_tokens, Some(9));
    }

    #[test]
    fn llama_server_sends_texts_alone_and_some_servers_no_usage() {
        let text = concat!(
            r#"data: {"choices":[{"text":" once","index":0,"logprobs":null,"finish_reason":null}],"created":1,"model":"m","object":"text_completion"}"#,
            "\n\n",
            r#"data: {"choices":[{"text":" upon","index":0,"logprobs":null,"finish_reason":null}],"created":1}"#,
            "\n\n",
            r#"data: {"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}],"created":1}"#,
            "\n\n",
        );
        // Without `[DONE]`, too.
        assert_eq!(seen(text), (" once upon".to_owned(), 2, 2, None));
        assert_eq!(read(text, 5).unwrap().known_tokens(), None);
    }

    #[test]
    fn carriage_returns_comments_and_colons_without_a_space_are_as_good() {
        let text = concat!(
            ": keep-alive\r\n\r\n",
            "event: completion\r\nid: 1\r\ndata:{\"choices\":[{\"text\":\"x\"}]}\r\n\r\n",
            ":\r\n\r\ndata:{\"choices\":[{\"text\":\"y\",\"finish_reason\":\"stop\"}]}\r\n\r\n",
            "data:[DONE]\r\n\r\n",
        );
        assert_eq!(seen(text), ("xy".to_owned(), 2, 2, None));
    }

    #[test]
    fn tokens_without_a_text_are_tokens_where_the_server_counts_them() {
        let text = concat!(
            "data: {\"choices\": [{\"text\": \"\", \"finish_reason\": \"length\"}]}\n\n",
            "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 4, \"completion_tokens\": 1}}\n\n",
            "data: [DONE]\n\n",
        );
        assert_eq!(seen(text), (String::new(), 0, 1, None));
        assert_eq!(read(text, 8).unwrap().counted(), Counted::Usage);
    }

    #[test]
    fn what_goes_wrong_has_a_kind() {
        let kind = |text: &str| read(text, 8).unwrap_err();
        let error = kind("data: {\"error\": {\"message\": \"no room\", \"code\": 500}}\n\ndata: [DONE]\n\n");
        assert_eq!((&error.kind[..], &error.what[..]), (IN_STREAM, "no room"));
        assert_eq!(kind("data: {\"choices\": [{\"text\": \"a\"}]}\n\n").kind, "a stream that ended early");
        assert_eq!(kind("data: [DONE]\n\n").kind, NO_TOKEN);
        assert_eq!(kind("data: {\"choices\": [{\"text\": \"\", \"finish_reason\": \"length\"}]}\n\n").kind, NO_TOKEN);
        assert_eq!(kind("data: <html>\n\n").kind, "an event that is no completion");
    }
}
