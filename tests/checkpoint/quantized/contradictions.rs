//! What configurations say about quantized weights: the tensors decide, and a contradiction is named.
use nemotron::checkpoint::Dtype;
use nemotron::device::Format;
use serde_json::{Value, json};

use super::encode::{Integers, fp8, gptq8, int8, nvfp4};
use super::random::Random;
use super::store::{DOWN, K, LAYER, Store, V, open};
use crate::fixture::{Fixture, check_refusal};

/// All matrices of the layer in FP8.
fn fp8_store() -> Store {
    let mut random = Random::new(41);
    LAYER.iter().fold(Store::new(), |store, module| {
        store.with(module.0, fp8(*module, Dtype::F32, &[], module.1, &mut random).0)
    })
}

fn configured(mut store: Store, section: Value) -> Store {
    store.config["quantization_config"] = section;
    store
}

fn refused(fixture: &Fixture, details: &[&str]) {
    let error = open(fixture).expect_err("it contradicts itself");
    check_refusal(&error, "Configuration and weights contradict each other", details);
}

fn group(targets: &Value, bits: u32, kind: &str) -> Value {
    json!({"group_0": {"targets": targets, "weights": {"num_bits": bits, "type": kind}}})
}

#[test]
fn what_all_published_configurations_say_of_fp8_is_right() {
    let floats = |targets: Value| json!({"quant_method": "compressed-tensors", "config_groups": group(&targets, 8, "float"), "ignore": ["lm_head"]});
    for section in [
        json!({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}),
        json!({"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["lm_head*"]}),
        json!({"quant_method": "fp8", "modules_to_not_convert": null}),
        json!({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {DOWN.0: {"quant_algo": "FP8"}}}),
        floats(json!(["Linear"])),
        floats(json!(["re:.*self_attn.*", "re:.*mlp.*"])),
        json!({"quant_method": "something new"}),
        json!({}),
    ] {
        let (spec, _) = open(&configured(fp8_store(), section.clone()).write())
            .unwrap_or_else(|error| panic!("{section}: {error}"));
        assert!(spec.tensors().iter().any(|tensor| tensor.format == Format::Fp8 { group: 0 }));
    }
}

#[test]
fn without_any_configuration_the_tensors_decide() {
    let reading = fp8_store().write().reading().unwrap();
    assert!(reading.notes.is_empty(), "{:?}", reading.notes);
    assert_eq!(reading.spec.head.format(), Format::Bf16);
}

/// Other loaders would take such weights for something else, so even who asked for silence is told.
#[test]
fn quantized_weights_of_which_config_json_does_not_speak_are_a_warning() {
    let warnings = |fixture: &Fixture| fixture.reading().unwrap().warnings;
    let fixture = fp8_store().write();
    assert!(matches!(&warnings(&fixture)[..], [text] if text.contains("quantized") && !text.contains("though")));
    fixture.write("quant_config.json", json!({"quant_method": "fp8"}).to_string());
    assert!(matches!(&warnings(&fixture)[..], [text] if text.contains("though quant_config.json does")));
    fixture.write("hf_quant_config.json", json!({"quantization": {"quant_algo": "FP8"}}).to_string());
    assert_eq!(warnings(&fixture), [""; 0]);
    assert_eq!(warnings(&configured(fp8_store(), json!({"quant_method": "fp8"})).write()), [""; 0]);
    assert_eq!(warnings(&Store::new().write()), [""; 0]);
}

#[test]
fn a_format_that_is_not_the_stored_one() {
    for (section, said) in [
        (json!({"quant_method": "modelopt", "quant_algo": "NVFP4"}), "floats of 4 bits"),
        (json!({"quant_method": "gptq", "bits": 4}), "integers of 4 bits"),
        (
            json!({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {DOWN.0: {"quant_algo": "W4A16_NVFP4"}}}),
            "floats of 4 bits",
        ),
        (
            json!({"quant_method": "compressed-tensors", "config_groups": group(&json!(["Linear"]), 8, "int")}),
            "integers of 8 bits",
        ),
    ] {
        let fixture = configured(fp8_store(), section).write();
        refused(&fixture, &["config.json: quantization_config", said, "FP8"]);
    }
}

#[test]
fn files_beside_config_json_are_compared_too() {
    let fixture = fp8_store().write();
    let quantized =
        |algorithm: &str| json!({"quantization": {"quant_algo": algorithm, "exclude_modules": ["lm_head"]}});
    fixture.write("hf_quant_config.json", quantized("FP8").to_string());
    assert!(open(&fixture).is_ok());
    fixture.write("hf_quant_config.json", quantized("NVFP4").to_string());
    refused(&fixture, &["hf_quant_config.json", "floats of 4 bits"]);
    let fixture = fp8_store().write();
    fixture.write("quantize_config.json", json!({"bits": 4, "group_size": 128}).to_string());
    refused(&fixture, &["quantize_config.json", "integers of 4 bits"]);
}

#[test]
fn a_module_that_is_left_alone_and_is_quantized() {
    for ignored in ["model.layers.0.mlp.down_proj", "re:.*down_proj", "*.mlp.*", "down_proj"] {
        let section = json!({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head", ignored]});
        refused(&configured(fp8_store(), section).write(), &["not quantized", "mlp"]);
    }
}

#[test]
fn a_module_that_is_named_and_is_not_quantized() {
    let named = json!({"model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"}});
    let section = json!({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": named});
    refused(&configured(Store::new(), section).write(), &["q_proj", "floats of 8 bits", "plain numbers"]);
    let section = json!({"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["lm_head"]});
    refused(&configured(Store::new(), section).write(), &["plain numbers"]);
}

/// A file for GPTQ's own loader beside plain weights counts for nothing, as in transformers.
#[test]
fn quantize_config_beside_plain_weights_is_ignored() {
    for name in ["quantize_config.json", "quant_config.json"] {
        let fixture = Store::new().write();
        fixture.write(name, json!({"bits": 4, "group_size": 128}).to_string());
        let notes = fixture.reading().unwrap().notes;
        assert!(notes.len() == 1 && notes[0].contains(name) && notes[0].contains("not quantized"), "{notes:?}");
    }
}

#[test]
fn sections_that_quantize_no_weights_are_let_through() {
    let weights = json!({"num_bits": 8, "type": "float"});
    let groups = |weights: Value| json!({"group_0": {"targets": ["Linear"], "weights": weights}});
    let cache = json!({"num_bits": 8, "type": "float", "dynamic": false});
    let method = "compressed-tensors";
    for free in [
        json!({"quant_method": method, "config_groups": {}, "kv_cache_scheme": cache}),
        json!({"quant_method": method, "config_groups": groups(Value::Null), "kv_cache_scheme": cache}),
        json!({"quant_method": method, "config_groups": groups(weights.clone()), "ignore": ["re:.*"]}),
        json!({"quant_method": method, "config_groups": groups(weights), "ignore": ["re:.*self_attn.*", "re:.*mlp.*", "lm_head"]}),
        json!({"quant_method": "bitsandbytes", "load_in_8bit": false, "load_in_4bit": false}),
        json!({"quant_method": "modelopt", "quant_algo": null, "kv_cache_quant_algo": "FP8"}),
        json!({"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["model.layers.*", "lm_head"]}),
    ] {
        let reading = configured(Store::new(), free.clone()).write().reading();
        let notes = reading.unwrap_or_else(|error| panic!("{free}: {error}")).notes;
        assert!(notes.iter().any(|note| note.contains("quantization_config is ignored")), "{free}: {notes:?}");
    }
}

/// What would change the output and is not applied is said once.
#[test]
fn what_is_not_applied_is_said() {
    let mut store = configured(
        fp8_store(),
        json!({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"], "kv_cache_scheme": {"num_bits": 8}}),
    );
    let scale = |name: String| super::store::Raw::new(name, Dtype::F32, &[], 1f32.to_le_bytes().to_vec());
    for (module, suffix) in [(K.0, "input_scale"), (K.0, "k_scale"), (V.0, "v_scale")] {
        store.tensors.insert(format!("{module}.{suffix}"), scale(format!("{module}.{suffix}")));
    }
    let fixture = store.write();
    let notes = fixture.reading().unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("--kv-cache fp8")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("activations are not quantized")), "{notes:?}");
    let (spec, weights) = open(&fixture).unwrap();
    assert!(weights.unused(&spec).is_empty());
}

/// Formats that the configuration does not know beside each other: what is not named is what it is.
#[test]
fn a_mix_of_formats_is_read_as_it_is_stored() {
    let mut random = Random::new(43);
    let own = Integers::new(LAYER[3].1, 32, true, &mut random);
    let store = fp8_store().with(DOWN.0, nvfp4(DOWN, false, &mut random).0);
    let mut store = store.with(LAYER[3].0, own.gptq(LAYER[3].0, 1));
    store.remove("model.layers.0.self_attn.o_proj.weight_scale");
    let (spec, _) = open(&store.write()).unwrap();
    let formats: Vec<Format> = spec.tensors().iter().map(|tensor| tensor.format).filter(|it| it.is_packed()).collect();
    assert!(formats.contains(&Format::Nvfp4) && formats.contains(&Format::Int4 { group: 32, zeros: true }));
}

/// Which group a module has: compressed-tensors takes a name before a pattern, and a pattern before a class; its patterns are
/// Python's regular expressions.
#[test]
fn groups_by_pattern_count_before_groups_by_class() {
    let mut random = Random::new(47);
    let weights = |bits: u32| json!({"num_bits": bits, "type": "float"});
    let groups = |targets: [Value; 2]| {
        let [wide, narrow] = targets;
        json!({"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {
            "group_0": {"targets": wide, "weights": weights(8)}, "group_1": {"targets": narrow, "weights": weights(4)}}})
    };
    let codes = nvfp4(DOWN, true, &mut random).0;
    let store = || fp8_store().with(DOWN.0, codes.clone());
    for targets in [
        [json!(["Linear"]), json!([r"re:.*\.mlp\.(down|other)_proj$"])],
        [json!(["Linear"]), json!([DOWN.0])],
        [json!(["re:.*layers.*"]), json!([DOWN.0])],
        [json!([r"re:.*layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up)_proj)"]), json!(["re:.*down_proj"])],
    ] {
        let fixture = configured(store(), groups(targets.clone())).write();
        assert!(open(&fixture).is_ok(), "{targets:?}: {:?}", open(&fixture).err());
    }
    let turned = groups([json!(["re:.*down_proj"]), json!(["Linear"])]);
    refused(&configured(store(), turned).write(), &["floats of 4 bits", "FP8"]);
    let wrong_by_name = groups([json!(["Linear", DOWN.0]), json!(["re:.*down_proj"])]);
    refused(&configured(store(), wrong_by_name).write(), &[DOWN.0, "floats of 8 bits"]);
}

/// AutoRound says by `data_type` whether bits are of floats.
#[test]
fn bits_of_auto_round_are_floats_where_it_says_so() {
    let mut random = Random::new(61);
    let section = |word: &str| json!({"quant_method": "auto-round", "bits": 8, "data_type": word, "extra_config": {DOWN.0: {"bits": 4, "data_type": "nv_fp"}}});
    let store = fp8_store().with(DOWN.0, nvfp4(DOWN, true, &mut random).0);
    let tensors = store.tensors.clone();
    let written = |word: &str| Store { tensors: tensors.clone(), ..configured(Store::new(), section(word)) }.write();
    open(&written("fp")).map(drop).expect("FP8 and NVFP4");
    refused(&written("int"), &["integers of 8 bits", "FP8"]);
}

/// GPTQModel's `dynamic` and AutoRound's `extra_config`: bits of single modules.
#[test]
fn single_modules_may_have_other_bits_than_all() {
    let mut random = Random::new(53);
    let mut store = Store::new();
    for module in LAYER {
        store = match module.0 == DOWN.0 {
            true => store.with(module.0, gptq8(module, 32, &mut random).0),
            false => store.with(module.0, Integers::new(module.1, 32, true, &mut random).gptq(module.0, 1)),
        };
    }
    let tensors = store.tensors.clone();
    let opened = |section: Value| {
        let store = Store { tensors: tensors.clone(), ..configured(Store::new(), section) };
        open(&store.write()).map(drop)
    };
    for section in [
        json!({"quant_method": "gptq", "bits": 4, "dynamic": {r"+:.*\.down_proj": {"bits": 8}, "-:lm_head": {}}}),
        json!({"quant_method": "gptq", "bits": 4, "dynamic": {r".*(down|other)_proj$": {"bits": 8}, ".*": {"bits": 4}}}),
        json!({"quant_method": "auto-round", "bits": 4, "extra_config": {DOWN.0: {"bits": 8}, "lm_head": {"bits": 16}}}),
        json!({"quant_method": "auto-round", "bits": 4, "extra_config": {r".*\.down_proj": {"bits": 8}}}),
    ] {
        opened(section.clone()).unwrap_or_else(|error| panic!("{section}: {error}"));
    }
    // AutoRound takes a module's own name before any pattern, and passes over those that say nothing.
    let extra = json!({".*": {}, ".*mlp.*": {"bits": 4}, DOWN.0: {"bits": 8}});
    opened(json!({"quant_method": "auto-round", "bits": 4, "extra_config": extra})).expect("by its name");
    let error = opened(json!({"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*down_proj": {}}})).unwrap_err();
    check_refusal(&error, "Configuration and weights contradict each other", &[DOWN.0, "not quantized", "INT8"]);
    let error = opened(json!({"quant_method": "gptq", "bits": 4})).unwrap_err();
    check_refusal(&error, "Configuration and weights contradict each other", &[DOWN.0, "integers of 4 bits", "INT8"]);
}

/// compressed-tensors' `int-quantized` that is not symmetric: `weight = (code − zero) · scale`, which is not read as without zero.
#[test]
fn zero_points_of_8_bits_are_refused_but_for_zeros() {
    let mut random = Random::new(59);
    for (zero, is_read) in [(0, true), (7, false)] {
        let mut store = Store::new().with(DOWN.0, int8(DOWN, Dtype::F32, DOWN.1[1], &mut random).0);
        let name = format!("{}.weight_zero_point", DOWN.0);
        let rows = DOWN.1[0];
        store.tensors.insert(name.clone(), super::store::Raw::new(&name, Dtype::I8, &[rows, 1], vec![zero; rows]));
        match open(&store.write()) {
            Ok(_) => assert!(is_read, "{zero} is not ignored"),
            Err(error) => {
                assert!(!is_read, "{error}");
                check_refusal(&error, "This kind of quantized weight is not supported", &[&name]);
            }
        }
    }
}

#[test]
fn what_is_said_of_keys_and_values_is_told_as_it_is() {
    let told = |key: &str, value: Value| {
        let section = json!({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"], key: value});
        let notes = configured(fp8_store(), section).write().reading().unwrap().notes;
        notes.into_iter().find(|note| note.contains("keys and values"))
    };
    for value in [json!("FP8"), json!({"num_bits": 8, "type": "float"})] {
        assert!(told("kv_cache_scheme", value).unwrap().contains("8 bits: --kv-cache fp8"));
    }
    assert!(told("kv_cache_quant_algo", json!("NVFP4")).unwrap().contains("4 bits, which are not supported"));
    for none in [json!(null), json!(""), json!("none"), json!({})] {
        assert_eq!(told("kv_cache_quant_algo", none.clone()), None, "{none}");
    }
}
