//! Many damaged inputs of every kind in one run: no panic, no fault of the program's own, no hang, no endless memory.
//!
//! `NEMOTRON_MUTATIONS=100000 cargo test --release --test checkpoint long_run` is the long run; without the variable it is
//! a slice of it. The input of the case that ends the process lies in `mutations` of Cargo's folder for tests.
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nemotron::checkpoint::Checkpoint;
use nemotron::error::{Category, Error, Result};
use nemotron::models;
use nemotron::session::{DeviceChoice, LoadOptions, Model};
use nemotron::text::{ChatTemplate, Tokenizer};
use nemotron::weights::Weights;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::fixture::{Fixture, INDEX, WEIGHTS, with_header};
use crate::golden::root;
use crate::mutations::{Edit, damage, edits, full_config, header_bytes, odd_value, replace};
use crate::quantized::sets::{FILES, Set, sets};

/// Longest that one case may take.
const LONGEST: Duration = Duration::from_secs(30);

/// Most that the process may grow by, KiB.
const MOST_GROWTH: u64 = 2 << 20;

/// Cases of the slice.
const SLICE: usize = 700;

/// Lines of one batch, which is one case for the clock.
const LINES: usize = 100;

const KINDS: [&str; 10] = [
    "config",
    "header",
    "index",
    "tokenizer",
    "template",
    "generation_config",
    "batch",
    "quantized header",
    "quantized config",
    "beside the config",
];

fn cases() -> usize {
    let set = std::env::var("NEMOTRON_MUTATIONS").ok();
    set.map_or(SLICE, |count| count.parse().expect("NEMOTRON_MUTATIONS is a number"))
}

