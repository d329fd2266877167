//! The bodies of requests, as OpenAI and vLLM have them. Null is as good as no field.
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::outline::RequestBody;
use super::prompt_input::PromptInput;
use super::schemas::{MessageSchema, NvidiaSchema, ToolChoiceSchema, ToolSchema};
use super::whole;
use crate::session::Seed;

/// One text, or several.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum TextList {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl From<TextList> for Vec<String> {
    fn from(texts: TextList) -> Vec<String> {
        match texts {
            TextList::One(text) => vec![text],
            TextList::Many(texts) => texts,
        }
    }
}

/// What a stream has beside its pieces.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// Whether a last piece tells how many tokens there were.
    pub include_usage: Option<bool>,
    /// Whether every piece tells it.
    pub continuous_usage_stats: Option<bool>,
}

/// What both ways of asking for a text have in common.
#[derive(Debug, Default)]
pub struct Shared {
    pub n: Option<u64>,
    pub stream: bool,
    pub stream_options: Option<StreamOptions>,
    pub max_tokens: Option<i64>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<i64>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<Seed>,
    pub logit_bias: HashMap<String, f32>,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<u32>,
    pub include_stop_str_in_output: bool,
    pub min_tokens: usize,
    pub bad_words: Vec<String>,
    pub ignore_eos: bool,
    pub skip_special_tokens: bool,
    pub return_token_ids: bool,
    pub prompt_logprobs: Option<u64>,
    /// Fields that say what the answer must be, by their names.
    pub forms: HashMap<&'static str, Value>,
    /// Fields that have no place of their own.
    pub rest: HashMap<String, Value>,
}

macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize, ToSchema)]
        pub struct $name {
            $($(#[$about])* pub $field: Option<$kind>,)*
            /// The model's name; another one is not found.
            pub model: Option<String>,
            /// Answers to each prompt.
            #[schema(minimum = 1, maximum = 256)]
            #[serde(default, deserialize_with = "whole::one")]
            pub n: Option<u64>,
            /// Whether the text comes in pieces, as server-sent events.
            pub stream: Option<bool>,
            pub stream_options: Option<StreamOptions>,
            /// Most tokens of an answer.
            #[schema(minimum = 0)]
            #[serde(default, deserialize_with = "whole::one")]
            pub max_tokens: Option<i64>,
            /// 0 takes the best token, 0.0001 to 100 draw.
            #[schema(minimum = 0, maximum = 100)]
            pub temperature: Option<f32>,
            #[schema(exclusive_minimum = 0, maximum = 1)]
            pub top_p: Option<f32>,
            /// 0 and -1 for all.
            #[schema(minimum = -1)]
            #[serde(default, deserialize_with = "whole::one")]
            pub top_k: Option<i64>,
            #[schema(minimum = 0, maximum = 1)]
            pub min_p: Option<f32>,
            #[schema(minimum = 0.01, maximum = 100)]
            pub repetition_penalty: Option<f32>,
            #[schema(minimum = -100, maximum = 100)]
            pub presence_penalty: Option<f32>,
            #[schema(minimum = -100, maximum = 100)]
            pub frequency_penalty: Option<f32>,
            /// Any number of 64 bits, with a sign or without one; -1 for another one each time.
            #[schema(value_type = Option<i64>)]
            #[serde(default, deserialize_with = "whole::one")]
            pub seed: Option<Seed>,
            /// By token id, -100 to 100.
            pub logit_bias: Option<HashMap<String, f32>>,
            pub stop: Option<TextList>,
            #[schema(max_items = 1024)]
            #[serde(default, deserialize_with = "whole::list")]
            pub stop_token_ids: Option<Vec<u32>>,
            pub include_stop_str_in_output: Option<bool>,
            #[serde(default, deserialize_with = "whole::one")]
            pub min_tokens: Option<usize>,
            pub bad_words: Option<Vec<String>>,
            pub ignore_eos: Option<bool>,
            pub skip_special_tokens: Option<bool>,
            pub return_token_ids: Option<bool>,
            /// How many of the best tokens come with each token of the prompt, 0 to 20.
            #[schema(maximum = 20)]
            #[serde(default, deserialize_with = "whole::one")]
            pub prompt_logprobs: Option<u64>,
            /// What the answer must be: text, json_object, or json_schema with a schema.
            #[schema(value_type = Option<Object>)]
            pub response_format: Option<Value>,
            /// The same as vLLM has it: json, regex, choice, grammar or json_object.
            #[schema(value_type = Option<Object>)]
            pub structured_outputs: Option<Value>,
            /// As `json` of structured_outputs.
            #[schema(value_type = Option<Object>)]
            pub guided_json: Option<Value>,
            /// As `regex` of structured_outputs.
            #[schema(value_type = Option<String>)]
            pub guided_regex: Option<Value>,
            /// As `choice` of structured_outputs.
            #[schema(value_type = Option<Vec<String>>)]
            pub guided_choice: Option<Value>,
            /// As `grammar` of structured_outputs.
            #[schema(value_type = Option<String>)]
            pub guided_grammar: Option<Value>,
            /// As `json_object` of structured_outputs.
            #[schema(value_type = Option<bool>)]
            pub guided_json_object: Option<Value>,
            /// Not supported.
            #[schema(value_type = Option<String>)]
            pub guided_whitespace_pattern: Option<Value>,
            #[serde(skip)]
            #[schema(ignore)]
            pub rest: HashMap<String, Value>,
        }

        impl RequestBody for $name {
            const FIELDS: &'static [&'static str] = &[
                $(stringify!($field),)*
                "model",
                "n",
                "stream",
                "stream_options",
                "max_tokens",
                "temperature",
                "top_p",
                "top_k",
                "min_p",
                "repetition_penalty",
                "presence_penalty",
                "frequency_penalty",
                "seed",
                "logit_bias",
                "stop",
                "stop_token_ids",
                "include_stop_str_in_output",
                "min_tokens",
                "bad_words",
                "ignore_eos",
                "skip_special_tokens",
                "return_token_ids",
                "prompt_logprobs",
                "response_format",
                "structured_outputs",
                "guided_json",
                "guided_regex",
                "guided_choice",
                "guided_grammar",
                "guided_json_object",
                "guided_whitespace_pattern",
            ];

            fn take_others(&mut self, others: HashMap<String, Value>) {
                self.rest = others;
            }
        }

        impl $name {
            /// The model that is meant.
            pub fn model(&self) -> Option<&str> {
                self.model.as_deref()
            }

            /// Takes what it has in common with others.
            pub fn shared(&mut self) -> Shared {
                Shared {
                    n: self.n.take(),
                    stream: self.stream.take().unwrap_or(false),
                    stream_options: self.stream_options.take(),
                    max_tokens: self.max_tokens.take(),
                    temperature: self.temperature.take(),
                    top_p: self.top_p.take(),
                    top_k: self.top_k.take(),
                    min_p: self.min_p.take(),
                    repetition_penalty: self.repetition_penalty.take(),
                    presence_penalty: self.presence_penalty.take(),
                    frequency_penalty: self.frequency_penalty.take(),
                    seed: self.seed.take(),
                    logit_bias: self.logit_bias.take().unwrap_or_default(),
                    stop: self.stop.take().map(Vec::from).unwrap_or_default(),
                    stop_token_ids: self.stop_token_ids.take().unwrap_or_default(),
                    include_stop_str_in_output: self.include_stop_str_in_output.take().unwrap_or(false),
                    min_tokens: self.min_tokens.take().unwrap_or(0),
                    bad_words: self.bad_words.take().unwrap_or_default(),
                    ignore_eos: self.ignore_eos.take().unwrap_or(false),
                    skip_special_tokens: self.skip_special_tokens.take().unwrap_or(true),
                    return_token_ids: self.return_token_ids.take().unwrap_or(false),
                    prompt_logprobs: self.prompt_logprobs.take(),
                    forms: [
                        ("response_format", self.response_format.take()),
                        ("structured_outputs", self.structured_outputs.take()),
                        ("guided_json", self.guided_json.take()),
                        ("guided_regex", self.guided_regex.take()),
                        ("guided_choice", self.guided_choice.take()),
                        ("guided_grammar", self.guided_grammar.take()),
                        ("guided_json_object", self.guided_json_object.take()),
                        ("guided_whitespace_pattern", self.guided_whitespace_pattern.take()),
                    ]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect(),
                    rest: std::mem::take(&mut self.rest),
                }
            }
        }
    };
}

