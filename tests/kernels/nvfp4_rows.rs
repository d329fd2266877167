//! Rows of `nvfp4_rows`.
use gpu_kernels::{Format, Nvfp4Rows, Packed, Ptr};

use crate::data::Data;
use crate::mutants::{BITS, Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::packed::e2m1_code;
use crate::random::Random;

/// Rows and columns.
const SHAPES: [[usize; 2]; 12] = [
    [1, 16],
    [1, 32],
    [3, 48],
    [2, 240],
    [1, 256],
    [5, 272],
    [70, 16],
    [17, 512],
    [3, 1856],
    [2, 2688],
    [1, 4096],
    [40, 528],
];

/// Bytes of a word, none of which has all bits: so those look that nobody has written.
const WORD: usize = 4;

pub fn rows() -> Vec<Row<Nvfp4Rows>> {
    let random = SHAPES.iter().enumerate().map(|(seed, &[rows, k])| {
        let mut random = Random::new(seed as u64);
        let words = (0..rows * k / 2).map(|_| random.below(255) as u8).collect();
        row(format!("[{rows}, {k}]"), rows, words)
    });
    // Each bit of a word alone: any other word is a sum of these.
    let bits = (0..32u32).flat_map(|bit| (1u32 << bit).to_le_bytes()).collect();
    random.chain([row("each bit alone".into(), 1, bits)]).collect()
}

/// A row whose words are known: codes are made of those.
fn row(name: String, rows: usize, words: Vec<u8>) -> Row<Nvfp4Rows> {
    let k = words.len() / rows * 2;
    let byte = |word: &[u8], pair: usize| e2m1_code(word, 2 * pair) | e2m1_code(word, 2 * pair + 1) << 4;
    let codes: Vec<u8> = words.chunks(WORD).flat_map(|word| (0..WORD).map(|pair| byte(word, pair))).collect();
    let scales: Vec<u8> = (0..rows * k / 16).map(|i| (i * 37 % 255) as u8).collect();
    let mut data = Data::default();
    let [codes, scales] = [("codes", codes), ("scales", scales)].map(|(name, bytes)| data.bytes(name, &bytes));
    let y = data.undefined("y", rows * Format::Nvfp4.row_bytes(k as u64) as usize);
    data.bytes::<Packed>(WORDS, &words);
    Row { name, kernel: Nvfp4Rows { codes, scales, y, rows: rows as u32, k: k as u32 }, data }
}

/// A buffer that the kernel does not see: the words that must come of the codes.
const WORDS: &str = "words";

impl Oracle for Nvfp4Rows {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[BITS, EDGE, STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let k = self.k as usize;
        let words = data.0.iter().position(|buffer| buffer.name == WORDS).expect("every row has its words");
        let (words, scales) = (data.f64s(Ptr::<Packed>::new(words as u32, 0)), data.f64s(self.scales));
        let filled_up = |values: &[f64], to: usize| {
            let mut values = values.to_vec();
            values.resize(values.len().next_multiple_of(to), 0.0);
            values
        };
        let rows = words
            .chunks(k / 2)
            .zip(scales.chunks(k / 16))
            .flat_map(|(words, scales)| filled_up(&[filled_up(words, 16), filled_up(scales, 16)].concat(), 32));
        vec![Written::new(self.y, rows.map(Want::exact).collect())]
    }
}
