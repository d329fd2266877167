//! The results as Markdown: one table of all runs, and a table for each.
use crate::results::{Results, Run, Work};

/// Columns of the table of all runs.
const COLUMNS: [Work; 4] = [
    Work::Decode { batch: 1, depth: 128 },
    Work::Decode { batch: 8, depth: 128 },
    Work::Decode { batch: 32, depth: 128 },
    Work::Prefill { tokens: 2048 },
];

/// A line for each run of nemotron.
pub fn summary(all: &[Results]) -> String {
    let heads: Vec<String> = COLUMNS.iter().map(name).collect();
    let mut text =
        format!("| model | weights | GPU | {} |\n|---|---|---|{}\n", heads.join(" | "), "---|".repeat(COLUMNS.len()));
    for (results, run) in all.iter().flat_map(|results| results.runs.iter().map(move |run| (results, run))) {
        let program = run.programs().first().cloned().unwrap_or_default();
        let cells: Vec<String> = COLUMNS.iter().map(|work| cell(run, work, &program)).collect();
        let gpu = results.gpu.trim_start_matches("NVIDIA ");
        text += &format!("| {} | {} | {gpu} | {} |\n", run.model, weights(&run.format), cells.join(" | "));
    }
    text
}

/// What a run's weights are.
fn weights(format: &str) -> String {
    if format == "mixed" { "NVFP4 and FP8".into() } else { format.to_uppercase() }
}

/// All rows of all runs.
pub fn markdown(all: &[Results]) -> String {
    let each = |results: &Results| -> String {
        results.runs.iter().map(|run| format!("{}\n{}", caption(&results.gpu, run), table(run))).collect()
    };
    all.iter().map(each).collect()
}

fn caption(gpu: &str, run: &Run) -> String {
    let driver = run.driver.as_ref().map_or(String::new(), |driver| format!(", driver {driver}"));
    let note = if run.note.is_empty() { String::new() } else { format!(" {}", run.note) };
    format!(
        "\n**{}** in {}, {:.2} billion parameters, weights {}: {gpu}{driver}, {}. Peaks: {:.0} GB/s of reads, {:.0} TFLOP/s.{note}\n",
        run.model,
        weights(&run.format),
        run.parameters / 1e9,
        run.weights,
        run.date,
        run.peaks.gb_s,
        run.peaks.tflop_s
    )
}

fn table(run: &Run) -> String {
    let programs = run.programs();
    let heads: Vec<&str> = programs.iter().map(String::as_str).collect();
    let mut text = format!("| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(programs.len()));
    for work in run.works() {
        let cells: Vec<String> = programs.iter().map(|program| cell(run, &work, program)).collect();
        text += &format!("| {} | {} |\n", name(&work), cells.join(" | "));
    }
    text
}

/// The figure; its share of the peaks behind nemotron's, and how many times slower behind the others'.
fn cell(run: &Run, work: &Work, program: &str) -> String {
    let Some(row) = run.row(work, program) else { return String::new() };
    let own = run.own(work);
    let beside = match own {
        Some(own) if own.program == program => {
            own.percent_at(own.host_ms).map(|percent| format!("{percent:.0} % of the peak"))
        }
        Some(own) => Some(format!("{:.2} ×", row.host_ms / own.host_ms)),
        None => None,
    };
    beside.map_or_else(|| row.figure(), |beside| format!("{} ({beside})", row.figure()))
}

fn name(work: &Work) -> String {
    match work {
        Work::Prefill { tokens } => format!("prompt of {tokens}"),
        Work::Decode { batch: 1, depth } => format!("decode at depth {depth}"),
        Work::Decode { batch, depth } => format!("decode of {batch} at depth {depth}"),
    }
}
