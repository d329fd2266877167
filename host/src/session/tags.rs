//! Tags that a model's chat template has in answers: around reasoning, and around calls of tools.
use serde_json::{Value, json};

use super::answer::{Tags, TextOptions};
use super::prompt::{Rendering, Texts};
use super::tools::OfferedTools;
use crate::error::{Category, Error, Result};
use crate::text::{ChatTemplate, Reasoning, Shown, THINK_TAGS as REASONING, ToolForm};

impl Texts {
    /// The special tokens that are part of a text.
    pub(super) fn shown(&self, text: TextOptions) -> Shown {
        if text.show_special {
            return Shown::All;
        }
        let reasoning = self.reasons() && text.tags != Tags::None;
        let calls = self.tool_form().filter(|_| text.tags == Tags::Calls);
        let tags = [if reasoning { &REASONING[..] } else { &[] }, calls.map_or(&[], ToolForm::marks)].concat();
        let ids = tags.into_iter().filter_map(|tag| self.tokenizer.token_to_id(tag));
        Shown::Tokens(ids.filter(|id| self.tokenizer.hidden_name(*id).is_some()).collect())
    }

    /// How the model writes calls of tools, by its template, else by the tokens of its vocabulary.
    pub fn tool_form(&self) -> Option<ToolForm> {
        let template = self.template.as_ref().ok()?;
        let by_template = ToolForm::find(|word| template.mentions(word));
        by_template.or_else(|| ToolForm::find(|word| self.tokenizer.token_to_id(word).is_some()))
    }

    /// Functions that the model may call.
    ///
    /// # Errors
    /// A tool is no function, two have one name, or the chat template knows no tools.
    pub(super) fn offered(&self, list: Vec<Value>) -> Result<OfferedTools> {
        let none = |details: &str| {
            Error::new(Category::Input, "The model calls no functions").details(details).hint("leave --tools out")
        };
        let form =
            self.tool_form().ok_or_else(|| none("its chat template says in no form that is known how they are called"));
        let offered = OfferedTools::new(list, form)?;
        let question = vec![json!({ "role": "user", "content": "?" })];
        let shown = |tools: Vec<Value>| self.render_with(question.clone(), Rendering { tools, ..Rendering::default() });
        if shown(offered.list.clone())? == shown(Vec::new())? {
            return Err(none("its chat template leaves tools out"));
        }
        Ok(offered)
    }

    /// Puts calls of earlier turns into their contents where the template writes contents alone, as Nemotron-Mini's does.
    ///
    /// # Errors
    /// The arguments are nested deeper than templates may be.
    pub(super) fn write_calls(&self, template: &ChatTemplate, messages: &mut [Value]) -> Result<()> {
        if template.mentions("tool_calls") || self.tool_form() != Some(ToolForm::NemotronMini) {
            return Ok(());
        }
        for message in messages {
            let Some(calls) = message.get("tool_calls").and_then(Value::as_array) else { continue };
            let content = message["content"].as_str().filter(|content| !content.is_empty());
            let mut lines: Vec<String> = content.into_iter().map(str::to_owned).collect();
            for call in calls {
                let call = call.get("function").unwrap_or(call);
                let call = json!({ "name": call["name"], "arguments": call["arguments"] });
                lines.push(format!("<toolcall> {} </toolcall>", template.json(call)?));
            }
            message["content"] = lines.join("\n").into();
        }
        Ok(())
    }

