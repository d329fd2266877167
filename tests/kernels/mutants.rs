//! Planted defects: edits of a kernel's PTX, each of which its rows must notice.
use std::collections::BTreeMap;

use gpu_kernels::DeviceInfo;
use nemotron_backend::device::PlannedKernel;
use ptx_emulator::Module;

use crate::compare::{Check, checks};
use crate::data::Buffer;
use crate::emulator::{Emulator, devices, ptx};
use crate::oracle::{Oracle, Row};

/// Most mutants of one edit in one entry: an unrolled loop has the same places many times over.
const MOST_PLACES: usize = 8;

/// A kind of defect. A kernel that names it has at least one place for it, and at every place it is noticed.
#[derive(Clone, Copy, Debug)]
pub struct Defect {
    pub name: &'static str,
    /// What the defect looks like: one of these, depending on what the compiler made of the source.
    pub edits: &'static [Edit],
    /// Only in entries whose name ends like this.
    pub entries: &'static str,
}

/// A way to spoil an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// How the instruction begins.
    opcode: &'static str,
    /// What else it contains.
    operand: &'static str,
    change: Change,
}

/// What becomes of an instruction.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// It is not there.
    Drop,
    /// The result is the last operand: of a sum or a fused product, the term before it is missing.
    KeepLast,
    /// Its opcode is another.
    Opcode(&'static str),
    /// The operand that chose it is another.
    Operand(&'static str),
}

const fn edit(opcode: &'static str, operand: &'static str, change: Change) -> Edit {
    Edit { opcode, operand, change }
}

const fn defect(name: &'static str, edits: &'static [Edit]) -> Defect {
    Defect { name, edits, entries: "" }
}

/// An index that is one too far at the end of a row.
pub const EDGE: Defect = defect(
    "a ragged edge",
    &[edit("setp.ge.u32", "", Change::Opcode("setp.gt.u32")), edit("setp.lt.u32", "", Change::Opcode("setp.le.u32"))],
);

/// A copy that does not end with its row.
pub const COPY_EDGE: Defect =
    defect("a ragged edge of a copy", &[edit("selp.b32", " 16, 0,", Change::Operand(" 16, 16,"))]);

/// A sum without one of its terms.
pub const TERM: Defect = defect(
    "a missing term",
    &[
        edit("fma.rn.f32", "", Change::KeepLast),
        edit("add.rn.f32", "", Change::KeepLast),
        edit("sub.rn.f32", "", Change::KeepLast),
    ],
);

/// A product without one of its factors.
pub const FACTOR: Defect = defect("a missing factor", &[edit("mul.rn.f32", "", Change::KeepLast)]);

/// A row or group that begins elsewhere.
pub const STRIDE: Defect = defect(
    "a stride",
    &[
        edit("mul.wide.u32", " 16;", Change::Operand(" 8;")),
        edit("mul.wide.u32", " 4;", Change::Operand(" 2;")),
        edit("mul.lo.s32", "", Change::KeepLast),
        edit("mad.lo.s32", "", Change::KeepLast),
    ],
);

/// A bit that is not there, or not turned.
pub const BITS: Defect =
    defect("a missing bit", &[edit("xor.b32", "", Change::KeepLast), edit("or.b32", "", Change::KeepLast)]);

/// A page of another size.
pub const PAGE: Defect = defect(
    "a page",
    &[edit("shr.u32", " 6;", Change::Operand(" 5;")), edit("and.b32", " 63;", Change::Operand(" 31;"))],
);

/// A warp's exchange that one half of the lanes misses.
pub const LANES: Defect = defect(
    "missing lanes",
    &[
        edit("shfl.sync.bfly.b32", " 16,", Change::Operand(" 0,")),
        edit("shfl.sync.bfly.b32", " 8,", Change::Operand(" 0,")),
        edit("shfl.sync.bfly.b32", " 4,", Change::Operand(" 0,")),
        edit("shfl.sync.bfly.b32", " 2,", Change::Operand(" 0,")),
        edit("shfl.sync.bfly.b32", " 1,", Change::Operand(" 0,")),
    ],
);

/// A key outside the row's sight that counts, with a score of 0 for −∞.
pub const MASK: Defect =
    defect("a key out of sight", &[edit("selp.f32", " 0fFF800000", Change::Operand(" 0f00000000"))]);

/// A tie that goes to the later.
pub const TIE: Defect = defect(
    "a tie",
    &[edit("setp.gt.f32", "", Change::Opcode("setp.ge.f32")), edit("setp.lt.f32", "", Change::Opcode("setp.le.f32"))],
);

/// One of two that are equal that passes for the better one.
pub const RANK: Defect = defect("a rank", &[edit("setp.gt.u64", "", Change::Opcode("setp.ge.u64"))]);

/// A number that is none and passes for one.
pub const NUMBER: Defect = defect("a NaN that passes", &[edit("setp.num.f32", "", Change::Opcode("setp.neu.f32"))]);

/// A barrier that is not there.
pub const BARRIER: Defect = defect("a dropped barrier", &[edit("bar.sync", "", Change::Drop)]);

/// A product that nobody hands its registers or its memory, that is not waited for, or for which nobody waits his turn.
pub const PRODUCT: Defect = defect(
    "an unordered product",
    &[
        edit("wgmma.fence", "", Change::Drop),
        edit("wgmma.commit_group", "", Change::Drop),
        edit("wgmma.wait_group", "", Change::Drop),
        edit("fence.proxy.async", "", Change::Drop),
        edit("bar.arrive", "", Change::Drop),
    ],
);

/// Blocks of a cluster that do not wait for each other, or send elsewhere.
pub const CLUSTER: Defect = defect(
    "an unordered cluster",
    &[
        edit("barrier.cluster.arrive", "", Change::Drop),
        edit("barrier.cluster.wait", "", Change::Drop),
        edit("fence.mbarrier_init", "", Change::Drop),
        edit("mbarrier.init", "", Change::Drop),
        edit("mbarrier.arrive.expect_tx", "", Change::Drop),
        edit("mapa", "", Change::KeepLast),
        edit("st.async", "", Change::Drop),
        edit("{ .reg .pred complete; mbarrier.try_wait", " 0; selp", Change::Operand(" 1; selp")),
    ],
);

impl Edit {
    /// Whether it spoils line `at` of an entry.
    fn applies(&self, lines: &[&str], at: usize) -> bool {
        let (line, after) = (lines[at], &lines[at + 1..]);
        let is_shared = |line: &&str| line.contains("shared");
        let noticeable = match self.opcode {
            // A last barrier, behind which nothing is shared any more, orders nothing.
            "bar.sync" => after.iter().any(is_shared) || !lines.iter().any(is_shared),
            // A comparison that decides no branch chooses among values that may well be equal.
            "setp.ge.u32" | "setp.lt.u32" => after.first().is_some_and(|next| next.trim().starts_with('@')),
            // A constant factor corrects an exponential's last bits, and so does what comes behind a coefficient between 1/32
            // and 1/8, the last ones of a series.
            "fma.rn.f32" => {
                let mut operands = line.split(',').map(str::trim);
                !operands.by_ref().take(3).any(|operand| operand.starts_with("0f"))
                    && !operands.any(|last| last.starts_with("0f3D"))
            }
            _ => true,
        };
        line.trim().starts_with(self.opcode) && line.contains(self.operand) && noticeable
    }

    fn apply(&self, line: &str) -> String {
        match self.change {
            Change::Drop => String::new(),
            Change::Opcode(other) => line.replacen(self.opcode, other, 1),
            Change::Operand(other) => line.replacen(self.operand, other, 1),
            Change::KeepLast => {
                let operands = line.trim().split_once(char::is_whitespace).map_or("", |(_, operands)| operands);
                let mut operands = operands.trim_end_matches(';').split(',').map(str::trim);
                let (first, last) = (operands.next().unwrap_or(""), operands.next_back().unwrap_or(""));
                format!("mov.b32 {first}, {last};")
            }
        }
    }
}

/// Plants every defect that the kernel names at its places in every entry that the rows launch.
pub fn every_one_is_noticed<K: Oracle>(rows: Vec<Row<K>>) {
    let checks = checks(&rows);
    let launches: Vec<Launched<K>> = checks.iter().flat_map(Launched::all).collect();
    let entries: BTreeMap<&str, &'static str> = launches.iter().map(|row| (row.symbol(), ptx(&row.device))).collect();
    let mut survivors = Vec::new();
    for defect in K::DEFECTS {
        let mut planted = 0;
        let planted_in = |symbol: &str| symbol.ends_with(defect.entries) && !K::spares(symbol, defect);
        for (entry, ptx) in entries.iter().filter(|(symbol, _)| planted_in(symbol)) {
            let mut rows: Vec<&Launched<K>> = launches.iter().filter(|row| row.symbol() == *entry).collect();
            // The cheapest first.
            rows.sort_by_key(|row| row.check.row.data.0.iter().map(Buffer::len).sum::<usize>());
            for mutant in defect.edits.iter().flat_map(|edit| mutants(ptx, entry, edit)) {
                planted += 1;
                match noticed_by(&rows, &mutant.text) {
                    // It is asked first from now on: a row that notices one mutant notices most.
                    Some(row) => rows[..=row].rotate_right(1),
                    None => survivors.push(format!("{entry}: {}: {} -> {}", defect.name, mutant.before, mutant.after)),
                }
            }
        }
        assert!(planted > 0, "{}: {} finds no place", K::NAME, defect.name);
    }
    assert!(survivors.is_empty(), "{}: not noticed:\n{}", K::NAME, survivors.join("\n"));
}

/// A row on a device.
struct Launched<'a, K> {
    check: &'a Check<'a, K>,
    device: DeviceInfo,
}

