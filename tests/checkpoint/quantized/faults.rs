//! What is wrong with a quantized tensor is an error that names it.
use nemotron::checkpoint::Dtype;
use nemotron::error::{Error, Result};

use super::encode::{Integers, floats, fp8, gptq8, int8, nvfp4};
use super::random::Random;
use super::store::{DOWN, HIDDEN, O, Raw, Store, WIDE, open};
use crate::fixture::{Fixture, check_refusal};

/// What opening and reading all of it says.
fn fault(fixture: &Fixture) -> Error {
    let read = || -> Result<()> {
        let (spec, weights) = open(fixture)?;
        for tensor in spec.tensors() {
            let weight = weights.parts(std::slice::from_ref(tensor))?;
            for beside in [weight.scales(), weight.factors(), weight.order()].into_iter().flatten() {
                beside.in_memory()?;
            }
            weight.in_memory()?;
        }
        Ok(())
    };
    read().expect_err("something is wrong with it")
}

fn refused(store: &Store, message: &str, details: &[&str]) {
    check_refusal(&fault(&store.write()), message, details);
}

fn fp8_store() -> Store {
    Store::new().with(DOWN.0, fp8(DOWN, Dtype::F32, &[], DOWN.1, &mut Random::new(1)).0)
}

fn nvfp4_store() -> Store {
    Store::new().with(DOWN.0, nvfp4(DOWN, false, &mut Random::new(2)).0)
}

fn integers(width: usize, asymmetric: bool) -> Integers {
    Integers::new(DOWN.1, width, asymmetric, &mut Random::new(3))
}

fn gptq_store() -> Store {
    Store::new().with(DOWN.0, integers(32, true).gptq(DOWN.0, 1))
}

fn name(suffix: &str) -> String {
    format!("{}.{suffix}", DOWN.0)
}

#[test]
fn a_tensor_that_is_missing_beside_another() {
    for (store, suffix) in [
        (fp8_store(), "weight_scale"),
        (nvfp4_store(), "weight_scale"),
        (nvfp4_store(), "weight_scale_2"),
        (gptq_store(), "scales"),
        (gptq_store(), "qzeros"),
        (Store::new().with(DOWN.0, integers(32, false).packed(DOWN.0, Dtype::BF16, false)), "weight_scale"),
        (Store::new().with(DOWN.0, integers(32, true).awq(DOWN.0)), "qzeros"),
        (Store::new().with(DOWN.0, int8(DOWN, Dtype::F32, WIDE, &mut Random::new(4)).0), "weight_scale"),
    ] {
        let mut store = store;
        store.remove(&name(suffix));
        refused(&store, "A quantized weight is incomplete", &[&name(suffix)]);
    }
}

#[test]
fn a_tensor_that_is_in_no_shard() {
    let fixture = gptq_store().write_shards();
    let index: String = String::from_utf8(fixture.read(crate::fixture::INDEX)).unwrap();
    let mut store = gptq_store();
    store.remove(&name("scales"));
    let without = store.write_shards();
    without.write(crate::fixture::INDEX, index);
    check_refusal(&fault(&without), "A quantized weight is incomplete", &[&name("scales"), "index.json says"]);
}

#[test]
fn tensors_of_wrong_shapes() {
    let reshaped = |mut store: Store, suffix: &str, shape: &[usize]| {
        let tensor = store.at(&name(suffix));
        assert_eq!(tensor.shape.iter().product::<usize>(), shape.iter().product::<usize>(), "the same bytes");
        tensor.shape = shape.to_vec();
        refused(&store, "Tensor has the wrong shape", &[&name(suffix)]);
    };
    reshaped(fp8_store(), "weight", &[WIDE, HIDDEN]);
    reshaped(nvfp4_store(), "weight", &[HIDDEN / 2, WIDE]);
    reshaped(nvfp4_store(), "weight_scale", &[WIDE / 16, HIDDEN]);
    reshaped(gptq_store(), "qweight", &[HIDDEN, WIDE / 8]);
    reshaped(gptq_store(), "qzeros", &[HIDDEN / 8, 6]);
    reshaped(gptq_store(), "scales", &[HIDDEN, 6]);
    reshaped(gptq_store(), "g_idx", &[2, WIDE / 2]);
    let packed =
        |asymmetric| Store::new().with(DOWN.0, integers(32, asymmetric).packed(DOWN.0, Dtype::BF16, asymmetric));
    reshaped(packed(false), "weight_packed", &[WIDE / 8, HIDDEN]);
    reshaped(packed(true), "weight_zero_point", &[6, HIDDEN / 8]);
    reshaped(packed(false), "weight_scale", &[6, HIDDEN]);
    let mut store = packed(false);
    store.at(&name("weight_shape")).bytes[0] ^= 1;
    refused(&store, "Tensor has the wrong shape", &[&name("weight_shape")]);
}

