//! The times of a step's kernels: those of the plan, and no harm to what follows.
use nemotron::cpu::Cpu;
use nemotron::sample::Sampling;

use crate::{Ahead, config, engine, generate, prompts, request};

/// Attention blocks of the model.
const LAYERS: usize = 3;

#[test]
fn a_profile_counts_the_plans_kernels_and_leaves_the_engine_as_it_was() {
    let mut engine = engine("tests/golden/nemotron", Box::new(Ahead(Cpu::new())), config(2, 64));
    let requests = || prompts().iter().map(|prompt| request(prompt)).collect();
    let before = generate(&mut engine, requests());
    let (greedy, warm) =
        (Sampling::default(), Sampling { temperature: 0.8, repeat_penalty: 1.1, ..Sampling::default() });
    for (position, rows, attention, sampling) in
        [(0, 64, "attn_prefill", &greedy), (100, 1, "attn_decode", &greedy), (100, 1, "attn_decode", &warm)]
    {
        let kernels = engine.profile(position, rows, sampling, false).expect("an idle engine");
        assert!(kernels.is_sorted_by(|a, b| a.time >= b.time), "{kernels:?}");
        let of = |name: &str| kernels.iter().find(|kernel| kernel.name == name).map(|kernel| kernel.launches);
        // A single token is rotated where it attends.
        let rotations = (rows > 1).then_some(LAYERS);
        let launches = (of(attention), of("rope_kv_append"), of("argmax"));
        assert_eq!(launches, (Some(LAYERS), rotations, Some(1)), "{kernels:?}");
        let by_chance = (of("penalize"), of("sample"));
        assert_eq!(by_chance, if sampling.is_greedy() { (None, None) } else { (Some(1), Some(1)) }, "{kernels:?}");
        assert!(kernels.iter().all(|kernel| kernel.bytes > 0 && !kernel.time.is_zero()), "{kernels:?}");
    }
    for (sampling, kept) in [(&greedy, None), (&warm, Some(1))] {
        let kernels = engine.profile(100, 1, sampling, true).expect("an idle engine");
        let of = |name: &str| kernels.iter().find(|kernel| kernel.name == name).map(|kernel| kernel.launches);
        assert_eq!((of("top_logprobs"), of("keep_logits")), (Some(1), kept), "{kernels:?}");
    }
    assert_eq!(generate(&mut engine, requests()), before);
    for (position, rows) in [(0, 0), (0, 65), (256, 1)] {
        assert!(engine.profile(position, rows, &greedy, false).is_err(), "{rows} tokens behind {position}");
    }
}

#[test]
fn a_running_sequence_is_not_disturbed() {
    let mut engine = engine("tests/golden/nemotron", Box::new(Ahead(Cpu::new())), config(1, 64));
    engine.submit(request(&[1, 2, 3])).expect("a prompt that fits");
    engine.step().expect("the CPU does not fail");
    assert!(engine.profile(0, 1, &Sampling::default(), true).is_err());
}
