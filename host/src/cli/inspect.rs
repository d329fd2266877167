//! `nemotron inspect`: what a checkpoint is, and the memory that it takes.
use std::fmt::Write as _;
use std::io::{Write, stdout};

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::model::RankArguments;
use super::numbers::{self, CONTEXT, SEQUENCES};
use crate::error::size;
use crate::models::spec::Block;
use crate::session::inspect::{Inspection, Need, Present};
use crate::session::{DeviceChoice, KvChoice, RankChoice};

/// Show what a checkpoint is and what memory it takes, of several ranks that of each
#[derive(Args, Debug)]
pub struct Arguments {
    /// Model directory, or org/name or org/name@revision of a model in Hugging Face's cache
    #[arg(env = "NEMOTRON_MODEL", value_name = "DIR")]
    model: String,

    /// The device whose memory is compared: a GPU's number, cpu, or auto: the first GPU, else the CPU
    #[arg(long, env = "NEMOTRON_DEVICE", value_name = "N|cpu|auto", default_value = "auto")]
    device: DeviceChoice,

    /// Tokens of a sequence [default: the smaller of the model's length and 4096]
    #[arg(long, short, value_name = "N", value_parser = numbers::whole(CONTEXT))]
    context: Option<usize>,

    /// Sequences that run at the same time
    #[arg(long, value_name = "N", default_value = "1", value_parser = numbers::whole(SEQUENCES))]
    batch: usize,

    /// How keys and values are kept: bf16, as the activations are, which auto is too; or fp8, in half the memory
    #[arg(long, value_name = "auto|bf16|fp8", default_value = "auto")]
    kv_cache: KvChoice,

    #[command(flatten)]
    ranks: RankArguments,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command; it needs no device.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { context, batch, kv_cache, .. } = *arguments;
    let ranks = arguments.ranks.choice();
    let mut inspection =
        Inspection::new(&arguments.model, context, batch, kv_cache, (ranks.count(), arguments.ranks.collectives()))?;
    if matches!(ranks, RankChoice::Cpu(_)) {
        // Those meet in the program's own memory.
        inspection.packets = 0;
    }
    let present = Present::of(&ranks, arguments.device)?;
    let text = if arguments.json { json_object(&inspection, &present) } else { table(&inspection, &present) };
    let mut out = stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}

/// The smallest and the largest value, or the one that all have.
fn range(values: impl Iterator<Item = usize>) -> String {
    let values: Vec<usize> = values.collect();
    match (values.iter().min(), values.iter().max()) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "none".into(),
    }
}

/// Attention, MLP and single products.
fn counts(inspection: &Inspection) -> [usize; 3] {
    let count = |wanted: fn(&Block) -> bool| inspection.spec.blocks.iter().filter(|block| wanted(block)).count();
    [
        count(|block| matches!(block, Block::Attention(_))),
        count(|block| matches!(block, Block::Mlp(_))),
        count(|block| matches!(block, Block::Linear(_))),
    ]
}

fn intermediates(inspection: &Inspection) -> impl Iterator<Item = usize> {
    inspection.spec.blocks.iter().filter_map(|block| match block {
        Block::Mlp(mlp) => Some(mlp.intermediate),
        _ => None,
    })
}

fn table(inspection: &Inspection, present: &Present) -> String {
    let spec = &inspection.spec;
    let [attention, mlp, linear] = counts(inspection);
    let window = inspection.attentions().find_map(|attention| attention.window);
    let mut blocks = format!("{attention} attention, {mlp} MLP");
    if linear > 0 {
        blocks += &format!(", {linear} linear");
    }
    let mut rows = vec![
        ("family", spec.family.to_owned()),
        ("parameters", inspection.parameters().to_string()),
        ("blocks", blocks),
        ("hidden", spec.hidden.to_string()),
        ("heads", range(inspection.attentions().map(|attention| attention.heads))),
        ("kv heads", range(inspection.attentions().map(|attention| attention.kv_heads))),
        ("head dim", range(inspection.attentions().map(|attention| attention.head_dim))),
        ("intermediate", range(intermediates(inspection))),
        ("vocabulary", spec.vocab.to_string()),
        ("context", spec.context_length.to_string()),
    ];
    rows.extend(window.map(|window| ("window", window.to_string())));
    rows.push(("on disk", size(inspection.disk_bytes)));
    rows.push(("bits/weight", format!("{:.2}", inspection.bits_per_weight())));
    let mut text = String::new();
    rows.iter().for_each(|(name, value)| writeln!(text, "{name:<14}{value}").expect("a String takes any text"));
    writeln!(text, "\n{:<15}{:<7}{:>8}{:>18}{:>7}{:>12}", "tensors", "format", "count", "parameters", "bits", "memory")
        .expect("as above");
    for group in &inspection.groups {
        let (name, format, bits, bytes) = (group.name, group.format, group.bits_per_weight(), size(group.bytes));
        writeln!(text, "{name:<15}{format:<7}{:>8}{:>18}{bits:>7.2}{bytes:>12}", group.tensors, group.parameters)
            .expect("as above");
    }
    inspection.unused.iter().for_each(|name| writeln!(text, "unused: {name}").expect("as above"));
    inspection.notes.iter().for_each(|note| writeln!(text, "note: {note}").expect("as above"));
    text + &memory(inspection, present)
}

