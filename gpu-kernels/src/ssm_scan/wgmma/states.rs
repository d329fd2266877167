//! The warpgroups that take S along: each holds half of its columns, transposed, in registers.
use super::inputs::{self, Inputs};
use super::numbers::Numbers;
use super::{COLUMNS, MATRIX_BYTES, READ, READY, Room, Stage, place};
use crate::ssm::CHUNK;
use crate::ssm_scan::chunk::parts;
use crate::ssm_scan::span::{Span, state_address};
use crate::ssm_scan::{SsmScan, WGMMA_SIZE, WGMMA_THREADS};
use cuda_std::barrier::{arrive_named, sync_named};
use cuda_std::shared::Shared;
use cuda_std::unroll::{array, unroll};
use cuda_std::wgmma::{self, Accumulator};
use cuda_std::{bf16, cp_async, fragment, global, math, mma, thread};

/// Steps of the tensor core over a chunk's positions.
const STEPS: usize = (CHUNK / wgmma::K) as usize;
/// What the warp's columns of B count: the left operands of products with x.
type Operands = [[u32; 4]; STEPS];

/// # Safety
/// The kernel's Requires hold; the block's two last warpgroups come here, and [`super::outputs::run`] is where the first one
/// is; the kernel in front has ended.
#[inline(always)]
pub unsafe fn run<const DIM: u32, const TILES: usize>(args: &SsmScan, span: &Span, room: &Room)
where
    [[f32; 4]; TILES]: Accumulator,
{
    let thread = thread::thread_idx_x() - wgmma::THREADS;
    let inputs = Inputs::new::<DIM>(args, span, thread);
    let last = (span.end - 1) / CHUNK;
    // SAFETY: chunks are the same for the whole block, so all its threads come to the barriers; a stage is asked for when
    // nobody reads the chunk that was there.
    unsafe {
        inputs.ask::<DIM, true>(span, &room.stage(span.front), span.front);
        cp_async::commit();
        ask_ahead::<DIM>(span, room, &inputs, span.front);
        let mut numbers = Numbers::new(args, span, thread);
        let mut state = Half::<TILES>::load(args, span, thread);
        numbers.store(span, &room.stage(span.front), span.front);
        cp_async::wait::<1>();
        state.publish(room);
        // Here alone these threads wait too: each is to see what the others have copied.
        sync_named(READY, WGMMA_THREADS);
        if span.front < last {
            numbers.ask(args, span, span.front + 1);
        }
        let mut at = span.front;
        while at < last {
            let mut b = state.start(&room.stage(at));
            numbers.store(span, &room.stage(at + 1), at + 1);
            state.finish(&mut b);
            cp_async::wait::<0>();
            wgmma::publish();
            sync_named(READ, WGMMA_THREADS);
            state.publish(room);
            arrive_named(READY, WGMMA_THREADS);
            // Behind the fence, which would wait for what is under way.
            ask_ahead::<DIM>(span, room, &inputs, at + 1);
            if at + 2 <= last {
                numbers.ask(args, span, at + 2);
            }
            at += 1;
        }
        // Made again, it takes no register in the loop, where they are short.
        state.first = first_column(thread::anew(thread::thread_idx_x()) - wgmma::THREADS);
        if span.completes(last) {
            let mut b = state.start(&room.stage(last));
            state.finish(&mut b);
        }
        if span.end / CHUNK > span.front {
            state.store(args, span);
        }
    }
}

/// Asks for the chunk behind chunk `at`, where there is one.
///
/// # Safety
/// As for [`Inputs::ask`].
#[inline(always)]
unsafe fn ask_ahead<const DIM: u32>(span: &Span, room: &Room, inputs: &Inputs, at: u32) {
    if (at + 1) * CHUNK < span.end {
        // SAFETY: the caller's promise.
        unsafe { inputs.ask::<DIM, false>(span, &room.stage(at + 1), at + 1) };
    }
    cp_async::commit();
}

/// The first column of S that the warp of thread `thread` of these warpgroups has.
#[inline(always)]
fn first_column(thread: u32) -> u32 {
    thread / thread::WARP_SIZE * fragment::M
}

/// What a lane holds of S: of each eight channels two neighbours, for column `column` and the eighth behind it.
struct Half<const TILES: usize> {
    sums: [[f32; 4]; TILES],
    /// The warp's first column.
    first: u32,
}

