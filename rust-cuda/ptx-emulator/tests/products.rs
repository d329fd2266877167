//! `wgmma` by both forms of its operands, against plain sums, and with planted defects.

use ptx_emulator::FaultKind::{self, *};
use ptx_emulator::{Fault, Launch, Memory, Module};

const THREADS: usize = 128;
/// a's matrix and b's, 64 and up to 128 lines of 128 bytes, as they lie in shared memory.
const B: usize = 8192;
const TILES: usize = 24576;
/// Bytes of one step of 16 elements along a line.
const STEP: usize = 32;

/// Where a is, and whether the lines of b are its rows.
#[derive(Clone, Copy)]
struct Form {
    columns: usize,
    a_in_registers: bool,
    by_rows: bool,
}

const FORMS: [Form; 3] = [
    Form { columns: 24, a_in_registers: false, by_rows: false },
    Form { columns: 128, a_in_registers: true, by_rows: true },
    Form { columns: 72, a_in_registers: false, by_rows: true },
];

/// A descriptor of 128-byte swizzle: eight lines take 1024 bytes, `next` bytes on lies the matrix of the next 64 columns.
fn descriptor(address: usize, next: usize) -> u64 {
    1 << 62 | 64 << 32 | (next as u64 / 16) << 16 | (address as u64 / 16)
}

/// Small numbers that a sum of 16 products holds exactly.
fn number(i: usize) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 7 & 15) as f32 - 8.0) / 4.0
}

fn a(row: usize, k: usize) -> f32 {
    number(16 * row + k)
}

fn b(k: usize, column: usize) -> f32 {
    number(10_000 + 16 * column + k)
}

/// Copies the tiles to shared memory, multiplies, adds 1/4, and stores the registers of the result thread by thread.
fn text(form: &Form) -> String {
    let words = form.columns / 2;
    let registers: Vec<String> = (0..words).map(|i| format!("%d{i}")).collect();
    let (a, flags) = if form.a_in_registers { ("{%a0, %a1, %a2, %a3}", "") } else { ("%a", ", 0") };
    let next = if form.by_rows { 2048 } else { 0 };
    let start = if form.by_rows { B } else { B + STEP };
    let lines: Vec<String> = (0..words).map(|i| format!("\tmov.b32 %d{i}, 0f3E800000;")).collect();
    let stores: Vec<String> = (0..words).map(|i| format!("\tst.global.b32 [%out+{}], %d{i};", 4 * i)).collect();
    format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n.shared .align 1024 .b8 tiles[{TILES}];\n\
         .visible .entry test(.param .u64 in, .param .u64 out)\n{{\n\
         \t.reg .b64 %in, %out, %a, %b;\n\t.reg .b32 %thread, %to, %x, %y, %z, %w, %a<4>, %d<{words}>;\n\t.reg .pred %p, %q;\n\
         \tld.param.u64 %in, [in];\n\tld.param.u64 %out, [out];\n\tmov.u32 %thread, %tid.x;\n\
         \tmad.wide.u32 %in, %thread, 16, %in;\n\tmad.wide.u32 %out, %thread, {row}, %out;\n\
         \tmov.u32 %to, tiles;\n\tmad.lo.u32 %to, %thread, 16, %to;\n\
         copy:\n\tld.global.v4.b32 {{%x, %y, %z, %w}}, [%in];\n\tst.shared.v4.b32 [%to], {{%x, %y, %z, %w}};\n\
         \tadd.u64 %in, %in, 2048;\n\tadd.u32 %to, %to, 2048;\n\tsetp.lt.u32 %p, %to, {TILES};\n\t@%p bra copy;\n\
         \tld.global.v4.b32 {{%a0, %a1, %a2, %a3}}, [%in];\n{lines}\n\
         \tmov.b64 %a, {a_at};\n\tmov.b64 %b, {b_at};\n\tsetp.eq.u32 %q, %thread, 127;\n\
         \tfence.proxy.async.shared::cta;\n\tbar.sync 0;\n\twgmma.fence.sync.aligned;\n\
         \twgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16 {{{d}}}, {a}, %b, 1, 1, 1{flags}, {rows};\n\
         \twgmma.commit_group.sync.aligned;\n\twgmma.wait_group.sync.aligned 0;\n{stores}\n\tret;\n}}\n",
        row = 4 * words,
        lines = lines.join("\n"),
        stores = stores.join("\n"),
        a_at = descriptor(STEP, 0),
        b_at = descriptor(start, next),
        columns = form.columns,
        d = registers.join(", "),
        rows = u32::from(form.by_rows),
    )
}

/// The tiles as they lie in shared memory, and then each thread's registers of a.
fn input(form: &Form) -> Vec<u8> {
    let mut bytes = vec![0; TILES];
    let mut put = |start: usize, line: usize, byte: usize, value: f32| {
        let at = start + line * 128 + ((byte / 16) ^ (line % 8)) * 16 + byte % 16;
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes()[2..]);
    };
    for k in 0..16 {
        (0..64).for_each(|row| put(0, row, STEP + 2 * k, a(row, k)));
        for column in 0..form.columns {
            match form.by_rows {
                true => put(B + column / 64 * 2048, k, column % 64 * 2, b(k, column)),
                false => put(B, column, STEP + 2 * k, b(k, column)),
            }
        }
    }
    for thread in 0..THREADS {
        for i in 0..8 {
            let (row, k) = (thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8, thread % 4 * 2 + i % 2 + i / 4 * 8);
            bytes.extend_from_slice(&a(row, k).to_le_bytes()[2..]);
        }
    }
    bytes
}

