//! Reference of `ssm_decode`: the convolution of a row, and the recurrence from the front of its chunk.
use gpu_kernels::SsmDecode;
use gpu_kernels::ssm::TAPS;

use super::ssm::{Convolution, SlotState, Tokens, step_width};
use crate::device::{Activation, Memory, Reference};

impl Reference for SsmDecode {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let sequences = self.sequences as usize;
        let row_start = memory.read::<i32>(self.row_start, sequences + 1).to_vec();
        let slots = memory.read::<i32>(self.slots, sequences).to_vec();
        let lengths = memory.read::<i32>(self.lengths, sequences).to_vec();
        let channels = self.mixer().conv_dim() as usize;
        let convolution = Convolution::read(memory, (self.conv_weight, self.conv_bias), channels);
        let inner = self.mixer().inner() as usize;
        for s in (0..sequences).filter(|s| row_start[s + 1] - row_start[*s] == 1) {
            let row = row_start[s] as usize;
            let y = match usize::try_from(slots[s]) {
                Ok(slot) => self.token::<A>(memory, &convolution, row, slot, lengths[s] as usize - 1),
                Err(_) => vec![A::default(); inner],
            };
            memory.write_all::<A>(self.y)[row * inner..][..inner].copy_from_slice(&y);
        }
    }
}

trait Decode {
    fn place(&self) -> SlotState;

    fn token<A: Activation>(
        &self,
        memory: &Memory,
        convolution: &Convolution,
        row: usize,
        slot: usize,
        position: usize,
    ) -> Vec<A>;
}

impl Decode for SsmDecode {
    fn place(&self) -> SlotState {
        SlotState {
            mixer: self.mixer(),
            state: self.state,
            chunk: self.chunk,
            ring_x: self.ring_x,
            ring_b: self.ring_b,
            ring_dt: self.ring_dt,
            window: self.window,
        }
    }

    fn token<A: Activation>(
        &self,
        memory: &Memory,
        convolution: &Convolution,
        row: usize,
        slot: usize,
        position: usize,
    ) -> Vec<A> {
        let (place, mixer) = (self.place(), self.mixer());
        let (inner, channels, heads) = (mixer.inner() as usize, mixer.conv_dim() as usize, mixer.heads as usize);
        let columns =
            memory.read_all::<A>(self.zxbcdt)[row * self.stride as usize..][..inner + channels + heads].to_vec();
        let (input, dt) = columns[inner..].split_at(channels);
        let mut window = memory.write_all::<A>(place.window);
        window[place.window_row(slot, position)..][..channels].copy_from_slice(input);
        let rows = std::array::from_fn(|tap| {
            let position = (position + tap + 1).checked_sub(TAPS as usize)?;
            Some(&window[place.window_row(slot, position)..][..channels])
        });
        let xbc = convolution.of(rows);
        drop(window);
        let dt_bias = memory.read::<f32>(self.dt_bias, heads);
        let dt = dt.iter().zip(dt_bias.iter()).map(|(dt, bias)| step_width(dt.to_f32(), *bias, self.dt_min));
        let tokens = Tokens { slot, position, xbc, dt: dt.collect(), folds_at_end: false };
        tokens.run(memory, &place, self.a_log, self.d)
    }
}