/// Packed along the other dimension, or not packed at all.
#[test]
fn wrong_packing() {
    let mut store = nvfp4_store();
    let codes = store.at(&name("weight"));
    codes.dtype = Dtype::I8;
    refused(&store, "Tensor has the wrong shape", &[&name("weight"), "[128, 192]"]);
    let mut store = gptq_store();
    store.at(&name("qweight")).dtype = Dtype::F32;
    refused(&store, "Tensor has the wrong shape", &[&name("qweight"), "F32"]);
    let mut store = fp8_store();
    store.at(&name("weight")).dtype = Dtype::F8_E5M2;
    refused(&store, "Tensor has an unsupported type", &[&name("weight"), "F8_E5M2"]);
    let mut store = fp8_store();
    let scale = store.at(&name("weight_scale"));
    scale.dtype = Dtype::I32;
    refused(&store, "Tensor has an unsupported type", &[&name("weight_scale"), "I32"]);
}

#[test]
fn groups_that_do_not_divide() {
    let message = "Columns cannot be divided into the groups of this weight";
    // 192 columns in 5 groups, and groups of 24.
    for (groups, width) in [(5, 32), (8, 24)] {
        let mut tensors = Integers::new(DOWN.1, width, true, &mut Random::new(5)).gptq(DOWN.0, 1);
        for (tensor, shape) in [(1, [groups, HIDDEN / 8]), (2, [groups, HIDDEN])] {
            let size = tensors[tensor].bytes.len() / tensors[tensor].shape[0];
            tensors[tensor].bytes.truncate(groups * size);
            tensors[tensor].shape = shape.to_vec();
        }
        refused(&Store::new().with(DOWN.0, tensors), message, &[DOWN.0, &format!("192 columns in {groups} groups")]);
    }
    let tensors = Integers::new(DOWN.1, 16, false, &mut Random::new(6)).packed(DOWN.0, Dtype::BF16, false);
    refused(&Store::new().with(DOWN.0, tensors), message, &[DOWN.0, "12 groups"]);
    let tensors = int8(DOWN, Dtype::BF16, 24, &mut Random::new(7)).0;
    refused(&Store::new().with(DOWN.0, tensors), message, &[DOWN.0, "8 groups"]);
}

#[test]
fn an_index_of_a_group_that_is_not_there() {
    for group in [6u32, u32::MAX] {
        let mut store = gptq_store();
        store.at(&name("g_idx")).bytes[4 * 7..][..4].copy_from_slice(&group.to_le_bytes());
        let found = format!("column 7: expected a group of 0 to 5, found {}", group as i32);
        refused(&store, "A column belongs to a group that is not there", &[DOWN.0, &found]);
    }
}

/// Every kind of scale as NaN or infinite, wherever it is in the tensor.
#[test]
fn scales_that_are_no_numbers() {
    let message = "A scale is not a number";
    let spoiled = |mut store: Store, suffix: &str, at: usize, value: f32| {
        let tensor = store.at(&name(suffix));
        let bytes = floats(tensor.dtype, &[value]);
        let start = (at * bytes.len()).min(tensor.bytes.len() - bytes.len());
        tensor.bytes[start..][..bytes.len()].copy_from_slice(&bytes);
        refused(&store, message, &[&name(suffix)]);
    };
    for value in [f32::NAN, f32::INFINITY] {
        spoiled(fp8_store(), "weight_scale", 0, value);
        spoiled(gptq_store(), "scales", 99, value);
        spoiled(nvfp4_store(), "weight_scale_2", 0, value);
        let packed = Store::new().with(DOWN.0, integers(64, false).packed(DOWN.0, Dtype::BF16, false));
        spoiled(packed, "weight_scale", 10_000, value);
        let blocks = fp8(DOWN, Dtype::F32, &[1, 2], [128, 128], &mut Random::new(8)).0;
        spoiled(Store::new().with(DOWN.0, blocks), "weight_scale", 1, value);
        let eight = gptq8(DOWN, 64, &mut Random::new(9)).0;
        spoiled(Store::new().with(DOWN.0, eight), "scales", 7, value);
    }
    let mut store = nvfp4_store();
    store.at(&name("weight_scale")).bytes[700] = 0x7f;
    refused(&store, message, &[&name("weight_scale")]);
}

#[test]
fn codes_that_are_no_numbers() {
    for code in [0x7f, 0xff] {
        let mut store = fp8_store();
        store.at(&name("weight")).bytes[HIDDEN * WIDE - 1] = code;
        refused(&store, "A weight is not a number", &[&name("weight")]);
    }
}

