//! Masks that are late: their sequences are left out of the choice and lose nothing, and nobody waits for them.
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gpu_kernels::Ptr;
use nemotron::cpu::Cpu;
use nemotron::device::{Buffers, Device, Inputs, Plan, PlanId, Ticket};
use nemotron::engine::{
    Constraint, Engine, EngineConfig, Event, Finish, Request, SequenceId, TokenLogprobs, TokenMatcher,
};
use nemotron::error::Result;
use nemotron::sample::Sampling;

use crate::masks::Eighth;
use crate::thinking::budget;
use crate::{Ahead, config, engine, prompts, request};

/// More steps than any test has.
const NEVER: usize = 1 << 30;

/// Counts the steps of an engine; masks wait for one.
#[derive(Default)]
pub struct Clock {
    steps: Mutex<usize>,
    ticked: Condvar,
}

impl Clock {
    pub fn tick(&self) {
        *self.steps.lock().expect("nobody dies") += 1;
        self.ticked.notify_all();
    }

    /// Lets all go that wait.
    pub fn release(&self) {
        *self.steps.lock().expect("nobody dies") += 2 * NEVER;
        self.ticked.notify_all();
    }

    /// Waits until so many more steps are done.
    fn wait(&self, steps: usize) {
        let now = self.steps.lock().expect("nobody dies");
        let until = now.saturating_add(steps);
        let within = Duration::from_secs(60);
        let waited = self.ticked.wait_timeout_while(now, within, |now| *now < until).expect("nobody dies").1;
        assert!(!waited.timed_out(), "a step has waited for a mask");
    }
}

/// Allows what [`Eighth`] does; a mask of number n, counted from 0, is late by `late(n)` steps.
struct Late {
    inner: Eighth,
    masks: usize,
    late: fn(usize) -> usize,
    clock: Arc<Clock>,
}

impl TokenMatcher for Late {
    fn push(&mut self, token: u32) -> Result<()> {
        self.inner.push(token)
    }

    fn mask(&mut self) -> Result<Vec<u32>> {
        let steps = (self.late)(self.masks);
        self.masks += 1;
        if steps > 0 {
            self.clock.wait(steps);
        }
        self.inner.mask()
    }
}

pub fn late(clock: &Arc<Clock>, late: fn(usize) -> usize) -> Option<Constraint> {
    let clock = clock.clone();
    let start = move || {
        let inner = Eighth::new(Duration::ZERO, 999);
        Ok(Box::new(Late { inner, masks: 0, late, clock: clock.clone() }) as Box<dyn TokenMatcher>)
    };
    Some(Constraint::new(start))
}

fn devices() -> [Box<dyn Device>; 2] {
    [Box::new(Cpu::<f32>::new()), Box::new(Ahead(Cpu::<f32>::new()))]
}

/// Looks at an engine and the events of its step; the sequences are those of the requests.
type Look<'a> = &'a mut dyn FnMut(&mut Engine, &[SequenceId], &[Event]);

type Told = (Vec<(u32, Option<TokenLogprobs>)>, Option<Finish>);

/// What all requests give, run at once; `look` sees the events of each step.
fn run_with(engine: &mut Engine, clock: &Clock, requests: Vec<Request>, look: Look) -> Vec<Told> {
    let ids: Vec<_> = requests.into_iter().map(|request| engine.submit(request).expect("a good request")).collect();
    let mut told: Vec<Told> = ids.iter().map(|_| Told::default()).collect();
    while !engine.is_idle() {
        let events = engine.step().expect("the CPU does not fail");
        clock.tick();
        for event in &events {
            let at = ids.iter().position(|id| *id == event.sequence).expect("a known sequence");
            assert!(told[at].1.is_none(), "no event follows the last");
            told[at].0.push((event.token.clone().expect("a token"), event.logprobs.clone()));
            told[at].1 = event.finish;
        }
        look(engine, &ids, &events);
    }
    told
}

fn run(engine: &mut Engine, clock: &Clock, requests: Vec<Request>) -> Vec<Told> {
    run_with(engine, clock, requests, &mut |_, _, _| {})
}

