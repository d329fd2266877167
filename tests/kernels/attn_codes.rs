//! Codes of pools in `attn_decode`, each by itself.
use half::bf16;

use crate::attention::{in_fp8, shape};
use crate::attn_decode::{row, written};
use crate::data::Values;
use crate::emulator::{DEVICES, Emulator};
use crate::oracle::Row;
use crate::target::Target;

/// Every code comes to the tensor core as the number that it is, by a GPU's own instruction and without: one key weighs 1, and its value
/// is the output.
#[test]
fn every_code_is_its_number() {
    let shape = in_fp8(shape((4, 2, 128), 0, &[(1, 1)]));
    let Row { kernel, mut data, .. } = row(0, &shape, usize::next_power_of_two);
    let kept = shape.kept()[1];
    let pool = &mut data.0[kernel.v_pool.target().expect("not null").0 as usize].values;
    let Values::Reals(codes) = pool else { panic!("a pool has numbers") };
    codes.iter_mut().enumerate().for_each(|(i, code)| *code = (i / (64 * 128) % 2 * 128 + i % 128) as f32);
    for device in DEVICES {
        let mut emulator = Emulator::new();
        emulator.device = device;
        let [out, ..] = written(&kernel, &emulator.run(&kernel, &data).expect("attn_decode runs"));
        for (i, got) in out.into_iter().enumerate() {
            let (code, got) = (i / 256 * 128 + i % 128, got.expect("written"));
            let want = bf16::from_f64(kept.number(code as f64)).to_f64();
            assert!(got == want || got.is_nan() && want.is_nan(), "{code:#x}: {got}, not {want}");
        }
    }
}
