//! Who says the messages of a conversation, as a chat template knows it.
use serde_json::{Map, Value};

use super::messages::shown;
use crate::error::{Category, Error, Result};
use crate::text::ChatTemplate;

/// Roles that clients use.
const ROLES: [&str; 5] = ["system", DEVELOPER, "user", "assistant", "tool"];

/// OpenAI's newer name for the system.
const DEVELOPER: &str = "developer";

/// Has the system say what a `developer` says, where the template knows no such role. Behind a first system message it is
/// more of that one, for templates know one.
pub(super) fn settle(template: &ChatTemplate, messages: &mut Vec<Value>) {
    if names(template, DEVELOPER) {
        return;
    }
    let is_text = |message: &&Value| message["content"].is_string();
    let first =
        messages.first().filter(is_text).is_some_and(|first| first["role"] == "system" || says_developer(first));
    let more = messages.iter().skip(1).take_while(|message| says_developer(message) && is_text(message)).count();
    if first && more > 0 {
        let told: Vec<&str> = messages[..=more].iter().filter_map(|message| message["content"].as_str()).collect();
        messages[0]["content"] = told.join("\n").into();
        messages.drain(1..=more);
    }
    messages.iter_mut().filter(|message| says_developer(message)).for_each(|message| message["role"] = "system".into());
}

fn says_developer(message: &Value) -> bool {
    message["role"] == DEVELOPER
}

/// The text of a conversation, with all of its messages.
///
/// # Errors
/// The template refuses the conversation, fails, or leaves out what somebody says whom it does not know.
pub(super) fn render(template: &ChatTemplate, context: &mut Map<String, Value>) -> Result<String> {
    let text = template.render(context)?;
    let Some(Value::Array(messages)) = context.get_mut("messages") else { return Ok(text) };
    // A template that writes one role without naming it writes any.
    let stranger = |message: &Value| message["role"].as_str().is_some_and(|role| !is_known(template, role));
    let Some(index) = messages.iter().position(stranger) else { return Ok(text) };
    let role = messages[index]["role"].clone();
    messages.retain(|message| message["role"] != role);
    match template.render(context) {
        Ok(without) if without == text => Err(left_out(template, index, &role)),
        _ => Ok(text),
    }
}

fn left_out(template: &ChatTemplate, index: usize, role: &Value) -> Error {
    let has_place = |role: &&str| is_known(template, role) || *role == DEVELOPER && names(template, "system");
    let roles: Vec<&str> = ROLES.into_iter().filter(has_place).collect();
    Error::new(Category::Input, "The chat template leaves a message out")
        .details(format_args!("messages[{index}].role: expected one of {}, found {}", roles.join(", "), shown(role)))
        .hint("give the message one of these roles")
}

/// Whether a template has a place for what a role says; the two that talk are in each, named or not.
fn is_known(template: &ChatTemplate, role: &str) -> bool {
    ["user", "assistant"].contains(&role) || names(template, role)
}

fn names(template: &ChatTemplate, role: &str) -> bool {
    template.mentions(&format!("'{role}'")) || template.mentions(&format!("\"{role}\""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAMED: &str = "{% for m in messages %}{% if m.role == 'system' %}S:{{ m.content }};\
        {% elif m.role in ['user', \"assistant\", \"critic\"] %}{{ m.role }}:{{ m.content }};{% endif %}{% endfor %}";
    const ANY: &str = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}";

    fn written(source: &str, said: &[(&str, &str)]) -> Result<String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("chat_template.jinja"), source).unwrap();
        let template = ChatTemplate::open(directory.path()).unwrap();
        let mut messages = said.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
        settle(&template, &mut messages);
        render(&template, &mut Map::from_iter([("messages".to_owned(), messages.into())]))
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
}