/// Greedy, drawn, with log-probabilities, and by what stands in the history: constrained, beside others that are not.
fn mixed(constraint: &dyn Fn() -> Option<Constraint>) -> Vec<Request> {
    let warm = Sampling { temperature: 1.2, seed: 5, top_k: 40, top_p: 0.95, ..Sampling::default() };
    let penalties = Sampling { repeat_penalty: 1.4, presence_penalty: 0.7, frequency_penalty: 0.3, ..warm.clone() };
    let rows = [
        (0, Sampling::default(), None),
        (1, warm.clone(), Some(2)),
        (2, penalties.clone(), None),
        // A prompt of a whole page, and several answers of it.
        (3, Sampling::default(), Some(0)),
        (3, Sampling { stream: 1, ..warm.clone() }, None),
        (4, Sampling { temperature: 0.0, ..penalties }, Some(1)),
    ];
    let free = Request { max_tokens: 30, sampling: warm, ..request(&prompts()[2]) };
    let constrained = rows.into_iter().map(|(prompt, sampling, logprobs)| {
        let constraint = constraint();
        Request { sampling, logprobs, constraint, max_tokens: 70, ..request(&prompts()[prompt]) }
    });
    constrained.chain([free]).collect()
}

/// Right values: the same requests with masks that are never late.
#[test]
fn a_late_mask_changes_no_token() {
    let patterns: [fn(usize) -> usize; 5] =
        [|n| usize::from(n == 0), |n| usize::from(n % 3 == 1), |_| 1, |n| n % 4, |n| [0, 9][usize::from(n % 7 == 0)]];
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        let clock = Arc::new(Clock::default());
        let mut quick = engine(model, Box::new(Cpu::<f32>::new()), config(7, 64));
        let expected = run(&mut quick, &clock, mixed(&|| late(&clock, |_| 0)));
        let mut preempted = 0;
        for (number, pattern) in patterns.into_iter().enumerate() {
            for device in devices() {
                for (pages, chunk) in [(None, 256), (Some(6), 64)] {
                    let config = EngineConfig { pages, ..config(7, chunk) };
                    let clock = Arc::new(Clock::default());
                    let mut engine = engine(model, device_again(&*device), config);
                    let found = run(&mut engine, &clock, mixed(&|| late(&clock, pattern)));
                    assert_eq!(found, expected, "{model}, pattern {number}, pages {pages:?}");
                    assert!(engine.counters().late > 0, "{model}, pattern {number}, pages {pages:?}");
                    preempted += engine.counters().preempted;
                }
            }
        }
        assert!(preempted > 4, "pages are scarce: {preempted}");
    }
}

/// A new device of the kind of `device`.
fn device_again(device: &dyn Device) -> Box<dyn Device> {
    let [cpu, ahead] = devices();
    if device.runs_ahead() { ahead } else { cpu }
}

#[test]
fn neighbours_have_a_token_in_each_step() {
    for device in devices() {
        let clock = Arc::new(Clock::default());
        let ahead = device.runs_ahead();
        let mut engine = engine("tests/golden/nemotron", device, config(3, 64));
        let free = Request { max_tokens: 40, ..request(&prompts()[1]) };
        let stuck = Request { constraint: late(&clock, |n| if n == 3 { NEVER } else { 0 }), ..request(&prompts()[0]) };
        let (mut steps, mut tokens, mut own, mut before) = (0, 0, 0, 0);
        let start = Instant::now();
        run_with(&mut engine, &clock, vec![free, stuck], &mut |engine, ids, events| {
            steps += 1;
            tokens += events.iter().filter(|event| event.sequence == ids[0]).count();
            if own < 3 {
                own += events.iter().filter(|event| event.sequence == ids[1]).count();
                before = engine.counters().late;
            }
            let behind = if ahead { 2 } else { 1 };
            assert!(tokens + behind >= steps.min(40), "{tokens} tokens in {steps} steps");
            if tokens == 40 {
                engine.cancel(ids[1]);
            }
        });
        assert_eq!((tokens, own), (40, 3));
        assert_eq!(engine.counters().late, before + 2, "then it waits outside");
        assert!(start.elapsed() < Duration::from_secs(30), "nobody waits for it");
        clock.release();
    }
}

