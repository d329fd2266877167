//! The engine on the CPU device: batches, chunks and page boundaries change no bit.
mod forks;
mod handle;
mod hybrids;
mod late;
mod logprobs;
mod masks;
mod numbers;
mod plans;
mod preemption;
mod profile;
mod scores;
mod snapshots;
mod thinking;
// What tests/serve alone asks of it.
#[allow(dead_code)]
mod toy;
mod traces;
mod turns;

use std::collections::HashMap;
use std::time::Duration;

use half::bf16;
use nemotron::checkpoint::Checkpoint;
use nemotron::cpu::Cpu;
use nemotron::device::{Buffers, Device, Inputs, Plan, PlanId, Ticket};
use nemotron::engine::{Engine, EngineConfig, Finish, Request, SequenceId};
use nemotron::error::Result;
use nemotron::models::spec::ModelSpec;
use nemotron::sample::Sampling;
use nemotron::weights::Weights;

use gpu_kernels::Ptr;
use gpu_kernels::gemv::SMALL_WEIGHT;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn load(model: &str) -> (ModelSpec, Weights) {
    let checkpoint = Checkpoint::open(&format!("{ROOT}/{model}")).expect("the model is in the repository");
    let spec = nemotron::models::read_checkpoint(&checkpoint).expect("a known family").spec;
    (spec, Weights::new(checkpoint))
}

fn engine(model: &str, device: Box<dyn Device>, config: EngineConfig) -> Engine {
    let (spec, weights) = load(model);
    Engine::new(device, &spec, &|parts| weights.parts(parts), config).expect("the engine starts")
}

fn prompts() -> Vec<Vec<u32>> {
    [1usize, 7, 33, 64, 130].iter().map(|&n| (0..n as u32).map(|i| (i * 37 + n as u32 * 11) % 512).collect()).collect()
}

/// Runs all requests at once and returns each one's tokens and end.
fn generate(engine: &mut Engine, requests: Vec<Request>) -> Vec<(Vec<u32>, Finish)> {
    let ids: Vec<_> = requests.into_iter().map(|request| engine.submit(request).expect("a good request")).collect();
    let mut tokens: HashMap<SequenceId, Vec<u32>> = HashMap::new();
    let mut ends: HashMap<SequenceId, Finish> = HashMap::new();
    while !engine.is_idle() {
        for event in engine.step().expect("the CPU does not fail") {
            assert!(!ends.contains_key(&event.sequence), "no event follows the last");
            tokens.entry(event.sequence).or_default().push(event.token.expect("numbers"));
            ends.extend(event.finish.map(|finish| (event.sequence, finish)));
        }
    }
    ids.iter().map(|id| (tokens[id].clone(), ends[id])).collect()
}

/// The CPU device as the engine sees a GPU: the next step is asked for before the tokens of the last are read.
struct Ahead(Cpu<f32>);

impl Device for Ahead {
    fn description(&self) -> Vec<String> {
        self.0.description()
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        self.0.allocate(buffers)
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        self.0.prepare(plan)
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.0.release(plan)
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        self.0.run(plan, inputs)
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        self.0.enqueue(plan, inputs)
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        self.0.sampled(ticket)
    }

    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        self.0.read_f32(source, count)
    }

    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        self.0.read_i32(source, count)
    }

    fn time_steps(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Vec<Duration>> {
        self.0.time_steps(plan, inputs)
    }
}

fn request(prompt: &[u32]) -> Request {
    Request { prompt: prompt.to_vec(), max_tokens: 70, ..Request::default() }
}

fn config(max_sequences: usize, chunk: usize) -> EngineConfig {
    EngineConfig { context: 256, max_sequences, chunk, pages: None, spare_slots: 0, small_weight: SMALL_WEIGHT }
}

