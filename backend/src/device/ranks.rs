//! `Ranks`: several devices as one. Each has its share of the weights, and runs every plan beside the others, on a thread of its
//! own; at the steps in which they meet they wait for each other.
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use gpu_kernels::Ptr;

use super::{BufferKind, Buffers, Device, Inputs, Plan, PlanId, Run, Ticket};
use crate::error::{Category, Error, Result};

/// What a rank's thread is to do.
type Job = Box<dyn FnOnce(&mut dyn Device) + Send>;

/// Devices that hold a model together: rank r is the r-th. All of them choose every token, from the same logits, by the same rules;
/// so none has to tell the others.
pub struct Ranks {
    workers: Vec<Worker>,
    skinny_rows: u32,
    runs_ahead: bool,
    /// Of the buffer of choices.
    slots: usize,
    /// Why they are of no further use.
    failure: Option<Error>,
}

/// The thread of a rank, which owns its device.
struct Worker {
    /// None once the thread is to end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Ranks {
    /// The devices as one, in the order of their ranks.
    ///
    /// # Errors
    /// There is no room for another thread.
    ///
    /// # Panics
    /// If there is no device.
    pub fn new(devices: Vec<Box<dyn Device>>) -> Result<Ranks> {
        let skinny_rows = devices.iter().map(|device| device.skinny_rows()).min().expect("at least one rank");
        let runs_ahead = devices.iter().all(|device| device.runs_ahead());
        let workers = devices.into_iter().enumerate().map(|(rank, device)| Worker::start(rank, device));
        Ok(Ranks { workers: workers.collect::<Result<_>>()?, skinny_rows, runs_ahead, slots: 1, failure: None })
    }

    /// Has every rank do `work`, and waits for all of them. The first that failed says why; what others say then is that they
    /// waited for it.
    fn all<T: Send + 'static>(
        &mut self,
        work: impl Fn(usize, &mut dyn Device) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let done = ask(&self.workers, work);
        if let Err(failure) = &done {
            self.failure = Some(failure.clone());
        }
        done
    }

    /// What rank 0 reads.
    fn of_first<T: Send + 'static>(
        &mut self,
        read: impl Fn(&mut dyn Device) -> Result<Vec<T>> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let all = self.all(move |rank, device| if rank == 0 { read(device) } else { Ok(Vec::new()) })?;
        Ok(all.into_iter().next().unwrap_or_default())
    }

    /// As [`Ranks::all`], of what is only asked.
    fn ask<T: Send + 'static>(
        &self,
        work: impl Fn(usize, &mut dyn Device) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        ask(&self.workers, work)
    }
}

fn ask<T: Send + 'static>(
    workers: &[Worker],
    work: impl Fn(usize, &mut dyn Device) -> Result<T> + Send + Sync + 'static,
) -> Result<Vec<T>> {
    let (work, (results, collected)) = (Arc::new(work), channel());
    for (rank, worker) in workers.iter().enumerate() {
        let (work, results) = (work.clone(), results.clone());
        worker.give(Box::new(move |device| {
            let result =
                catch_unwind(AssertUnwindSafe(|| work(rank, device))).unwrap_or_else(|panic| Err(died(&*panic)));
            let failed = result.is_err();
            // First, so that the cause comes before what it causes. Nobody collects results any more where the process ends.
            let _ = results.send((rank, result));
            if failed {
                device.give_up();
            }
        }));
    }
    drop(results);
    let mut done: Vec<Option<T>> = workers.iter().map(|_| None).collect();
    let mut failure = None;
    for (rank, result) in collected {
        match result {
            Ok(value) => done[rank] = Some(value),
            Err(error) => failure = failure.or_else(|| Some(of_rank(rank, error))),
        }
    }
    let done: Option<Vec<T>> = done.into_iter().collect();
    match (failure, done) {
        (Some(failure), _) => Err(failure),
        (None, Some(done)) => Ok(done),
        (None, None) => Err(died(&"its thread has ended")),
    }
}

fn died(panic: &(dyn Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Category::Internal, "A rank has died")
        .details(said.unwrap_or("it did not say why"))
        .hint("report this with the command and the model: it is a fault of the program")
}

/// The error, with the rank that it is of.
fn of_rank(rank: usize, error: Error) -> Error {
    Error::new(error.category(), error.message())
        .details(format_args!("rank {rank}: {}", error.details_text()))
        .hint(error.hint_text())
}

