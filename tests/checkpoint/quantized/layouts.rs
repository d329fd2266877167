//! Every layout becomes the numbers that it stands for.
use nemotron::checkpoint::Dtype;
use nemotron::device::{Format, Weight, nvfp4_rows, unpack};
use nemotron::models::spec::{Block, ModelSpec, Product, Tensor};
use nemotron::weights::Weights;
use serde_json::json;

use super::encode::{Encoded, Integers, floats, fp8, gptq8, int8, nvfp4};
use super::random::Random;
use super::store::{DOWN, EMBEDDING, GATE, HEAD, HIDDEN, K, LAYER, Module, O, Q, Raw, Store, UP, V, open};

/// The numbers of a weight in the file's order of columns: what a device multiplies the file's inputs with.
fn numbers(weight: &Weight) -> Vec<f32> {
    let weight = weight.clone().in_memory().unwrap();
    let (format, columns) = (weight.format(), weight.columns());
    let per_row = format.scales(columns as u64) as usize;
    let scales = weight.scales().map(|scales| scales.in_memory().unwrap().to_f32()).unwrap_or_default();
    let order = weight.order().map(|order| order.in_memory().unwrap().to_f32());
    let mut all = Vec::new();
    for row in 0..weight.rows() {
        let (mut found, mut placed) = (vec![0.0; columns], vec![f32::NAN; columns]);
        unpack(format, weight.row_bytes(row), &scales[row * per_row..], &mut found);
        for (place, value) in found.into_iter().enumerate() {
            placed[order.as_ref().map_or(place, |order| order[place].to_bits() as usize)] = value;
        }
        all.extend(placed);
    }
    all
}

/// What a device gets that copies a weight in rows, a few at a time, is what stands in memory.
fn assert_copies(weight: &Weight) {
    for part in weight.parts() {
        let whole = part.clone().in_memory().unwrap();
        let bytes = part.copied_bytes_of_row();
        let mut copied = vec![0xaa; part.rows() * bytes];
        for (piece, target) in copied.chunks_mut(13 * bytes).enumerate() {
            if part.is_adjacent() {
                part.copy_adjacent(13 * bytes * piece, target).unwrap();
            } else {
                part.copy_rows(13 * piece..13 * piece + target.len() / bytes, target).unwrap();
            }
        }
        if part.comes_apart() {
            // What was copied together becomes rows together.
            let mut rows = vec![0xaa; part.rows() * part.bytes_of_row()];
            let together = copied.chunks(13 * bytes).zip(rows.chunks_mut(13 * part.bytes_of_row()));
            together.for_each(|(apart, rows)| nvfp4_rows(part.columns(), apart, rows));
            copied = rows;
        }
        let bytes = part.bytes_of_row();
        assert!((0..part.rows()).all(|row| whole.row_bytes(row) == &copied[row * bytes..][..bytes]));
    }
}

fn products(spec: &ModelSpec) -> Vec<&Product> {
    let blocks = spec.blocks.iter().flat_map(|block| match block {
        Block::Attention(attention) => [&attention.qkv, &attention.out],
        Block::Mlp(mlp) => [&mlp.up, &mlp.down],
        _ => panic!("a Llama has attention and MLP"),
    });
    blocks.chain([&spec.head]).collect()
}

fn product<'a>(spec: &'a ModelSpec, module: &str) -> &'a Product {
    let name = format!("{module}.weight");
    products(spec).into_iter().find(|product| product.parts.iter().any(|part| part.name == name)).unwrap()
}

fn part<'a>(spec: &'a ModelSpec, module: &str) -> &'a Tensor {
    let name = format!("{module}.weight");
    product(spec, module).parts.iter().find(|part| part.name == name).unwrap()
}

/// Stores all matrices of the layer by `encode`, in one file and in shards, and reads them back in `format`.
fn check(format: Format, encode: impl Fn(Module, &mut Random) -> Encoded) {
    let mut random = Random::new(3);
    let encoded: Vec<(Module, Encoded)> = LAYER.map(|module| (module, encode(module, &mut random))).to_vec();
    let mut store = Store::new();
    for ((name, _), (tensors, _)) in &encoded {
        store = store.with(name, tensors.clone());
    }
    for fixture in [store.write(), store.write_shards()] {
        let (spec, weights) = open(&fixture).unwrap();
        for ((name, _), (_, expected)) in &encoded {
            let tensor = part(&spec, name);
            assert_eq!(tensor.format, format, "{name}");
            let weight = weights.parts(std::slice::from_ref(tensor)).unwrap();
            assert_eq!(numbers(&weight), *expected, "{name}");
            assert_copies(&weight);
        }
        assert!(weights.unused(&spec).is_empty(), "{:?}", weights.unused(&spec));
        assert_whole_products(&spec, &weights);
    }
}

