//! `Rules`: what one section of a configuration says of each module, in the words of all exporters.
use fancy_regex::Regex;
use gpu_kernels::Format;
use serde_json::Value;

use super::patterns::{Patterns, at_start, finds};

/// Keys under which a section lists modules that it leaves alone.
const IGNORED: [&str; 3] = ["ignore", "exclude_modules", "modules_to_not_convert"];

/// The class of modules that a group names by it.
const CLASS: &str = "Linear";

/// Weights of this many bits are plain numbers.
const PLAIN_BITS: u64 = 16;

/// What the codes of a weight are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeKind {
    bits: u64,
    floats: bool,
}

/// What a section says about a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// That it is left alone.
    Plain,
    /// By its own name.
    Named(CodeKind),
    /// Among all modules of its class.
    Classed(CodeKind),
    Nothing,
}

/// A section.
pub struct Rules<'a> {
    ignored: Patterns,
    /// ModelOpt's list of modules, each with its algorithm.
    layers: Option<&'a serde_json::Map<String, Value>>,
    /// Groups of compressed-tensors.
    groups: Option<Vec<Group>>,
    exceptions: Vec<Exception>,
    /// What all modules have that nothing else names.
    all: Option<CodeKind>,
}

/// A kind, and the modules that have it.
struct Group {
    kind: CodeKind,
    targets: Patterns,
    whole_class: bool,
}

/// Modules that have other bits than all where they are quantized: a pattern may fit a head that is not.
struct Exception {
    names: Names,
    said: Option<Said>,
}

enum Names {
    Module(String),
    Pattern(Regex),
}

impl Rules<'_> {
    pub fn new(section: &Value) -> Rules<'_> {
        let ignored = IGNORED.iter().flat_map(|key| texts(&section[*key]));
        let groups = section["config_groups"].as_object();
        Rules {
            ignored: Patterns::new(ignored),
            layers: section["quantized_layers"].as_object(),
            groups: groups.map(|groups| groups.values().filter_map(Group::new).collect()),
            exceptions: exceptions(section),
            all: of_all(section),
        }
    }

    /// What it says of a module, whose codes are `stored`. Where several groups name it, tools differ in which one counts: then
    /// one that is right does.
    pub fn of(&self, module: &str, stored: Option<CodeKind>) -> Said {
        if self.ignored.names(module) {
            return Said::Plain;
        }
        if let Some(layers) = self.layers {
            return layers.get(module).and_then(of_algorithm).map_or(Said::Nothing, Said::Named);
        }
        if let Some(groups) = &self.groups {
            let best = |chosen: &dyn Fn(&&Group) -> bool| {
                let kinds = || groups.iter().filter(chosen).map(|group| group.kind);
                kinds().find(|kind| Some(*kind) == stored).or_else(|| kinds().next())
            };
            let by_name =
                best(&|group| group.targets.has(module)).or_else(|| best(&|group| group.targets.names(module)));
            let by_class = || best(&|group| group.whole_class).map(Said::Classed);
            return by_name.map(Said::Named).or_else(by_class).unwrap_or(Said::Nothing);
        }
        let exception = self.exceptions.iter().find(|exception| exception.names.has(module));
        let other = exception.and_then(|exception| exception.said);
        other.or(self.all.map(Said::Classed)).unwrap_or(Said::Nothing)
    }
}

impl Group {
    /// None where it is one of activations alone.
    fn new(group: &Value) -> Option<Group> {
        let weights = &group["weights"];
        let kind = CodeKind { bits: weights["num_bits"].as_u64()?, floats: weights["type"] == "float" };
        let targets = Patterns::new(texts(&group["targets"]));
        Some(Group { kind, whole_class: targets.has(CLASS), targets })
    }
}

impl Names {
    fn has(&self, module: &str) -> bool {
        match self {
            Names::Module(name) => name == module,
            Names::Pattern(pattern) => finds(pattern, module),
        }
    }
}