#[test]
fn a_batch_gives_what_each_prompt_gives_alone() {
    for model in ["nemotron", "llama", "mistral"] {
        let model = format!("tests/golden/{model}");
        let mut together = engine(&model, Box::new(Cpu::<bf16>::new()), config(5, 512));
        let batch = generate(&mut together, prompts().iter().map(|prompt| request(prompt)).collect());
        let batched = together.counters();
        assert_eq!(batched.steps, 70, "one pass over all prompts, then one for each further token");
        for (prompt, expected) in prompts().iter().zip(batch) {
            let mut alone = engine(&model, Box::new(Cpu::<bf16>::new()), config(1, 512));
            assert_eq!(generate(&mut alone, vec![request(prompt)]), [expected], "{model}, {} tokens", prompt.len());
            assert!(alone.counters().launches * 5 > batched.launches * 2, "the batch shares its launches");
        }
    }
}

#[test]
fn chunks_change_no_bit_of_the_logits() {
    for model in ["nemotron", "llama", "mistral"] {
        let model = format!("tests/golden/{model}");
        let prompt = &prompts()[4];
        let logits = |chunk| {
            let f32 = engine(&model, Box::new(Cpu::<f32>::new()), config(1, chunk)).logits(prompt, 20);
            let bf16 = engine(&model, Box::new(Cpu::<bf16>::new()), config(1, chunk)).logits(prompt, 20);
            [f32, bf16].map(|logits| bits(&logits.expect("the prompt fits")))
        };
        let whole = logits(256);
        for chunk in [1, 7, 64] {
            assert_eq!(logits(chunk), whole, "{model} in chunks of {chunk}");
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn more_requests_than_slots_take_turns() {
    let mut small = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(2, 64));
    let mut large = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(8, 512));
    let requests = || prompts().iter().map(|prompt| request(prompt)).collect();
    assert_eq!(generate(&mut small, requests()), generate(&mut large, requests()));
}

#[test]
fn few_pages_are_shared_by_sequences_that_need_few() {
    let limited = EngineConfig { pages: Some(1 + 4), ..config(5, 512) };
    let mut few = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), limited);
    assert_eq!((few.free_pages(), few.max_sequences()), (4, 5), "a context of 256 tokens has four pages");
    let mut many = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(5, 512));
    let requests: Vec<_> = prompts().iter().map(|prompt| request(prompt)).collect();
    assert_eq!(generate(&mut few, requests.clone()), generate(&mut many, requests));
    assert!(few.counters().steps > many.counters().steps && few.counters().steps < 5 * 70, "two run at a time");
    assert_eq!(few.free_pages(), 4);
}

#[test]
fn a_step_in_flight_behind_the_end_leaves_nothing() {
    let requests = || {
        let mut requests: Vec<_> = prompts().iter().chain(&prompts()).map(|prompt| request(prompt)).collect();
        let plain = generate(
            &mut engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(1, 64)),
            vec![requests[2].clone()],
        );
        let stop = plain[0].0[5];
        requests.iter_mut().for_each(|request| request.eos = vec![stop]);
        requests
    };
    let synchronous =
        generate(&mut engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(3, 64)), requests());
    let ahead =
        generate(&mut engine("tests/golden/llama", Box::new(Ahead(Cpu::<f32>::new())), config(3, 64)), requests());
    assert!(synchronous.iter().any(|(_, finish)| *finish == Finish::Stop), "the test stops something");
    assert_eq!(ahead, synchronous);
}

#[test]
fn steps_are_advanced_without_the_host() {
    let mut engine = engine("tests/golden/mistral", Box::new(Cpu::<f32>::new()), config(1, 512));
    generate(&mut engine, vec![request(&prompts()[2])]);
    assert_eq!(engine.counters().uploads, 2, "the prompt, and the first token after it");
}

#[test]
fn a_full_context_ends_a_sequence() {
    let mut engine = engine(
        "tests/golden/nemotron",
        Box::new(Cpu::<f32>::new()),
        EngineConfig {
            context: 40,
            max_sequences: 1,
            chunk: 40,
            pages: None,
            spare_slots: 0,
            small_weight: SMALL_WEIGHT,
        },
    );
    let long = Request { prompt: prompts()[2].clone(), max_tokens: 1000, ..Request::default() };
    let generated = generate(&mut engine, vec![long]);
    assert_eq!((generated[0].0.len(), generated[0].1), (40 - 33, Finish::Context));
}