/// The parts of a product stack: one weight, as many bytes as the format says.
fn assert_whole_products(spec: &ModelSpec, weights: &Weights) {
    for product in products(spec) {
        let weight = weights.parts(&product.parts).unwrap().in_memory().unwrap();
        assert_eq!((weight.rows(), weight.columns()), (product.rows(), product.columns()));
        let scales = weight.scales().map_or(0, |scales| scales.rows() * scales.bytes_of_row());
        let bytes = (weight.rows() * weight.bytes_of_row() + scales) as u64;
        assert_eq!(bytes, product.format().bytes(product.rows() as u64, product.columns() as u64));
        assert_eq!(bytes, product.parts.iter().map(Tensor::bytes).sum::<u64>());
    }
}

fn integers(module: Module, width: usize, asymmetric: bool, random: &mut Random) -> Integers {
    Integers::new(module.1, width, asymmetric, random)
}

#[test]
fn fp8_scales_of_every_shape() {
    let row = Format::Fp8 { group: 0 };
    for shape in [&[][..], &[1], &[1, 1]] {
        check(row, |module, random| fp8(module, Dtype::F32, shape, module.1, random));
    }
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        check(row, |module, random| fp8(module, dtype, &[module.1[0]], [1, module.1[1]], random));
        check(row, |module, random| fp8(module, dtype, &[module.1[0], 1], [1, module.1[1]], random));
    }
}

/// k and v have half a block's rows, down has a block and a half of columns.
#[test]
fn fp8_blocks_that_are_not_whole() {
    for suffix in ["weight_scale", "weight_scale_inv"] {
        let mut random = Random::new(5);
        let mut store = Store::new();
        let mut expected = Vec::new();
        for module in LAYER {
            let [n, k] = module.1;
            let shape = [n.div_ceil(128), k.div_ceil(128)];
            let (mut tensors, numbers) = fp8(module, Dtype::BF16, &shape, [128, 128], &mut random);
            tensors[1].name = format!("{}.{suffix}", module.0);
            store = store.with(module.0, tensors);
            expected.push((module, numbers));
        }
        let (spec, weights) = open(&store.write()).unwrap();
        for ((name, [_, k]), expected) in expected {
            let tensor = part(&spec, name);
            assert_eq!(tensor.format, Format::Fp8 { group: if k > 128 { 128 } else { 0 } });
            assert_eq!(numbers(&weights.parts(std::slice::from_ref(tensor)).unwrap()), expected, "{name}");
        }
        assert_whole_products(&spec, &weights);
    }
}

#[test]
fn int8_by_rows_and_groups() {
    check(Format::Int8 { group: 0 }, |module, random| int8(module, Dtype::BF16, module.1[1], random));
    check(Format::Int8 { group: 32 }, |module, random| int8(module, Dtype::F32, 32, random));
    check(Format::Int8 { group: 64 }, |module, random| gptq8(module, 64, random));
    check(Format::Int8 { group: 0 }, |module, random| gptq8(module, module.1[1], random));
}

#[test]
fn nvfp4_of_both_exporters() {
    for reciprocal in [false, true] {
        check(Format::Nvfp4, |module, random| nvfp4(module, reciprocal, random));
    }
}

#[test]
fn int4_of_compressed_tensors_with_and_without_zero_points() {
    for (width, group) in [(32, 32), (64, 64)] {
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            check(Format::Int4 { group, zeros: false }, |module, random| {
                let integers = integers(module, width, false, random);
                (integers.packed(module.0, dtype, false), integers.numbers())
            });
        }
        check(Format::Int4 { group, zeros: true }, |module, random| {
            let integers = integers(module, width, true, random);
            (integers.packed(module.0, Dtype::BF16, true), integers.numbers())
        });
    }
    // A scale for the whole row.
    check(Format::Int4 { group: 64, zeros: false }, |module, random| {
        let integers = integers(module, module.1[1], false, random);
        (integers.packed(module.0, Dtype::BF16, false), integers.numbers())
    });
}