/// What the threads store, in turn.
fn run(form: &Form, text: &str) -> Result<Vec<f32>, Fault> {
    let module = Module::parse(text).expect("the text parses");
    let mut memory = Memory::new();
    let input = input(form);
    let (source, out) = (memory.allocate("in", input.len()), memory.allocate("out", THREADS * form.columns * 2));
    memory.write(source, &input)?;
    let launch = Launch { grid: [1, 1, 1], block: [THREADS as u32, 1, 1], shared_bytes: 0, cluster: 1 };
    module.launch(&memory, "test", &launch, &[source.to_le_bytes(), out.to_le_bytes()].concat())?;
    let mut bytes = vec![0; THREADS * form.columns * 2];
    memory.read(out, &mut bytes)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[test]
fn a_product_is_the_sum_of_products() {
    for form in &FORMS {
        let got = run(form, &text(form)).unwrap_or_else(|fault| panic!("{fault}"));
        for (thread, registers) in got.chunks_exact(form.columns / 2).enumerate() {
            for (i, got) in registers.iter().enumerate() {
                let row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
                let column = i / 4 * 8 + thread % 4 * 2 + i % 2;
                let want: f32 = (0..16).map(|k| a(row, k) * b(k, column)).sum();
                assert_eq!(*got, want + 0.25, "row {row}, column {column} of {}", form.columns);
            }
        }
    }
}

const WAIT: &str = "\twgmma.wait_group.sync.aligned 0;\n";
const STORE: &str = "\t@%q st.shared.b32 [tiles+8192], %thread;\n";

/// An edit of the text, and what is found then.
const DEFECTS: [(&str, &str, FaultKind); 12] = [
    ("\tfence.proxy.async.shared::cta;\n", "", UndefinedRead),
    ("\tbar.sync 0;\n", "", SharedRace),
    ("\tfence.proxy.async.shared::cta;\n\tbar.sync 0;\n", "\tbar.sync 0;\n\tfence.proxy.async;\n", UndefinedRead),
    ("\twgmma.fence.sync.aligned;\n", "", UnfinishedProduct),
    ("\twgmma.fence.sync.aligned;\n", "\twgmma.fence.sync.aligned;\n\tmov.b32 %d0, 0;\n", UnfinishedProduct),
    ("\twgmma.commit_group.sync.aligned;\n", "", UnfinishedProduct),
    (WAIT, "", UnfinishedProduct),
    (WAIT, "\twgmma.wait_group.sync.aligned 1;\n", UnfinishedProduct),
    (WAIT, "\tmov.b32 %x, %d0;\n\twgmma.wait_group.sync.aligned 0;\n", UnfinishedProduct),
    (WAIT, "\tmov.b32 %a3, 0;\n\twgmma.wait_group.sync.aligned 0;\n", UnfinishedProduct),
    ("\tmov.b64 %b, ", "\tmov.b64 %b, 1; //", UnknownInstruction),
    ("\twgmma.mma_async", "\t@%q wgmma.mma_async", DivergentCollective),
];

#[test]
fn a_defect_around_a_product_is_found() {
    let form = &FORMS[1];
    let text = text(form);
    for (before, after, kind) in DEFECTS {
        assert!(text.contains(before), "{before}");
        let found = run(form, &text.replacen(before, after, 1)).err().map(|fault| fault.kind);
        assert_eq!(found, Some(kind), "{before} -> {after}");
    }
}

#[test]
fn what_a_product_reads_stays_until_all_have_waited() {
    let form = &FORMS[1];
    let edits = [format!("{STORE}{WAIT}"), format!("{WAIT}{STORE}"), format!("{STORE}\tbar.sync 1;\n{WAIT}")];
    for after in edits {
        let fault = run(form, &text(form).replacen(WAIT, &after, 1)).expect_err("a race");
        assert_eq!(fault.kind, SharedRace, "{after}: {fault}");
    }
    let behind = format!("{WAIT}\tbar.sync 1;\n{STORE}");
    assert!(run(form, &text(form).replacen(WAIT, &behind, 1)).is_ok());
}

#[test]
fn other_forms_are_refused_with_their_line() {
    let text = text(&FORMS[0]);
    let line = text.lines().position(|line| line.contains("mma_async")).map(|at| at as u32 + 1);
    for (before, after) in
        [("m64n24k16", "m64n20k16"), ("f32.bf16.bf16", "f32.f16.f16"), (", 1, 1, 1, 0, 0;", ", 1, -1, 1, 0, 0;")]
    {
        let error = Module::parse(&text.replacen(before, after, 1)).err();
        assert_eq!(error.map(|error| error.line), line, "{after}");
    }
}
