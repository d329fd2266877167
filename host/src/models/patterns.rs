//! Patterns that name modules, in lists of what is quantized and what is not.
/// Whether a pattern of an ignore list names a module: `*` stands for anything, as `.*` does behind `re:`; a name also
/// stands for all that is within it, and for the end of a longer name.
pub fn matches(pattern: &str, module: &str) -> bool {
    match pattern.strip_prefix("re:") {
        Some(pattern) => {
            let open_end = !pattern.ends_with('$');
            let plain = pattern.trim_start_matches('^').trim_end_matches('$').replace(".*", "*").replace("\\.", ".");
            let wild = if open_end { plain + "*" } else { plain };
            !wild.contains(['\\', '[', '(', '|', '+', '?', '{']) && fits(&wild, module)
        }
        None => {
            fits(pattern, module)
                || module.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.'))
                || module.strip_suffix(pattern).is_some_and(|rest| rest.ends_with('.'))
        }
    }
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_ignore_lists_match_as_their_tools_have_it() {
        let module = "model.layers.1.mlp.up_proj";
        for pattern in
            ["re:.*", "*", "model.layers.*", "re:.*up_proj$", "re:model\\.layers\\.1", "model.layers.1", "up_proj"]
        {
            assert!(matches(pattern, module), "{pattern}");
        }
        for pattern in
            ["lm_head", "re:.*down_proj$", "model.layers.10", "model.layers.*.attn", "re:.*(up|down)_proj", ""]
        {
            assert!(!matches(pattern, module), "{pattern}");
        }
    }
}
