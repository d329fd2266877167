//! Who says the messages of a conversation, as a chat template knows it.
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::messages::shown;
use crate::error::{Category, Error, Result};
use crate::text::ChatTemplate;

/// Roles that clients use.
const ROLES: [&str; 5] = [SYSTEM, DEVELOPER, "user", "assistant", "tool"];

const SYSTEM: &str = "system";

/// OpenAI's newer name for the system.
const DEVELOPER: &str = "developer";

/// What turns reasoning on and off where a template looks for it in the conversation; it prints neither.
pub(super) const MARKS: [&str; 2] = ["/no_think", "/think"];

/// Stands, with a message's number, behind what the message says, to be looked for in the text. Who writes it into a message
/// of his own deceives nobody else.
const MARKER: &str = "wasthiswritten";

/// How many messages are tried alone. A template that writes the texts of so many otherwise than they are does so with all.
const TRIED: usize = 16;

/// Has the system say what a `developer` says, where the template knows no such role. What the model is told in front of the
/// conversation becomes one message where the template would write the first alone.
pub(super) fn settle(template: &ChatTemplate, messages: &mut Vec<Value>) {
    let is_led = |message: &&Value| tells(message) && message["content"].is_string();
    let run = messages.iter().take_while(is_led).count();
    let mut one = false;
    if messages.iter().any(says_developer) && !knows_developer(template) {
        // More of what the system says: templates know one.
        one = messages[..run].iter().skip(1).any(says_developer);
        messages
            .iter_mut()
            .filter(|message| says_developer(message))
            .for_each(|message| message["role"] = SYSTEM.into());
    }
    if run > 1 && (one || !takes(template, &messages[..run])) {
        let told: Vec<&str> = messages[..run].iter().filter_map(|message| message["content"].as_str()).collect();
        messages[0]["content"] = told.join("\n").into();
        messages.drain(1..run);
    }
}

/// Whether a message tells the model how to answer.
fn tells(message: &Value) -> bool {
    message["role"] == SYSTEM || says_developer(message)
}

fn says_developer(message: &Value) -> bool {
    message["role"] == DEVELOPER
}

/// A template that writes any role without naming it was not made for this one.
fn knows_developer(template: &ChatTemplate) -> bool {
    names(template, DEVELOPER) && takes(template, &[json!({ "role": DEVELOPER })])
}

/// Whether the template writes what each of these roles says in front of a user.
fn takes(template: &ChatTemplate, told: &[Value]) -> bool {
    let roles = told.iter().filter_map(|message| message["role"].as_str()).chain(["user"]);
    let messages: Vec<Value> = roles.map(|role| json!({ "role": role, "content": "x" })).collect();
    let context = Map::from_iter([("messages".to_owned(), messages.into())]);
    template.render(&context).is_ok_and(|text| left_out(template, &context, &text).is_none())
}

/// The text of a conversation, with all of its messages. `roles` are those of the client's messages: what was done to them
/// since was done at their front.
///
/// # Errors
/// The template refuses the conversation, fails, or leaves out what somebody says.
pub(super) fn render(template: &ChatTemplate, context: &Map<String, Value>, roles: &[Value]) -> Result<String> {
    let text = template.render(context)?;
    let Some(index) = left_out(template, context, &text) else { return Ok(text) };
    let behind = messages(context).len() - index;
    let theirs = if index == 0 { 0 } else { roles.len().saturating_sub(behind) };
    Err(unheard(template, theirs, roles.get(theirs).unwrap_or(&messages(context)[index]["role"])))
}

/// The first message of which `text`, which the template made of the conversation, says nothing. All are looked for in one
/// rendering; one that is not found is tried alone, for a template may write a text otherwise than it is.
fn left_out(template: &ChatTemplate, context: &Map<String, Value>, text: &str) -> Option<usize> {
    let messages = messages(context).iter().enumerate();
    let checked: Vec<usize> =
        messages.filter(|(_, message)| may_be_unheard(template, message)).map(|(index, _)| index).collect();
    if checked.is_empty() {
        return None;
    }
    let all = template.render(&marked(context, &checked)).unwrap_or_default();
    let seen = markers(&all);
    // One that fails has read the message, for nothing else has changed.
    let same = |index: &usize| template.render(&marked(context, &[*index])).is_ok_and(|other| other == text);
    checked.into_iter().filter(|index| !seen.contains(index)).take(TRIED).find(same)
}

/// Whether a template might have no place for a message; the two that talk have one in each. Nothing is lost of one that
/// says nothing but how to reason, if anything: a template looks for that without writing it.
fn may_be_unheard(template: &ChatTemplate, message: &Value) -> bool {
    let Some(role) = message["role"].as_str() else { return false };
    let content = message["content"].as_str().unwrap_or_default();
    let is_said = !MARKS.iter().fold(content.to_owned(), |rest, mark| rest.replace(mark, "")).trim().is_empty();
    !["user", "assistant"].contains(&role) && (is_said || !names(template, role))
}

