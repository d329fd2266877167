//! Texts of models, and what is in them: the values of published tests of other parsers, and odd texts.
use super::ToolForm;

/// A text in a form, the text beside its calls, and the calls: names, and arguments as JSON.
pub type Case = (ToolForm, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const DALLAS: (&str, &str) = ("get_current_weather", r#"{"city": "Dallas", "state": "TX"}"#);
const NOW: (&str, &str) = ("now", "{}");

pub const CASES: &[Case] = &[
    (
        ToolForm::Xml,
        "<tool_call>\n<function=get_current_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX\n</parameter>\n</function>\n</tool_call>",
        "",
        &[DALLAS],
    ),
    (
        ToolForm::Xml,
        "Sure! Let me check the weather for you.<tool_call>\n<function=get_current_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX\n</parameter>\n</function>\n</tool_call>\n",
        "Sure! Let me check the weather for you.",
        &[DALLAS],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=calculate_area>\n<parameter=shape>\nrectangle\n</parameter>\n<parameter=dimensions>\n{\"width\": 10, \n \"height\": 20}\n</parameter>\n<parameter=precision>\n2\n</parameter>\n</function>\n</tool_call>",
        "",
        &[("calculate_area", r#"{"shape": "rectangle", "dimensions": {"width": 10, "height": 20}, "precision": 2}"#)],
    ),
    (
        ToolForm::Xml,
        "Both.\n\n<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=calculate_area>\n<parameter=dimensions>\n{\"radius\": 15.5}\n</parameter>\n</function>\n</tool_call>\nDone. \n",
        "Both.\n\n\n\nDone. \n",
        &[NOW, ("calculate_area", r#"{"dimensions": {"radius": 15.5}}"#)],
    ),
    // Without <tool_call>, or its end; without ends of arguments, functions, and of everything.
    (
        ToolForm::Xml,
        "I ask.\n\n<function=get_current_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX\n</parameter>\n</function>\n</tool_call>",
        "I ask.",
        &[DALLAS],
    ),
    (ToolForm::Xml, "<function=now></function> now", "now", &[NOW]),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=get_current_weather>\n<parameter=city>\nDallas\n<parameter=state>\nTX\n</parameter>\n</function>\n</tool_call>",
        "",
        &[DALLAS],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=get_current_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX\n</tool_call>\n<tool_call>\n<function=now>\n<tool_call>\n<function=now>\n",
        "",
        &[DALLAS, NOW, NOW],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=get_current_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX\n</para",
        "",
        &[DALLAS],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=get_current_weather>\n<parameter=city>Dallas</parameter><parameter=state>TX</function></tool_c",
        "",
        &[DALLAS],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=get_current_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX",
        "",
        &[DALLAS],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=get_current_weather>\n<parameter=city>\nDallas\n</parameter>\n<parameter=state>\nTX\n</parameter>\nthat was it",
        "that was it",
        &[DALLAS],
    ),
    (ToolForm::Xml, "<tool_call><tool_call>\n<function=now>\n</function>\n</tool_call>", "", &[NOW]),
    // Tags that are no call, and text where none is expected.
    (
        ToolForm::Xml,
        "The tag <tool_call> begins it, <function=name> names it. <tool_call>\n<function=",
        "The tag <tool_call> begins it, <function=name> names it. <tool_call>\n<function=",
        &[],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=bad\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        "<tool_call>\n<function=bad\n</function>\n</tool_call>",
        &[NOW],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=unknown>\n<parameter=a>\n1\n</parameter>\nso\n</function>\n</tool_call>",
        "so",
        &[("unknown", r#"{"a": "1"}"#)],
    ),
    // Values with tags, line ends and nothing in them.
    (
        ToolForm::Xml,
        "<tool_call>\n<function=write>\n<parameter=path>\na.xml\n</parameter>\n<parameter=text>\n<a>\n  <parameter key=\"x\">1</parameter>\n  <function>y</function> <tool_call>\n</a>\n\n</parameter>\n</function>\n</tool_call>",
        "",
        &[(
            "write",
            r#"{"path": "a.xml", "text": "<a>\n  <parameter key=\"x\">1</parameter>\n  <function>y</function> <tool_call>\n</a>\n"}"#,
        )],
    ),
    (
        ToolForm::Xml,
        "<tool_call>\n<function=write>\n<parameter=text>\n\n</parameter>\n<parameter=path></parameter>\n</function>\n</tool_call>",
        "",
        &[("write", r#"{"text": "", "path": ""}"#)],
    ),
    (ToolForm::Xml, "  Only text, 1 < 2. \n", "  Only text, 1 < 2. \n", &[]),
    (
        ToolForm::NemotronList,
        r#"Let me check that.<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Tokyo", "unit": "celsius"}}]</TOOLCALL>"#,
        "Let me check that.",
        &[("get_weather", r#"{"city": "Tokyo", "unit": "celsius"}"#)],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>{"name": "lookup", "arguments": {"query": "vllm"}}</TOOLCALL>"#,
        "",
        &[("lookup", r#"{"query": "vllm"}"#)],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>[{"name": "run_query", "arguments": "{\"sql\": \"select 1\"}"}]</TOOLCALL>"#,
        "",
        &[("run_query", r#"{"sql": "select 1"}"#)],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>[{"name": "broken", "arguments": {}</TOOLCALL>"#,
        r#"<TOOLCALL>[{"name": "broken", "arguments": {}</TOOLCALL>"#,
        &[],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>[{"name": "search", "arguments": {"filters": {"city": "Tokyo"}, "items": [{"name": "rain", "value": true}]}}]</TOOLCALL>"#,
        "",
        &[("search", r#"{"filters": {"city": "Tokyo"}, "items": [{"name": "rain", "value": true}]}"#)],
    ),
    (
        ToolForm::NemotronList,
        "<TOOLCALL>[{\"name\": \"a\", \"arguments\": {\"x\": \"]</TOOLCALL> \\\" {\"}}, \n {\"name\": \"b\"}]</TOOLCALL>\n\nWait.",
        "Wait.",
        &[("a", r#"{"x": "]</TOOLCALL> \" {"}"#), ("b", "{}")],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>[{"name": "a", "arguments": {"n": 12345678901234567890123, "f": 1e-7}}"#,
        "",
        &[("a", r#"{"n": 12345678901234567890123, "f": 1e-7}"#)],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>[{"name": "a", "arguments": {}}, {"name": "b", "argum"#,
        r#", {"name": "b", "argum"#,
        &[("a", "{}")],
    ),
    (
        ToolForm::NemotronList,
        "Nothing: <TOOLCALL>[]</TOOLCALL> Use <TOOLCALL> so.",
        "Nothing:  Use <TOOLCALL> so.",
        &[],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>[{"name": 3, "arguments": {}}]</TOOLCALL>"#,
        r#"<TOOLCALL>[{"name": 3, "arguments": {}}]</TOOLCALL>"#,
        &[],
    ),
    (
        ToolForm::NemotronList,
        r#"<TOOLCALL>[{"name": "a", "arguments": [1]}]</TOOLCALL>"#,
        r#"<TOOLCALL>[{"name": "a", "arguments": [1]}]</TOOLCALL>"#,
        &[],
    ),
    (
        ToolForm::NemotronMini,
        "<toolcall> {\"name\": \"now\", \"arguments\": {}} </toolcall>\n<toolcall> {\"name\": \"add\", \"arguments\": {\"a\": 1}} </toolcall>",
        "",
        &[NOW, ("add", r#"{"a": 1}"#)],
    ),
    (
        ToolForm::Hermes,
        "I do.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>\n",
        "I do.",
        &[("add", r#"{"a": 1}"#)],
    ),
    (
        ToolForm::Mistral,
        r#"[TOOL_CALLS][{"name": "add", "arguments": {"a": 3.5, "b": 4}}, {"name": "get_weather", "arguments": {"city": "San Francisco"}}]"#,
        "",
        &[("add", r#"{"a": 3.5, "b": 4}"#), ("get_weather", r#"{"city": "San Francisco"}"#)],
    ),
    (ToolForm::Mistral, r#"[TOOL_CALLS] [{"name": "now", "arguments": {}}] [1] says so"#, "[1] says so", &[NOW]),
    (
        ToolForm::Llama,
        r#"{"name": "now", "parameters": {}} Would you like to know more?"#,
        "Would you like to know more?",
        &[NOW],
    ),
    (
        ToolForm::Llama,
        "\n<|python_tag|>{\"name\": \"write\", \"parameters\": {\"text\": \"He said \\\"Hello {world}\\\"\"}}",
        "",
        &[("write", r#"{"text": "He said \"Hello {world}\""}"#)],
    ),
    (
        ToolForm::Llama,
        r#"{"name": "write", "parameters": {"path": "1"}} ; {"type": "function", "name": "now", "arguments": {}};
{"name": "write", "parameters": {"path": "2"}}"#,
        "",
        &[("write", r#"{"path": "1"}"#), NOW, ("write", r#"{"path": "2"}"#)],
    ),
    (
        ToolForm::Llama,
        r#"{"name": "now", "parameters": {invalid json}"#,
        r#"{"name": "now", "parameters": {invalid json}"#,
        &[],
    ),
    (ToolForm::Llama, r#"{"name": "Ada", "parameters": {}}"#, r#"{"name": "Ada", "parameters": {}}"#, &[]),
    (ToolForm::Llama, r#"{"name": "now"} "#, r#"{"name": "now"} "#, &[]),
    (ToolForm::Llama, r#"{"name": "now", "parameters": {}}; and {this}"#, "; and {this}", &[NOW]),
    (ToolForm::Llama, r#"{"names": ["now"], "parameters": {}}"#, r#"{"names": ["now"], "parameters": {}}"#, &[]),
];
