//! `Patterns`: lists of modules that are quantized, or are not, with the patterns that exporters write.
use std::collections::HashSet;

use fancy_regex::Regex;

/// A list: names, shell patterns, and behind `re:` regular expressions.
#[derive(Debug, Default)]
pub struct Patterns {
    names: HashSet<String>,
    expressions: Vec<Regex>,
}

impl Patterns {
    /// The list of `patterns`. What is no regular expression names nothing.
    pub fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Patterns {
        let mut list = Patterns::default();
        for pattern in patterns {
            if let Some(expression) = pattern.strip_prefix("re:") {
                list.expressions.extend(at_start(expression));
            } else if pattern.contains(['*', '?', '[']) {
                list.expressions.extend(Regex::new(&shell(pattern)).ok());
            } else {
                list.names.insert(pattern.to_owned());
            }
        }
        list
    }

    /// Whether the list has this very name.
    pub fn has(&self, module: &str) -> bool {
        self.names.contains(module)
    }

    /// Whether the list names a module: a name also stands for all that is within it, and for the end of a longer name.
    pub fn names(&self, module: &str) -> bool {
        let dots = || module.match_indices('.').map(|(at, _)| at);
        self.has(module)
            || dots().any(|at| self.has(&module[..at]) || self.has(&module[at + 1..]))
            || self.expressions.iter().any(|expression| finds(expression, module))
    }
}

/// A regular expression that holds from the begin of a name on, as Python's `re.match` has it; none where it is none.
pub fn at_start(expression: &str) -> Option<Regex> {
    Regex::new(&format!(r"\A(?:{expression})")).ok()
}

/// Whether it holds somewhere; where it takes too long to say, it does not.
pub fn finds(expression: &Regex, text: &str) -> bool {
    expression.is_match(text).unwrap_or(false)
}

/// A shell pattern as a regular expression: `*`, `?`, and `[…]`, of which `!` names the others.
fn shell(pattern: &str) -> String {
    let (mut made, mut rest) = (String::from(r"\A(?s:"), pattern);
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match (first, rest.find(']')) {
            ('*', _) => made += ".*",
            ('?', _) => made += ".",
            ('[', Some(end)) if end > 0 => {
                let (not, set) = rest[..end].strip_prefix('!').map_or(("", &rest[..end]), |set| ("^", set));
                made += &format!("[{not}{}]", set.replace('\\', r"\\").replace('[', r"\["));
                rest = &rest[end + 1..];
            }
            _ => made += &fancy_regex::escape(first.encode_utf8(&mut [0; 4])),
        }
    }
    made + r")\z"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str, module: &str) -> bool {
        Patterns::new([pattern].into_iter()).names(module)
    }

    /// What Python's `re.match` and `fnmatch.fnmatchcase` say of each.
    #[test]
    fn patterns_match_as_their_tools_have_it() {
        let module = "model.layers.1.mlp.up_proj";
        for pattern in [
            "re:.*",
            "*",
            "model.layers.*",
            "re:.*up_proj$",
            "re:model\\.layers\\.1",
            "re:.*(up|down)_proj",
            r"re:.*layers\.(1|4|\d{2})\.mlp\.[a-z]+_proj$",
            "re:(?!.*down).*",
            "re:up|model",
            "model.layers.?.mlp.*",
            "model.layers.[0-3].mlp.up_proj",
            "*.[!a]p_proj",
        ] {
            assert!(names(pattern, module), "{pattern}");
        }
        for pattern in [
            "lm_head",
            "re:.*down_proj$",
            "model.layers.10",
            "model.layers.*.attn",
            "re:layers",
            "re:.*(down|gate)_proj",
            "model.layers.[!1].*",
            "model?layers",
            "model.layers.1.mlp.[up_proj",
            "re:(",
            "",
        ] {
            assert!(!names(pattern, module), "{pattern}");
        }
    }

    #[test]
    fn a_name_stands_for_what_is_within_it_and_for_the_end_of_a_longer_one() {
        let module = "model.layers.1.mlp.up_proj";
        for name in ["model.layers.1", "up_proj", "mlp.up_proj", module] {
            assert!(names(name, module), "{name}");
        }
        assert!(!names("p_proj", module) && !names("layers.1", module));
    }
}
