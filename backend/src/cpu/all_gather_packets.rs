//! Reference of `all_gather_packets`: what one rank does when the others have come, or do not and it is told to give up.
use gpu_kernels::{PacketAllGather, Ptr, Role};

use super::{meeting, reduction};
use crate::device::{Activation, Memory, Reference, Stored};

impl Reference for PacketAllGather {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let count = (self.rows * self.n) as usize;
        let (own, of_word) = match self.x.is_null() {
            true => (reduction::activations::<A>(memory, self.x_act, count), 2),
            false => (memory.read::<f32>(self.x, count).to_vec(), 1),
        };
        // Whole groups of 4 words.
        let mut sent = own;
        sent.resize(count.next_multiple_of(4 * of_word as usize), 0.0);
        let words = (sent.len(), of_word);
        let Some(parts) = meeting::exchange(&self.meeting, memory, Some(&sent), words) else { return };
        match self.x.is_null() {
            true => store::<A, _>(self, memory, &parts, self.y, A::from_f32),
            false => store::<f32, _>(self, memory, &parts, self.y_f32, |value| value),
        }
    }
}

/// Writes the columns of all ranks side by side.
fn store<T: Stored, R: Role>(
    gather: &PacketAllGather,
    memory: &Memory,
    parts: &[Vec<f32>],
    y: Ptr<R>,
    stored: impl Fn(f32) -> T,
) {
    let (rows, n, ranks) = (gather.rows as usize, gather.n as usize, parts.len());
    let mut y = memory.write::<T>(y, rows * ranks * n);
    for (row, to) in y.chunks_mut(ranks * n).enumerate() {
        let columns = parts.iter().flat_map(|part| &part[row * n..][..n]);
        to.iter_mut().zip(columns).for_each(|(to, value)| *to = stored(*value));
    }
}