    /// What tells the reasoning that follows a prompt from the answer; none where the template knows no reasoning.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub(super) fn reasoning(&self, prompt: &[u32]) -> Result<Option<Reasoning>> {
        if !self.reasons() {
            return Ok(None);
        }
        // As many tokens as the mark and white space behind it may have.
        let tail = &prompt[prompt.len().saturating_sub(16)..];
        let is_tag = |name: &String| REASONING.contains(&name.as_str());
        let tail = tail.iter().filter(|id| self.tokenizer.hidden_name(**id).is_none_or(|name| is_tag(&name)));
        let tail: Vec<u32> = tail.copied().collect();
        let reasoning = Reasoning::behind(&self.tokenizer.decode_with_special(&tail)?);
        Ok(Some(reasoning.ending_at(self.tools.as_ref().and_then(|tools| tools.ends_reasoning()))))
    }

    fn reasons(&self) -> bool {
        self.template.as_ref().is_ok_and(|template| template.mentions(REASONING[1]))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Map;

    use super::*;
    use crate::session::Prompt;

    /// Nemotron 3's template over a tokenizer whose tags are special tokens, or are not tokens at all.
    fn texts(are_special: bool) -> Texts {
        let (root, directory) = (Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), tempfile::tempdir().unwrap());
        let file = std::fs::read(root.join("models/storyteller/tokenizer.json")).unwrap();
        let mut tokenizer: Value = serde_json::from_slice(&file).unwrap();
        if are_special {
            let tokens = tokenizer["added_tokens"].as_array_mut().unwrap();
            for (index, tag) in ["<think>", "</think>", "<tool_call>", "</tool_call>"].into_iter().enumerate() {
                tokens.push(json!({ "id": 90_000 + index, "content": tag, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true }));
            }
        }
        std::fs::write(directory.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        Texts::open(directory.path(), Some(&root.join("tests/text/templates/nemotron_3_nano.jinja"))).unwrap()
    }

    #[test]
    fn tags_are_text_whatever_tokens_they_are() {
        const TEXT: &str = "It is\n</think>\n\n<tool_call>\n<function=now>\n</function>\n</tool_call>";
        for are_special in [false, true] {
            let texts = texts(are_special);
            let ids = texts.tokenizer.encode(&format!("<think>\n{TEXT}</s>"), false).unwrap();
            let start = texts.tokenizer.encode("<think>\n", false).unwrap().len();
            assert_eq!(texts.tokenizer.decode(&ids).unwrap().contains("<think>"), !are_special);
            let (prompt, ids) = ids.split_at(start);
            assert!(texts.reasoning(prompt).unwrap().unwrap().reasons());
            assert_eq!(texts.tool_form(), Some(ToolForm::Xml));
            for (tags, calls) in [(Tags::Calls, true), (Tags::Reasoning, false)] {
                let text = TextOptions { tags, ..TextOptions::default() };
                let mut detokenizer =
                    crate::text::Detokenizer::showing(&texts.tokenizer, prompt, texts.shown(text)).unwrap();
                let mut shown: String = ids.iter().map(|id| detokenizer.push(*id).unwrap()).collect();
                shown += &detokenizer.finish().unwrap();
                let without = TEXT.replace("<tool_call>", "").replace("</tool_call>", "");
                assert_eq!(shown, if calls || !are_special { TEXT } else { &without }, "{are_special}, {tags:?}");
            }
        }
    }

    #[test]
    fn a_template_of_contents_alone_has_calls_in_them() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let file = root.join("tests/text/templates/nemotron_mini.jinja");
        let texts = Texts::open(&root.join("models/storyteller"), Some(&file)).unwrap();
        let call = |town: &str| json!({ "function": { "name": "rain", "arguments": { "town": town, "days": 2 } } });
        let turn = json!({ "role": "assistant", "content": null, "tool_calls": [call("Nara"), call("Kyōto")] });
        let Prompt::Chat(mut messages) = Prompt::question(None, "Rain?") else { unreachable!() };
        messages.extend([turn, json!({ "role": "tool", "content": "No." })]);
        let tools = vec![json!({ "type": "function", "function": { "name": "rain", "parameters": {} } })];
        let rendering = Rendering { tools, kwargs: Map::new(), ..Rendering::default() };
        let expected = "<extra_id_0>System\n\
            <tool> {\"type\": \"function\", \"function\": {\"name\": \"rain\", \"parameters\": {}}} </tool>\n\n\
            <extra_id_1>User\nRain?\n<extra_id_1>Assistant\n\
            <toolcall> {\"name\": \"rain\", \"arguments\": {\"town\": \"Nara\", \"days\": 2}} </toolcall>\n\
            <toolcall> {\"name\": \"rain\", \"arguments\": {\"town\": \"Kyōto\", \"days\": 2}} </toolcall>\n\
            <extra_id_1>Tool\nNo.\n<extra_id_1>Assistant\n";
        assert_eq!(texts.render_with(messages, rendering).unwrap(), expected);
    }
}
