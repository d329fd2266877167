//! The CPU device: one reference per kernel, in the file of the kernel's name.
mod attention;
mod cached;
mod collective;
mod experts;
mod meeting;
mod packed;
mod parallel;
mod product;
mod reduction;
mod residual;
mod ssm;
mod sum;
mod tile;

macro_rules! references {
    ($($file:ident $kernel:ident,)*) => { $(mod $file;)* };
}
gpu_kernels::for_each_kernel!(references);

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use gpu_kernels::Ptr;

use crate::device::{
    Activation, BufferKind, Buffers, Device, Inputs, Memory, Plan, PlanId, Ranks, Seat, Step, Ticket, host_memory,
};
use crate::error::{Category, Error, Result};

pub use collective::{all_argmax, all_gather, all_reduce};
pub use product::Products;

/// How many runs back the sampled tokens are kept.
const KEPT_TICKETS: usize = 2;

/// The device that runs each step's reference with activations of type `A`.
#[derive(Debug)]
pub struct Cpu<A> {
    memory: Memory,
    plans: Vec<Option<Plan>>,
    sampled: Option<(Ptr<i32>, usize)>,
    kept: VecDeque<(Ticket, Vec<i32>)>,
    next: Ticket,
    /// Where it meets the others, and its own threads, where it is one of several ranks.
    rank: Option<Rank>,
    activation: PhantomData<A>,
}

/// One of several ranks. Its thread waits for the others inside of its pool: in one that they shared, they might have no thread to
/// come on.
#[derive(Debug)]
struct Rank {
    seat: Seat,
    pool: rayon::ThreadPool,
}

impl<A: Products> Cpu<A> {
    /// The CPU as so many devices in one, which share its threads.
    ///
    /// # Errors
    /// There is no room for their threads.
    pub fn ranks(ranks: usize) -> Result<Ranks> {
        let threads = (rayon::current_num_threads() / ranks).max(1);
        let device = |seat| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
                Error::new(Category::Device, "The threads of a rank could not be started")
                    .details(error)
                    .hint("lower --threads or the number of ranks, or raise the limit of threads (ulimit -u)")
            })?;
            let device: Box<dyn Device> = Box::new(Cpu::<A> { rank: Some(Rank { seat, pool }), ..Cpu::new() });
            Ok(device)
        };
        Ranks::new(Seat::of_ranks(ranks).into_iter().map(device).collect::<Result<_>>()?)
    }
}

impl<A: Activation> Cpu<A> {
    /// A device without buffers.
    #[expect(clippy::new_without_default, reason = "a device is made on purpose")]
    pub fn new() -> Cpu<A> {
        Cpu {
            memory: Memory::default(),
            plans: Vec::new(),
            sampled: None,
            kept: VecDeque::new(),
            next: Ticket(0),
            rank: None,
            activation: PhantomData,
        }
    }
}

impl<A> Cpu<A> {
    fn write(&self, inputs: &Inputs) {
        for (target, values) in inputs {
            self.memory.write::<i32>(*target, values.len()).copy_from_slice(values);
        }
    }

    /// Does `work` with all steps of a plan. One move into the pool for the whole plan: from inside, work is shared without waking
    /// anybody to begin it.
    fn with_steps<T: Send>(
        &mut self,
        plan: PlanId,
        work: impl FnOnce(&[Step], &Memory, Option<&Seat>) -> Result<T> + Send,
    ) -> Result<T> {
        let (memory, steps) = (&mut self.memory, &named(&self.plans, plan).steps);
        let Some(Rank { seat, pool }) = &self.rank else {
            return rayon::scope(move |_| work(steps, memory, None));
        };
        let done = pool.install(move || work(steps, memory, Some(seat)));
        seat.end_run();
        done
    }
}

impl<A: Products> Device for Cpu<A> {
    fn description(&self) -> Vec<String> {
        let threads =
            self.rank.as_ref().map_or_else(rayon::current_num_threads, |rank| rank.pool.current_num_threads());
        vec![format!("{}, {threads} thread{}", processor_name(), if threads == 1 { "" } else { "s" })]
    }

    fn runs_ahead(&self) -> bool {
        false
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        let sampled = buffers.iter().find(|(_, spec)| matches!(spec.kind, BufferKind::Sampled { .. }));
        self.sampled = sampled.map(|(id, spec)| (id.ptr(), spec.elements as usize));
        check_memory(&buffers, size_of::<A>() as u64, self.rank.as_ref().map_or(1, |rank| rank.seat.ranks()))?;
        self.memory = Memory::new::<A>(buffers.in_memory()?);
        Ok(())
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        for step in &plan.steps {
            if matches!(step, Step::AllReduce(_) | Step::AllGather(_) | Step::AllArgmax(_)) && self.rank.is_none() {
                return Err(Error::new(Category::Internal, "A plan of several ranks has one device")
                    .details(format_args!("found {step:?}"))
                    .hint("report this with the command and the model: it is a fault of the program"));
            }
            if let Step::Launch(kernel) = step {
                let fault = |requirement| {
                    Error::new(Category::Device, "A kernel cannot take this model")
                        .details(format_args!("{} requires: {requirement}; found {kernel:?}", kernel.name()))
                        .hint("no published model has such sizes: correct config.json if it is wrong")
                };
                kernel.check().map_err(fault)?;
            }
        }
        self.plans.push(Some(plan));
        Ok(PlanId(self.plans.len() - 1))
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.plans[plan.0] = None;
        Ok(())
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        self.write(inputs);
        self.with_steps(plan, |steps, memory, seat| steps.iter().try_for_each(|step| run_step::<A>(step, memory, seat)))
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        self.enqueue(plan, inputs)?;
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        if let Some((source, elements)) = self.sampled {
            let published = named(&self.plans, plan).published.map_or(elements, |published| published.min(elements));
            self.kept.truncate(KEPT_TICKETS - 1);
            self.kept.push_front((ticket, self.memory.read::<i32>(source, published).to_vec()));
        }
        Ok(ticket)
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        let kept = self.kept.iter().find(|(kept, _)| *kept == ticket);
        kept.map(|(_, tokens)| tokens.clone()).ok_or_else(|| {
            Error::new(Category::Device, "The tokens of this run are no longer kept")
                .details(format_args!("run {} of {}; the last {KEPT_TICKETS} are kept", ticket.0, self.next.0))
                .hint("ask for the tokens of a run before two more are given")
        })
    }

    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        Ok(self.memory.read::<f32>(source, count).to_vec())
    }

    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        Ok(self.memory.read::<i32>(source, count).to_vec())
    }

    fn time_steps(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Vec<Duration>> {
        self.write(inputs);
        self.with_steps(plan, |steps, memory, seat| {
            let timed = |step: &Step| {
                let started = Instant::now();
                run_step::<A>(step, memory, seat).map(|()| started.elapsed())
            };
            steps.iter().map(timed).collect()
        })
    }

    fn give_up(&mut self) {
        if let Some(rank) = &self.rank {
            rank.seat.give_up();
        }
    }
}

