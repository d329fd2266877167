//! Rows of `step_gap`: where it writes. What it writes depends on a clock, which the tests at the end look at.
use std::time::{Duration, Instant};

use gpu_kernels::{Ptr, StepGap};

use crate::data::Data;
use crate::emulator::Emulator;
use crate::mutants::{Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::target::Target;

/// Room for gaps, none at the end of a step; gaps so far.
const SHAPES: [(usize, i32); 10] =
    [(0, 0), (0, 7), (1, 0), (1, 1), (2, 1), (3, 0), (3, 3), (64, 2), (64, 63), (64, 64)];

pub fn rows() -> Vec<Row<StepGap>> {
    SHAPES.iter().map(|(steps, count)| row(*steps, *count, 5)).collect()
}

/// There are two elements more than the kernel is told of.
fn row(steps: usize, count: i32, ended: i32) -> Row<StepGap> {
    let mut data = Data::default();
    let mut gaps = data.reals("gaps", vec![-1.0; steps + 2]);
    if steps == 0 {
        gaps = Ptr::NULL;
    }
    let (ended, before) = (data.integers("ended", vec![ended]), count);
    let kernel = StepGap { ended, count: data.integers("count", vec![count]), gaps, steps: steps as u32 };
    Row { name: format!("{before} of {steps} gaps"), kernel, data }
}

impl Oracle for StepGap {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        if self.gaps.is_null() {
            return vec![Written::new(self.ended, vec![Want::Any])];
        }
        let (count, room) = (data.i32s(self.count)[0], self.steps as usize);
        let gap = |i: usize| if i == count as usize && i < room { Want::Any } else { Want::Kept };
        vec![
            Written::new(self.gaps, (0..room + 2).map(gap).collect()),
            Written::new(self.count, vec![Want::exact(f64::from(count + 1))]),
        ]
    }
}

/// When a step ended, and the gap if the next one starts where `ended` is `of(ended)`.
fn end_and_gap(target: &mut dyn Target, of: impl FnOnce(i32) -> i32) -> (i32, f64) {
    let mut run = |row: Row<StepGap>, buffer: usize| -> f64 {
        target.run(&row.kernel, &row.data).expect("it runs")[buffer][0].expect("it is written")
    };
    let ended = run(row(0, 0, -1), 1) as i32;
    (ended, run(row(1, 0, of(ended)), 0))
}

/// The reference's gap with a pause in it, and what passed around both launches.
fn gap_and_time(pause: Duration) -> [Duration; 2] {
    let started = Instant::now();
    let (_, gap) = end_and_gap(&mut Precision::F32, |ended| {
        std::thread::sleep(pause);
        ended
    });
    [Duration::from_secs_f64(gap / 1e9), started.elapsed()]
}

/// What the PTX takes for the end of a step, and its gap behind a step that ended 1000 ns before the emulator's time began.
fn emulated() -> (i32, f64) {
    end_and_gap(&mut Emulator::new(), |_| -1000)
}

#[test]
fn the_references_gap_is_the_hosts_time() {
    let pause = Duration::from_millis(2);
    let [gap, time] = gap_and_time(pause);
    // A float keeps 24 bits.
    assert!(gap >= pause && gap <= time.mul_f64(1.000_001), "{gap:?} of {time:?}");
}

/// The emulator's clock counts a warp's instructions, each launch from 0.
#[test]
fn the_ptx_takes_the_end_from_now() {
    let (ended, gap) = emulated();
    assert!((0..20).contains(&ended) && (1000.0..1020.0).contains(&gap), "{ended}, {gap}");
}
