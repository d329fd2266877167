//! Rows of `publish`.
use gpu_kernels::Publish;

use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};

const COUNTS: [usize; 10] = [1, 2, 31, 33, 65, 127, 128, 129, 257, 1000];

pub fn rows() -> Vec<Row<Publish>> {
    COUNTS.iter().map(|count| row(*count)).collect()
}

/// There is an element more than the kernel is told of.
fn row(count: usize) -> Row<Publish> {
    let mut data = Data::default();
    let tokens = (0..=count).map(|i| 3 * i as i32 - 1).collect();
    let kernel = Publish {
        tokens: data.integers("tokens", tokens),
        out: data.integers("out", vec![-7; count + 1]),
        count: count as u32,
    };
    Row { name: format!("{count} tokens"), kernel, data }
}

impl Oracle for Publish {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let tokens = data.i32s(self.tokens);
        let told = &tokens[..self.count as usize];
        let mut out: Vec<Want> = told.iter().map(|token| Want::exact(f64::from(*token))).collect();
        out.push(Want::Kept);
        vec![Written::new(self.out, out)]
    }
}
