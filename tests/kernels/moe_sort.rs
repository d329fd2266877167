//! Rows of `moe_sort`.
use gpu_kernels::MoeSort;
use gpu_kernels::moe_sort::max_tiles;

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, choices of each, experts, experts that are ever chosen.
const SHAPES: [(usize, usize, usize, usize); 16] = [
    (1, 1, 1, 1),
    (1, 6, 128, 128),
    (7, 3, 5, 5),
    (64, 1, 3, 1),
    (65, 1, 2, 1),
    (40, 6, 128, 9),
    (128, 2, 2, 2),
    (33, 22, 512, 512),
    (201, 6, 33, 33),
    (300, 8, 1000, 40),
    (1031, 1, 7, 7),
    (90, 12, 1024, 1024),
    (1031, 1, 2, 2),
    (1024, 1, 1024, 1),
    (2100, 1, 1, 1),
    (1300, 1, 3, 2),
];

pub fn rows() -> Vec<Row<MoeSort>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, top_k, experts, chosen): (usize, usize, usize, usize)) -> Row<MoeSort> {
    let mut random = Random::new(seed);
    let mut data = Data::default();
    // The last experts are chosen, so that those before them have no places.
    let first = experts - chosen;
    let ids = (0..rows).flat_map(|_| random.permutation(chosen)[..top_k.min(chosen)].to_vec());
    let ids: Vec<i32> = ids.map(|id| (first + id) as i32).collect();
    let choices = rows * top_k.min(chosen);
    let kernel = MoeSort {
        ids: data.integers("ids", ids),
        order: data.undefined("order", choices),
        tiles: data.undefined("tiles", 4 * max_tiles(choices as u32, experts as u32) as usize),
        rows: rows as u32,
        top_k: top_k.min(chosen) as u32,
        experts: experts as u32,
    };
    Row { name: format!("{rows} rows of {top_k}, {chosen} of {experts} experts"), kernel, data }
}

impl Oracle for MoeSort {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE, BARRIER];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let ids = data.i32s(self.ids);
        let (order, tiles) = sorted(ids, self.experts);
        let exact = |numbers: Vec<i32>| numbers.into_iter().map(|number| Want::exact(f64::from(number))).collect();
        vec![Written::new(self.order, exact(order)), Written::new(self.tiles, exact(tiles))]
    }
}

/// The choices by expert, and the tiles that they are cut into.
pub fn sorted(ids: &[i32], experts: u32) -> (Vec<i32>, Vec<i32>) {
    let (mut order, mut tiles, mut wide) = (Vec::new(), Vec::new(), 0);
    for expert in 0..experts as i32 {
        let own: Vec<i32> = (0..ids.len() as i32).filter(|choice| ids[*choice as usize] == expert).collect();
        for places in own.chunks(256) {
            let count = places.len() as i32;
            tiles.push([expert, order.len() as i32, count, wide]);
            wide += i32::from(count > 128);
            order.extend(places);
        }
    }
    tiles.resize(max_tiles(ids.len() as u32, experts) as usize, [0, 0, 0, wide]);
    (order, tiles.concat())
}
