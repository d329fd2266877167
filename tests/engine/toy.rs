//! A device that runs no model: the next token is a function of all tokens that it finds in the cache. So a page, a slot or a
//! position that is wrong changes the text, and thousands of traces take seconds.
use std::collections::HashMap;
use std::time::Duration;

use gpu_kernels::top_logprobs::{BEST, WORDS};
use gpu_kernels::{PAGE_TOKENS, Ptr};
use nemotron::device::{BufferKind, Buffers, Device, Inputs, Plan, PlanId, Step, Ticket};
use nemotron::error::{Category, Error, Result};

const PAGE: usize = PAGE_TOKENS as usize;

const SEED: u64 = 0x9e37_79b9;

fn mix(state: u64, token: i32) -> u64 {
    (state ^ (token as u64).wrapping_add(SEED)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17)
}

/// What follows `tokens`.
pub fn next(tokens: &[u32]) -> u32 {
    (tokens.iter().fold(SEED, |state, &token| mix(state, token as i32)) >> 20) as u32 % 500
}

/// The device.
#[derive(Default)]
pub struct Toy {
    ahead: bool,
    /// Whether the text depends on what slots keep.
    state: bool,
    names: HashMap<&'static str, u32>,
    inputs: HashMap<u32, Vec<i32>>,
    pages_per_sequence: usize,
    keys: Vec<i32>,
    slots: HashMap<i32, HashMap<usize, u64>>,
    sampled: Vec<i32>,
    vocab: i32,
    /// What is known behind the rows of the last step, where it is.
    known: HashMap<usize, u64>,
    plans: Vec<Option<Work>>,
    kept: Vec<Vec<i32>>,
    pause: Duration,
    fails_at: Option<usize>,
    says: Vec<i32>,
}

/// What a plan does.
#[derive(Clone, Copy)]
enum Work {
    Step {
        decode: bool,
    },
    /// The choice of tokens behind a step.
    Choice,
    Copy,
    Note,
}

/// What [`Toy::failing_at`] says.
pub const FAILURE: &str = "The toy is broken";

const NAMES: [&str; 13] = [
    "ids",
    "positions",
    "row_start",
    "lengths",
    "slots",
    "block_table",
    "logit_index",
    "logit_slots",
    "fresh",
    "slot_mapping",
    "copies",
    "mask_index",
    "masks",
];

impl Toy {
    /// A device that runs `ahead` or not, for a model with `state` or without, and sequences of so many pages.
    pub fn new(ahead: bool, state: bool, pages_per_sequence: usize) -> Toy {
        Toy { ahead, state, pages_per_sequence, ..Toy::default() }
    }

    /// Steps take so long.
    pub fn with_pause(self, pause: Duration) -> Toy {
        Toy { pause, ..self }
    }

    /// A run of that number fails.
    pub fn failing_at(self, run: usize) -> Toy {
        Toy { fails_at: Some(run), ..self }
    }

    /// The answer to everything.
    pub fn saying(self, ids: &[u32]) -> Toy {
        Toy { says: ids.iter().map(|id| *id as i32).collect(), ..self }
    }

    /// The token that follows `keys`: the answer goes on where they end with its beginning.
    fn said(&self, keys: &[i32]) -> u64 {
        let said = (0..self.says.len()).rev().find(|count| keys.ends_with(&self.says[..*count]));
        self.says[said.unwrap_or(0)] as u64
    }

    fn write(&mut self, inputs: &Inputs) {
        for (target, values) in inputs {
            let (buffer, _) = target.target().expect("not null");
            self.inputs.insert(buffer, values.to_vec());
        }
    }

    fn input(&self, name: &str) -> &[i32] {
        self.inputs.get(&self.names[name]).map_or(&[], Vec::as_slice)
    }

    fn input_mut(&mut self, name: &str) -> &mut Vec<i32> {
        self.inputs.get_mut(&self.names[name]).expect("it was written")
    }

    fn advance(&mut self) {
        if std::mem::take(&mut self.input_mut("fresh")[0]) != 0 {
            return;
        }
        let live: Vec<bool> = self.input("lengths").iter().map(|length| *length > 0).collect();
        for name in ["positions", "lengths"] {
            self.input_mut(name).iter_mut().zip(&live).filter(|(_, live)| **live).for_each(|(value, _)| *value += 1);
        }
    }

    /// The pages of a sequence.
    fn table(&self, sequence: usize) -> Vec<i32> {
        self.input("block_table")[sequence * self.pages_per_sequence..][..self.pages_per_sequence].to_vec()
    }

