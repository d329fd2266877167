//! One PTX for two generations: what only the newer chip knows stands in it as a comment.

/// The architecture that [`promote`] makes of `sm_80`.
pub const PROMOTED: &str = "sm_90";

/// How an instruction begins that only `sm_90` and its successors know.
const MARK: &str = "//sm_90: ";
/// The first PTX version with `griddepcontrol`.
const VERSION: &str = ".version 7.8";

/// The text of `sm_80` PTX as PTX for `sm_90`: lines that begin with `//sm_90: ` become instructions.
///
/// So what the emulator and older chips run is, but for those lines, what the newer ones run, and it is compiled once.
pub fn promote(sm_80: &str) -> String {
    let line = |line: &str| match line.trim_start() {
        start if start.starts_with(".version ") => VERSION.to_owned(),
        ".target sm_80" => format!(".target {PROMOTED}"),
        start => start.strip_prefix(MARK).unwrap_or(line).to_owned(),
    };
    sm_80.lines().map(|text| line(text) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_become_instructions_and_the_target_is_the_newer_one() {
        let text = "// arch: sm_80\n.version 7.4\n.target sm_80\n\n\t//sm_90: griddepcontrol.wait;\n\tret;\n";
        assert_eq!(promote(text), "// arch: sm_80\n.version 7.8\n.target sm_90\n\ngriddepcontrol.wait;\n\tret;\n");
    }
}
