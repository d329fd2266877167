//! A tokenizer for random weights: every byte is a token, and the rest of the vocabulary has names.
use serde_json::{Map, Value, json};

/// A byte-level tokenizer.json of `vocab` tokens: `<pad> <unk> <s> </s>`, 256 bytes, then `<token N>`.
pub fn byte_level(vocab: usize) -> Value {
    let specials = ["<pad>", "<unk>", "<s>", "</s>"];
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let names = specials.iter().map(|special| special.to_string()).chain(bytes);
    let names = names.chain((specials.len() + 256..vocab).map(|id| format!("<token {id}>")));
    let tokens: Map<String, Value> = names.take(vocab).enumerate().map(|(id, name)| (name, json!(id))).collect();
    let added: Vec<Value> = specials.iter().enumerate().map(|(id, content)| added_token(id, content)).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": tokens, "merges": [],
        },
    })
}

fn added_token(id: usize, content: &str) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true,
    })
}
