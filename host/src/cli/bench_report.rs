//! What `nemotron bench` prints: tables as the figures come, or one JSON object.
use serde_json::{Value, json};

use crate::bench::{Bench, Cost, KernelTime, KernelTimes, PassTime, Peaks, ProductTime, Times, Work};
use crate::device::Format;

/// A pass, and its kernels where they were asked for.
pub struct Timed {
    /// The pass.
    pub pass: PassTime,
    /// Its kernels.
    pub kernels: KernelTimes,
}

/// What is timed.
pub struct Head<'a> {
    /// Directory or preset.
    pub name: &'a str,
    /// Elements of all weights.
    pub parameters: u64,
    /// The model's config.json.
    pub config: &'a Value,
}

/// What is timed, and the peaks.
pub fn peaks(head: &Head, peaks: &Peaks) -> String {
    let [n, k] = peaks.stream;
    let in_fp8 = peaks.fp8_flops_per_second.map(|rate| format!(", {} TFLOP/s in FP8", short(rate / 1e12)));
    format!(
        "{}: {:.1} million parameters\npeaks: {:.0} GB/s (gemv {n}x{k}), {} TFLOP/s ({}){}\n\n",
        head.name,
        head.parameters as f64 / 1e6,
        peaks.bytes_per_second / 1e9,
        short(peaks.flops_per_second / 1e12),
        of_flops(peaks),
        in_fp8.unwrap_or_default()
    )
}

/// What the peak of operations was measured with.
fn of_flops(peaks: &Peaks) -> String {
    let ([rows, n, k], by) = (peaks.product, if peaks.library { "product" } else { "dense_gemm" });
    format!("{by} {rows}x{n}x{k}")
}

/// The columns of [`pass`].
pub fn pass_titles() -> String {
    format!(
        "{:<8}{:>6}{:>7}{:>10}{:>10}{:>10}{:>11}{:>9}{:>9}{:>7}  {:<7}{:>10}{:>8}\n",
        "work", "rows", "depth", "ms", "min", "max", "tok/s", "GB/s", "TFLOP/s", "peak", "bound", "host ms", "gap us"
    )
}

/// The columns of [`product`].
pub fn product_titles() -> String {
    format!(
        "{:>5}  {:<20}{:<8}{:>11}{:>11}{:>9}{:>9}{:>8}\n",
        "rows", "weight", "format", "gemv us", "gemm us", "GB/s", "TFLOP/s", "peak"
    )
}

/// A product as a row of the table; rates are those of the faster kernel.
pub fn product(time: &ProductTime) -> String {
    let microseconds =
        |times: Option<Times>| times.map_or("-".to_owned(), |times| format!("{:.2}", times.median * 1e6));
    let (gemv, gemm) = (microseconds(time.gemv), microseconds(time.gemm));
    format!(
        "{:>5}  {:<20}{:<8}{gemv:>11}{gemm:>11}{:>9}{:>9}{:>7.1}%\n",
        time.rows,
        format!("{} {}x{}", time.weight, time.n, time.k),
        format_name(time.format),
        short(gigabytes_per_second(&time.cost, time.best())),
        short(teraflops_per_second(&time.cost, time.best())),
        time.percent_of_peak()
    )
}

/// A pass as a row of the table.
pub fn pass(time: &PassTime) -> String {
    let (work, rows, depth) = match time.work {
        Work::Prefill { tokens } => ("prefill", tokens, "-".to_owned()),
        Work::Decode { batch, depth } => ("decode", batch, depth.to_string()),
    };
    format!(
        "{work:<8}{rows:>6}{depth:>7}{:>10.4}{:>10.4}{:>10.4}{:>11.1}{:>9}{:>9}{:>6.1}%  {:<7}{:>10.4}{:>8}\n",
        time.device.median * 1e3,
        time.device.min * 1e3,
        time.device.max * 1e3,
        time.tokens_per_second(),
        short(gigabytes_per_second(&time.cost, &time.device)),
        short(teraflops_per_second(&time.cost, &time.device)),
        time.percent_of_peak(),
        bound(&time.cost),
        time.host.median * 1e3,
        time.gap.map_or("-".to_owned(), |gap| format!("{:.2}", gap * 1e6))
    )
}

/// A pass and its kernels, with what both add up to.
pub fn kernels(timed: &Timed) -> String {
    let mut text = format!(
        "{}\n{:<16}{:<24}{:>6}{:>11}{:>11}{:>11}{:>9}{:>9}{:>8}\n",
        pass(&timed.pass),
        "  kernel",
        "weight",
        "times",
        "us in all",
        "us each",
        "in place",
        "GB/s",
        "TFLOP/s",
        "peak"
    );
    text.extend(timed.kernels.each.iter().map(kernel));
    let (launches, total, in_place) = sums(&timed.kernels.each);
    let pass = timed.pass.device.median * 1e6;
    text += &format!(
        "  {:<38}{launches:>6}{:>11.1}{:>11}{:>11.1}   the pass: {pass:.1}\n",
        "in all",
        total * 1e6,
        "",
        in_place * 1e6
    );
    text.extend(timed.kernels.together.iter().map(kernel));
    text + "\n"
}