/// The conversation with a marker behind what these messages say. What they say stays, for templates look for switches in it.
fn marked(context: &Map<String, Value>, indices: &[usize]) -> Map<String, Value> {
    let mut context = context.clone();
    for index in indices {
        let message = &mut context["messages"][*index];
        let content = message["content"].as_str().unwrap_or_default();
        message["content"] = format!("{content}{MARKER}{index}.").into();
    }
    context
}

/// The numbers of the messages whose markers are in a text.
fn markers(text: &str) -> HashSet<usize> {
    let number = |behind: &str| behind.split_once('.').and_then(|(number, _)| number.parse().ok());
    text.split(MARKER).skip(1).filter_map(number).collect()
}

fn messages(context: &Map<String, Value>) -> &[Value] {
    context.get("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn unheard(template: &ChatTemplate, index: usize, role: &Value) -> Error {
    let is_told = |role: &str| [SYSTEM, DEVELOPER].contains(&role);
    let is_own = |other: &str| role == other || is_told(other) && role.as_str().is_some_and(is_told);
    let has_place = |role: &&str| !is_own(role) && is_known(template, role);
    let roles: Vec<&str> = ROLES.into_iter().filter(has_place).collect();
    let hint = if role.as_str().is_some_and(is_told) {
        "put it in front of the conversation, or give it one of these roles"
    } else {
        "give the message one of these roles"
    };
    Error::new(Category::Input, "The chat template leaves this message out")
        .details(format_args!("messages[{index}].role: expected one of {}, found {}", roles.join(", "), shown(role)))
        .hint(hint)
}

/// Whether a template has, by its words, a place for what a role says; what a developer says is the system's in most.
fn is_known(template: &ChatTemplate, role: &str) -> bool {
    ["user", "assistant"].contains(&role) || names(template, role) || role == DEVELOPER && names(template, SYSTEM)
}

fn names(template: &ChatTemplate, role: &str) -> bool {
    template.mentions(&format!("'{role}'")) || template.mentions(&format!("\"{role}\""))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::session::{Rendering, Texts};

    const NAMED: &str = "{% for m in messages %}{% if m.role == 'system' %}S:{{ m.content }};\
        {% elif m.role in ['user', \"assistant\", \"critic\"] %}{{ m.role }}:{{ m.content }};{% endif %}{% endfor %}";
    const ANY: &str = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}";

    fn written(source: &str, said: &[(&str, &str)]) -> Result<String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("chat_template.jinja"), source).unwrap();
        let template = ChatTemplate::open(directory.path()).unwrap();
        let mut messages = said.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
        let roles = said.iter().map(|(role, _)| json!(role)).collect::<Vec<_>>();
        settle(&template, &mut messages);
        render(&template, &Map::from_iter([("messages".to_owned(), messages.into())]), &roles)
    }

    #[test]
    fn a_developer_is_the_system_unless_the_template_knows_one() {
        let talk = [("developer", "Be brief."), ("user", "Hi"), ("developer", "Now.")];
        assert_eq!(written(NAMED, &talk).unwrap(), "S:Be brief.;user:Hi;S:Now.;");
        assert_eq!(written(ANY, &talk).unwrap(), "system:Be brief.;user:Hi;system:Now.;");
        let own = ANY.to_owned() + "{# 'developer' #}";
        assert_eq!(written(&own, &talk).unwrap(), "developer:Be brief.;user:Hi;developer:Now.;");
        let both = [("system", "Be kind."), ("developer", "Be brief."), ("developer", "x"), ("user", "Hi")];
        assert_eq!(written(NAMED, &both).unwrap(), "S:Be kind.\nBe brief.\nx;user:Hi;");
    }

    #[test]
    fn what_a_stranger_says_is_written_or_refused() {
        let talk = [("user", "Hi"), ("critic", "Bad."), ("foo", "x")];
        assert_eq!(written(NAMED, &talk[..2]).unwrap(), "user:Hi;critic:Bad.;");
        assert_eq!(written(ANY, &talk).unwrap(), "user:Hi;critic:Bad.;foo:x;");
        for (role, found) in [("foo", "\"foo\""), ("tool", "\"tool\""), ("content", "\"content\"")] {
            let error = written(NAMED, &[("user", "Hi"), (role, "x")]).unwrap_err();
            let roles = "system, developer, user, assistant";
            assert_eq!(error.details_text(), format!("messages[1].role: expected one of {roles}, found {found}"));
        }
    }
    /// What a template in the repository, the demo model's without a name, makes of a conversation; its system text may
    /// turn reasoning off.
    fn real(name: &str, said: &[(&str, &str)], thinking: Option<bool>) -> Result<String> {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let file = root.join("tests/text/templates").join(name);
        let texts = Texts::open(&root.join("models/storyteller"), Some(&*file).filter(|_| !name.is_empty())).unwrap();
        let messages = said.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
        texts.render_with(messages, Rendering { thinking, ..Rendering::default() })
    }

    const NANO: &str = "nemotron_nano_v2.jinja";
    const SUPER: &str = "llama_nemotron_super.jinja";

    #[track_caller]
    fn refused(name: &str, said: &[(&str, &str)], index: usize, expected: &str) {
        for thinking in [None, Some(false)].into_iter().take(if name.is_empty() { 1 } else { 2 }) {
            let error = real(name, said, thinking).expect_err(name);
            let found = format!("found {:?}", said[index].0);
            assert_eq!(error.message(), "The chat template leaves this message out");
            assert_eq!(error.details_text(), format!("messages[{index}].role: expected one of {expected}, {found}"));
        }
    }

    #[test]
    fn what_the_system_says_later_is_written_or_refused() {
        let (hi, more) = (("user", "Hi"), ("user", "Well?"));
        for name in [NANO, SUPER] {
            for role in ["developer", "system"] {
                refused(name, &[hi, (role, "DEV2"), more], 1, "user, assistant, tool");
                refused(name, &[hi, (role, "DEV2 /no_think"), more], 1, "user, assistant, tool");
                let talk = [("system", "SYS"), ("developer", "DEV1"), hi, (role, "DEV2")];
                refused(name, &talk, 3, "user, assistant, tool");
                // A switch alone is no text.
                assert!(real(name, &[hi, (role, "/no_think"), more], None).is_ok(), "{name}");
            }
        }
        for name in ["", "nemotron_mini.jinja", "nemotron_3_nano.jinja"] {
            let text = real(name, &[hi, ("developer", "DEV2"), more], None).unwrap();
            assert!(text.contains("DEV2"), "{name}: {text}");
        }
    }

    #[test]
    fn what_the_system_says_first_is_one_message_where_the_template_takes_one() {
        let talk = [("system", "SYS1"), ("system", "SYS2"), ("user", "Hi")];
        for name in [NANO, SUPER] {
            for role in ["developer", "system"] {
                let text = real(name, &[talk[0], (role, "SYS2"), talk[2]], None).unwrap();
                assert!(text.contains("SYS1\nSYS2\n"), "{name}: {text}");
            }
            let text = real(name, &talk, Some(false)).unwrap();
            assert!(text.contains("SYS1\nSYS2\n") && text.contains("<think>"), "{name}: {text}");
        }
        let text = real("nemotron_3_nano.jinja", &talk, None).unwrap();
        assert!(text.contains("SYS1<|im_end|>\n<|im_start|>system\nSYS2<|im_end|>"), "{text}");
        // One that knows a developer, but writes one message of those in front.
        let one = "{% if messages[0].role in ['system', 'developer'] %}T:{{ messages[0].content }};{% endif %}\
            {% for m in messages if m.role == 'user' %}U:{{ m.content }};{% endfor %}";
        let both = [("system", "S"), ("developer", "D"), ("user", "Hi")];
        assert_eq!(written(one, &both).unwrap(), "T:S\nD;U:Hi;");
        assert_eq!(written(one, &both[1..]).unwrap(), "T:D;U:Hi;");
    }

    #[test]
    fn a_word_of_the_template_is_no_role() {
        for role in ["content", "role", "foo", "tool"] {
            refused("", &[("user", "Hi"), (role, "x")], 1, "system, developer, user, assistant");
        }
        for (name, role) in [(NANO, "critic"), (NANO, "content"), (SUPER, "name"), (SUPER, "function")] {
            refused(name, &[("user", "Hi"), (role, "x")], 1, "system, developer, user, assistant, tool");
        }
        // The template fails on what is left without it.
        refused(NANO, &[("critic", "C")], 0, "system, developer, user, assistant, tool");
    }

    #[test]
    fn a_message_is_named_by_its_place_in_the_clients_list() {
        let all = "system, developer, user, assistant, tool";
        let front =
            [("system", "S"), ("developer", "D"), ("system", "T"), ("user", "Hi"), ("critic", "C"), ("user", "x")];
        refused(SUPER, &front, 4, all);
        refused(NANO, &front[2..], 2, all);
        // Reasoning is turned off by a message that the client has not sent.
        refused(NANO, &front[3..], 1, all);
    }

    #[test]
    fn many_messages_are_looked_for_at_once() {
        let mut talk = vec![("user", "Hi"), ("assistant", "Ok")];
        talk.extend([("tool", "[1]"); 12]);
        let text = real(SUPER, &talk, None).unwrap();
        assert_eq!(text.matches("[1]").count(), 12);
        // The template writes a text otherwise than it is.
        let upper = "{% for m in messages %}{{ m.role }}:{{ m.content | upper }};{% endfor %}";
        assert_eq!(written(upper, &[("critic", "bad")]).unwrap(), "critic:BAD;");
    }
}
