//! The results as Markdown: a table for each model.
use crate::results::{Results, Run, Work};

pub fn markdown(results: &Results) -> String {
    results.runs.iter().map(|run| format!("{}\n{}", caption(&results.gpu, run), table(run))).collect()
}

fn caption(gpu: &str, run: &Run) -> String {
    let driver = run.driver.as_ref().map_or(String::new(), |driver| format!(", driver {driver}"));
    let note = if run.note.is_empty() { String::new() } else { format!(" {}", run.note) };
    format!(
        "\n**{}**, {:.2} billion parameters, weights {}: {gpu}{driver}, {}. Peaks: {:.0} GB/s of reads, {:.0} TFLOP/s.{note}\n",
        run.model,
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