/// Where every mask of every step is late, all progress; with reasoning in front too.
#[test]
fn all_masks_are_late() {
    for device in devices() {
        let clock = Arc::new(Clock::default());
        let mut engine = engine("tests/golden/nemotron_h", device, config(5, 64));
        for thinking in [None, Some(budget(7, false)), Some(budget(5, true))] {
            let asked = |pattern: fn(usize) -> usize| {
                let constrained = |prompt: &Vec<u32>| Request {
                    max_tokens: 30,
                    thinking: thinking.clone(),
                    constraint: late(&clock, pattern),
                    logprobs: prompt.len().is_multiple_of(2).then_some(1),
                    ..request(prompt)
                };
                prompts().iter().map(constrained).collect::<Vec<Request>>()
            };
            let quick = run(&mut engine, &clock, asked(|_| 0));
            engine.forget();
            let before = engine.counters().late;
            assert_eq!(run(&mut engine, &clock, asked(|_| 1)), quick);
            assert!(engine.counters().late >= before + 5);
        }
    }
}

#[test]
fn a_sequence_with_a_late_mask_can_be_cancelled() {
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        let quick = Arc::new(Clock::default());
        let mut engine_alone = engine(model, Box::new(Cpu::<f32>::new()), config(7, 64));
        let expected = run(&mut engine_alone, &quick, mixed(&|| late(&quick, |_| 0)));
        for device in devices() {
            for (victim, after) in [(0, 1), (3, 1), (1, 2), (2, 9), (4, 20), (5, 33)] {
                let clock = Arc::new(Clock::default());
                let mut engine = engine(model, device_again(&*device), config(7, 64));
                let mut steps = 0;
                let requests = mixed(&|| late(&clock, |n| n % 2));
                let told = run_with(&mut engine, &clock, requests, &mut |engine, ids, _| {
                    steps += 1;
                    if steps == after {
                        engine.cancel(ids[victim]);
                    }
                });
                for (index, (told, expected)) in told.iter().zip(&expected).enumerate() {
                    assert!(expected.0.starts_with(&told.0), "{model}, {victim} after {after} steps");
                    assert!(index == victim || told == expected, "{model}, {victim} after {after} steps");
                }
                let usage = engine.cache_usage();
                engine.forget();
                assert_eq!(engine.free_pages(), usage.pages, "{model}, {victim} after {after} steps");
            }
        }
    }
}

/// Runs as [`Ahead`], and says that a step takes so long.
struct Long {
    device: Ahead,
    step: Duration,
    done: Instant,
    /// When the step was done whose tokens were chosen last.
    chosen: Instant,
}

impl Device for Long {
    fn description(&self) -> Vec<String> {
        self.device.description()
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        self.device.allocate(buffers)
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        self.device.prepare(plan)
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.device.release(plan)
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        self.chosen = self.done;
        self.device.run(plan, inputs)
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        self.done = Instant::now() + self.step;
        self.device.enqueue(plan, inputs)
    }

    fn is_done(&mut self) -> Result<bool> {
        Ok(Instant::now() >= self.done)
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        if self.step < Duration::from_secs(1) {
            std::thread::sleep(self.chosen.saturating_duration_since(Instant::now()));
        }
        self.device.sampled(ticket)
    }

    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        self.device.read_f32(source, count)
    }

    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        self.device.read_i32(source, count)
    }
}

/// Its masks are waited for while a step runs, but not where the step never ends.
#[test]
fn a_step_that_runs_waits_for_masks() {
    for (step, stuck) in [(Duration::from_secs(1), false), (Duration::from_secs(1 << 30), true)] {
        let device = Long { device: Ahead(Cpu::new()), step, done: Instant::now(), chosen: Instant::now() };
        let mut engine = engine("tests/golden/nemotron", Box::new(device), config(2, 64));
        let clock = Arc::new(Clock::default());
        let constraint = if stuck {
            late(&clock, |_| 2)
        } else {
            Some(Constraint::new(|| Ok(Box::new(Eighth::new(Duration::from_millis(1), 99)))))
        };
        let asked = Request { constraint, max_tokens: if stuck { 1 } else { 3 }, ..request(&prompts()[1]) };
        let told = run(&mut engine, &clock, vec![asked.clone()]);
        assert_eq!(told[0].0.len(), asked.max_tokens);
        // Left out once, or again where the masks' thread has not had its turn by the next step.
        let late = engine.counters().late;
        assert!(if stuck { (1..=4).contains(&late) } else { late == 0 }, "late {late} times, stuck: {stuck}");
    }
}