fn named(plans: &[Option<Plan>], plan: PlanId) -> &Plan {
    plans[plan.0].as_ref().expect("a plan that is named was not released")
}

fn run_step<A: Products>(step: &Step, memory: &Memory, seat: Option<&Seat>) -> Result<()> {
    let seat = || seat.expect("`prepare` refuses what a device by itself can not run");
    match step {
        Step::Launch(kernel) => A::reference(kernel.as_ref(), memory),
        Step::Gemm(product) => A::gemm(product, memory),
        Step::AllReduce(sum) => collective::all_reduce::<A>(sum, memory, seat())?,
        Step::AllGather(gather) => collective::all_gather::<A>(gather, memory, seat())?,
        Step::AllArgmax(choice) => {
            let chosen = collective::all_argmax(choice, memory, seat())?;
            argmax::store(&chosen, memory, [choice.slots, choice.sampled, choice.faults]);
        }
    }
    Ok(())
}

/// Whether memory for these buffers, of each of so many ranks, can be had. Weights that are BF16 on disk are read where they are
/// mapped.
fn check_memory(buffers: &Buffers, act_bytes: u64, ranks: usize) -> Result<()> {
    let weights = buffers.iter().map(|(_, spec)| match &spec.kind {
        BufferKind::Weight(parts) => parts.bytes_to_convert(),
        _ => 0,
    });
    let kv = buffers.bytes(act_bytes, |spec| spec.element.is_cached());
    let rest =
        buffers.bytes(act_bytes, |spec| !spec.element.is_cached() && !matches!(spec.kind, BufferKind::Weight(_)));
    let parts = [("weights", weights.sum()), ("keys and values", kv), ("working memory", rest)];
    host_memory::check(&parts.map(|(what, bytes): (_, u64)| (what, bytes.saturating_mul(ranks as u64))))
}

/// The processor's name, as the system has it.
pub fn processor_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

#[cfg(test)]
mod tests {
    use gpu_kernels::all_reduce::meeting::Outbox;
    use gpu_kernels::{Argmax, Element};

    use super::*;

    /// A device with two logits whose larger one is chosen into slot 0.
    fn chooser() -> (Cpu<f32>, Argmax, Ptr<i32>) {
        let mut buffers = Buffers::default();
        let logits = buffers.add("logits", Element::F32, 2, BufferKind::Constant(vec![1.0, 2.0])).ptr();
        let slots = buffers.add("slots", Element::I32, 1, BufferKind::Input).ptr();
        let sampled = buffers.add("sampled", Element::I32, 6, BufferKind::Sampled { slots: 3 }).ptr::<i32>();
        let mut device = Cpu::new();
        device.allocate(buffers).expect("memory for a few numbers");
        let (faults, shared, counters) = (sampled.offset(3), Ptr::NULL, Ptr::NULL);
        let outbox = Outbox::NONE;
        (device, Argmax { logits, slots, sampled, faults, shared, counters, outbox, rows: 1, vocab: 2 }, slots)
    }

    #[test]
    fn tokens_of_the_last_two_runs_are_kept() {
        let (mut device, argmax, slots) = chooser();
        let mut plan = Plan::default();
        plan.launch(argmax);
        let plan = device.prepare(plan).expect("a plan that fits");
        let tickets = [0, 1, 2].map(|slot| device.run(plan, &[(slots, &[slot])]).expect("a run"));
        assert!(device.sampled(tickets[0]).is_err());
        assert_eq!(device.sampled(tickets[1]), Ok(vec![1, 1, 0, 0, 0, 0]));
        assert_eq!(device.sampled(tickets[2]), Ok(vec![1, 1, 1, 0, 0, 0]));
    }

    #[test]
    fn a_kernel_that_cannot_take_its_arguments_is_an_error() {
        let (mut device, argmax, _) = chooser();
        let mut plan = Plan::default();
        plan.launch(Argmax { vocab: 0, ..argmax });
        let error = device.prepare(plan).expect_err("no token to choose");
        assert!(error.to_string().contains("argmax requires: at least one row and one token"), "{error}");
    }

    #[test]
    fn the_description_names_processor_and_threads() {
        let line = Cpu::<f32>::new().description().remove(0);
        assert!(line.starts_with(&processor_name()) && line.contains(" thread"), "{line}");
    }
}