/// Where the inputs lie, and what they are made from.
struct Bench {
    runner: TestRunner,
    single: Fixture,
    sharded: Fixture,
    folder: PathBuf,
    sources: Vec<(&'static str, Vec<u8>)>,
    quantized: Vec<Set>,
    /// The input of the last case.
    last: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let (single, sharded) = (Fixture::new(), Fixture::new());
        full_config(&single);
        sharded.shard(|name| name.contains("mlp"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
        fs::create_dir_all(&folder).unwrap();
        let read = |path: &str| fs::read(root().join(path)).unwrap();
        let template = "models/storyteller/tokenizer_config.json";
        let sources = vec![
            ("config.json", single.read("config.json")),
            (WEIGHTS, single.read(WEIGHTS)),
            (INDEX, sharded.read(INDEX)),
            ("tokenizer.json", read("tests/text/llama3/tokenizer.json")),
            ("tokenizer_config.json", read(template)),
            ("generation_config.json", read("models/storyteller/generation_config.json")),
        ];
        let (runner, last) = (TestRunner::new_with_rng(Config::default(), rng), folder.join("config.json"));
        Bench { runner, single, sharded, folder, sources, quantized: sets(), last }
    }

    fn draw<T: Strategy>(&mut self, strategy: T) -> T::Value {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    /// The source of a kind with a few bytes or a few values changed.
    fn mutated(&mut self, kind: usize) -> Vec<u8> {
        let source = self.sources[kind].1.clone();
        let within = if kind == 1 { header_bytes(&source) } else { usize::MAX };
        if kind != 1 && self.draw(any::<bool>()) {
            let replacements = self.draw(prop::collection::vec((any::<usize>(), odd_value()), 1..4));
            return replace(&source, &replacements);
        }
        let edits: Vec<Edit> = self.draw(edits());
        damage(source, within, &edits)
    }

    /// One case: writes its input, and does with it what the program does.
    fn case(&mut self, kind: usize) -> Result<()> {
        if KINDS[kind].contains("quantized") || KINDS[kind] == "beside the config" {
            return self.quantized_case(KINDS[kind]);
        }
        let bytes = self.mutated(kind);
        let name = self.sources[kind].0;
        self.keep(name, &bytes);
        let with = |fixture: &Fixture, read: &dyn Fn(&Fixture) -> Result<()>| {
            let before = fs::read(fixture.file(name)).ok();
            fixture.write(name, &bytes);
            let result = read(fixture);
            match before {
                Some(before) => fixture.write(name, before),
                None => fixture.remove(name),
            }
            result
        };
        match KINDS[kind] {
            "config" if self.draw(0..8u8) == 0 => with(&self.single, &run_model),
            "config" | "header" => with(&self.single, &read_weights),
            "index" => with(&self.sharded, &read_weights),
            "generation_config" => with(&self.single, &run_model),
            "tokenizer" => tokenize(&self.folder),
            _ => render(&self.folder),
        }
    }

    /// A quantized set with a damaged header, with odd values in one, or with a damaged configuration; all of it is read.
    fn quantized_case(&mut self, kind: &str) -> Result<()> {
        let at = self.draw(0..self.quantized.len());
        let name = match kind {
            "quantized header" => WEIGHTS,
            "quantized config" => "config.json",
            _ => FILES[self.draw(0..FILES.len())],
        };
        let source = self.quantized[at].source(name);
        let is_odd = self.draw(any::<bool>());
        let replacements = self.draw(prop::collection::vec((any::<usize>(), odd_value()), 1..4));
        let damaged = self.draw(edits());
        let bytes = match (is_odd, name == WEIGHTS) {
            (true, true) => {
                let data = header_bytes(&source);
                with_header(&String::from_utf8_lossy(&replace(&source[8..data], &replacements)), &source[data..])
            }
            (true, false) => replace(&source, &replacements),
            (false, true) => damage(source.clone(), header_bytes(&source), &damaged),
            (false, false) => damage(source, usize::MAX, &damaged),
        };
        self.keep(name, &bytes);
        self.quantized[at].with(name, &bytes, read_all)
    }

    fn keep(&mut self, name: &str, bytes: &[u8]) {
        self.last = self.folder.join(name);
        fs::write(&self.last, bytes).unwrap();
    }

    /// Damaged lines of a batch, run by the program itself.
    fn batch(&mut self, lines: usize) -> Result<()> {
        let line = json!({
            "prompt": "Hello", "max_tokens": 1, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 1, "stop": ["x"],
            "repeat_penalty": 1.1
        });
        let mut content = Vec::new();
        for _ in 0..lines {
            let bytes = match self.draw(any::<bool>()) {
                true => replace(line.to_string().as_bytes(), &[(self.draw(any::<usize>()), self.draw(odd_value()))]),
                false => damage(line.to_string().into_bytes(), usize::MAX, &self.draw(edits())),
            };
            content.extend(bytes.into_iter().filter(|byte| *byte != b'\n'));
            content.push(b'\n');
        }
        self.keep("batch.jsonl", &content);
        let path = self.last.clone();
        let output = Command::new(env!("CARGO_BIN_EXE_nemotron"))
            .args(["generate", "--device", "cpu", "--max-tokens", "1", "--context", "64", "--quiet", "--model"])
            .arg(root().join("models/storyteller"))
            .arg("--batch")
            .arg(&path)
            .output()
            .unwrap();
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        let code = output.status.code();
        let fault = ["[ERROR] Internal", "\"Internal\"", "panicked"]
            .iter()
            .find(|word| (stderr.clone() + &stdout).contains(*word));
        assert!(matches!(code, Some(0 | 1)) && fault.is_none(), "{code:?} {fault:?}: {path:?}: {stderr}");
        Ok(())
    }
}

fn read_weights(fixture: &Fixture) -> Result<()> {
    let checkpoint = Checkpoint::open_with_cache(fixture.path().to_str().unwrap(), None)?;
    let spec = models::read_checkpoint(&checkpoint)?.spec;
    let weights = Weights::new(checkpoint);
    weights.check_all(&spec)?;
    weights.unused(&spec);
    spec.tensors().into_iter().try_for_each(|tensor| weights.parts(std::slice::from_ref(tensor)).map(drop))
}

/// As [`read_weights`], and every code and scale.
fn read_all(path: &Path) -> Result<()> {
    let checkpoint = Checkpoint::open_with_cache(path.to_str().unwrap(), None)?;
    let spec = models::read_checkpoint(&checkpoint)?.spec;
    let weights = Weights::new(checkpoint);
    weights.check_all(&spec)?;
    weights.unused(&spec);
    for tensor in spec.tensors() {
        let weight = weights.parts(std::slice::from_ref(tensor))?;
        for part in [weight.scales(), weight.factors(), weight.order(), Some(weight)].into_iter().flatten() {
            part.in_memory()?;
        }
    }
    Ok(())
}

fn run_model(fixture: &Fixture) -> Result<()> {
    let mut options = LoadOptions::new(fixture.path().to_str().unwrap());
    (options.device, options.context) = (DeviceChoice::Cpu, Some(32));
    Model::load(&options, &mut |_| (), |_| Ok(())).map(drop)
}

fn tokenize(folder: &Path) -> Result<()> {
    let tokenizer = Tokenizer::open(folder)?;
    let ids = tokenizer.encode("Hello, <|eot_id|> w\u{f6}rld \u{1F98A} 12345", true)?;
    tokenizer.decode(&ids).map(drop)
}

fn render(folder: &Path) -> Result<()> {
    let template = ChatTemplate::open(folder)?;
    let mut context = Map::new();
    let messages = json!([{"role": "system", "content": "S"}, {"role": "user", "content": " Hello "}]);
    context.insert("messages".to_owned(), messages);
    context.insert("add_generation_prompt".to_owned(), Value::Bool(true));
    template.render(&context).map(drop)
}

/// What is wrong with an error, if something is.
fn wrong(error: &Error) -> Option<String> {
    let printed = error.to_string();
    let starts: Vec<_> = printed.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    let whole = starts == ["[ERROR]", "Details:", "Hint:"] && !printed.contains("Details: \n");
    (error.category() == Category::Internal || !whole).then_some(printed)
}

/// KiB of memory that the process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Ends the process where a case takes too long or too much, until there is none: other tests may run on.
fn watch(current: &'static Mutex<Option<(String, Instant)>>) {
    let start = resident();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let Some((case, since)) = current.lock().unwrap().clone() else { return };
            let (time, growth) = (since.elapsed(), resident().saturating_sub(start));
            if time > LONGEST || growth > MOST_GROWTH {
                // Not by a macro: what those print in a test is kept back, and lost with the process.
                let text = format!("{case}: {time:?}, {growth} KiB more than at the start\n");
                let _ = std::io::stderr().write_all(text.as_bytes());
                std::process::abort();
            }
        }
    });
}

