//! The layouts of exporters, written from their descriptions: random codes and scales as stored tensors, and the numbers that
//! they stand for.
use half::{bf16, f16};
use nemotron::checkpoint::Dtype;

use super::random::Random;
use super::store::{Module, Raw};

/// Stored tensors of one module, and its numbers, row by row.
pub type Encoded = (Vec<Raw>, Vec<f32>);

/// Numbers as one type.
pub fn floats(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let bytes = |value: &f32| match dtype {
        Dtype::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    values.iter().flat_map(bytes).collect()
}

fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Eight nibbles as a word, the first lowest.
fn word(nibbles: impl Iterator<Item = u8>) -> u32 {
    nibbles.enumerate().fold(0, |word, (i, nibble)| word | u32::from(nibble) << (4 * i))
}

/// e4m3fn by its definition.
pub fn e4m3(code: u8) -> f32 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7) / 8.0);
    let magnitude = if exponent == 0 { fraction * 2f32.powi(-6) } else { (1.0 + fraction) * 2f32.powi(exponent - 7) };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

fn e2m1(code: u8) -> f32 {
    let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

fn finite(random: &mut Random) -> u8 {
    let code = random.below(256) as u8;
    if code & 0x7f == 0x7f { code ^ 2 } else { code }
}

/// FP8 with scales of that type and shape, one for `height` × `width` elements.
pub fn fp8(
    (name, [n, k]): Module,
    dtype: Dtype,
    shape: &[usize],
    [height, width]: [usize; 2],
    random: &mut Random,
) -> Encoded {
    let codes: Vec<u8> = (0..n * k).map(|_| finite(random)).collect();
    let columns = k.div_ceil(width);
    let scales: Vec<f32> = (0..n.div_ceil(height) * columns).map(|_| random.scale()).collect();
    let numbers = (0..n * k).map(|i| e4m3(codes[i]) * scales[i / k / height * columns + i % k / width]).collect();
    let weight = Raw::new(format!("{name}.weight"), Dtype::F8_E4M3, &[n, k], codes);
    let scale = Raw::new(format!("{name}.weight_scale"), dtype, shape, floats(dtype, &scales));
    (vec![weight, scale], numbers)
}

/// INT8 with a scale for `width` columns of a row.
pub fn int8((name, [n, k]): Module, dtype: Dtype, width: usize, random: &mut Random) -> Encoded {
    let codes: Vec<u8> = (0..n * k).map(|_| random.below(256) as u8).collect();
    let groups = k / width;
    let scales: Vec<f32> = (0..n * groups).map(|_| random.scale()).collect();
    let numbers = (0..n * k).map(|i| f32::from(codes[i] as i8) * scales[i / k * groups + i % k / width]).collect();
    let weight = Raw::new(format!("{name}.weight"), Dtype::I8, &[n, k], codes);
    let scale = Raw::new(format!("{name}.weight_scale"), dtype, &[n, groups], floats(dtype, &scales));
    (vec![weight, scale], numbers)
}

/// NVFP4 as ModelOpt has it, or with `reciprocal` as compressed-tensors.
pub fn nvfp4((name, [n, k]): Module, reciprocal: bool, random: &mut Random) -> Encoded {
    let codes: Vec<u8> = (0..n * k).map(|_| random.below(16) as u8).collect();
    let scales: Vec<u8> = (0..n * k / 16).map(|_| finite(random)).collect();
    let global = 1.0 / (1 << random.below(6)) as f32;
    let numbers = (0..n * k).map(|i| e2m1(codes[i]) * e4m3(scales[i / 16]) * global).collect();
    let packed = codes.chunks(2).map(|two| two[0] | two[1] << 4).collect();
    let scale = Raw::new(format!("{name}.weight_scale"), Dtype::F8_E4M3, &[n, k / 16], scales);
    let number = |suffix: &str, shape: &[usize], value: f32| {
        Raw::new(format!("{name}.{suffix}"), Dtype::F32, shape, floats(Dtype::F32, &[value]))
    };
    let (suffix, global) = if reciprocal {
        ("weight_packed", number("weight_global_scale", &[1], 1.0 / global))
    } else {
        ("weight", number("weight_scale_2", &[], global))
    };
    (vec![Raw::new(format!("{name}.{suffix}"), Dtype::U8, &[n, k / 2], packed), scale, global], numbers)
}

/// 4-bit integers before a layout: codes, scales and zero points by row and group, and the group of each column.
pub struct Integers {
    n: usize,
    k: usize,
    groups: usize,
    pub codes: Vec<u8>,
    pub scales: Vec<f32>,
    pub zeros: Vec<u8>,
    pub index: Vec<usize>,
}

impl Integers {
    /// Groups of `width` neighbours; the zero points are 8, or from 1 to 15 where `asymmetric`.
    pub fn new([n, k]: [usize; 2], width: usize, asymmetric: bool, random: &mut Random) -> Integers {
        let groups = k / width;
        let zero = |_| if asymmetric { 1 + random.below(15) as u8 } else { 8 };
        let zeros = (0..n * groups).map(zero).collect();
        let codes = (0..n * k).map(|_| random.below(16) as u8).collect();
        let scales = (0..n * groups).map(|_| random.scale()).collect();
        Integers { n, k, groups, codes, scales, zeros, index: (0..k).map(|column| column / width).collect() }
    }

    /// The columns dealt to the groups in another order.
    pub fn reordered(mut self, random: &mut Random) -> Integers {
        (1..self.k).rev().for_each(|i| self.index.swap(i, random.below(i as u32 + 1) as usize));
        self
    }

    pub fn numbers(&self) -> Vec<f32> {
        let number = |i: usize| {
            let place = i / self.k * self.groups + self.index[i % self.k];
            (f32::from(self.codes[i]) - f32::from(self.zeros[place])) * self.scales[place]
        };
        (0..self.n * self.k).map(number).collect()
    }

    fn transposed<T: Copy>(&self, values: &[T]) -> Vec<T> {
        (0..self.groups).flat_map(|group| (0..self.n).map(move |row| values[row * self.groups + group])).collect()
    }

    /// GPTQ; `less` is what its format stores zero points less by.
    pub fn gptq(&self, name: &str, less: u8) -> Vec<Raw> {
        let code = |row: usize, column: usize| self.codes[row * self.k + column];
        let qweight = (0..self.k / 8).flat_map(|eight| (0..self.n).map(move |row| (row, eight)));
        let qweight = qweight.map(|(row, eight)| word((0..8).map(|i| code(row, 8 * eight + i))));
        let zeros = self.transposed(&self.zeros);
        let qzeros = zeros.chunks(8).map(|eight| word(eight.iter().map(|zero| zero - less)));
        let scales = floats(Dtype::F16, &self.transposed(&self.scales));
        vec![
            Raw::new(format!("{name}.qweight"), Dtype::I32, &[self.k / 8, self.n], words(qweight)),
            Raw::new(format!("{name}.qzeros"), Dtype::I32, &[self.groups, self.n / 8], words(qzeros)),
            Raw::new(format!("{name}.scales"), Dtype::F16, &[self.groups, self.n], scales),
            Raw::new(
                format!("{name}.g_idx"),
                Dtype::I32,
                &[self.k],
                words(self.index.iter().map(|group| *group as u32)),
            ),
        ]
    }

    /// AWQ's gemm layout: nibble i of a word has column (0, 2, 4, 6, 1, 3, 5, 7)[i] of its eight.
    pub fn awq(&self, name: &str) -> Vec<Raw> {
        const COLUMN: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
        let pack = |eight: &[u8]| word(COLUMN.iter().map(|column| eight[*column]));
        let codes = (0..self.k).flat_map(|column| (0..self.n).map(move |row| (row, column)));
        let codes: Vec<u8> = codes.map(|(row, column)| self.codes[row * self.k + column]).collect();
        let zeros = self.transposed(&self.zeros);
        let scales = floats(Dtype::F16, &self.transposed(&self.scales));
        vec![
            Raw::new(format!("{name}.qweight"), Dtype::I32, &[self.k, self.n / 8], words(codes.chunks(8).map(pack))),
            Raw::new(
                format!("{name}.qzeros"),
                Dtype::I32,
                &[self.groups, self.n / 8],
                words(zeros.chunks(8).map(pack)),
            ),
            Raw::new(format!("{name}.scales"), Dtype::F16, &[self.groups, self.n], scales),
        ]
    }

    /// compressed-tensors' pack-quantized; with zero points packed along the rows where `asymmetric`.
    pub fn packed(&self, name: &str, dtype: Dtype, asymmetric: bool) -> Vec<Raw> {
        let codes = words(self.codes.chunks(8).map(|eight| word(eight.iter().copied())));
        let shape = [self.n, self.k].iter().flat_map(|size| (*size as u64).to_le_bytes()).collect();
        let mut tensors = vec![
            Raw::new(format!("{name}.weight_packed"), Dtype::I32, &[self.n, self.k / 8], codes),
            Raw::new(format!("{name}.weight_scale"), dtype, &[self.n, self.groups], floats(dtype, &self.scales)),
            Raw::new(format!("{name}.weight_shape"), Dtype::I64, &[2], shape),
        ];
        if asymmetric {
            let zero =
                |eight: usize, group: usize| word((0..8).map(|i| self.zeros[(8 * eight + i) * self.groups + group]));
            let zeros = (0..self.n / 8).flat_map(|eight| (0..self.groups).map(move |group| (eight, group)));
            let zeros = words(zeros.map(|(eight, group)| zero(eight, group)));
            tensors.push(Raw::new(format!("{name}.weight_zero_point"), Dtype::I32, &[self.n / 8, self.groups], zeros));
        }
        tensors
    }

    /// ModelOpt's W4A16_AWQ: two rows to a byte, two's complement.
    pub fn row_pairs(&self, name: &str) -> Vec<Raw> {
        let code = |row: usize, column: usize| (self.codes[row * self.k + column].wrapping_sub(8)) & 15;
        let pairs = (0..self.n / 2).flat_map(|pair| (0..self.k).map(move |column| (pair, column)));
        let bytes = pairs.map(|(pair, column)| code(2 * pair, column) | code(2 * pair + 1, column) << 4).collect();
        vec![
            Raw::new(format!("{name}.weight"), Dtype::U8, &[self.n / 2, self.k], bytes),
            Raw::new(
                format!("{name}.weight_scale"),
                Dtype::F32,
                &[self.n, self.groups],
                floats(Dtype::F32, &self.scales),
            ),
        ]
    }
}

/// GPTQ of 8 bits, with zero points of 128 stored less one.
pub fn gptq8((name, [n, k]): Module, width: usize, random: &mut Random) -> Encoded {
    let groups = k / width;
    let codes: Vec<u8> = (0..n * k).map(|_| random.below(256) as u8).collect();
    let scales: Vec<f32> = (0..n * groups).map(|_| random.scale()).collect();
    let number = |i: usize| (f32::from(codes[i]) - 128.0) * scales[i % k / width * n + i / k];
    let numbers = (0..n * k).map(number).collect();
    let four = |row: usize, four: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| codes[row * k + 4 * four + i]));
    let qweight = (0..k / 4).flat_map(|quad| (0..n).map(move |row| (row, quad))).map(|(row, quad)| four(row, quad));
    let tensors = vec![
        Raw::new(format!("{name}.qweight"), Dtype::I32, &[k / 4, n], words(qweight)),
        Raw::new(format!("{name}.qzeros"), Dtype::I32, &[groups, n / 4], vec![127; groups * n]),
        Raw::new(format!("{name}.scales"), Dtype::F16, &[groups, n], floats(Dtype::F16, &scales)),
    ];
    (tensors, numbers)
}
