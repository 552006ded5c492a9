use std::time::{Duration, Instant};

use super::*;

fn template(source: &str) -> ChatTemplate {
    let special = SpecialTexts { bos: Some("<s>"), eos: Some("</s>") };
    ChatTemplate::new(source, special).unwrap()
}

fn conversation() -> Vec<Message> {
    vec![
        Message::new("user", " Hi\n\"there\" <b>é</b> "),
        Message::new("assistant", "Hello!"),
        Message::new("user", "Bye"),
    ]
}

fn render(source: &str) -> Result<String, ChatError> {
    template(source).render(&conversation(), GenerationPrompt::Add)
}

/// Renderings by jinja2 3.1 in the environment of Hugging Face's `apply_chat_template`.
#[test]
fn templates_behave_as_in_python() {
    let cases = [
        ("{{ bos_token }}{{ unk_token }}{{ eos_token }}", "<s></s>"),
        ("{% if tools is none and tools is defined %}x{% endif %}\ny", "xy"),
        ("  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"),
        (
            "{{ messages[0].content | trim }}|{{ messages[-1]['role'].upper() }}",
            "Hi\n\"there\" <b>é</b>|USER",
        ),
        ("{{ messages[1] | tojson }}", "{\"role\": \"assistant\", \"content\": \"Hello!\"}"),
        ("{{ messages[0].content | tojson }}", "\" Hi\\n\\\"there\\\" <b>é</b> \""),
        (
            "{{ messages[0].content | tojson(ensure_ascii=True) }}",
            "\" Hi\\n\\\"there\\\" <b>\\u00e9</b> \"",
        ),
        (
            "{{ {'b': [1, 2.5], 'a': none} | tojson(indent=2) }}",
            "{\n  \"b\": [\n    1,\n    2.5\n  ],\n  \"a\": null\n}",
        ),
        ("{{ {'b': [], 'a': {}} | tojson(sort_keys=True) }}", "{\"a\": {}, \"b\": []}"),
        ("{{ [1, 1e16, 1e-7, true] | tojson(separators=(',', ':')) }}", "[1,1e+16,1e-07,true]"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}\
             {% if loop.first %}{% continue %}{% endif %}{{ ns.n }}{% endfor %}",
            "23",
        ),
        (
            "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}\
             {% endfor %}",
            "user",
        ),
        ("{%- generation -%}\n x \n{%- endgeneration %}", "x"),
        ("{{ messages[0].content.split('\\n')[0] + '|' }}{{ 'a-b'.replace('-', '+') }}", " Hi|a+b"),
        ("{{ messages[0].name is defined }}{{ messages[0].get('name', 'none') }}", "Falsenone"),
        ("{{ (messages | map(attribute='role') | list)[1:] }}", "['assistant', 'user']"),
        ("{{ '{}-{:>3}'.format('a', 7) }}{{ 'x' ~ 1 }}{{ 7 // 2 }}", "a-  7x13"),
        ("{% set x = [1] + [2] %}{% set x = x + [3] %}{{ x }}{{ x | length }}", "[1, 2, 3]3"),
        (
            "{%- macro m(a, b='z') -%} {{ a ~ b }} {%- endmacro -%} {{ m('x') }}\
             {{ m(a='y', b=1) }}",
            "xzy1",
        ),
        (
            "{{ none is iterable }}{{ 'a' is iterable }}{{ [] is iterable }}{{ x is iterable }}\
             {{ 1 is iterable }}",
            "FalseTrueTrueTrueFalse",
        ),
        ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"),
    ];
    for (source, wanted) in cases {
        assert_eq!(render(source).unwrap(), wanted, "{source}");
    }
}

#[test]
fn the_generation_prompt_is_the_callers_choice() {
    let template = template("x{% if add_generation_prompt %}y{% endif %}");
    assert_eq!(template.render(&[], GenerationPrompt::Omit).unwrap(), "x");
    assert_eq!(template.render(&[], GenerationPrompt::Add).unwrap(), "xy");
}

#[test]
fn the_date_is_the_clocks() {
    let clock = || UNIX_EPOCH + Duration::from_secs(1_735_689_599);
    let template = template("{{ strftime_now('%d %b %Y') }}").at(clock);
    assert_eq!(template.render(&[], GenerationPrompt::Add).unwrap(), "31 Dec 2024");
}

#[test]
fn refusals_and_failures_are_told_apart() {
    let refused = render("{{ raise_exception('roles must\nalternate') }}").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the chat template refuses this conversation: roles must alternate"
    );
    let nested = render("{% macro m() %}{{ raise_exception('inner') }}{% endmacro %}{{ m() }}");
    assert!(matches!(nested.unwrap_err(), ChatError::Refused(message) if message == "inner"));
    let failed = render("\n{{ nothing.at.all }}").unwrap_err().to_string();
    assert!(failed.starts_with("the chat template failed: undefined value"), "{failed}");
    assert!(failed.contains(":2)"), "names the line: {failed}");
    let syntax = ChatTemplate::new("{% if %}", SpecialTexts::default()).unwrap_err();
    assert!(syntax.to_string().starts_with("the chat template cannot be compiled: syntax error"));
}

