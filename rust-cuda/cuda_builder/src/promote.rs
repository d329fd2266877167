//! One PTX for several generations: what only a newer chip knows stands in it as a comment.

/// What [`promote`] makes of `sm_80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promoted {
    /// For compute capability 9.0 and all that follow.
    Sm90,
    /// For compute capability 9.0 alone.
    Sm90a,
}

/// The first PTX version that knows all marked instructions: `st.async` came last.
const VERSION: &str = ".version 8.1";

impl Promoted {
    /// All there are.
    pub const ALL: [Promoted; 2] = [Promoted::Sm90, Promoted::Sm90a];

    /// The name in PTX's `.target`.
    pub fn name(self) -> &'static str {
        match self {
            Promoted::Sm90 => "sm_90",
            Promoted::Sm90a => "sm_90a",
        }
    }

    /// How the lines begin that become instructions.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Promoted::Sm90 => &["//sm_90: "],
            Promoted::Sm90a => &["//sm_90: ", "//sm_90a: "],
        }
    }
}

/// The text of `sm_80` PTX as PTX for another architecture: lines that begin with its marks become instructions, or
/// directives of the entry that they stand in.
///
/// So what the emulator and older chips run is, but for those lines, what the newer ones run, and it is compiled once.
/// An entry of which `sm_80` knows only a part is launched on no older chip.
pub fn promote(sm_80: &str, to: Promoted) -> String {
    let mut promoted = String::with_capacity(sm_80.len() + 64);
    let mut body = 0;
    for line in sm_80.lines() {
        let start = line.trim_start();
        if line == "{" {
            body = promoted.len();
        }
        if start.starts_with(".version ") {
            promoted.push_str(VERSION);
        } else if start == ".target sm_80" {
            promoted.push_str(&format!(".target {}", to.name()));
        } else if let Some(marked) = to.marks().iter().find_map(|mark| start.strip_prefix(mark)) {
            if marked.starts_with('.') {
                promoted.insert_str(body, &format!("{marked}\n"));
                continue;
            }
            promoted.push_str(marked);
        } else {
            promoted.push_str(line);
        }
        promoted.push('\n');
    }
    promoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_become_instructions_and_the_target_is_the_newer_one() {
        let text =
            "// arch: sm_80\n.version 7.4\n.target sm_80\n\n\t//sm_90: griddepcontrol.wait;\n\t//sm_90a: x;\n\tret;\n";
        assert_eq!(
            promote(text, Promoted::Sm90),
            "// arch: sm_80\n.version 8.1\n.target sm_90\n\ngriddepcontrol.wait;\n\t//sm_90a: x;\n\tret;\n"
        );
        assert_eq!(
            promote(text, Promoted::Sm90a),
            "// arch: sm_80\n.version 8.1\n.target sm_90a\n\ngriddepcontrol.wait;\nx;\n\tret;\n"
        );
    }
    #[test]
    fn a_marked_directive_stands_before_the_body_of_its_entry() {
        let text = ".entry a()\n{\n\tret;\n}\n.entry b()\n{\n\t//sm_90a: .maxntid 8\n\tret;\n}\n";
        let hoisted = ".entry a()\n{\n\tret;\n}\n.entry b()\n.maxntid 8\n{\n\tret;\n}\n";
        assert_eq!(promote(text, Promoted::Sm90a), hoisted);
        assert_eq!(promote(text, Promoted::Sm90), text);
    }
}
