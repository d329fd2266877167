//! The one table of the fields that a request may have: what is done with each.
use serde_json::Value;

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It does what OpenAI or vLLM says.
    Honoured,
    /// It is taken, and changes nothing.
    Ignored,
    /// A value that would change the answer is refused; these, and null, would not.
    Refused(&'static [&'static str]),
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether `/v1/chat/completions` has it, and `/v1/completions`.
    pub of: [bool; 2],
    /// Its JSON type.
    pub kind: &'static str,
    /// What is done with it.
    pub treatment: Treatment,
    /// What it means here.
    pub note: &'static str,
}

const BOTH: [bool; 2] = [true, true];
const CHAT: [bool; 2] = [true, false];
const COMPLETION: [bool; 2] = [false, true];

const fn honoured(name: &'static str, of: [bool; 2], kind: &'static str, note: &'static str) -> Field {
    Field { name, of, kind, treatment: Treatment::Honoured, note }
}

const fn ignored(name: &'static str, of: [bool; 2]) -> Field {
    Field { name, of, kind: "any", treatment: Treatment::Ignored, note: "" }
}

const fn refused(name: &'static str, of: [bool; 2], neutral: &'static [&'static str]) -> Field {
    Field { name, of, kind: "any", treatment: Treatment::Refused(neutral), note: "" }
}

/// All fields that are known. Others are ignored, and logged once.
pub const FIELDS: [Field; 75] = [
    honoured("model", BOTH, "string", "the served model's name; without it that model answers"),
    honoured("messages", CHAT, "array", "contents are texts or lists of text parts"),
    honoured("prompt", COMPLETION, "any", "a text, ids, or a list of either"),
    honoured("stream", BOTH, "boolean", "events, ended by [DONE]"),
    honoured("stream_options", BOTH, "object", "include_usage"),
    honoured("n", BOTH, "integer", "1 to 128 choices, each with random numbers of its own"),
    honoured(
        "max_tokens",
        BOTH,
        "integer",
        "a chat's answer may fill the context by default, a completion has 16 tokens",
    ),
    honoured("max_completion_tokens", CHAT, "integer", "goes before max_tokens"),
    honoured("min_tokens", BOTH, "integer", "no token ends the answer before"),
    honoured("temperature", BOTH, "number", "0 is greedy, else 0.0001 to 100; by default generation_config.json's"),
    honoured("top_p", BOTH, "number", "above 0 up to 1"),
    honoured("top_k", BOTH, "integer", "0 or -1 for all"),
    honoured("min_p", BOTH, "number", "0 to 1"),
    honoured("presence_penalty", BOTH, "number", "-100 to 100"),
    honoured("frequency_penalty", BOTH, "number", "-100 to 100"),
    honoured("repetition_penalty", BOTH, "number", "0.01 to 100"),
    honoured("seed", BOTH, "integer", "the same seed gives the same text"),
    honoured("logit_bias", BOTH, "object", "token ids and numbers from -100 to 100"),
    honoured("bad_words", BOTH, "array", "texts that do not come"),
    honoured("stop", BOTH, "any", "a text or a list of texts"),
    honoured("stop_token_ids", BOTH, "array", "token ids that end the answer"),
    honoured("include_stop_str_in_output", BOTH, "boolean", "shows the stop text too"),
    honoured("ignore_eos", BOTH, "boolean", "goes on where the model would end"),
    honoured("skip_special_tokens", BOTH, "boolean", "false shows the names of special tokens"),
    honoured("return_token_ids", BOTH, "boolean", "prompt_token_ids, and token_ids of each choice"),
    honoured("logprobs", BOTH, "any", "a chat's is a flag, a completion's the number of best tokens, 0 to 20"),
    honoured("top_logprobs", CHAT, "integer", "0 to 20; needs logprobs"),
    honoured("prompt_logprobs", BOTH, "integer", "0 to 20; not with stream"),
    honoured("echo", COMPLETION, "boolean", "the prompt in front of the text; with max_tokens 0 alone"),
    honoured("add_generation_prompt", CHAT, "boolean", "false leaves out what begins an answer"),
    honoured(
        "continue_final_message",
        CHAT,
        "boolean",
        "goes on with the last message; needs add_generation_prompt false",
    ),
    honoured("chat_template_kwargs", CHAT, "object", "variables of the template, such as enable_thinking"),
    ignored("user", BOTH),
    ignored("metadata", BOTH),
    ignored("store", BOTH),
    ignored("service_tier", BOTH),
    ignored("safety_identifier", BOTH),
    ignored("prompt_cache_key", BOTH),
    ignored("prompt_cache_retention", BOTH),
    ignored("request_id", BOTH),
    ignored("priority", BOTH),
    ignored("parallel_tool_calls", CHAT),
    ignored("include_reasoning", CHAT),
    ignored("spaces_between_special_tokens", BOTH),
    refused("tools", CHAT, &["[]"]),
    refused("tool_choice", CHAT, &["\"none\"", "\"auto\""]),
    refused("functions", CHAT, &["[]"]),
    refused("function_call", CHAT, &["\"none\"", "\"auto\""]),
    refused("response_format", BOTH, &["{\"type\":\"text\"}"]),
    refused("structured_outputs", BOTH, &["{}"]),
    refused("guided_json", BOTH, &[]),
    refused("guided_regex", BOTH, &[]),
    refused("guided_choice", BOTH, &[]),
    refused("guided_grammar", BOTH, &[]),
    refused("reasoning_effort", CHAT, &[]),
    refused("thinking_token_budget", CHAT, &[]),
    refused("chat_template", CHAT, &[]),
    refused("documents", CHAT, &["[]"]),
    refused("audio", CHAT, &[]),
    refused("modalities", CHAT, &["[\"text\"]"]),
    refused("prediction", CHAT, &[]),
    refused("web_search_options", CHAT, &[]),
    refused("verbosity", CHAT, &["\"medium\""]),
    refused("best_of", BOTH, &["1"]),
    refused("suffix", COMPLETION, &["\"\""]),
    refused("use_beam_search", BOTH, &["false"]),
    refused("length_penalty", BOTH, &["1", "1.0"]),
    refused("early_stopping", BOTH, &["false"]),
    refused("truncate_prompt_tokens", BOTH, &[]),
    refused("allowed_token_ids", BOTH, &["[]"]),
    refused("logits_processors", BOTH, &["[]"]),
    refused("prompt_embeds", COMPLETION, &[]),
    refused("mm_processor_kwargs", CHAT, &["{}"]),
    refused("lora_request", BOTH, &[]),
    refused("detokenize", BOTH, &["true"]),
];

impl Treatment {
    /// Whether a refused field's value changes nothing.
    pub fn takes(self, value: &Value) -> bool {
        match self {
            Treatment::Refused(neutral) => value.is_null() || neutral.contains(&value.to_string().as_str()),
            _ => true,
        }
    }
}
