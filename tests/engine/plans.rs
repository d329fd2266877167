//! Plans: those that were not used for longest are given up, and all decode plans can be made before anybody waits for them.
use gpu_kernels::gemv::SMALL_WEIGHT;
use nemotron::cpu::Cpu;
use nemotron::engine::{EngineConfig, Request};
use nemotron::sample::Sampling;

use crate::toy::Toy;
use crate::{Ahead, config, engine, generate, prompts, request};

#[test]
fn a_bound_on_plans_is_kept_and_changes_no_token() {
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        let requests = || prompts().iter().map(|prompt| request(prompt)).collect::<Vec<_>>();
        let mut free = engine(model, Box::new(Ahead(Cpu::new())), config(3, 64));
        let expected = generate(&mut free, requests());
        let made = free.counters().plans;
        assert!((free.kept_plans() as u64, free.counters().released_plans) == (made, 0) && made > 4, "{made} plans");
        for most in [1, 2, 4] {
            let mut engine = engine(model, Box::new(Ahead(Cpu::new())), config(3, 64));
            engine.keep_plans(most).expect("the CPU does not fail");
            assert_eq!(generate(&mut engine, requests()), expected, "{model}, {most} plans");
            let counters = engine.counters();
            assert_eq!(engine.kept_plans(), most);
            assert_eq!(counters.plans - counters.released_plans, most as u64);
            assert!(counters.plans >= made, "as many as there are buckets, and some of them again");
        }
        free.keep_plans(2).expect("the CPU does not fail");
        assert_eq!((free.kept_plans(), free.counters().released_plans), (2, made - 2));
    }
}

#[test]
fn prepared_decode_plans_leave_nothing_to_prepare() {
    let requests = || {
        let warm = |index| Sampling { temperature: 0.9 * (index % 2) as f32, ..Sampling::default() };
        let of = |(index, prompt): (usize, &Vec<u32>)| Request { sampling: warm(index), ..request(prompt) };
        prompts().iter().enumerate().map(of).collect::<Vec<_>>()
    };
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        let sizes = config(5, 256);
        let expected = generate(&mut engine(model, Box::new(Cpu::<f32>::new()), sizes), requests());
        let mut prepared = engine(model, Box::new(Cpu::<f32>::new()), sizes);
        let mut told = Vec::new();
        prepared.prepare_decodes(&mut |done, all| told.push((done, all))).expect("an idle engine");
        let all = prepared.kept_plans();
        assert_eq!(told, (0..=all).map(|done| (done, all)).collect::<Vec<_>>());
        assert_eq!(generate(&mut prepared, requests()), expected, "{model}: pads leave nothing");
        assert_eq!(prepared.counters().plans as usize, all + 1, "the step with the prompts");
    }
}

#[test]
fn all_decode_plans_of_a_server_are_kept() {
    let sizes = EngineConfig {
        context: 4096,
        max_sequences: 256,
        chunk: 512,
        pages: Some(600),
        spare_slots: 0,
        small_weight: SMALL_WEIGHT,
    };
    let mut engine = engine("tests/golden/nemotron", Box::new(Toy::new(true, false, 64)), sizes);
    engine.prepare_decodes(&mut |_, _| {}).expect("an idle engine");
    let all = engine.kept_plans();
    engine.prepare_decodes(&mut |_, _| {}).expect("an idle engine");
    assert_eq!(
        (engine.kept_plans(), engine.counters().plans as usize, engine.counters().released_plans),
        (all, all, 0)
    );
}