request! {
    /// `POST /v1/chat/completions`.
    ChatRequest {
        /// The conversation: objects with a role and a content, which is a text or a list of text parts.
        #[schema(value_type = Vec<MessageSchema>, min_items = 1)]
        messages: Vec<Value>,
        /// Most tokens of an answer; goes before max_tokens.
        #[schema(minimum = 1)]
        #[serde(default, deserialize_with = "whole::one")]
        max_completion_tokens: i64,
        /// Whether log-probabilities come with the tokens.
        logprobs: bool,
        /// How many of the best tokens come with each, 0 to 20.
        #[schema(maximum = 20)]
        #[serde(default, deserialize_with = "whole::one")]
        top_logprobs: u64,
        /// Whether the text of the prompt begins the model's turn.
        add_generation_prompt: bool,
        /// Whether the model goes on with the last message.
        continue_final_message: bool,
        /// What else the chat template is told.
        chat_template_kwargs: Map<String, Value>,
        /// Functions that the model may call.
        #[schema(value_type = Vec<ToolSchema>)]
        tools: Vec<Value>,
        /// Whether it may: auto, which is what stands without it, or none.
        #[schema(value_type = ToolChoiceSchema)]
        tool_choice: Value,
        /// Whether several calls of one answer are given, or the first alone.
        parallel_tool_calls: bool,
        /// Most tokens of reasoning, -1 for no bound; it is ended there.
        #[schema(minimum = -1)]
        #[serde(default, deserialize_with = "whole::one")]
        thinking_token_budget: i64,
        /// The same.
        #[schema(minimum = -1)]
        #[serde(default, deserialize_with = "whole::one")]
        reasoning_budget: i64,
        /// The same.
        #[schema(minimum = -1)]
        #[serde(default, deserialize_with = "whole::one")]
        max_thinking_tokens: i64,
        /// `max_thinking_tokens` is the same once more.
        #[schema(value_type = NvidiaSchema)]
        nvext: Value,
    }
}

request! {
    /// `POST /v1/completions`.
    CompletionRequest {
        /// What is to be continued.
        prompt: PromptInput,
        /// Whether the prompt stands in front of the text.
        echo: bool,
        /// How many of the best tokens come with each, 0 to 20.
        #[schema(maximum = 20)]
        #[serde(default, deserialize_with = "whole::one")]
        logprobs: u64,
        /// Whether the tokenizer puts around a text what its post-processor says; true by default.
        add_special_tokens: bool,
    }
}

/// `POST /tokenize`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct TokenizeRequest {
    /// A text.
    pub prompt: Option<String>,
    /// Or a conversation.
    #[schema(value_type = Option<Vec<MessageSchema>>, min_items = 1)]
    pub messages: Option<Vec<Value>>,
    /// As in a completion; false by default for a conversation.
    pub add_special_tokens: Option<bool>,
    /// As in a chat.
    pub add_generation_prompt: Option<bool>,
    /// As in a chat.
    pub continue_final_message: Option<bool>,
    /// As in a chat.
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// As in a chat.
    #[schema(value_type = Option<Vec<ToolSchema>>)]
    pub tools: Option<Vec<Value>>,
    /// Whether the names of the tokens come too.
    pub return_token_strs: Option<bool>,
}

impl RequestBody for TokenizeRequest {
    const FIELDS: &'static [&'static str] = &["prompt", "messages", "tools", "chat_template_kwargs"];
}

/// `POST /detokenize`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    /// Token ids.
    #[serde(default, deserialize_with = "whole::list")]
    pub tokens: Option<Vec<u32>>,
}

impl RequestBody for DetokenizeRequest {}
