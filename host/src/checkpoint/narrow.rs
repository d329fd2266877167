//! Elements on disk become those of a device, as little-endian bytes: bf16, rounded to nearest, ties to even, or exact f32.
use bytes::Bytes;
use half::{bf16, f16};
use rayon::prelude::*;

/// Elements that one task converts: enough to outweigh its start.
const CHUNK: usize = 1 << 16;

/// Makes the bytes of some elements those of as many of another type.
pub type Convert = fn(&[u8], &mut [u8]);

/// Elements that are right but for the address that they start at.
pub fn aligned(data: &[u8], target: &mut [u8]) {
    target.copy_from_slice(data);
}

/// f16 to bf16.
pub fn from_f16(data: &[u8], target: &mut [u8]) {
    convert(data, target, |bytes| bf16::from_f32(f16::from_le_bytes(bytes).to_f32()).to_le_bytes());
}

/// f32 to bf16.
pub fn from_f32(data: &[u8], target: &mut [u8]) {
    convert(data, target, |bytes| bf16::from_f32(f32::from_le_bytes(bytes)).to_le_bytes());
}

/// bf16 to f32, exactly.
pub fn widen_bf16(data: &[u8], target: &mut [u8]) {
    convert(data, target, |bytes| bf16::from_le_bytes(bytes).to_f32().to_le_bytes());
}

/// f16 to f32, exactly.
pub fn widen_f16(data: &[u8], target: &mut [u8]) {
    convert(data, target, |bytes| f16::from_le_bytes(bytes).to_f32().to_le_bytes());
}

fn convert<const FROM: usize, const TO: usize>(
    data: &[u8],
    target: &mut [u8],
    element: impl Fn([u8; FROM]) -> [u8; TO],
) {
    let (elements, _) = data.as_chunks::<FROM>();
    let (targets, _) = target.as_chunks_mut::<TO>();
    for (target, source) in targets.iter_mut().zip(elements) {
        *target = element(*source);
    }
}

/// All elements of a tensor, each of `element_bytes` bytes, converted to `T` in memory.
pub fn whole<T: bytemuck::Pod + Send + Sync>(data: &[u8], element_bytes: usize, convert: Convert) -> Bytes {
    let mut converted: Vec<T> = bytemuck::allocation::zeroed_vec(data.len() / element_bytes);
    let sources = data.par_chunks(CHUNK * element_bytes);
    let targets = converted.par_chunks_mut(CHUNK);
    targets.zip(sources).for_each(|(target, source)| convert(source, bytemuck::cast_slice_mut(target)));
    Bytes::from_owner(Elements(converted))
}

/// Lets elements be the bytes that they are, with their alignment.
pub struct Elements<T>(pub Vec<T>);

impl<T: bytemuck::Pod> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests;
