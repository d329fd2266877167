//! Reference of `moe_sort`.
use gpu_kernels::{MoeSort, moe_sort};

use crate::device::{Activation, Memory, Reference};

impl Reference for MoeSort {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let choices = (self.rows * self.top_k) as usize;
        let ids = memory.read::<i32>(self.ids, choices);
        let mut order: Vec<i32> = (0..choices as i32).collect();
        order.sort_by_key(|choice| ids[*choice as usize]);
        let mut tiles = Vec::new();
        let (mut first, mut wide) = (0, 0);
        for of_expert in order.chunk_by(|a, b| ids[*a as usize] == ids[*b as usize]) {
            for places in of_expert.chunks(moe_sort::TILE as usize) {
                tiles.extend([ids[places[0] as usize], first, places.len() as i32, wide]);
                wide += i32::from(moe_sort::is_wide(places.len() as u32));
                first += places.len() as i32;
            }
        }
        let max_tiles = moe_sort::max_tiles(self.rows * self.top_k, self.experts) as usize;
        while tiles.len() < max_tiles * 4 {
            tiles.extend([0, 0, 0, wide]);
        }
        memory.write::<i32>(self.order, choices).copy_from_slice(&order);
        memory.write::<i32>(self.tiles, max_tiles * 4).copy_from_slice(&tiles);
    }
}
