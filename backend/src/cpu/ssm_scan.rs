//! Reference of `ssm_scan`: the recurrence, token by token.
use gpu_kernels::SsmScan;
use gpu_kernels::ssm::{CHUNK, TAPS};

use super::ssm::{SlotState, Tokens};
use crate::device::{Activation, Memory, Reference};

impl Reference for SsmScan {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let sequences = self.sequences as usize;
        let row_start = memory.read::<i32>(self.row_start, sequences + 1).to_vec();
        let slots = memory.read::<i32>(self.slots, sequences).to_vec();
        let lengths = memory.read::<i32>(self.lengths, sequences).to_vec();
        for s in (0..sequences).filter(|s| slots[*s] >= 0 && row_start[s + 1] - row_start[*s] > 1) {
            let rows = row_start[s] as usize..row_start[s + 1] as usize;
            self.span::<A>(memory, slots[s] as usize, lengths[s] as usize - rows.len(), rows);
        }
        self.fill_pads::<A>(memory);
    }
}

trait Scan {
    fn span<A: Activation>(&self, memory: &Memory, slot: usize, position: usize, rows: std::ops::Range<usize>);
    fn fill_pads<A: Activation>(&self, memory: &Memory);
}

impl Scan for SsmScan {
    fn span<A: Activation>(&self, memory: &Memory, slot: usize, position: usize, rows: std::ops::Range<usize>) {
        let mixer = self.mixer();
        let (inner, channels, heads) = (mixer.inner() as usize, mixer.conv_dim() as usize, mixer.heads as usize);
        let place = SlotState {
            mixer,
            state: self.state,
            chunk: self.chunk,
            ring_x: self.ring_x,
            ring_b: self.ring_b,
            ring_dt: self.ring_dt,
            window: self.window,
        };
        let xbc = memory.read_all::<A>(self.xbc)[rows.start * channels..rows.end * channels].to_vec();
        let dt = memory.read_all::<f32>(self.dt)[rows.start * heads..rows.end * heads].to_vec();
        let y = Tokens { slot, position, xbc, dt, folds_at_end: true }.run(memory, &place, self.a_log, self.d);
        memory.write_all::<A>(self.y)[rows.start * inner..rows.end * inner].copy_from_slice(&y);
        let zxbcdt = memory.read_all::<A>(self.zxbcdt);
        let mut window = memory.write_all::<A>(self.window);
        let end = position + rows.len();
        let first = (end / CHUNK as usize * CHUNK as usize).saturating_sub(TAPS as usize - 1);
        for (row, position) in rows.clone().zip(position..).filter(|(_, position)| *position >= first) {
            let input = &zxbcdt[row * self.stride as usize + inner..][..channels];
            window[place.window_row(slot, position)..][..channels].copy_from_slice(input);
        }
    }

    fn fill_pads<A: Activation>(&self, memory: &Memory) {
        let tiles = |source| memory.read::<i32>(source, self.tiles as usize).to_vec();
        let tiles = tiles(self.tile_sequence).into_iter().zip(tiles(self.tile_row)).zip(tiles(self.tile_rows));
        let inner = self.mixer().inner() as usize;
        let mut y = memory.write_all::<A>(self.y);
        for ((_, row), rows) in tiles.filter(|((sequence, _), _)| *sequence < 0) {
            y[row as usize * inner..][..rows as usize * inner].fill(A::default());
        }
    }
}
