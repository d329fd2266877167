//! What OpenAI's API says in JSON, for the server and for batches: fields of a request, messages, log-probabilities.
pub mod fields;
pub mod logprobs;
pub mod messages;
