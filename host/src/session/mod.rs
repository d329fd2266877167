//! A session: load a model, generate, stream. What the command, the examples and programs of others use.
pub mod expected;
pub mod inspect;
pub mod perplexity;
pub mod verify;

mod answer;
mod batch;
pub(crate) mod choice;
mod constraint;
mod conversation;
mod encode;
mod fp8;
mod generate;
mod generation;
mod live;
mod load;
mod logprobs;
mod memory;
pub(crate) mod messages;
mod note;
mod profile;
mod prompt;
mod prompt_logprobs;
mod rank_choice;
mod roles;
mod rules;
mod sampling;
mod seed;
mod stages;
mod stop;
mod tags;
mod think_marks;
mod thinking;
mod tools;
mod turn_ends;

pub use answer::{Tags, TextOptions};
pub use batch::{Arrival, BatchRequest};
pub use choice::{ActivationChoice, Activations, DeviceChoice, KvChoice, Progress};
pub use constraint::AnswerForm;
pub use conversation::{Conversation, Message};
pub use fp8::quantize_inputs;
pub use generate::Session;
pub use generation::{Finish, GenerateOptions, Generation};
pub use live::{Live, LiveRequest, LiveUpdate, Piece};
pub use load::{LoadOptions, Model};
pub use logprobs::{LikelyToken, MOST_LOGPROBS, TokenLogprob};
pub use note::Note;
pub use profile::StepProfile;
pub use prompt::{Prompt, Rendering, Texts, check_kwargs};
pub use prompt_logprobs::PromptLogprob;
pub use rank_choice::{MOST_RANKS, RankChoice};
pub use seed::Seed;
pub use stages::StageTime;
pub use tools::{AnswerCalls, OfferedTools, functions, new_id};

pub use crate::device::cuda::Collectives;
pub use crate::sample::Sampling;
pub use crate::text::{
    CallDemand, GRAMMAR_FIELDS, GrammarFault, GrammarField, GrammarSource, Reasoning, ToolDelta, ToolForm, ToolParser,
    ToolSchemas,
};