#[test]
fn bad_requests_are_refused() {
    let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(1, 64));
    let mut message = |prompt: Vec<u32>, max_tokens| {
        let error = engine.submit(Request { prompt, max_tokens, ..Request::default() }).expect_err("a bad request");
        error.message().to_string()
    };
    assert_eq!(message(vec![], 1), "The prompt is empty");
    assert_eq!(message(vec![1; 256], 1), "The prompt is longer than the context");
    assert_eq!(message(vec![512], 1), "The prompt has a token that the model does not know");
    assert_eq!(message(vec![1], 0), "Nothing is to be generated");
}

fn sampled(prompt: &[u32], sampling: Sampling) -> Request {
    Request { sampling, ..request(prompt) }
}

fn mixed() -> Vec<Request> {
    let warm = Sampling { temperature: 1.2, seed: 7, ..Sampling::default() };
    let rows = [
        warm.clone(),
        Sampling::default(),
        Sampling { top_k: 20, top_p: 0.9, stream: 1, ..warm.clone() },
        Sampling { repeat_penalty: 1.3, presence_penalty: 0.2, frequency_penalty: 0.1, ..warm.clone() },
        Sampling { repeat_penalty: 1.5, logit_bias: vec![(17, 2.5), (300, -4.0)], ..Sampling::default() },
    ];
    prompts().iter().zip(rows).map(|(prompt, sampling)| sampled(prompt, sampling)).collect()
}

#[test]
fn sampled_sequences_are_the_same_alone_in_a_batch_in_chunks_and_ahead() {
    for model in ["nemotron", "llama"] {
        let model = format!("tests/golden/{model}");
        let alone = |request| {
            let mut engine = engine(&model, Box::new(Cpu::<f32>::new()), config(1, 512));
            generate(&mut engine, vec![request]).remove(0)
        };
        let expected: Vec<_> = mixed().into_iter().map(alone).collect();
        let mut together = engine(&model, Box::new(Cpu::<f32>::new()), config(5, 512));
        assert_eq!(generate(&mut together, mixed()), expected, "{model} in a batch");
        let mut chunks = engine(&model, Box::new(Ahead(Cpu::<f32>::new())), config(2, 17));
        assert_eq!(generate(&mut chunks, mixed()), expected, "{model} in chunks, ahead, in turns");
    }
}

#[test]
fn seeds_and_streams_differ_and_a_cold_choice_is_the_best() {
    let run = |sampling| {
        let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(1, 512));
        generate(&mut engine, vec![sampled(&prompts()[2], sampling)]).remove(0).0
    };
    let warm = Sampling { temperature: 1.5, ..Sampling::default() };
    let first = run(warm.clone());
    assert_ne!(first, run(Sampling { seed: 1, ..warm.clone() }));
    assert_ne!(first, run(Sampling { stream: 1, ..warm.clone() }));
    let greedy = run(Sampling::default());
    assert_eq!(greedy, run(Sampling { top_k: 1, ..warm.clone() }));
    assert_eq!(greedy, run(Sampling { temperature: 0.0001, ..warm }));
}

#[test]
fn penalties_count_the_prompt_and_the_answer() {
    let run = |sampling| {
        let mut engine = engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(1, 512));
        generate(&mut engine, vec![sampled(&prompts()[2], sampling)]).remove(0).0
    };
    // Without penalties the best token comes again sooner or later; with one as high as allowed none ever does.
    let distinct = |tokens: &[u32]| tokens.iter().collect::<std::collections::HashSet<_>>().len();
    assert!(distinct(&run(Sampling::default())) < 70);
    assert_eq!(distinct(&run(Sampling { presence_penalty: 100.0, ..Sampling::default() })), 70);
    let repeated = run(Sampling { repeat_penalty: 100.0, presence_penalty: 100.0, ..Sampling::default() });
    assert!(distinct(&repeated) == 70);
    let only = run(Sampling { logit_bias: vec![(42, 100.0)], ..Sampling::default() });
    assert!(only.iter().all(|token| *token == 42));
}