#[test]
fn int4_of_gptq_and_awq() {
    for (asymmetric, zeros) in [(false, false), (true, true)] {
        check(Format::Int4 { group: 32, zeros }, |module, random| {
            let integers = integers(module, 32, asymmetric, random);
            (integers.gptq(module.0, 1), integers.numbers())
        });
        check(Format::Int4 { group: 64, zeros }, |module, random| {
            let integers = integers(module, 64, asymmetric, random);
            (integers.awq(module.0), integers.numbers())
        });
    }
}

#[test]
fn int4_of_modelopt_has_two_rows_to_a_byte() {
    check(Format::Int4 { group: 64, zeros: false }, |module, random| {
        let integers = integers(module, 64, false, random);
        (integers.row_pairs(module.0), integers.numbers())
    });
}

/// q, k and v with one order are sorted; each with its own become F32, in the file's order.
#[test]
fn act_order_is_kept_where_all_parts_share_it() {
    let mut random = Random::new(9);
    let order = integers(O, 32, true, &mut random).reordered(&mut random).index;
    let mut store = Store::new();
    let mut expected = Vec::new();
    for (module, shared) in [(Q, true), (K, true), (V, true), (GATE, false), (UP, false)] {
        let mut own = integers(module, 32, true, &mut random).reordered(&mut random);
        if shared {
            own.index.clone_from(&order);
        }
        store = store.with(module.0, own.gptq(module.0, 1));
        expected.push((module, own.numbers()));
    }
    let (spec, weights) = open(&store.write()).unwrap();
    for ((name, _), expected) in &expected {
        let weight = weights.parts(std::slice::from_ref(part(&spec, name))).unwrap();
        assert_eq!(numbers(&weight), *expected, "{name}");
    }
    let (qkv, up) = (product(&spec, Q.0), product(&spec, UP.0));
    assert_eq!((qkv.format(), qkv.input.ordered), (Format::Int4 { group: 32, zeros: true }, true));
    assert_eq!((up.format(), up.input.ordered), (Format::F32, false));
    let notes = store.write().reading().unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("1 products are kept in F32") && note.contains(GATE.0)), "{notes:?}");
}

#[test]
fn the_second_format_of_gptq_stores_zero_points_as_they_are() {
    let mut random = Random::new(11);
    let own = integers(DOWN, 32, true, &mut random);
    let mut store = Store::new().with(DOWN.0, own.gptq(DOWN.0, 0));
    // The key of older versions, and that of today.
    for key in ["checkpoint_format", "format"] {
        store.config["quantization_config"] = json!({"quant_method": "gptq", "bits": 4, key: "gptq_v2"});
        let (spec, weights) = open(&store.write()).unwrap();
        assert_eq!(numbers(&weights.parts(std::slice::from_ref(part(&spec, DOWN.0))).unwrap()), own.numbers());
    }
}

/// A zero point of 16 (15 stored less one) has no place in four bits.
#[test]
fn a_zero_point_that_four_bits_do_not_hold_is_kept_in_f32() {
    let mut random = Random::new(13);
    let mut own = integers(DOWN, 32, true, &mut random);
    own.zeros[5] = 16;
    let store = Store::new().with(DOWN.0, own.gptq(DOWN.0, 1));
    let (spec, weights) = open(&store.write()).unwrap();
    assert_eq!(part(&spec, DOWN.0).format, Format::F32);
    assert_eq!(numbers(&weights.parts(std::slice::from_ref(part(&spec, DOWN.0))).unwrap()), own.numbers());
}

/// Parts of different kinds in one product: q of FP8, k of NVFP4, v left in BF16.
#[test]
fn parts_in_different_formats_become_f32() {
    let mut random = Random::new(17);
    let (q, k) = (fp8(Q, Dtype::F32, &[], Q.1, &mut random), nvfp4(K, false, &mut random));
    let store = Store::new().with(Q.0, q.0).with(K.0, k.0);
    let (spec, weights) = open(&store.write()).unwrap();
    let of = |module: Module| {
        let tensor = part(&spec, module.0);
        assert_eq!(tensor.format, Format::F32);
        numbers(&weights.parts(std::slice::from_ref(tensor)).unwrap())
    };
    assert_eq!((of(Q), of(K)), (q.1, k.1));
    let plain = store.tensors[&format!("{}.weight", V.0)].bytes.as_chunks::<2>().0;
    let plain: Vec<f32> = plain.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect();
    assert_eq!(of(V), plain);
}

