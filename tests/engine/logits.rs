//! Logits beside the tokens: those of the model, whatever is done to them for the choice, and the tokens do not change.
use std::collections::HashMap;
use std::path::Path;

use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Engine, Request, SequenceId};
use nemotron::session::expected::Expected;

use crate::{Ahead, ROOT, bits, config, engine, generate, mixed};

/// Tokens, and the logits that came with them.
type Generated = (Vec<u32>, Vec<Option<Vec<f32>>>);

/// Tokens of all requests, and the logits that came with them.
fn generate_with_logits(engine: &mut Engine, requests: &[Request]) -> Vec<Generated> {
    let submit = |request: &Request| engine.submit(request.clone()).expect("a good request");
    let ids: Vec<SequenceId> = requests.iter().map(submit).collect();
    let mut results: HashMap<SequenceId, Generated> = HashMap::new();
    while !engine.is_idle() {
        for event in engine.step().expect("the CPU does not fail") {
            let (tokens, rows) = results.entry(event.sequence).or_default();
            tokens.push(event.token.expect("numbers"));
            rows.push(event.logits);
        }
    }
    ids.iter().map(|id| results.remove(id).expect("every sequence has tokens")).collect()
}

#[test]
fn every_token_has_the_logits_of_the_model() {
    let devices: [fn() -> Box<dyn Device>; 2] = [|| Box::new(Cpu::<f32>::new()), || Box::new(Ahead(Cpu::new()))];
    for (model, device) in ["tests/golden/nemotron", "tests/golden/llama"].into_iter().zip(devices) {
        let plain = generate(&mut engine(model, device(), config(5, 512)), mixed());
        // Greedy, by chance, with penalties and with biases; one sequence does not ask.
        let asks = |(index, request)| Request { logits: index != 1, max_tokens: 12, ..request };
        let requests: Vec<_> = mixed().into_iter().enumerate().map(asks).collect();
        for (chunk, sequences) in [(512, 5), (17, 2)] {
            let mut engine = engine(model, device(), config(sequences, chunk));
            let results = generate_with_logits(&mut engine, &requests);
            for ((request, (tokens, rows)), (expected, _)) in requests.iter().zip(&results).zip(&plain) {
                assert_eq!(tokens[..], expected[..12], "{model}: logits change no token");
                assert!(rows.iter().all(|row| row.is_some() == request.logits), "{model}");
                for (index, row) in rows.iter().enumerate().filter_map(|(i, row)| Some((i, row.as_ref()?))) {
                    let prompt = [&request.prompt[..], &tokens[..index]].concat();
                    let alone = engine.logits(&prompt, 1).expect("the prompt fits");
                    assert_eq!(bits(row), bits(&alone), "{model}, {} tokens and {index}", request.prompt.len());
                }
            }
        }
    }
}

#[test]
fn the_first_rows_are_those_of_transformers() {
    for model in ["nemotron", "llama", "mistral"] {
        let path = format!("{ROOT}/tests/golden/{model}/expected.safetensors");
        let expected = Expected::read(Path::new(&path)).expect("a golden folder");
        let mut engine = engine(&format!("tests/golden/{model}"), Box::new(Cpu::<f32>::new()), config(2, 512));
        for prompt in &expected.prompts {
            let (ids, max_tokens) = (prompt.ids.clone(), prompt.greedy.len());
            let request = Request { prompt: ids, max_tokens, logits: true, ..Request::default() };
            let (tokens, rows) = generate_with_logits(&mut engine, &[request]).remove(0);
            assert_eq!(tokens, prompt.greedy);
            let want = &prompt.logits_f32[prompt.logits_f32.len() - expected.vocab..];
            let got = rows[0].as_ref().expect("it was asked for");
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            let error = square(&mut got.iter().zip(want).map(|(g, w)| g - w)) / square(&mut want.iter().copied());
            assert!(error < 2e-5, "{model}, {} tokens: {error:.1e}", prompt.ids.len());
        }
    }
}