/// What single modules have instead of what all have: `dynamic` of GPTQModel, whose first pattern counts, and `-:` leaves
/// modules alone; `extra_config` of AutoRound, whose keys are names, which count first, or patterns.
fn exceptions(section: &Value) -> Vec<Exception> {
    let said = |value: &Value| {
        let floats = are_floats(value).or_else(|| are_floats(section)).unwrap_or(false);
        value["bits"].as_u64().map(|bits| match bits {
            PLAIN_BITS.. => Said::Plain,
            bits => Said::Classed(CodeKind { bits, floats }),
        })
    };
    let dynamic = section["dynamic"].as_object().into_iter().flatten().filter_map(|(key, value)| {
        let (said, pattern) = match key.strip_prefix("-:") {
            Some(pattern) => (Some(Said::Plain), pattern),
            None => (said(value), key.strip_prefix("+:").unwrap_or(key)),
        };
        Some(Exception { names: Names::Pattern(at_start(pattern)?), said })
    });
    let extra = || section["extra_config"].as_object().into_iter().flatten();
    let by_name = extra().map(|(key, value)| Exception { names: Names::Module(key.clone()), said: said(value) });
    let by_pattern = extra().filter_map(|(key, value)| {
        let is_pattern = key.contains(['*', '+', '?', '^', '$', '(', '[', '|', '\\']);
        let pattern = is_pattern.then(|| Regex::new(key).ok()).flatten()?;
        // One that says nothing hides none behind it.
        Some(Exception { names: Names::Pattern(pattern), said: Some(said(value)?) })
    });
    dynamic.chain(by_name).chain(by_pattern).collect()
}

/// What a section says of all modules.
fn of_all(section: &Value) -> Option<CodeKind> {
    let method = section["quant_method"].as_str();
    let bits = ["bits", "w_bit"].iter().find_map(|key| section[*key].as_u64());
    let bits = bits.or((method == Some("awq")).then_some(4));
    let of_bits = bits.map(|bits| CodeKind { bits, floats: are_floats(section).unwrap_or(false) });
    let floats = (method == Some("fp8")).then_some(CodeKind { bits: 8, floats: true });
    of_algorithm(section).or(of_bits).or(floats)
}

/// Whether AutoRound's word for a type, as `int`, `fp` or `nv_fp`, is of floats.
fn are_floats(section: &Value) -> Option<bool> {
    section["data_type"].as_str().map(|word| word.contains("fp") || word.contains("float"))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What ModelOpt's word for an algorithm says.
fn of_algorithm(section: &Value) -> Option<CodeKind> {
    let word = section["quant_algo"].as_str()?;
    let (bits, floats) = match word {
        _ if word.starts_with("FP8") => (8, true),
        _ if word.contains("NVFP4") => (4, true),
        _ if word.starts_with("W4A16") || word.starts_with("W4A8_AWQ") || word.starts_with("INT4") => (4, false),
        _ if word.starts_with("W8A8") || word.starts_with("W8A16") || word.starts_with("INT8") => (8, false),
        _ => return None,
    };
    Some(CodeKind { bits, floats })
}

impl CodeKind {
    /// What the codes of a format are; none for what was widened, since its parts had other formats.
    pub fn of(format: Format) -> Option<CodeKind> {
        match format {
            Format::Fp8 { .. } => Some(CodeKind { bits: 8, floats: true }),
            Format::Nvfp4 => Some(CodeKind { bits: 4, floats: true }),
            Format::Int8 { .. } => Some(CodeKind { bits: 8, floats: false }),
            Format::Int4 { .. } => Some(CodeKind { bits: 4, floats: false }),
            Format::Bf16 | Format::F32 | Format::I32 => None,
        }
    }

    pub fn name(self) -> String {
        format!("{} of {} bits", if self.floats { "floats" } else { "integers" }, self.bits)
    }
}