#[test]
fn damaged_inputs_of_every_kind_end_well() {
    let current: &'static Mutex<_> = Box::leak(Box::new(Mutex::new(Some((String::new(), Instant::now())))));
    watch(current);
    let (mut bench, started) = (Bench::new(), Instant::now());
    let (all, mut faults, mut refused) = (cases(), Vec::new(), [0; KINDS.len()]);
    let mut case = 0;
    while case < all {
        let kind = case % KINDS.len();
        *current.lock().unwrap() = Some((format!("case {case}, {}", KINDS[kind]), Instant::now()));
        let is_batch = KINDS[kind] == "batch";
        let lines = if (case / KINDS.len()).is_multiple_of(LINES) { LINES.min(all / KINDS.len()).max(1) } else { 0 };
        let result = catch_unwind(AssertUnwindSafe(|| match (is_batch, lines) {
            (true, 0) => Ok(()),
            (true, lines) => bench.batch(lines),
            (false, _) => bench.case(kind),
        }));
        let fault = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                refused[kind] += 1;
                wrong(&error)
            }
            Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned())),
        };
        if let Some(fault) = fault {
            let kept = bench.folder.join(format!("fault-{case}"));
            fs::copy(&bench.last, &kept).unwrap();
            faults.push(format!("case {case}, {}, {}: {fault}", KINDS[kind], kept.display()));
        }
        case += 1;
    }
    *current.lock().unwrap() = None;
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults[..faults.len().min(20)].join("\n"));
    let every = refused.iter().zip(KINDS).all(|(count, kind)| *count > 0 || kind == "batch");
    assert!(every, "damage of every kind is noticed: {refused:?}");
    println!("{all} cases in {:.0} s, refused by kind: {refused:?}", started.elapsed().as_secs_f64());
}
