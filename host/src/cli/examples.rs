//! Examples of each command, as help and manual pages show them.
use clap::Command;

/// The lines of a command, by its full name, or of the program where `command` is its own name.
pub fn of(command: &str) -> &'static [&'static str] {
    match command {
        "nemotron" => &[
            "nemotron -m models/storyteller -p \"Once upon a time\"",
            "nemotron chat -m nvidia/Nemotron-Mini-4B-Instruct",
            "nemotron inspect nvidia/Nemotron-Mini-4B-Instruct",
        ],
        "generate" => &[
            "nemotron generate -m DIR -p \"Once upon a time\" -n 200",
            "nemotron generate -m DIR -f prompt.txt -n -1 --quiet",
            "nemotron generate -m DIR --chat -p \"Why is the sky blue?\" --temperature 0.7 --top-p 0.9 --seed 1",
            "nemotron generate -m DIR -p \"My name is\" --n 4 --temperature 1 --json",
            "nemotron generate -m DIR --batch prompts.jsonl --max-sequences 32",
        ],
        "chat" => &["nemotron chat -m DIR", "nemotron chat -m DIR --system \"Be brief.\" -c 8192"],
        "serve" => &[
            "nemotron serve -m models/storyteller",
            "nemotron serve -m DIR --host 0.0.0.0 --api-key-file keys.txt --max-sequences 128",
        ],
        "inspect" => &["nemotron inspect DIR", "nemotron inspect DIR --context 8192 --batch 16 --json"],
        "quantize" => &[
            "nemotron quantize DIR DIR-FP8 --format fp8",
            "nemotron quantize nvidia/Nemotron-Mini-4B-Instruct mini-nvfp4 --format nvfp4 --quantize-lm-head",
        ],
        "random-checkpoint" => &["nemotron random-checkpoint --preset nemotron-mini-4b --layers 2 /tmp/small"],
        "tokenize" => &["nemotron tokenize -m DIR -p \"Hello, world\"", "nemotron tokenize -m DIR --json < text.txt"],
        "detokenize" => &["nemotron detokenize -m DIR 1 42 7", "nemotron detokenize -m DIR --special < ids.txt"],
        "perplexity" => &[
            "nemotron perplexity -m DIR -f wiki.test.raw -c 512",
            "nemotron perplexity -m DIR -f wiki.test.raw -c 2048 --stride 512 --json",
        ],
        "verify" => &["nemotron verify -m DIR --expected expected.safetensors --device cpu"],
        "bench" => &[
            "nemotron bench -m DIR",
            "nemotron bench decode --preset nemotron-mini-4b --batch 1,8 --depth 0,4000",
            "nemotron bench kernels --preset nano-8b --prompt 512 --depth 128 --json",
        ],
        "bench serve" => &[
            "nemotron bench serve --url http://127.0.0.1:8000 --concurrency 64 --requests 512",
            "nemotron bench serve --rate 8 --duration 60 --shared-prefix 2000 --turns 4 --json",
        ],
        "devices" => &["nemotron devices", "nemotron devices --json"],
        "completions" => &["nemotron completions bash > ~/.local/share/bash-completion/completions/nemotron"],
        "man" => &["nemotron man | man -l -", "nemotron man generate | man -l -"],
        _ => &[],
    }
}

/// `command` with its examples, and those of its subcommands, at the end of their help.
pub fn add(command: Command) -> Command {
    let name = command.get_name().to_owned();
    with_subcommands(with_own(command, &name), "")
}

/// `command`, whose subcommands' full names begin with `before`.
fn with_subcommands(command: Command, before: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| {
        let full = format!("{before}{name}");
        command.mut_subcommand(name, |command| with_subcommands(with_own(command, &full), &format!("{full} ")))
    })
}

/// `command` with the examples of that name.
fn with_own(command: Command, name: &str) -> Command {
    let lines: Vec<String> = of(name).iter().map(|line| format!("  {line}")).collect();
    let before = command.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    command.after_help(format!("{before}Examples:\n{}", lines.join("\n")))
}

/// The examples as a section of a manual page.
pub fn section(command: &str) -> String {
    let escaped = |line: &&str| line.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = of(command).iter().map(escaped).collect();
    format!(".SH EXAMPLES\n.nf\n{}\n.fi\n", lines.join("\n"))
}
