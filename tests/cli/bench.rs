//! `bench`: figures of the demo model on the CPU, and what can not be timed.
use serde_json::Value;

use crate::{Run, fault, nemotron};

fn bench(arguments: &[&str]) -> Run {
    nemotron(&[&["bench", "--device", "cpu", "--model", "models/storyteller"], arguments].concat())
}

fn object(arguments: &[&str]) -> Value {
    let run = bench(&[arguments, &["--json"]].concat());
    assert_eq!(run.code, 0, "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

/// Every number of an object is finite and more than nothing.
#[track_caller]
fn positive(object: &Value, fields: &[&str]) {
    for field in fields {
        let value = object[*field].as_f64();
        assert!(value.is_some_and(|value| value.is_finite() && value > 0.0), "{field}: {object}");
    }
}

/// The demo model fits a cache that the peak's stream does not, and another program's load may slow one of the two down
/// many times; a wrong unit is off by a thousand.
#[track_caller]
fn near_the_peak(object: &Value) {
    let percent = object["percent_of_peak"].as_f64().unwrap();
    assert!(percent > 0.1 && percent < 10_000.0, "{object}");
}

#[test]
fn prompts_and_decode_steps_have_times_rates_and_peaks() {
    let report = object(&["--prompt", "16,40", "--generate", "4", "--batch", "1,3", "--depth", "0,100"]);
    assert_eq!((&report["model"], &report["parameters"]), (&"models/storyteller".into(), &4_725_248.into()));
    positive(&report["peaks"], &["gb_s", "tflop_s"]);
    let rows = report["rows"].as_array().unwrap();
    let what = |row: &Value| {
        let number = |field: &str| row[field].as_u64().unwrap_or_default();
        (row["work"].as_str().unwrap().to_owned(), number("tokens").max(number("batch")), number("depth"))
    };
    let decode = |batch, depth| ("decode".to_owned(), batch, depth);
    let prefill = |tokens| ("prefill".to_owned(), tokens, 0);
    let expected = [prefill(16), prefill(40), decode(1, 0), decode(1, 100), decode(3, 0), decode(3, 100)];
    assert_eq!(rows.iter().map(what).collect::<Vec<_>>(), expected);
    for row in rows {
        positive(row, &["ms", "ms_min", "ms_max", "samples", "tok_s", "bytes", "flops", "gb_s", "tflop_s"]);
        positive(row, if row["work"] == "prefill" { &["ttft_ms"] } else { &["loop_ms", "gap_us"] });
        near_the_peak(row);
        let (tokens, ms) = (what(row).1 as f64, row["ms"].as_f64().unwrap());
        assert!((row["tok_s"].as_f64().unwrap() / (tokens * 1e3 / ms) - 1.0).abs() < 1e-9, "{row}");
    }
    let bytes = |row: usize| rows[row]["bytes"].as_u64().unwrap();
    assert!(bytes(3) > bytes(2) && bytes(4) > bytes(2), "deeper and wider steps move more bytes");
}

#[test]
fn kernels_are_those_of_the_plan() {
    let report = object(&["kernels", "--prompt", "20", "--depth", "130"]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let kernels = row["kernels"].as_array().unwrap();
        let launches = |field: &str, value: &str| -> u64 {
            let equal = kernels.iter().filter(|kernel| kernel[field] == value);
            equal.map(|kernel| kernel["launches"].as_u64().unwrap()).sum()
        };
        let attention =
            if row["work"] == "decode" { ["attn_decode", "attn_prefill"] } else { ["attn_prefill", "attn_decode"] };
        assert_eq!(attention.map(|name| launches("name", name)), [5, 0], "{row}");
        let weights = ["qkv 512x256", "out 256x256", "up 1024x256", "down 256x1024", "head 2178x256"];
        assert_eq!(weights.map(|weight| launches("weight", weight)), [5, 5, 5, 5, 1], "{row}");
        for kernel in kernels {
            positive(kernel, &["us", "us_total", "us_in_place", "bytes", "gb_s", "percent_of_peak"]);
        }
        let sum = |field: &str| kernels.iter().map(|kernel| kernel[field].as_f64().unwrap()).sum::<f64>();
        assert!(sum("us_total") > 0.0 && sum("us_total") < 1e6, "{row}");
    }
}

#[test]
fn products_have_a_time_by_each_kernel_that_takes_their_rows() {
    let report = object(&["products", "--batch", "2,12"]);
    let rows = report["rows"].as_array().unwrap();
    let what =
        |row: &Value| format!("{} {}x{} of {}", row["weight"].as_str().unwrap(), row["n"], row["k"], row["rows"]);
    let weights = ["out 256x256", "down 256x1024", "qkv 512x256", "up 1024x256", "head 2178x256"];
    let expected = [2, 12].iter().flat_map(|rows| weights.map(|weight| format!("{weight} of {rows}")));
    assert_eq!(rows.iter().map(what).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    for row in rows {
        positive(row, &["gemm_us", "bytes", "flops", "gb_s", "tflop_s"]);
        assert_eq!(row["gemv_us"].is_null(), row["rows"] == 12, "{row}");
        assert_eq!(row["format"], "bf16", "{row}");
        near_the_peak(row);
    }
}

#[test]
fn products_have_the_formats_that_are_asked_for() {
    let weights = ["qkv 512x256", "up 1024x256", "head 2178x256"];
    for (asked, wanted) in [
        ("bf16", ["bf16", "bf16", "bf16"]),
        ("int8", ["int8", "int8", "bf16"]),
        // A model without Mamba: its feed-forwards and its head.
        ("mixed", ["bf16", "nvfp4", "nvfp4"]),
    ] {
        let report = object(&["products", "--batch", "1", "--format", asked]);
        let rows = report["rows"].as_array().unwrap();
        let format = |weight: &str| {
            let is_it =
                |row: &&Value| weight == format!("{} {}x{}", row["weight"].as_str().unwrap(), row["n"], row["k"]);
            rows.iter().find(is_it).unwrap()["format"].as_str().unwrap()
        };
        assert_eq!(weights.map(format), wanted, "{asked}");
    }
}

#[test]
fn a_table_has_a_line_for_each_pass() {
    let run = bench(&["decode", "--generate", "2", "--batch", "1,2", "--depth", "5"]);
    assert_eq!(run.code, 0, "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("models/storyteller: 4.7 million parameters"), "{run:?}");
    assert!(lines[1].starts_with("peaks: ") && lines[3].starts_with("work "), "{run:?}");
    assert!(lines.len() == 6 && lines[4..].iter().all(|line| line.starts_with("decode ")), "{run:?}");
}

#[test]
fn what_can_not_be_timed_is_an_error() {
    for (arguments, said) in [
        (&["--prompt", "1024"][..], "--prompt 1024 and a token of an answer make 1025 tokens, the model has 1024"),
        (&["--depth", "1000", "--generate", "25"], "make 1025 tokens"),
        (&["products", "--batch", "100000"], "found 100000, expected 1 to "),
        (&["--model", "models/none"], "models/none"),
    ] {
        let arguments = if arguments[0] == "--model" {
            [&["bench", "--device", "cpu"], arguments].concat()
        } else {
            [&["bench", "--device", "cpu", "--model", "models/storyteller"], arguments].concat()
        };
        let error = fault(nemotron(&arguments));
        assert!(error.contains(said), "{error}");
    }
    let unknown = nemotron(&["bench", "--preset", "gpt"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("nemotron-mini-4b, minitron-8b"), "{unknown:?}");
    for wrong in [
        &["--prompt", ""][..],
        &["--prompt", "1,x"],
        &["--generate", "0"],
        &["--batch", "0"],
        &["--layers", "2"],
        &["--preset", "nano-8b"],
    ] {
        assert_eq!(bench(wrong).code, 2, "{wrong:?}");
    }
    assert_eq!(nemotron(&["bench"]).code, 2);
}
