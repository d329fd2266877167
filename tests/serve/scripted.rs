//! A server in this process over a device whose steps take a time that the test chooses: as a GPU does it, a step is
//! asked for before the tokens of the last are read. The tokens are the toy's, so each text is known beforehand.
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gpu_kernels::Ptr;
use nemotron::device::{Buffers, Device, Inputs, Plan, PlanId, Ticket};
use nemotron::engine::EngineHandle;
use nemotron::error::Result;
use nemotron::server::{Ended, Server, Settings, Stopper};
use nemotron::session::{LoadOptions, Session};

use crate::root;
use crate::toy::Toy;

/// Tokens of the context.
pub const CONTEXT: usize = 1024;

/// Sequences that run at the same time.
pub const SEQUENCES: usize = 64;

/// What a device tells of its steps.
#[derive(Default)]
pub struct Steps {
    /// Steps that were asked for.
    pub begun: AtomicU64,
}

impl Steps {
    /// Steps so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }
}

struct Scripted {
    toy: Toy,
    step: Duration,
    steps: Arc<Steps>,
    /// When the steps whose tokens were not read are done.
    done: VecDeque<(Ticket, Instant)>,
}

impl Device for Scripted {
    fn description(&self) -> Vec<String> {
        self.toy.description()
    }

    fn runs_ahead(&self) -> bool {
        self.toy.runs_ahead()
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        self.toy.allocate(buffers)
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        self.toy.prepare(plan)
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.toy.release(plan)
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        self.steps.begun.fetch_add(1, Ordering::SeqCst);
        let begins = self.done.back().map_or(Instant::now(), |(_, last)| Instant::now().max(*last));
        let ticket = self.toy.run(plan, inputs)?;
        self.done.push_back((ticket, begins + self.step));
        Ok(ticket)
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        self.toy.enqueue(plan, inputs)
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        while let Some((first, done)) = self.done.front()
            && *first <= ticket
        {
            thread::sleep(done.saturating_duration_since(Instant::now()));
            // The last one stays: the next begins behind it.
            if self.done.len() == 1 {
                break;
            }
            self.done.pop_front();
        }
        self.toy.sampled(ticket)
    }

    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        self.toy.read_f32(source, count)
    }

    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        self.toy.read_i32(source, count)
    }
}

/// Settings with which nothing ends by itself.
pub fn settings() -> Settings {
    let hour = Duration::from_secs(3600);
    Settings {
        host: "127.0.0.1".to_owned(),
        port: 0,
        model: "toy".to_owned(),
        api_keys: Vec::new(),
        max_queue: 4096,
        queue_timeout: hour,
        request_timeout: hour,
        drain_timeout: Duration::from_secs(5),
        idle_timeout: hour,
        reader_timeout: hour,
        max_connections: 4096,
        max_body_bytes: 8 << 20,
        share_cache: false,
        json_log: false,
    }
}

/// A server in this process.
pub struct Local {
    pub address: SocketAddr,
    pub steps: Arc<Steps>,
    pub engine: EngineHandle,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<Ended>>>,
}

impl Local {
    /// A server that is ready, over a toy with steps of this length; `script` changes the toy.
    pub fn start(step: Duration, settings: Settings, script: impl FnOnce(Toy) -> Toy) -> Local {
        let steps = Arc::new(Steps::default());
        let toy = script(Toy::new(true, false, CONTEXT / gpu_kernels::PAGE_TOKENS as usize));
        let device = Scripted { toy, step, steps: steps.clone(), done: VecDeque::new() };
        let model: PathBuf = root().join("models/storyteller");
        let options = LoadOptions {
            context: Some(CONTEXT),
            max_sequences: SEQUENCES,
            ..LoadOptions::new(model.to_str().expect("a path in UTF-8"))
        };
        let mut local = Local::serve(settings, move || Session::load_on(Box::new(device), &options, &mut |_| {}));
        local.steps = steps;
        local
    }

    /// A server that is ready, of the session that `load` gives.
    pub fn serve(settings: Settings, load: impl FnOnce() -> Result<Session> + Send + 'static) -> Local {
        let server = Server::bind(settings).expect("the port opens");
        let (address, stopper) = (server.address(), server.stopper());
        let (sender, engine) = mpsc::channel();
        let load = move || {
            let session = load()?;
            let _ = sender.send(session.model().engine().clone());
            Ok(session)
        };
        let thread = Some(thread::spawn(move || server.run(load)));
        let engine = engine.recv().expect("the model is loaded");
        let local = Local { address, steps: Arc::default(), engine, stopper, thread };
        crate::until(|| local.get("/health").status == 200);
        local
    }

    /// The response to a request without a body.
    pub fn get(&self, path: &str) -> crate::client::Response {
        crate::client::send(&self.address.to_string(), "GET", path, &[], "")
    }

    /// All values of /metrics by their names with labels.
    pub fn metrics(&self) -> HashMap<String, f64> {
        let line = |line: &str| Some((line.rsplit_once(' ')?.0.to_owned(), line.rsplit_once(' ')?.1.parse().ok()?));
        self.get("/metrics").body.lines().filter_map(line).collect()
    }

    /// Sequences that run or wait.
    pub fn busy(&self) -> f64 {
        let metrics = self.metrics();
        let of = |name: &str| metrics.get(&format!("vllm:{name}{{model_name=\"toy\"}}")).copied().expect(name);
        of("num_requests_running") + of("num_requests_waiting")
    }

    /// Asks the server to end.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// How the server ended.
    pub fn end(&mut self) -> Result<Ended> {
        self.thread.take().expect("it has not ended").join().expect("no panic")
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stop();
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes of this process in memory.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}