#[test]
fn hostile_templates_end_soon_with_an_error() {
    let grow = |value: &str, body: &str, end: &str| {
        format!(
            "{{% set ns = namespace(x={value}, y={value}) %}}{{% for i in range(99999) %}}\
             {{% set ns.x = {body} %}}{{% endfor %}}{end}"
        )
    };
    let nest = |i: u32| format!("{{% for a{} in [[a{i}, a{i}]] %}}", i + 1);
    let nested = (0..100).map(nest).collect::<Vec<_>>().concat();
    let sources = [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
            .to_owned(),
        grow("'aaaaaaaa'", "ns.x ~ ns.x", ""),
        grow("'aaaaaaaa'", "ns.x.replace('a', ns.x)", ""),
        grow("[1]", "ns.x + ns.x", ""),
        grow("[1]", "[ns.x, ns.x]", ""),
        grow("[1]", "[ns.x, ns.x]", "{{ ns.x | tojson }}"),
        grow("[1]", "{'a': ns.x, 'b': ns.x}", ""),
        grow("[1]", "(ns.x, ns.x)", ""),
        grow("[1]", "[ns.x]", ""),
        grow("[1]", "dict(a=ns.x)", ""),
        grow("[1]", "ns.x | batch(1) | list", ""),
        grow("[1]", "ns", "{{ ns }}"),
        grow("[1]", "namespace(a=ns.x)", ""),
        "{% set x = [1] %}".to_owned() + &"{% set x = [x, x] %}".repeat(60) + "{{ x }}",
        format!("{{% set a0 = 1 %}}{nested}{{{{ a100 }}}}{}", "{% endfor %}".repeat(100)),
        "{% for x in [[1]] recursive %}{{ loop([[x, x]]) }}{% endfor %}".to_owned(),
        "{% macro m(x) %}{{ m([x, x]) }}{% endmacro %}{{ m([1]) }}".to_owned(),
        "{% macro m(n) %}{{ m(n) ~ m(n) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{{ 'a' * 99999999999 }}".to_owned(),
        "{{ [0] * 99999999999 }}".to_owned(),
        "{{ [0] | tojson(indent=99999999999) }}".to_owned(),
        "{{ 'a' | indent(99999999999) }}".to_owned(),
        "{{ '%99999999999d' | format(1) }}".to_owned(),
        "{{ '{:>99999999}'.format('a') }}{{ '{:{}}'.format('a', 99999999) }}".to_owned(),
    ];
    for source in &sources {
        let start = Instant::now();
        let result = render(source);
        assert!(start.elapsed() < Duration::from_secs(10), "{source}");
        assert!(result.is_err(), "{source}");
    }
}

#[test]
fn long_templates_and_conversations_are_refused() {
    let source = "x".repeat(MAX_TEMPLATE + 1);
    let error = ChatTemplate::new(&source, SpecialTexts::default()).unwrap_err();
    assert!(error.to_string().starts_with("the chat template has 1048577 bytes"));
    let long = [Message::new("user", "x".repeat(MAX_TEXT))];
    let error = template("").render(&long, GenerationPrompt::Add).unwrap_err();
    assert!(matches!(error, ChatError::TooLong { what: "conversation", .. }));
}

#[test]
fn files_name_the_template_and_the_tokens() {
    let render = |config: &str, file: Option<&[u8]>| {
        let template = ChatTemplate::from_files(Some(config.as_bytes()), file).unwrap()?;
        Some(template.render(&[], GenerationPrompt::Add).unwrap())
    };
    let tokens = r#""bos_token": {"content": "<a>"}, "eos_token": "<b>""#;
    let one = format!("{{{tokens}, \"chat_template\": \"{{{{bos_token ~ eos_token}}}}\"}}");
    assert_eq!(render(&one, None).unwrap(), "<a><b>");
    assert_eq!(render(&one, Some(b"file")).unwrap(), "file");
    assert_eq!(render(&one, Some(b" \n")).unwrap(), "<a><b>", "an empty file is none");
    let named = r#"{"chat_template": [
        {"name": "tool_use", "template": "t"},
        {"name": "default", "template": "d"}
    ]}"#;
    assert_eq!(render(named, None).unwrap(), "d");
    let several = named.replace("default", "rag");
    let error = ChatTemplate::from_files(Some(several.as_bytes()), None).unwrap_err();
    assert!(matches!(error, ChatError::Ambiguous));
    assert_eq!(render("{}", None), None);
    assert!(ChatTemplate::from_files(Some(b"{"), None).is_err());
}
