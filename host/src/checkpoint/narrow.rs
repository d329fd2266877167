//! Elements on disk that are not yet aligned bf16 become so; rounding is to nearest, ties to even.
use bytes::Bytes;
use half::{bf16, f16};
use rayon::prelude::*;

/// Elements that one task converts: enough to outweigh its start.
const CHUNK: usize = 1 << 16;

/// Makes bf16 of the bytes of as many elements.
pub type Narrow = fn(&[u8], &mut [bf16]);

/// bf16, little-endian, that does not start on an even address.
pub fn aligned(data: &[u8], target: &mut [bf16]) {
    convert(data, target, bf16::from_le_bytes);
}

/// f16, little-endian.
pub fn from_f16(data: &[u8], target: &mut [bf16]) {
    convert(data, target, |bytes| bf16::from_f32(f16::from_le_bytes(bytes).to_f32()));
}

/// f32, little-endian.
pub fn from_f32(data: &[u8], target: &mut [bf16]) {
    convert(data, target, |bytes| bf16::from_f32(f32::from_le_bytes(bytes)));
}

fn convert<const SIZE: usize>(data: &[u8], target: &mut [bf16], element: impl Fn([u8; SIZE]) -> bf16) {
    let (elements, _) = data.as_chunks::<SIZE>();
    for (target, source) in target.iter_mut().zip(elements) {
        *target = element(*source);
    }
}

/// All elements of a tensor, each of `element_bytes` bytes, in memory.
pub fn whole(data: &[u8], element_bytes: usize, narrow: Narrow) -> Bytes {
    let mut narrowed: Vec<bf16> = bytemuck::allocation::zeroed_vec(data.len() / element_bytes);
    let sources = data.par_chunks(CHUNK * element_bytes);
    narrowed.par_chunks_mut(CHUNK).zip(sources).for_each(|(target, source)| narrow(source, target));
    Bytes::from_owner(Elements(narrowed))
}

/// Lets bf16 elements be the bytes that they are, with their alignment.
pub struct Elements(pub Vec<bf16>);

impl AsRef<[u8]> for Elements {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(data: &[u8], element_bytes: usize, narrow: Narrow) -> Vec<u16> {
        whole(data, element_bytes, narrow).as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()
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
    fn long_tensors_keep_their_order() {
        let values: Vec<u16> = (0..3 * CHUNK + 5).map(|i| (i % 0x7f00) as u16).collect();
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(bits(&data, 2, aligned), values);
    }
}
