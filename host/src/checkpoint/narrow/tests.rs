//! Each conversion gives the values that its formats say.
use super::*;

fn bits(data: &[u8], element_bytes: usize, narrow: Convert) -> Vec<u16> {
    whole::<bf16>(data, element_bytes, narrow)
        .as_chunks::<2>()
        .0
        .iter()
        .map(|bytes| u16::from_le_bytes(*bytes))
        .collect()
}

#[test]
fn f32_rounds_to_nearest_and_ties_to_even() {
    let rows = [
        (0x3f80_0000u32, 0x3f80u16), // 1
        (0x3f80_8000, 0x3f80),       // a tie: the even one below
        (0x3f81_8000, 0x3f82),       // a tie: the even one above
        (0x3f80_8001, 0x3f81),       // just above a tie
        (0xbf80_7fff, 0xbf80),       // just below a tie
        (0x7f7f_ffff, 0x7f80),       // rounds to infinity
        (0x0000_8001, 0x0001),       // subnormal
        (0x8000_0000, 0x8000),       // −0
    ];
    let data: Vec<u8> = rows.iter().flat_map(|row| row.0.to_le_bytes()).collect();
    assert_eq!(bits(&data, 4, from_f32), rows.map(|row| row.1));
    let nan = bits(&0x7f80_0001u32.to_le_bytes(), 4, from_f32)[0];
    assert!(bf16::from_bits(nan).is_nan());
}

#[test]
fn f16_goes_through_its_exact_value() {
    let rows = [
        (0x3c00u16, 0x3f80u16), // 1
        (0x3c04, 0x3f80),       // 1 + 2⁻⁸, a tie: the even one below
        (0x3c0c, 0x3f82),       // 1 + 3·2⁻⁸, a tie: the even one above
        (0x0001, 0x3380),       // 2⁻²⁴, subnormal in f16 alone
        (0xfc00, 0xff80),       // −∞
    ];
    let data: Vec<u8> = rows.iter().flat_map(|row| row.0.to_le_bytes()).collect();
    assert_eq!(bits(&data, 2, from_f16), rows.map(|row| row.1));
}

#[test]
fn widening_is_exact() {
    let values = [0.0f32, -0.0, 1.5, -3.25, 2f32.powi(-24), f32::INFINITY];
    let f16s: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
    let bf16s: Vec<u8> = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
    for (data, widen) in [(f16s, widen_f16 as Convert), (bf16s, widen_bf16)] {
        let bytes = whole::<f32>(&data, 2, widen);
        let found = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes).to_bits());
        assert_eq!(found.collect::<Vec<_>>(), values.map(f32::to_bits));
    }
}

#[test]
fn long_tensors_keep_their_order() {
    let values: Vec<u16> = (0..3 * CHUNK + 5).map(|i| (i % 0x7f00) as u16).collect();
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(bits(&data, 2, aligned), values);
}