impl<'a, K: Oracle> Launched<'a, K> {
    fn all(check: &'a Check<'a, K>) -> impl Iterator<Item = Launched<'a, K>> {
        devices(&check.row.kernel).map(move |device| Launched { check, device })
    }

    fn symbol(&self) -> &'static str {
        PlannedKernel::launch(&self.check.row.kernel, &self.device).symbol
    }
}

/// The first of the rows that notices a mutant.
fn noticed_by<K: Oracle>(rows: &[&Launched<K>], text: &str) -> Option<usize> {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("a mutant is PTX: {error}"));
    // Out of order first: that also shows what a missing barrier leaves to chance.
    [Some(1), None, Some(2), Some(3)].into_iter().find_map(|shuffle| {
        let mut emulator = Emulator::of(&module);
        emulator.options.shuffle = shuffle;
        rows.iter().position(|row| {
            emulator.device = row.device;
            !row.check.faults(&mut emulator).is_empty()
        })
    })
}

/// One entry with one instruction spoiled.
struct Mutant {
    text: String,
    before: String,
    after: String,
}

fn mutants(ptx: &'static str, symbol: &str, edit: &Edit) -> Vec<Mutant> {
    let (head, entry) = entry(ptx, symbol);
    let lines: Vec<&str> = entry.lines().collect();
    let places: Vec<usize> = (0..lines.len()).filter(|at| edit.applies(&lines, *at)).collect();
    let mutant = |at: usize| {
        let after = edit.apply(lines[at]);
        let spoiled = [&lines[..at], &[after.as_str()], &lines[at + 1..]].concat();
        Mutant { text: head.to_owned() + &spoiled.join("\n"), before: lines[at].trim().to_owned(), after }
    };
    places.iter().step_by(places.len().div_ceil(MOST_PLACES).max(1)).map(|at| mutant(*at)).collect()
}

/// What stands before the first entry of some PTX, and the entry `symbol`.
pub fn entry(ptx: &'static str, symbol: &str) -> (&'static str, &'static str) {
    let begin = ".visible .entry ";
    let head = &ptx[..ptx.find(begin).expect("PTX has an entry")];
    let start = ptx.find(&format!("{begin}{symbol}(")).unwrap_or_else(|| panic!("PTX has `{symbol}`"));
    let end = ptx[start..].find("\n}\n").expect("an entry ends") + 3;
    (head, &ptx[start..start + end])
}