#[test]
fn a_factor_of_the_input_stays_beside_the_codes() {
    let mut random = Random::new(19);
    let (own, factors) = (integers(O, 64, false, &mut random), [0.5f32, 2.0, 1.25, 3.0].repeat(HIDDEN / 4));
    let mut tensors = own.row_pairs(O.0);
    tensors.push(Raw::new(format!("{}.pre_quant_scale", O.0), Dtype::BF16, &[128], floats(Dtype::BF16, &factors)));
    let (spec, weights) = open(&Store::new().with(O.0, tensors).write()).unwrap();
    let weight = weights.parts(std::slice::from_ref(part(&spec, O.0))).unwrap();
    assert!(product(&spec, O.0).input.factored);
    assert_eq!(numbers(&weight), own.numbers());
    assert_eq!(weight.factors().unwrap().in_memory().unwrap().to_f32(), factors);
}

/// The head, the embedding, and a head that is the embedding.
#[test]
fn head_and_embedding_may_be_quantized() {
    let mut random = Random::new(23);
    let (head, embedding) = (nvfp4(HEAD, false, &mut random), nvfp4(EMBEDDING, false, &mut random));
    let mut store = Store::new().with(HEAD.0, head.0).with(EMBEDDING.0, embedding.0);
    let (spec, weights) = open(&store.write()).unwrap();
    assert_eq!((spec.head.format(), spec.embedding.format), (Format::Nvfp4, Format::Nvfp4));
    assert_eq!(numbers(&weights.parts(&spec.head.parts).unwrap()), head.1);
    assert_eq!(numbers(&weights.parts(std::slice::from_ref(&spec.embedding)).unwrap()), embedding.1);

    store.config["tie_word_embeddings"] = json!(true);
    for suffix in ["weight", "weight_scale", "weight_scale_2"] {
        store.remove(&format!("{}.{suffix}", HEAD.0));
    }
    let (spec, weights) = open(&store.write()).unwrap();
    assert_eq!(spec.head.parts[0], spec.embedding);
    assert_eq!(numbers(&weights.parts(&spec.head.parts).unwrap()), embedding.1);
    assert!(weights.unused(&spec).is_empty());
}

/// A head that is stored as codes is not tied, whatever config.json says.
#[test]
fn a_quantized_head_beside_an_embedding_is_its_own() {
    let mut random = Random::new(29);
    let own = integers(HEAD, 64, true, &mut random);
    let mut store = Store::new().with(HEAD.0, own.gptq(HEAD.0, 1));
    store.config["tie_word_embeddings"] = json!(true);
    let (spec, weights) = open(&store.write()).unwrap();
    assert_eq!(numbers(&weights.parts(&spec.head.parts).unwrap()), own.numbers());
}

/// The rest of the file in F16 is narrowed, the codes are not.
#[test]
fn the_rest_may_be_f16() {
    let mut random = Random::new(31);
    let own = integers(UP, 32, true, &mut random);
    let gate = integers(GATE, 32, true, &mut random);
    let mut store = Store::new().with(UP.0, own.awq(UP.0)).with(GATE.0, gate.awq(GATE.0));
    for tensor in store.tensors.values_mut().filter(|tensor| tensor.dtype == Dtype::BF16) {
        let values: Vec<f32> = (0..tensor.bytes.len() / 2).map(|_| random.uniform()).collect();
        (tensor.dtype, tensor.bytes) = (Dtype::F16, floats(Dtype::F16, &values));
    }
    let (spec, weights) = open(&store.write()).unwrap();
    assert_eq!(numbers(&weights.parts(std::slice::from_ref(part(&spec, UP.0))).unwrap()), own.numbers());
    let narrowed: Vec<_> = weights.narrowed(&spec).into_iter().collect();
    assert_eq!(narrowed, [(Dtype::F16, store.tensors.len() - 6)]);
}