impl Worker {
    fn start(rank: usize, mut device: Box<dyn Device>) -> Result<Worker> {
        let (jobs, given) = channel::<Job>();
        let work = move || given.into_iter().for_each(|job| job(&mut *device));
        let thread = std::thread::Builder::new().name(format!("rank {rank}")).spawn(work).map_err(|error| {
            Error::new(Category::Device, "The thread of a rank could not be started")
                .details(format_args!("rank {rank}: {error}"))
                .hint("end other programs, or raise the limit of threads (ulimit -u)")
        })?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    fn give(&self, job: Job) {
        // A thread that has ended drops the job, whose result is then missed.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Inputs that outlive the call.
type OwnInputs = Vec<(Ptr<i32>, Vec<i32>)>;

fn own(inputs: &Inputs) -> OwnInputs {
    inputs.iter().map(|(target, values)| (*target, values.to_vec())).collect()
}

fn borrowed(inputs: &OwnInputs) -> Vec<(Ptr<i32>, &[i32])> {
    inputs.iter().map(|(target, values)| (*target, values.as_slice())).collect()
}

/// What all ranks say alike.
///
/// # Errors
/// They differ: they no longer compute the same.
fn same<T: PartialEq>(what: &str, mut said: Vec<T>) -> Result<T> {
    let first = said.swap_remove(0);
    if said.iter().all(|other| *other == first) {
        return Ok(first);
    }
    Err(different(format_args!("their {what} are not the same")))
}

fn different(how: std::fmt::Arguments) -> Error {
    Error::new(Category::Internal, "The ranks differ")
        .details(how)
        .hint("report this with the command and the model: it is a fault of the program")
}

impl Device for Ranks {
    fn description(&self) -> Vec<String> {
        let all = self.ask(|_, device| Ok(device.description())).unwrap_or_default();
        let count = all.len();
        let mut lines = all.into_iter().next().unwrap_or_default();
        if let Some(name) = lines.first_mut() {
            *name = format!("{count} ranks, each {name}");
        }
        lines
    }

    fn runs_ahead(&self) -> bool {
        self.runs_ahead
    }

    fn skinny_rows(&self) -> u32 {
        self.skinny_rows
    }

    fn matrix_library(&self) -> Result<()> {
        self.ask(|_, device| device.matrix_library()).map(drop)
    }

    fn fp8_products(&self) -> Result<()> {
        self.ask(|_, device| device.fp8_products()).map(drop)
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        let slots = |kind: &BufferKind| if let BufferKind::Sampled { slots } = kind { Some(*slots) } else { None };
        self.slots = buffers.iter().find_map(|(_, spec)| slots(&spec.kind)).unwrap_or(1);
        self.all(move |rank, device| device.allocate(buffers.of_rank(rank))).map(drop)
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        same("numbers of plans", self.all(move |_, device| device.prepare(plan.clone()))?)
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.all(move |_, device| device.release(plan)).map(drop)
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        let inputs = own(inputs);
        same("tickets", self.all(move |_, device| device.run(plan, &borrowed(&inputs)))?)
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        let inputs = own(inputs);
        self.all(move |_, device| device.enqueue(plan, &borrowed(&inputs))).map(drop)
    }

    fn is_done(&mut self) -> Result<bool> {
        Ok(self.all(|_, device| device.is_done())?.into_iter().all(|done| done))
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        let mut all = self.all(move |_, device| device.sampled(ticket))?;
        let first = all.swap_remove(0);
        let read = |at: &usize| !(at + 1).is_multiple_of(self.slots);
        let differs = |other: &Vec<i32>| (0..first.len()).filter(read).find(|at| other.get(*at) != Some(&first[*at]));
        match all.iter().find_map(differs) {
            None => Ok(first),
            Some(at) => Err(different(format_args!("word {at} of their choices is not the same"))),
        }
    }

    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        self.of_first(move |device| device.read_f32(source, count))
    }

    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        self.of_first(move |device| device.read_i32(source, count))
    }

    fn time(&mut self, runs: &[Run]) -> Result<Duration> {
        let runs: Vec<_> = runs.iter().map(|(plan, inputs)| (*plan, own(inputs))).collect();
        let all = self.all(move |_, device| {
            let inputs: Vec<_> = runs.iter().map(|(_, inputs)| borrowed(inputs)).collect();
            let runs: Vec<Run> =
                runs.iter().zip(&inputs).map(|((plan, _), inputs)| (*plan, inputs.as_slice())).collect();
            device.time(&runs)
        })?;
        // A rank that begins before the last one waits for it where they meet, and they end together: what the last one to begin
        // takes is what all take.
        Ok(all.into_iter().min().unwrap_or_default())
    }

    fn time_steps(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Vec<Duration>> {
        let inputs = own(inputs);
        let all = self.all(move |_, device| device.time_steps(plan, &borrowed(&inputs)))?;
        let steps = all.iter().map(Vec::len).min().unwrap_or_default();
        Ok((0..steps).map(|step| all.iter().map(|times| times[step]).max().unwrap_or_default()).collect())
    }
}

#[cfg(test)]
mod tests;
