//! A safetensors file: mapped, its header read, and every tensor's range checked before anything is read through it.
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use safetensors::tensor::TensorInfo;
use serde_json::value::RawValue;

use super::shrunk;
use crate::error::{Category, Error, Result};
use crate::files::{self, unreadable};

/// The length of the header, a little-endian u64, stands in front of it.
const LENGTH_BYTES: usize = 8;

/// Longest header that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Opens a file and maps it into memory.
///
/// # Errors
/// The file cannot be opened or mapped, is no regular file, or holds a pointer of Git LFS.
#[expect(unsafe_code, reason = "a mapped file is the only way to read weights in place")]
pub fn map(path: &Path) -> Result<(File, Bytes)> {
    let file = files::open(path)?.ok_or_else(|| unreadable(path, &ErrorKind::NotFound.into()))?;
    // SAFETY: the mapping is read-only and lives as long as its `Bytes`. Its content must not change meanwhile: this
    // program never writes to a checkpoint, and who rewrites a file in place while it is loaded breaks every loader. One
    // that becomes shorter ends the command with an error (`shrunk`).
    let mapped = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| unreadable(path, &error))?;
    files::refuse_pointer(path, &mapped)?;
    Ok((file, Bytes::from_owner(shrunk::Watched::new(path, mapped))))
}

/// Name, dtype, shape and range of every tensor of the file, in the order of their bytes; the ranges are absolute.
///
/// # Errors
/// The header is not what the format says, or the ranges are not exactly the file's bytes, one after the other.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Vec<(String, TensorInfo)>> {
    let (header, data_start) = split(path, bytes)?;
    // Entries are kept as text until it is known what they are: values of any kind take many times the room.
    let entries: BTreeMap<String, &RawValue> = serde_json::from_slice(header).map_err(|error| {
        invalid("Safetensors header is not valid JSON", format_args!("{}: {error}", path.display()))
    })?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        if name != "__metadata__" {
            let info: TensorInfo = serde_json::from_str(entry.get()).map_err(|error| {
                invalid("Tensor is not described as expected", format_args!("{}: {name}: {error}", path.display()))
            })?;
            tensors.push((name, info));
        }
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    check_ranges(path, &tensors, bytes.len() - data_start)?;
    for (_, info) in &mut tensors {
        info.data_offsets.0 += data_start;
        info.data_offsets.1 += data_start;
    }
    Ok(tensors)
}

/// The header, and where the data behind it starts.
fn split<'a>(path: &Path, bytes: &'a [u8]) -> Result<(&'a [u8], usize)> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        let found = format_args!("{}: {} bytes, too few for a header", path.display(), bytes.len());
        return Err(invalid("Safetensors file is truncated", found));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().filter(|_| length <= MAX_HEADER_BYTES).and_then(|n| rest.get(..n));
    let header = header.ok_or_else(|| {
        invalid(
            "Safetensors header is longer than the file",
            format_args!("{}: a header of {length} bytes in a file of {} bytes", path.display(), bytes.len()),
        )
    })?;
    Ok((header, LENGTH_BYTES + header.len()))
}

/// Checks that each tensor lies within `data_bytes` and has the bytes that its shape and dtype need, and that all of
/// them, sorted by their offsets, tile the data without overlap, gap or rest.
fn check_ranges(path: &Path, tensors: &[(String, TensorInfo)], data_bytes: usize) -> Result<()> {
    for (name, info) in tensors {
        let (start, end) = info.data_offsets;
        let fault = |message, found: &dyn Display| {
            Err(invalid(message, format_args!("{}: {name}: offsets {start} to {end}, {found}", path.display())))
        };
        if end < start {
            return fault("Tensor offsets run backwards", &"expected a start before the end");
        }
        if end > data_bytes {
            return fault("Safetensors file is truncated", &format_args!("past the end of {data_bytes} bytes of data"));
        }
        if bytes_of(info) != Some(end - start) {
            let needed = format_args!("which is not what {} of shape {:?} needs", info.dtype, info.shape);
            return fault("Tensor size does not match its shape", &needed);
        }
    }
    let mut end_before = 0;
    for (name, info) in tensors {
        let (start, end) = info.data_offsets;
        if start != end_before {
            let fault = if start < end_before { "overlap" } else { "leave a gap" };
            let found = format_args!("{}: {name}: starts at {start}, not {end_before}", path.display());
            return Err(invalid(&format!("Tensor offsets {fault}"), found));
        }
        end_before = end;
    }
    if end_before != data_bytes {
        let found = format_args!("{}: {data_bytes} bytes of data, {end_before} of them in tensors", path.display());
        return Err(invalid("Safetensors file is longer than its tensors", found));
    }
    Ok(())
}

/// The bytes that shape and dtype need; none if that overflows or is no whole number.
fn bytes_of(info: &TensorInfo) -> Option<usize> {
    let elements = info.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    let bits = elements.checked_mul(info.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

fn invalid(message: &str, details: impl Display) -> Error {
    Error::new(Category::Model, message).details(details).hint("download the file again, or write it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data_bytes: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data_bytes]);
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        read(Path::new("x.safetensors"), bytes).unwrap_err().message().to_owned()
    }

    #[test]
    fn ranges_are_absolute_and_in_the_order_of_the_bytes() {
        let header = r#"{"b":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"__metadata__":{"format":"pt"},
                         "a":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]}}"#;
        let tensors = read(Path::new("x.safetensors"), &file(header, 14)).unwrap();
        let start = 8 + header.len();
        let found: Vec<_> = tensors.iter().map(|(name, info)| (name.as_str(), info.data_offsets)).collect();
        assert_eq!(found, [("b", (start, start + 6)), ("a", (start + 6, start + 14))]);
    }

    #[test]
    fn a_file_may_hold_no_tensor() {
        assert!(read(Path::new("x.safetensors"), &file("{}", 0)).unwrap().is_empty());
        assert_eq!(message(&file("{}", 1)), "Safetensors file is longer than its tensors");
    }

    #[test]
    fn ranges_that_do_not_tile_the_data_are_refused() {
        let one = |shape, start: usize, end: usize| {
            file(&format!(r#"{{"a":{{"dtype":"BF16","shape":{shape},"data_offsets":[{start},{end}]}}}}"#), 6)
        };
        assert_eq!(message(&one("[3]", 6, 0)), "Tensor offsets run backwards");
        assert_eq!(message(&one("[2]", 2, 6)), "Tensor offsets leave a gap");
        assert_eq!(message(&one("[4]", 0, 8)), "Safetensors file is truncated");
        assert_eq!(message(&one("[2]", 0, 6)), "Tensor size does not match its shape");
        assert_eq!(message(&one("[9223372036854775808,2]", 0, 6)), "Tensor size does not match its shape");
        assert_eq!(message(&one("[-3]", 0, 6)), "Tensor is not described as expected");
    }
}
