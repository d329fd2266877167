//! Tests of `WeightPart`.
use std::os::unix::fs::FileExt;
use std::path::Path;

use half::bf16;

use super::*;

/// A tensor whose elements take a byte each; bf16 is eight times as much.
fn converted(rows: usize, columns: usize) -> Converted {
    fn convert(bytes: &[u8], target: &mut [u8]) {
        let elements = bytes.iter().map(|byte| bf16::from_f32(f32::from(*byte) * 8.0).to_le_bytes());
        target.as_chunks_mut::<2>().0.iter_mut().zip(elements).for_each(|(target, element)| *target = element);
    }
    let data: Vec<u8> = (0..rows * columns).map(|i| i as u8).collect();
    let whole: Vec<bf16> = data.iter().map(|byte| bf16::from_f32(f32::from(*byte) * 8.0)).collect();
    let whole = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&whole));
    Converted { data: Bytes::from_owner(data), element_bytes: 1, convert, whole: Arc::new(move || whole.clone()) }
}

fn values<const BYTES: usize>(copy: impl FnOnce(&mut [u8]) -> Result<()>) -> Vec<f32> {
    let mut copied = [0; BYTES];
    copy(&mut copied).unwrap();
    copied.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
}

#[test]
fn what_is_copied_in_pieces_is_what_stands_in_memory() {
    let part = WeightPart::converted(Format::Bf16, converted(6, 5), 5, 1..4, 1..4);
    let whole = part.clone().in_memory().unwrap();
    for row in 0..3 {
        let first = (1 + row) * 5 + 1;
        let expected = [0, 1, 2].map(|i| (first + i) as f32 * 8.0);
        assert_eq!(values::<6>(|target| part.copy_rows(row..row + 1, target)), expected);
        assert_eq!(values::<6>(|target| whole.copy_rows(row..row + 1, target)), expected);
        assert_eq!(bytemuck::cast_slice::<u8, bf16>(whole.row_bytes(row)), expected.map(bf16::from_f32));
    }
    let part = WeightPart::converted(Format::Bf16, converted(6, 5), 5, 1..4, 0..5);
    let expected = [0, 1, 2, 3, 4, 5, 6].map(|i| (5 + 4 + i) as f32 * 8.0);
    assert_eq!(values::<14>(|target| part.copy_adjacent(8, target)), expected);
    let column = part.as_column();
    assert_eq!((column.rows(), column.columns(), column.is_adjacent()), (15, 1, true));
    assert_eq!(values::<2>(|target| column.copy_adjacent(0, target)), [40.0]);
}

#[test]
fn mapped_elements_are_read_from_their_file_or_it_is_said() {
    let in_file: Vec<u8> = (0..16).collect();
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.write_all_at(&in_file, 0).unwrap();
    let at = |start| FileRange { file: file.clone(), path: Path::new("a.safetensors").into(), start };
    for format in [Format::Bf16, Format::F32] {
        let size = element_bytes(format);
        let part = WeightPart::in_place(
            format,
            Bytes::from_owner(vec![0u64; 3].into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>()),
            2,
            0..2,
            0..2,
        );
        let read = |part: &WeightPart| {
            let mut copied = vec![9; 2 * size];
            part.copy_adjacent(size, &mut copied).map(|()| copied)
        };
        assert_eq!(read(&part).unwrap(), vec![0; 2 * size]);
        assert_eq!(read(&part.clone().in_file(at(4))).unwrap(), in_file[4 + size..][..2 * size]);
        let row = part.clone().in_file(at(16 - 2 * size as u64)).copy_rows(1..2, &mut vec![9; 2 * size]);
        for error in [read(&part.in_file(at(12))).unwrap_err(), row.unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains("A weight could not be read") && error.contains("a.safetensors: "), "{error}");
        }
    }
}