impl<const TILES: usize> Half<TILES>
where
    [[f32; 4]; TILES]: Accumulator,
{
    /// S of the head as it is kept; 0 in front of chunk 0.
    ///
    /// # Safety
    /// The kernel's Requires hold; the kernel in front has ended.
    #[inline(always)]
    unsafe fn load(args: &SsmScan, span: &Span, thread: u32) -> Self {
        let mut half = Half { sums: [[0.0; 4]; TILES], first: first_column(thread) };
        if span.front > 0 {
            let start = half.address(args, span);
            unroll::<TILES>(
                #[inline(always)]
                |tile| {
                    unroll::<4>(
                        #[inline(always)]
                        // SAFETY: the head's own state.
                        |i| half.sums[tile][i] = unsafe { global::load(start + offset(tile, i)) },
                    );
                },
            );
        }
        half
    }

    /// Stores S.
    ///
    /// # Safety
    /// As for [`Half::load`]; nobody else reads or writes it.
    #[inline(always)]
    unsafe fn store(&self, args: &SsmScan, span: &Span) {
        let start = self.address(args, span);
        unroll::<TILES>(
            #[inline(always)]
            |tile| {
                unroll::<4>(
                    #[inline(always)]
                    // SAFETY: the head's own state.
                    |i| unsafe { global::store(start + offset(tile, i), self.sums[tile][i]) },
                );
            },
        );
    }

    /// Where the lane's first element is kept.
    #[inline(always)]
    fn address(&self, args: &SsmScan, span: &Span) -> u64 {
        let (column, channel) = fragment::c_element(thread::lane_id(), 0);
        state_address(args, span) + 4 * u64::from(channel * WGMMA_SIZE + self.first + column)
    }

    /// Leaves both parts of S where the outputs' products read them.
    ///
    /// # Safety
    /// Nobody reads what is there.
    #[inline(always)]
    unsafe fn publish(&self, room: &Room) {
        let (column, channel) = fragment::c_element(thread::lane_id(), 0);
        let row = self.first + column;
        unroll::<TILES>(
            #[inline(always)]
            |tile| {
                let [a, b, c, d] = self.sums[tile];
                for (row, pair) in [(row, [a, b]), (row + 8, [c, d])] {
                    let to = room.state + place(WGMMA_SIZE, row, tile as u32) + 2 * channel;
                    let [high, low] = parts(pair);
                    // SAFETY: the words are the lane's own.
                    unsafe {
                        Shared::from_address(to).store(0, high);
                        Shared::from_address(to + room.state_part).store(0, low);
                    }
                }
            },
        );
        wgmma::publish();
    }

    /// Starts to take S over a whole chunk; gives the left operands, which belong to the products until [`Half::finish`].
    ///
    /// # Safety
    /// The whole warpgroup comes here, behind a barrier that orders the chunk and its sums.
    #[inline(always)]
    unsafe fn start(&mut self, stage: &Stage) -> Operands {
        // SAFETY: the caller's promise.
        unsafe {
            let mut b = self.weighed(stage);
            let over = math::ex2_flushed(stage.sums.load(CHUNK - 1));
            unroll::<TILES>(
                #[inline(always)]
                |tile| self.sums[tile] = self.sums[tile].map(|s| s * over),
            );
            let x = wgmma::describe(stage.x, MATRIX_BYTES);
            self.sums.fence();
            wgmma::hold(&mut b);
            unroll::<STEPS>(
                #[inline(always)]
                |step| self.sums.add_rows(b[step], wgmma::along(x, step as u32 * wgmma::K * wgmma::ROW_BYTES)),
            );
            wgmma::commit();
            b
        }
    }

    /// Waits until S is at the chunk's end.
    ///
    /// # Safety
    /// The whole warpgroup comes here; `b` is what [`Half::start`] gave.
    #[inline(always)]
    unsafe fn finish(&mut self, b: &mut Operands) {
        // SAFETY: the caller's promise.
        unsafe { self.sums.wait::<0>() };
        wgmma::hold(b);
    }

    /// The warp's columns of B, transposed, each position with what it counts at the end of the chunk.
    ///
    /// # Safety
    /// As for [`Half::start`].
    #[inline(always)]
    unsafe fn weighed(&self, stage: &Stage) -> Operands {
        let lane = thread::lane_id();
        let (row, column) = fragment::b_source_by_columns(lane);
        let column = self.first + column;
        let from = stage.b + column / COLUMNS * MATRIX_BYTES + wgmma::place(row, column % COLUMNS / 8);
        // All loads in front of the arithmetic, so that one wait is for all of them. The rows of each step are whole atoms
        // behind those of the first: their places are alike.
        // SAFETY: the caller's promise.
        let plain: [[u32; 4]; STEPS] =
            array(|step| unsafe { mma::ldmatrix_x4_transposed(from + step as u32 * fragment::K * wgmma::ROW_BYTES) });
        // SAFETY: as above.
        let factors: [[[f32; 2]; 2]; STEPS] = array(|step| {
            array(|half| unsafe { stage.factors.cast::<[f32; 2]>().load(step as u32 * 8 + half as u32 * 4 + lane % 4) })
        });
        array(|step| {
            array(|i: usize| {
                let ([low, high], factors) = (bf16::unpack(plain[step][i]), factors[step][i / 2]);
                bf16::pack([low * factors[0], high * factors[1]])
            })
        })
    }
}

/// Bytes from a lane's first element of S to element `i` of its channels number `tile`.
#[inline(always)]
const fn offset(tile: usize, i: usize) -> u64 {
    let (channel, column) = (tile as u32 * fragment::N + i as u32 % 2, i as u32 / 2 * 8);
    4 * (channel * WGMMA_SIZE + column) as u64
}

const _: () = assert!(inputs::THREADS == WGMMA_THREADS - wgmma::THREADS);