#[test]
fn factors_of_another_length_or_that_are_no_numbers() {
    let mut tensors = Integers::new(O.1, 64, false, &mut Random::new(10)).row_pairs(O.0);
    let factor = format!("{}.pre_quant_scale", O.0);
    tensors.push(Raw::new(&factor, Dtype::BF16, &[64], floats(Dtype::BF16, &[1.0; 64])));
    refused(&Store::new().with(O.0, tensors.clone()), "Tensor has the wrong shape", &[&factor]);
    *tensors.last_mut().unwrap() = Raw::new(&factor, Dtype::F32, &[128], floats(Dtype::F32, &[f32::NAN; 128]));
    refused(&Store::new().with(O.0, tensors), "A scale is not a number", &["pre_quant_scale"]);
}

#[test]
fn files_of_tools_that_are_not_read() {
    let message = "This kind of quantized weight is not supported";
    for (suffix, tool) in [
        ("q_weight", "EXL2"),
        ("W_q", "HQQ"),
        ("codes", "AQLM"),
        ("SCB", "bitsandbytes"),
        ("biases", "MLX"),
        ("B", "Marlin"),
        ("compressed", "sparse"),
    ] {
        let tensor = Raw::new(name(suffix), Dtype::U8, &[8], vec![0; 8]);
        refused(&Store::new().with(DOWN.0, vec![tensor]), message, &[DOWN.0, tool]);
    }
    let mut store = fp8_store();
    let exponents = Raw::new(name("weight_scale"), Dtype::U8, &[HIDDEN, WIDE / 32], vec![127; HIDDEN * WIDE / 32]);
    *store.at(&name("weight_scale")) = exponents;
    refused(&store, message, &["MXFP8"]);
    let three = Raw::new(name("qweight"), Dtype::I32, &[WIDE * 3 / 32, HIDDEN], vec![0; WIDE * 3 / 8 * HIDDEN]);
    refused(&Store::new().with(DOWN.0, vec![three]), message, &["GPTQ of 3 bits"]);
    let bytes =
        |suffix: &str, shape: [usize; 2]| Raw::new(name(suffix), Dtype::U8, &shape, vec![0; shape[0] * shape[1]]);
    let mx = vec![bytes("weight_packed", [HIDDEN, WIDE / 2]), bytes("weight_scale", [HIDDEN, WIDE / 32])];
    refused(&Store::new().with(DOWN.0, mx), message, &["MXFP4"]);
    let scales = [HIDDEN, WIDE / 64];
    let scales = Raw::new(name("weight_scale"), Dtype::F32, &scales, vec![0; 4 * scales[0] * scales[1]]);
    let scale = Raw::new(name("weight_scale_2"), Dtype::F32, &[], vec![0; 4]);
    refused(
        &Store::new().with(DOWN.0, vec![bytes("weight", [HIDDEN / 2, WIDE]), scales, scale]),
        message,
        &["W4A8_AWQ"],
    );
    for (dtype, [lines, words], scales, kernels) in [
        (Dtype::I32, [HIDDEN, WIDE / 8], [HIDDEN, 8], "gemv kernels"),
        (Dtype::I16, [HIDDEN / 4, WIDE], [WIDE / 32, HIDDEN], "gemv_fast kernels"),
    ] {
        let codes = vec![0; lines * words * dtype.bitsize() / 8];
        let scales = Raw::new(name("scales"), Dtype::F16, &scales, vec![0; 2 * scales[0] * scales[1]]);
        let tensors = vec![Raw::new(name("qweight"), dtype, &[lines, words], codes), scales];
        refused(&Store::new().with(DOWN.0, tensors), message, &[kernels]);
    }
    // Of a square matrix its codes look like those of gemm.
    let square = |suffix: &str, dtype: Dtype, shape: [usize; 2]| {
        let bytes = vec![0; shape[0] * shape[1] * dtype.bitsize() / 8];
        Raw::new(format!("{}.{suffix}", O.0), dtype, &shape, bytes)
    };
    assert_eq!(O.1, [HIDDEN, HIDDEN]);
    let zeros = square("qzeros", Dtype::I32, [HIDDEN, 1]);
    let codes = square("qweight", Dtype::I32, [HIDDEN, HIDDEN / 8]);
    let tensors = vec![codes, square("scales", Dtype::F16, [HIDDEN, 8]), zeros];
    refused(&Store::new().with(O.0, tensors), message, &["gemv kernels"]);
    let mut eight = gptq8(DOWN, 64, &mut Random::new(11)).0;
    eight[1].bytes[5] = 100;
    refused(&Store::new().with(DOWN.0, eight), message, &["zero points other than 128"]);
}

#[test]
fn plain_numbers_with_scales_beside_them() {
    let mut store = Store::new();
    let scale = Raw::new(name("weight_scale"), Dtype::F32, &[], floats(Dtype::F32, &[1.0]));
    store.tensors.insert(name("weight_scale"), scale);
    refused(&store, "Weight and scales contradict each other", &[&name("weight_scale"), "BF16"]);
}
