//! Every file of `tests/instructions` is one form of an instruction and its rows: inputs of a lane, results of that lane.
//!
//! A file's comments are `// doc`, `// type… -> type…`, then one `// input… -> result…` per lane (repeated to fill the
//! warp). Values are bits in slots of 8 bytes; the results were computed apart from the emulator, and agree with a GPU.

use ptx_emulator::{Launch, Memory, Module};
use std::path::{Path, PathBuf};

const LANES: usize = 32;

struct Row {
    inputs: Vec<u64>,
    /// Bits and, by the number of digits, bytes.
    results: Vec<(u64, usize)>,
}

fn rows(text: &str) -> Vec<Row> {
    let number = |word: &str| {
        let digits = word.strip_prefix("0x")?;
        Some((u64::from_str_radix(digits, 16).ok()?, digits.len() / 2))
    };
    let row = |line: &str| {
        let (inputs, results) = line.strip_prefix("// ")?.split_once("->")?;
        let numbers = |side: &str| side.split_whitespace().map(number).collect::<Option<Vec<_>>>();
        Some(Row { inputs: numbers(inputs)?.into_iter().map(|n| n.0).collect(), results: numbers(results)? })
    };
    text.lines().filter_map(row).collect()
}

/// The first five lanes whose results differ, or why there are none.
fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let rows = rows(&text);
    if rows.is_empty() {
        return Err("the file has no rows".to_string());
    }
    let module = Module::parse(&text).map_err(|e| e.to_string())?;
    let mut memory = Memory::new();
    let lane = |i: usize| &rows[i % rows.len()];
    let input: Vec<u8> = (0..LANES).flat_map(|l| &lane(l).inputs).flat_map(|v| v.to_le_bytes()).collect();
    let source = memory.allocate("in", input.len());
    let count = rows[0].results.len();
    let target = memory.allocate("out", 8 * count * LANES);
    memory.write(source, &input).map_err(|e| e.to_string())?;
    let params = [source.to_le_bytes(), target.to_le_bytes()].concat();
    let launch = Launch { grid: [1, 1, 1], block: [LANES as u32, 1, 1], shared_bytes: 0, cluster: 1 };
    module.launch(&memory, "test", &launch, &params).map_err(|e| e.to_string())?;
    let mut wrong = Vec::new();
    for l in 0..LANES {
        for (i, &(want, size)) in lane(l).results.iter().enumerate() {
            let mut bytes = [0; 8];
            let read = memory.read(target + 8 * (l * count + i) as u64, &mut bytes[..size]);
            read.map_err(|e| e.to_string())?;
            let got = u64::from_le_bytes(bytes);
            if got != want {
                wrong.push(format!("lane {l}, result {i}: inputs {:x?}, got {got:#x}, want {want:#x}", lane(l).inputs));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong[..wrong.len().min(5)].join("\n    ")) }
}

#[test]
fn every_form_gives_its_results() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions");
    let entries = std::fs::read_dir(folder).expect("the folder of instructions");
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "ptx"));
    files.sort();
    assert!(files.len() > 300, "only {} files found", files.len());
    let failed: Vec<String> = files
        .iter()
        .filter_map(|f| check(f).err().map(|e| format!("{}\n    {e}", f.file_name().unwrap_or_default().display())))
        .collect();
    assert!(failed.is_empty(), "{} of {} forms:\n{}", failed.len(), files.len(), failed.join("\n"));
}
