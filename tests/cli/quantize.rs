//! `quantize`: what it writes and says, and what it refuses.
use std::fs;
use std::path::Path;

use crate::{Run, fault, nemotron, root};

const MODEL: &str = "tests/golden/nemotron_h_moe";

fn quantize(model: &str, out: &Path, format: &str) -> Run {
    nemotron(&["quantize", model, out.to_str().unwrap(), "--format", format])
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder with a copy of a dense model and other files beside it.
fn model_with_companions() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir_all(model.join("original")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(root().join("tests/golden/llama").join(name), model.join(name)).unwrap();
    }
    for name in ["tokenizer.json", "chat_template.jinja", "modeling.py", "consolidated.pth", ".gitattributes"] {
        fs::write(model.join(name), name).unwrap();
    }
    folder
}

#[test]
fn what_was_written_is_said_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    for (format, shown, bits) in [
        ("fp8", "FP8", 8.0..10.0),
        ("int8", "INT8", 8.0..10.0),
        ("int4", "INT4", 4.0..8.0),
        ("nvfp4", "NVFP4", 4.0..8.0),
    ] {
        let out = folder.path().join(format);
        let run = quantize(MODEL, &out, format);
        assert_eq!((run.code, &*run.stdout), (0, ""), "{run:?}");
        let said = format!("matrices became {format}: ");
        assert!(run.stderr.contains(&said) && run.stderr.contains(" bits per weight"), "{run:?}");
        assert_eq!(run.stderr.contains("input_scale is 1"), format == "fp8", "{run:?}");
        let inspected = nemotron(&["inspect", "--json", "--device", "cpu", out.to_str().unwrap()]);
        let json: serde_json::Value = serde_json::from_str(&inspected.stdout).unwrap();
        let groups = json["tensors"].as_array().unwrap();
        assert!(groups.iter().any(|it| it["name"] == "experts" && it["format"] == shown), "{json}");
        assert!(groups.iter().any(|it| it["name"] == "embedding" && it["format"] == "BF16"), "{json}");
        let experts = groups.iter().find(|it| it["name"] == "experts").unwrap();
        assert!(bits.contains(&experts["bits_per_weight"].as_f64().unwrap()), "{json}");
        assert!(json["disk_bytes"].as_u64().unwrap() > 0 && json["unused"].as_array().unwrap().is_empty(), "{json}");
    }
    assert_eq!(names(folder.path()), ["fp8", "int4", "int8", "nvfp4"]);
}

#[test]
fn other_files_go_along() {
    let folder = model_with_companions();
    let (model, out) = (folder.path().join("model"), folder.path().join("out"));
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    fs::write(model.join("config.json"), config.replacen('{', "{\"limit\": [0.0, Infinity],", 1)).unwrap();
    let run = quantize(model.to_str().unwrap(), &out, "nvfp4");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("not copied: consolidated.pth, original"), "{run:?}");
    let there = [
        "chat_template.jinja",
        "config.json",
        "hf_quant_config.json",
        "model.safetensors",
        "modeling.py",
        "tokenizer.json",
    ];
    assert_eq!(names(&out), there);
    assert_eq!(fs::read_to_string(out.join("modeling.py")).unwrap(), "modeling.py");
    assert!(fs::read_to_string(out.join("config.json")).unwrap().contains("Infinity"));
    assert!(!fs::read_to_string(out.join("config.json")).unwrap().contains("\"Infinity"));
}

#[test]
fn a_place_that_is_wrong_is_named_and_nothing_is_left() {
    let folder = model_with_companions();
    let model = folder.path().join("model");
    let name = model.to_str().unwrap();
    for (out, message) in [
        (model.clone(), "The directory is not empty"),
        (model.join("fp8"), "The new checkpoint would lie in the old one"),
        (model.join("original"), "The new checkpoint would lie in the old one"),
        (model.join("new/../deep/fp8"), "The new checkpoint would lie in the old one"),
        (model.join("config.json"), "The checkpoint can not be written"),
    ] {
        let before = names(&model);
        let error = fault(quantize(name, &out, "fp8"));
        assert!(error.contains(message), "{}: {error}", out.display());
        assert_eq!(names(&model), before);
    }
    fs::create_dir(folder.path().join("out.partial")).unwrap();
    let error = fault(quantize(name, &folder.path().join("out"), "fp8"));
    assert!(
        error.contains("Another run writes this checkpoint, or was killed") && error.contains("out.partial"),
        "{error}"
    );
    assert_eq!(names(folder.path()), ["model", "out.partial"]);
}

#[test]
fn an_empty_directory_and_one_that_is_not_there_are_filled() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for out in [empty, folder.path().join("a/b/c")] {
        assert_eq!(quantize(MODEL, &out, "int4").code, 0);
        assert!(out.join("model.safetensors").exists());
    }
}

#[test]
fn what_is_quantized_already_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (model, found) in [
        ("tests/golden/llama_nvfp4", "NVFP4"),
        ("tests/golden/mistral_awq", "INT4"),
        ("tests/golden/nemotron_h_latent_mixed", "FP8"),
    ] {
        let error = fault(quantize(model, &out, "fp8"));
        assert!(
            error.contains("The checkpoint is quantized already") && error.contains(&format!("found {found}")),
            "{error}"
        );
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_unknown_format_is_a_wrong_command_line() {
    for line in [&["quantize", "a", "b", "--format", "q4_k_m"][..], &["quantize", "a", "b"]] {
        let run = nemotron(line);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains("--format"), "{run:?}");
    }
    assert!(nemotron(&["quantize", "a", "b", "--format", "q4"]).stderr.contains("fp8, int8, int4, nvfp4"));
}

/// A limit of the system on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = std::process::Command::new("sh");
    let line = "trap '' XFSZ; ulimit -f 100; exec \"$0\" quantize \"$1\" \"$2\" --format int8";
    shell.args(["-c", line, env!("CARGO_BIN_EXE_nemotron"), MODEL]).arg(folder.path().join("out"));
    let error = fault(shell.current_dir(root()).output().unwrap().into());
    assert!(error.contains("The checkpoint can not be written") && error.contains("make room on the disk"), "{error}");
    assert!(names(folder.path()).is_empty());
}
