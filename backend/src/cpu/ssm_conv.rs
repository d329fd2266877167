//! Reference of `ssm_conv`.
use gpu_kernels::SsmConv;
use gpu_kernels::ssm::{TAPS, WINDOW};

use super::parallel::for_each;
use super::ssm::{Convolution, step_width};
use crate::device::{Activation, Memory, Reference};

impl Reference for SsmConv {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let mixer = self.mixer();
        let (inner, channels, heads) = (mixer.inner() as usize, mixer.conv_dim() as usize, mixer.heads as usize);
        let (stride, window_row) = (self.stride as usize, WINDOW as usize);
        let convolution = Convolution::read(memory, (self.conv_weight, self.conv_bias), channels);
        let (zxbcdt, window) = (memory.read_all::<A>(self.zxbcdt), memory.read_all::<A>(self.window));
        let (zxbcdt, window) = (&*zxbcdt, &*window);
        let dt_bias = &*memory.read::<f32>(self.dt_bias, heads);
        let (mut xbc, mut dt) = (memory.write_all::<A>(self.xbc), memory.write_all::<f32>(self.dt));
        let owners = owners(self, memory, xbc.len() / channels);
        let outs = xbc.chunks_mut(channels).zip(dt.chunks_mut(heads)).zip(owners).enumerate();
        let items: Vec<_> = outs.filter_map(|(row, (out, owner))| Some((row, out, owner?))).collect();
        for_each(items.len() * channels * TAPS as usize, items, |(row, (xbc, dt), owner)| {
            let rows = std::array::from_fn(|tap| {
                let back = TAPS as usize - 1 - tap;
                let position = owner.position.checked_sub(back)?;
                Some(if row >= owner.first_row + back {
                    &zxbcdt[(row - back) * stride + inner..][..channels]
                } else {
                    &window[(owner.slot * window_row + position % window_row) * channels..][..channels]
                })
            });
            xbc.copy_from_slice(&convolution.of(rows));
            let inputs = &zxbcdt[row * stride + inner + channels..][..heads];
            for ((dt, input), bias) in dt.iter_mut().zip(inputs).zip(dt_bias) {
                *dt = step_width(input.to_f32(), *bias, self.dt_min);
            }
        });
    }
}

/// Whose a row is.
#[derive(Clone, Copy)]
struct Owner {
    slot: usize,
    first_row: usize,
    position: usize,
}

/// The owner of each of the step's rows; none of rows that no tile of a sequence holds.
fn owners(args: &SsmConv, memory: &Memory, rows: usize) -> Vec<Option<Owner>> {
    let tiles = |source| memory.read::<i32>(source, args.tiles as usize).to_vec();
    let (sequences, firsts, counts) = (tiles(args.tile_sequence), tiles(args.tile_row), tiles(args.tile_rows));
    let (row_start, lengths) = (memory.read_all::<i32>(args.row_start), memory.read_all::<i32>(args.lengths));
    let slots = memory.read_all::<i32>(args.slots);
    let mut owners = vec![None; rows];
    for (tile, sequence) in sequences.iter().enumerate() {
        let Ok(s) = usize::try_from(*sequence) else { continue };
        for row in firsts[tile]..firsts[tile] + counts[tile] {
            let position = lengths[s] - (row_start[s + 1] - row);
            owners[row as usize] =
                Some(Owner { slot: slots[s] as usize, first_row: row_start[s] as usize, position: position as usize });
        }
    }
    owners
}