fn memory(inspection: &Inspection, present: &Present) -> String {
    let (context, batch) = (inspection.config.context, inspection.config.max_sequences);
    let sequences = if batch == 1 { "sequence" } else { "sequences" };
    let each = if inspection.ranks == 1 { String::new() } else { format!(" on each of {} ranks", inspection.ranks) };
    let mut text = format!("\nmemory{each} for {batch} {sequences} of {context} tokens\n");
    let heads = ["weights", "KV pages", "slots", "workspace", "in all"];
    let row = |name: &str, cells: [String; 5]| {
        cells.iter().fold(format!("{name:<12}"), |row, cell| row + &format!("{cell:>12}")) + "\n"
    };
    text += &row("", heads.map(str::to_owned));
    for (name, need) in [("GPU, bf16", inspection.gpu), ("CPU, f32", inspection.cpu)] {
        text += &row(name, [need.weights, need.kv, need.slots, need.workspace, need.total()].map(size));
    }
    let (token, slot) = (size(inspection.kv_bytes_per_token), size(inspection.slot_bytes_per_sequence));
    text += &format!("a token's keys and values take {token} on a GPU, a sequence's slot {slot}\n");
    text += &packets(inspection);
    text += "\n";
    let Present { device, name, memory, .. } = present;
    let verdict = match (memory, present.holds(inspection)) {
        (Some(memory), Some(holds)) => {
            format!("{} in memory of {}", if holds { "fits" } else { "does not fit" }, size(*memory))
        }
        _ => "its memory is not known".into(),
    };
    text + &format!("device {device}, {name}: {verdict}\n")
}

/// What the ranks of GPUs meet in; nothing of one, or of the CPU's.
fn packets(inspection: &Inspection) -> String {
    if inspection.packets == 0 {
        return String::new();
    }
    let (ranks, bytes) = (inspection.ranks, size(inspection.packets));
    let of_host = "of the host's memory, page-locked, where GPUs do not reach each other's";
    match inspection.packets_on_host {
        true => format!("what {ranks} ranks meet in takes {bytes} of the host's memory, page-locked\n"),
        false => {
            format!("what {ranks} ranks meet in takes {bytes} of each GPU's working memory, or {bytes} {of_host}\n")
        }
    }
}

fn json_object(inspection: &Inspection, present: &Present) -> String {
    let [attention, mlp, linear] = counts(inspection);
    let groups = inspection.groups.iter().map(|group| {
        json!({"name": group.name, "format": group.format, "tensors": group.tensors, "parameters": group.parameters,
            "bits_per_weight": group.bits_per_weight(), "bytes": group.bytes})
    });
    let need = |need: &Need| json!({"weights": need.weights, "kv": need.kv, "slots": need.slots, "workspace": need.workspace, "total": need.total()});
    let per_layer: Vec<Value> = inspection
        .attentions()
        .map(|a| json!({"heads": a.heads, "kv_heads": a.kv_heads, "head_dim": a.head_dim, "window": a.window}))
        .collect();
    let object = json!({
        "family": inspection.spec.family,
        "parameters": inspection.parameters(),
        "blocks": {"attention": attention, "mlp": mlp, "linear": linear},
        "hidden": inspection.spec.hidden,
        "vocab": inspection.spec.vocab,
        "context_length": inspection.spec.context_length,
        "attention": per_layer,
        "intermediate": intermediates(inspection).collect::<Vec<_>>(),
        "eos": inspection.spec.eos,
        "disk_bytes": inspection.disk_bytes,
        "bits_per_weight": inspection.bits_per_weight(),
        "tensors": groups.collect::<Vec<_>>(),
        "unused": inspection.unused,
        "notes": inspection.notes,
        "context": inspection.config.context,
        "batch": inspection.config.max_sequences,
        "tensor_parallel": inspection.ranks,
        "packets": {"bytes": inspection.packets, "on_host": inspection.packets_on_host},
        "kv_bytes_per_token": inspection.kv_bytes_per_token,
        "slot_bytes_per_sequence": inspection.slot_bytes_per_sequence,
        "memory": {"gpu": need(&inspection.gpu), "cpu": need(&inspection.cpu)},
        "device": {
            "device": present.device, "name": present.name, "memory": present.memory,
            "fits": present.holds(inspection),
        },
    });
    format!("{object}\n")
}