/// A kernel as a row of the table.
fn kernel(kernel: &KernelTime) -> String {
    format!(
        "  {:<14}{:<24}{:>6}{:>11.1}{:>11.2}{:>11.2}{:>9}{:>9}{:>7.1}%\n",
        kernel.name,
        kernel.shape,
        kernel.launches,
        kernel.total() * 1e6,
        kernel.in_a_row.median * 1e6,
        kernel.in_place * 1e6,
        short(gigabytes_per_second(&kernel.cost, &kernel.in_a_row)),
        short(teraflops_per_second(&kernel.cost, &kernel.in_a_row)),
        kernel.percent_of_peak()
    )
}

/// Launches, and seconds of all of them: in a row, and in place.
fn sums(kernels: &[KernelTime]) -> (usize, f64, f64) {
    let launches = kernels.iter().map(|kernel| kernel.launches).sum();
    let total = kernels.iter().map(KernelTime::total).sum();
    (launches, total, kernels.iter().map(|kernel| kernel.in_place * kernel.launches as f64).sum())
}

/// About three digits.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

/// A format of weights in a word.
fn format_name(format: Format) -> &'static str {
    match format {
        Format::Bf16 => "bf16",
        Format::F32 => "f32",
        Format::I32 => "i32",
        Format::Fp8 { .. } => "fp8",
        Format::Int8 { .. } => "int8",
        Format::Int4 { .. } => "int4",
        Format::Nvfp4 => "nvfp4",
    }
}

fn gigabytes_per_second(cost: &Cost, times: &Times) -> f64 {
    cost.bytes as f64 / times.median / 1e9
}

fn teraflops_per_second(cost: &Cost, times: &Times) -> f64 {
    cost.flops as f64 / times.median / 1e12
}

/// Which peak most of the least time stands at.
fn bound(cost: &Cost) -> &'static str {
    if cost.least_of_bytes * 2.0 >= cost.least { "bytes" } else { "flops" }
}

/// Everything as one JSON object in a line.
pub fn json_object(head: &Head, bench: &Bench, rows_of_all: Vec<Value>) -> String {
    let peaks = bench.peaks();
    let [n, k] = peaks.stream;
    let object = json!({
        "program": format!("nemotron {}", env!("CARGO_PKG_VERSION")),
        "device": bench.description(),
        "model": head.name,
        "parameters": head.parameters,
        "config": head.config,
        "peaks": {
            "gb_s": peaks.bytes_per_second / 1e9,
            "of_bytes": format!("gemv {n}x{k}"),
            "tflop_s": peaks.flops_per_second / 1e12,
            "of_flops": of_flops(peaks),
            "fp8_tflop_s": peaks.fp8_flops_per_second.map(|rate| rate / 1e12),
        },
        "rows": rows_of_all,
    });
    format!("{object}\n")
}

/// A pass as a JSON object.
pub fn json_pass(timed: &Timed) -> Value {
    let PassTime { work, device, host, gap, cost } = &timed.pass;
    let mut row = match *work {
        Work::Prefill { tokens } => json!({"work": "prefill", "tokens": tokens, "ttft_ms": host.median * 1e3}),
        Work::Decode { batch, depth } => {
            let gap = gap.map(|gap| gap * 1e6);
            json!({"work": "decode", "batch": batch, "depth": depth, "loop_ms": host.median * 1e3, "gap_us": gap})
        }
    };
    let fields = json!({
        "ms": device.median * 1e3,
        "ms_min": device.min * 1e3,
        "ms_max": device.max * 1e3,
        "samples": device.samples,
        "tok_s": timed.pass.tokens_per_second(),
        "bytes": cost.bytes,
        "flops": cost.flops,
        "gb_s": gigabytes_per_second(cost, device),
        "tflop_s": teraflops_per_second(cost, device),
        "percent_of_peak": timed.pass.percent_of_peak(),
        "bound": bound(cost),
    });
    let row_fields = row.as_object_mut().expect("a JSON object");
    row_fields.extend(fields.as_object().expect("a JSON object").clone());
    if !timed.kernels.each.is_empty() {
        row_fields.insert("kernels".into(), timed.kernels.each.iter().map(json_kernel).collect());
    }
    if !timed.kernels.together.is_empty() {
        row_fields.insert("experts".into(), timed.kernels.together.iter().map(json_kernel).collect());
    }
    row
}

fn json_kernel(kernel: &KernelTime) -> Value {
    json!({
        "name": kernel.name,
        "weight": kernel.shape,
        "launches": kernel.launches,
        "us_total": kernel.total() * 1e6,
        "us": kernel.in_a_row.median * 1e6,
        "us_in_place": kernel.in_place * 1e6,
        "bytes": kernel.cost.bytes,
        "flops": kernel.cost.flops,
        "gb_s": gigabytes_per_second(&kernel.cost, &kernel.in_a_row),
        "tflop_s": teraflops_per_second(&kernel.cost, &kernel.in_a_row),
        "percent_of_peak": kernel.percent_of_peak(),
    })
}

/// A product as a JSON object.
pub fn json_product(time: &ProductTime) -> Value {
    json!({
        "work": "product",
        "weight": time.weight,
        "rows": time.rows,
        "n": time.n,
        "k": time.k,
        "gemv_us": time.gemv.map(|gemv| gemv.median * 1e6),
        "format": format_name(time.format),
        "gemm_us": time.gemm.map(|gemm| gemm.median * 1e6),
        "bytes": time.cost.bytes,
        "flops": time.cost.flops,
        "gb_s": gigabytes_per_second(&time.cost, time.best()),
        "tflop_s": teraflops_per_second(&time.cost, time.best()),
        "percent_of_peak": time.percent_of_peak(),
    })
}