    /// Writes the new tokens of a sequence, and returns what is known behind each: by row, a hash.
    fn sequence(&mut self, sequence: usize, decode: bool) -> Vec<(usize, u64)> {
        let rows = self.input("row_start")[sequence] as usize..self.input("row_start")[sequence + 1] as usize;
        if rows.is_empty() || self.input("lengths")[sequence] == 0 {
            return Vec::new();
        }
        let slot = self.input("slots")[sequence];
        let table = self.table(sequence);
        let cache_row = |position: usize| {
            let page = table[position / PAGE];
            assert!(page > 0, "a token is in a page of its own");
            page as usize * PAGE + position % PAGE
        };
        let mut known = Vec::new();
        let several = rows.len() > 1;
        for row in rows {
            let (id, position) = (self.input("ids")[row], self.input("positions")[row] as usize);
            let id = if id < 0 { self.sampled[(-1 - id) as usize] } else { id };
            let at = cache_row(position);
            assert!(decode || self.input("slot_mapping")[row] as usize == at);
            self.keys[at] = id;
            let states = self.slots.entry(slot).or_default();
            let before = if position == 0 { SEED } else { states.get(&position).copied().unwrap_or(0) };
            let state = mix(before, id);
            states.insert(position + 1, state);
            // As a mixer's: several tokens bring the state on at the end of a chunk, one does so at the begin of the next.
            let front = (position + usize::from(several)) / PAGE * PAGE;
            states.retain(|behind, _| *behind >= front);
            let keys = (0..=position).map(|position| self.keys[cache_row(position)]);
            if !self.says.is_empty() {
                known.push((row, self.said(&keys.collect::<Vec<_>>()) << 20));
                continue;
            }
            let seen = keys.fold(SEED, mix);
            // Both tell the same, unless one of them is wrong.
            known.push((row, if self.state && state != seen { 1 } else { seen }));
        }
        known
    }
}

impl Toy {
    fn step(&mut self, decode: bool) {
        if decode {
            self.advance();
        }
        // From the last on: no sequence may need what another one writes in the same step.
        let sequences = self.input("row_start").len() - 1;
        self.known = (0..sequences).rev().flat_map(|s| self.sequence(s, decode)).collect();
    }

    /// Where a token may not come, the next one that may does.
    fn choose(&mut self, masked: bool) {
        let most = if self.says.is_empty() { 500 } else { u32::MAX };
        for (index, slot) in self.input("logit_slots").to_vec().into_iter().enumerate() {
            let row = self.input("logit_index")[index] as usize;
            let mut token = self.known.get(&row).map_or(0, |hash| ((hash >> 20) as u32 % most) as i32);
            let first = if masked { self.input("mask_index")[index] } else { -1 };
            if first >= 0 {
                let masks = self.input("masks");
                let may = |token: &i32| masks[(first + token / 32) as usize] >> (token % 32) & 1 == 1;
                token = (token..self.vocab).chain(0..token).find(may).expect("a token may come");
            }
            self.sampled[slot as usize] = token;
        }
    }
}

impl Device for Toy {
    fn description(&self) -> Vec<String> {
        vec!["toy".into()]
    }

    fn runs_ahead(&self) -> bool {
        self.ahead
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        let elements =
            |name: &str| buffers.iter().find(|(_, spec)| spec.name == name).map_or(1, |(_, spec)| spec.elements);
        self.vocab = (elements("logits") / elements("mask_index")) as i32;
        for (id, spec) in buffers.iter() {
            if let Some(name) = NAMES.into_iter().find(|name| *name == spec.name) {
                self.names.insert(name, id.0);
            }
            if matches!(spec.kind, BufferKind::Sampled { .. }) {
                self.sampled = vec![0; spec.elements as usize];
                // Behind a token and a fault of each slot stand log-probabilities: all of 500 tokens are as likely.
                let words = WORDS as usize;
                let slots = self.sampled.len() / (2 + words);
                for told in self.sampled[2 * slots..].chunks_mut(words) {
                    told[0] = 500_f32.to_bits().cast_signed();
                    told[2..].iter_mut().zip(0..BEST as i32).for_each(|(place, id)| *place = id);
                }
            }
        }
        self.keys = vec![-7; 4096 * PAGE];
        Ok(())
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        let work = match plan.steps.first().map(Step::name) {
            _ if plan.continues => Work::Choice,
            Some("ssm_copy") => Work::Copy,
            Some("history_append") if plan.steps.len() == 1 => Work::Note,
            _ => Work::Step { decode: plan.decode },
        };
        self.plans.push(Some(work));
        Ok(PlanId(self.plans.len() - 1))
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.plans[plan.0].take().expect("a plan is released once");
        Ok(())
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        std::thread::sleep(self.pause);
        if self.fails_at == Some(self.kept.len()) {
            return Err(Error::new(Category::Device, FAILURE));
        }
        self.write(inputs);
        match self.plans[plan.0] {
            Some(Work::Step { decode }) => {
                self.step(decode);
                self.choose(false);
            }
            Some(Work::Choice) => self.choose(true),
            _ => panic!("a plan that chooses tokens"),
        }
        self.kept.push(self.sampled.clone());
        Ok(Ticket(self.kept.len() as u64 - 1))
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        self.write(inputs);
        match self.plans[plan.0].expect("a plan that was not released") {
            Work::Note => {}
            Work::Copy => {
                let copies = self.input("copies")[1..].to_vec();
                for copy in copies.chunks_exact(2).take(self.input("copies")[0] as usize) {
                    let states = self.slots.get(&copy[0]).cloned().unwrap_or_default();
                    self.slots.insert(copy[1], states);
                }
            }
            Work::Step { decode } => self.step(decode),
            Work::Choice => panic!("the tokens of a step are read"),
        }
        Ok(())
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        assert!(ticket.0 as usize + 2 >= self.kept.len(), "only the last two are kept");
        Ok(std::mem::take(&mut self.kept[ticket.0 as usize]))
    }

    fn read_f32(&mut self, _: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; count])
    }

    fn read_i32(&mut self, _: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        Ok(vec![0; count])
    }
}
