//! What goes wrong on the device is said and found: each in a program of its own, since a fault ruins the GPU's context.
use gpu_kernels::{Element, Embed, Ptr, Relu2};
use nemotron::device::cuda::Options;
use nemotron::device::{BufferKind, Buffers, Device, Plan};

use crate::{Row, ensure, open, text};

pub const ROWS: &[Row] = &[
    ("fault: a write behind a buffer is found", || told("guard", &["wrote outside its buffer", "behind `short`"])),
    ("fault: check mode names the kernel", || told("stepwise", &["running step 0, `embed`", "IllegalAddress"])),
    ("fault: without it the error says how to find it", || told("ahead", &["IllegalAddress", "NEMOTRON_CUDA_CHECK=1"])),
];

/// The argument that makes this program commit a fault instead of running rows.
pub const COMMIT: &str = "--commit-fault=";

/// Runs this program with the fault and looks for `words` in what it prints.
fn told(fault: &str, words: &[&str]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = std::process::Command::new(program).arg(format!("{COMMIT}{fault}")).output();
    let printed = String::from_utf8_lossy(&output.map_err(|error| error.to_string())?.stdout).into_owned();
    ensure(words.iter().all(|word| printed.contains(word)), || format!("printed: {printed}"))?;
    Ok(printed.lines().nth(1).unwrap_or_default().to_string())
}

/// Commits a fault and prints the error that the device gives.
pub fn commit(fault: &str) {
    let committed = match fault {
        "guard" => write_behind_a_buffer(),
        "stepwise" => read_far_outside(true),
        _ => read_far_outside(false),
    };
    match committed {
        Ok(()) => println!("the fault passed unseen"),
        Err(error) => println!("{error}"),
    }
}

fn write_behind_a_buffer() -> Result<(), String> {
    let mut buffers = Buffers::default();
    let x = buffers.add("x", Element::Act, 64, BufferKind::Constant(vec![2.0; 64]));
    let short = buffers.add("short", Element::Act, 56, BufferKind::Scratch);
    let mut cuda = open(Options { check: true, ..Options::default() })?;
    cuda.allocate(buffers).map_err(text)?;
    let mut plan = Plan::default();
    plan.launch(Relu2 { x: x.ptr(), y: short.ptr(), count: 64 });
    let plan = cuda.prepare(plan).map_err(text)?;
    cuda.run(plan, &[]).map_err(text).map(drop)
}

/// A token id far behind the table's end.
fn read_far_outside(check: bool) -> Result<(), String> {
    let mut buffers = Buffers::default();
    let ids = buffers.add("ids", Element::I32, 1, BufferKind::Input);
    let table = buffers.add("table", Element::Weight, 64, BufferKind::State);
    let out = buffers.add("out", Element::Act, 64, BufferKind::Scratch);
    let mut cuda = open(Options { check, ..Options::default() })?;
    cuda.allocate(buffers).map_err(text)?;
    let mut plan = Plan::default();
    let (rows, hidden, vocab) = (1, 64, 1);
    let (ids, out, tables) = (ids.ptr(), out.ptr(), Embed::alone(table.ptr()));
    plan.launch(Embed { ids, sampled: Ptr::NULL, tables, out, rows, hidden, vocab, ranks: 1 });
    let plan = cuda.prepare(plan).map_err(text)?;
    let ticket = cuda.run(plan, &[(ids, &[i32::MAX])]).map_err(text)?;
    cuda.sampled(ticket).map_err(text).map(drop)
}
