use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// A conversation with every role, blanks to trim, and characters of several bytes.
fn conversation() -> Vec<Message> {
    vec![
        Message::new("system", " You answer briefly.\n"),
        Message::new("user", "Où est le phare ? "),
        Message::new("assistant", "Sur l'île."),
        Message::new("user", "<|eot_id|> 'quoted' \"twice\""),
    ]
}

fn options() -> ChatOptions<'static> {
    ChatOptions {
        add_generation_prompt: true,
        bos_token: Some("<|begin_of_text|>"),
        eos_token: Some("</s>"),
        date: None,
    }
}

fn render(source: &str) -> Result<String, Error> {
    ChatTemplate::new("m".as_ref(), source)?.render(&conversation(), &options())
}

fn text(source: &str) -> String {
    render(source).unwrap_or_else(|e| panic!("{source}: {e}"))
}

/// The format of BitNet b1.58 2B4T: the role in words, turns ended by a token.
#[test]
fn roles_in_words() {
    let source = "{%- for m in messages -%}\
        {%- set turn = m.role | capitalize ~ ': ' ~ m['content'].strip() ~ '<|eot_id|>' -%}\
        {%- if loop.first and bos_token %}{% set turn = bos_token + turn %}{% endif -%}\
        {{- turn -}}\
        {%- endfor -%}\
        {%- if add_generation_prompt %}{{ 'Assistant: ' }}{% endif -%}";
    assert_eq!(
        text(source),
        "<|begin_of_text|>System: You answer briefly.<|eot_id|>User: Où est le phare ?<|eot_id|>\
         Assistant: Sur l'île.<|eot_id|>User: <|eot_id|> 'quoted' \"twice\"<|eot_id|>Assistant: "
    );
}

/// The format of Llama 3: each turn has a header between two tokens, and a blank line.
#[test]
fn headers_of_llama_3() {
    let source = "{%- if messages[0].role == 'system' -%}
    {%- set system, turns = messages[0]['content'] | trim, messages[1:] -%}
{%- else -%}
    {%- set system, turns = none, messages -%}
{%- endif -%}
{%- macro turn(role, content) -%}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + content + '<|eot_id|>' -}}
{%- endmacro -%}
{{- bos_token -}}
{%- if system is not none %}{{ turn('system', system) }}{% endif -%}
{%- for m in turns -%}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Roles must alternate: ' ~ m.role) -}}
    {%- endif -%}
    {{- turn(m.role, m.content | trim) -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
";
    assert_eq!(
        text(source),
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou answer briefly.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nOù est le phare ?<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\nSur l'île.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\n<|eot_id|> 'quoted' \"twice\"<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
    let template = ChatTemplate::new("m".as_ref(), source).unwrap();
    let twice = [Message::new("user", "a"), Message::new("user", "b")];
    let error = template.render(&twice, &options()).unwrap_err().to_string();
    assert_eq!(
        error,
        "m: chat template: line 13: Roles must alternate: user\nhint: the model does not accept this conversation"
    );
}

/// What transformers' Jinja makes of these; the results on the right are its own.
#[test]
fn conventions_of_transformers() {
    for (source, expected) in [
        // trim_blocks, lstrip_blocks, one newline at the end.
        ("{% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"),
        ("{%+ if true %} a{%- endif +%}\nb", " a\nb"),
        ("{# comment #}\n{{ 1 }}", "1"),
        // Values as Python spells them.
        (
            "{{ none }}|{{ true }}|{{ 1.0 }}|{{ [1, 'a', \"it's\"] }}|{{ {'k': none} }}",
            "None|True|1.0|[1, 'a', \"it's\"]|{'k': None}",
        ),
        ("{{ 'x' ~ none ~ true ~ 1 }}|{{ (1,) }}|{{ true | string }}", "xNoneTrue1|(1,)|True"),
        ("{{ missing }}|{{ missing is defined }}|{{ messages[0].missing }}", "|False|"),
        ("{{ 'ab' * 2 }}|{{ 3 * 2 }}|{{ 1.5 * 2 }}|{{ [1] * 2 }}|{{ 'a' * -1 }}", "abab|6|3.0|[1, 1]|"),
        // JSON.
        ("{{ messages[0] | tojson }}", "{\"role\": \"system\", \"content\": \" You answer briefly.\\n\"}"),
        (
            "{{ {'b': [1, {}], 'a': '<é\"'} | tojson(indent=2) }}",
            "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": \"<é\\\"\"\n}",
        ),
        // Methods.
        ("{{ ' a b '.strip().split(' ')[-1].upper() }}|{{ 'a-b'.replace('-', '+', 1) }}", "B|a+b"),
        (
            "{{ ', '.join(['a', 'b']) }}|{{ 'abc'.startswith('ab') }}|{{ '{0}{{}}{0}{1}'.format(1, 'x') }}",
            "a, b|True|1{}1x",
        ),
        (
            "{% for k, v in messages[2].items() %}{{ k }}={{ v }};{% endfor %}",
            "role=assistant;content=Sur l'île.;",
        ),
        ("{{ messages[2].get('x', 'none') }}|{{ ['a', 'b'].index('b') }}", "none|1"),
        // Filters.
        ("{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent('> ', first=true) }}", "a\n  b\n\n  c|> a\n> b"),
        ("{{ messages | map(attribute='role') | join('-') }}", "system-user-assistant-user"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "2"),
        (
            "{{ [3, 1, 2] | sort | join(',') }}|{{ 'a.b' | replace('.', '') }}|{{ [1, 2] | first }}",
            "1,2,3|ab|1",
        ),
        // Statements.
        (
            "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{% if loop.last %}{% break %}{% endif %}{{ loop.index }}{% endfor %}",
            "13",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages if m.role == 'user' %}{% set ns.n = ns.n + loop.index %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x + x }}|{% filter upper %}b{% endfilter %}", "a1a1|B"),
        (
            "{% macro f(x, y=2) %}{{ x }}{{ y }}{{ caller() if caller else '' }}{% endmacro %}{{ f(1) }}|{% call f(3, y=4) %}!{% endcall %}",
            "12|34!",
        ),
        ("{% generation %}a{% endgeneration %}|{%- generation -%} b {%- endgeneration -%}", "a|b"),
        ("{{ messages[::-1][0].content[:8] }}|{{ messages[-1]['role'] }}", "<|eot_id|user"),
        ("{{ eos_token if messages | length > 3 and not false else bos_token }}", "</s>"),
        (
            "{{ strftime_now is defined }}|{{ 'assistant' in messages | map(attribute='role') | list }}",
            "False|True",
        ),
        (
            "{{ 7 // 2 }}|{{ 7 % 4 }}|{{ 2 ** 3 }}|{{ 1 < 2 <= 2 }}|{{ 'a' 'b' if 1 in [1] else 0 }}",
            "3|3|8|True|ab",
        ),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
}

#[test]
fn the_date_is_the_callers() {
    let source = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}none{% endif %}";
    let template = ChatTemplate::new("m".as_ref(), source).unwrap();
    let with = |date| template.render(&conversation(), &ChatOptions { date, ..options() }).unwrap();
    assert_eq!(with(None), "none");
    assert_eq!(with(Date::new(2024, 7, 26)), "26 Jul 2024");
}

#[test]
fn errors_name_the_line_and_what_to_do() {
    let error = |source: &str| render(source).unwrap_err().to_string();
    insta::assert_snapshot!(
        [
            "a\n{% if %}",
            "{% for m in messages %}",
            "a\nb {{ missing.attribute }}",
            "{{ messages | surely_not }}",
            "{% if true %}\n{{ raise_exception('no \u{1b}[31mroles') }}{% endif %}",
            "{{ strftime_now('%Y') }}",
            "{% include 'other' %}",
            "{% extends 'other' %}",
            "{{ 'x' + 1 }}",
            "{{ '{:>9}'.format(1) }}",
        ]
        .map(error)
        .join("\n\n")
    );
}

/// Programs that would take for ever, or all memory, or the whole stack. Each ends in one error.
#[test]
fn hostile_templates_end_quickly() {
    // Debug builds on a busy machine are slow: the bound tells seconds from for ever.
    const BOUND: Duration = Duration::from_secs(20);
    let long = |piece: &str, times| format!("{{{{ a{} }}}}", piece.repeat(times));
    let nested = |open: &str, close: &str, n| format!("{}1{}", open.repeat(n), close.repeat(n));
    let ns = "{% set ns = namespace(x='xxxxxxxx', l=[]) %}";
    let all = "{% for i in range(99999) %}";
    let again = |what: &str| format!("{all}{{% if {what} %}}{{% endif %}}{{% endfor %}}");
    let text = "{% set s = 'x' * 8000000 %}";
    let range = "{% set r = range(100000) %}";
    let list = "{% set r = range(100000) | list %}";
    for (name, source) in [
        (
            "endless loops",
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".into(),
        ),
        ("a large range", "{{ range(1000000000000) | list | length }}".into()),
        ("a range in a range", "{{ range(99999) | map('string') | list * 99999 }}".into()),
        ("endless recursion", "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}".into()),
        (
            "recursion in a call",
            "{% macro f() %}{% if caller %}{% endif %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}"
                .into(),
        ),
        ("a recursive loop", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".into()),
        ("repetition", "{{ 'x' * 100000000000 }}".into()),
        ("constant repetition", format!("{{{{ {} }}}}", ["'x' * 99999999"; 200].join(" ~ "))),
        ("constant tuples", "{% set x = (1, 2) * 50000000 %}".into()),
        ("doubling by ~", format!("{ns}{all}{{% set ns.x = ns.x ~ ns.x %}}{{% endfor %}}")),
        ("doubling by +", format!("{ns}{all}{{% set ns.x = ns.x + ns.x %}}{{% endfor %}}")),
        (
            "doubling by capture",
            format!(
                "{ns}{all}{{% set x %}}{{{{ ns.x }}}}{{{{ ns.x }}}}{{% endset %}}{{% set ns.x = x %}}{{% endfor %}}"
            ),
        ),
        (
            "doubling by replace",
            format!("{ns}{all}{{% set ns.x = ns.x | replace('x', 'xx') %}}{{% endfor %}}"),
        ),
        ("doubling by a method", format!("{ns}{all}{{% set ns.x = ns.x.replace('', ns.x) %}}{{% endfor %}}")),
        ("doubling by join", format!("{ns}{all}{{% set ns.x = ns.x.join([ns.x, ns.x]) %}}{{% endfor %}}")),
        (
            "doubling by a macro",
            format!(
                "{ns}{{% macro f(x) %}}{{{{ x }}}}{{{{ x }}}}{{% endmacro %}}{all}{{% set ns.x = f(ns.x) %}}{{% endfor %}}"
            ),
        ),
        (
            "doubling by a filter block",
            format!(
                "{ns}{all}{{% set ns.x %}}{{% filter upper %}}{{{{ ns.x }}}}{{{{ ns.x }}}}{{% endfilter %}}{{% endset %}}{{% endfor %}}"
            ),
        ),
        (
            "doubling lists",
            format!("{ns}{all}{{% set ns.l = [ns.l, ns.l] %}}{{% endfor %}}{{{{ ns.l == ns.l }}}}"),
        ),
        ("doubling maps", format!("{ns}{all}{{% set ns.l = {{'a': ns.l, 'b': ns.l}} %}}{{% endfor %}}")),
        (
            "doubling sums of lists",
            format!("{ns}{{% set ns.l = [1] %}}{all}{{% set ns.l = ns.l + ns.l %}}{{% endfor %}}"),
        ),
        ("deep lists", format!("{ns}{all}{{% set ns.l = [ns.l] %}}{{% endfor %}}{{{{ ns.l }}}}")),
        (
            "deep namespaces",
            format!("{ns}{all}{{% set ns.l = namespace(a=ns.l) %}}{{% endfor %}}{{{{ ns.l }}}}"),
        ),
        (
            "deep slices",
            format!(
                "{ns}{{% set ns.l = range(9) %}}{all}{{% set ns.l = ns.l[0:] %}}{{% endfor %}}{{{{ 'x' * 99999999 }}}}"
            ),
        ),
        (
            "deep reversals",
            format!(
                "{ns}{{% set ns.l = [1, 2] %}}{all}{{% set ns.l = ns.l | reverse %}}{{% endfor %}}{{{{ 'x' * 99999999 }}}}"
            ),
        ),
        (
            "deep selections",
            format!(
                "{ns}{{% set ns.l = [1, 2] %}}{all}{{% set ns.l = ns.l | select %}}{{% endfor %}}{{{{ ns.l | list }}}}{{{{ 'x' * 99999999 }}}}"
            ),
        ),
        (
            "deep mappings",
            format!(
                "{ns}{{% set ns.l = [1, 2] %}}{all}{{% set ns.l = ns.l | map('int') %}}{{% endfor %}}{{{{ ns.l | list }}}}{{{{ 'x' * 99999999 }}}}"
            ),
        ),
        (
            "deep repetitions",
            format!(
                "{ns}{{% set ns.l = [1, 2] %}}{all}{{% set ns.l = ns.l * 1 %}}{{% endfor %}}{{{{ 'x' * 99999999 }}}}"
            ),
        ),
        ("a circle", "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".into()),
        (
            "a circle compared",
            "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns == ns.a }}{{ [ns] | tojson }}".into(),
        ),
        (
            "a circle of two ways",
            "{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = ns %}{{ ns | string }}".into(),
        ),
        ("wide indentation", "{{ ('a\n' * 9999) | indent(100000000) }}".into()),
        ("wide JSON", "{{ [1] | tojson(indent=1000000000) }}".into()),
        ("wide formats", "{{ '{:1000000000}'.format(1) }}{{ '%1000000000d' | format(1) }}".into()),
        ("much output", format!("{ns}{all}{} {{% endfor %}}", "text ".repeat(2000))),
        (
            "copies of slices",
            format!("{{% set x = 'x' * 1000000 %}}{ns}{all}{{% set ns.l = ns.l + [x[1:]] %}}{{% endfor %}}"),
        ),
        ("the end of a text", text.to_owned() + &again("s[7999999]")),
        ("the end of a text, backwards", text.to_owned() + &again("s[-1]")),
        ("the last of a text", text.to_owned() + &again("s | last")),
        ("the length of a text", text.to_owned() + &again("s | length")),
        ("the count of a text", text.to_owned() + &again("s | count")),
        ("pieces of a text", text.to_owned() + &again("s[7999998:]")),
        ("whether a text can be iterated", text.to_owned() + &again("s is iterable")),
        (
            "loops over a text",
            format!("{text}{all}{{% for c in s %}}{{% break %}}{{% endfor %}}{{% endfor %}}"),
        ),
        ("the end of a constant", again(&format!("'{}'[199999]", "x".repeat(200_000)))),
        ("the length of a constant", again(&format!("'{}' | length", "x".repeat(200_000)))),
        ("the end of a range", range.to_owned() + &again("r[99999]")),
        ("the last of a range", range.to_owned() + &again("r | last")),
        ("pieces of a range", range.to_owned() + &again("r[99999:]")),
        ("pieces of a list", list.to_owned() + &again("r[99999:]")),
        ("a list backwards", format!("{list}{{% set r = r[::-1] %}}{}{{{{ 'x' * 99999999 }}}}", again("r"))),
        ("a long sum", long("~a", 60_000)),
        ("a long path", long(".a", 60_000)),
        ("many subscripts", long("[0]", 60_000)),
        ("many filters", long("|d", 60_000)),
        ("many calls", long("()", 60_000)),
        ("many branches", format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(15_000))),
        ("many parentheses", format!("{{{{ {} }}}}", nested("(", ")", 60_000))),
        ("many lists", format!("{{{{ {} }}}}", nested("[", "]", 60_000))),
        ("many negations", format!("{{{{ {}a }}}}", "not ".repeat(50_000))),
        ("many blocks", nested("{% if a %}", "{% endif %}", 10_000)),
        ("a large source", "x".repeat(300_000)),
    ] {
        let start = Instant::now();
        let error = render(&source).map(|text| text.len()).expect_err(name).to_string();
        assert!(error.starts_with("m: chat template: "), "{name}: {error}");
        assert!(!error.contains("the engine failed"), "{name}: {error}");
        eprintln!("{:>8.3} s  {name}: {}", start.elapsed().as_secs_f64(), error.lines().next().unwrap());
        assert!(start.elapsed() < BOUND, "{name} took {:?}", start.elapsed());
    }
}

/// What the bounds must let pass: a long conversation in a template that looks at it again for each message.
#[test]
fn long_conversations_fit() {
    let source = "{%- for m in messages -%}\
        {%- if loop.index == messages | length and (messages | last).role != 'assistant' %}{{ '<last>' }}{% endif -%}\
        {{- '<|im_start|>' + m.role + '\\n' + m.content | trim + '<|im_end|>\\n' -}}\
        {%- endfor -%}";
    let template = ChatTemplate::new("m".as_ref(), source).unwrap();
    let turns: Vec<_> =
        (0..2000).map(|i| Message::new("user", format!("{i} {}", "words ".repeat(100)))).collect();
    let text = template.render(&turns, &options()).unwrap();
    assert_eq!(text.matches("<|im_end|>").count(), 2000);
    // One message as long as any context.
    let book = [Message::new("user", "words ".repeat(1_000_000))];
    assert!(template.render(&book, &options()).unwrap().len() > 5_000_000);
}

proptest! {
    /// Any source gives a text or an error, and never a panic that only the thread contains.
    #[test]
    fn any_template_gives_text_or_an_error(
        source in ".{0,60}|[{}% a-c.()|'0-9\\[\\]~*+=<>]{0,40}|(\\{\\{|\\}\\}|\\{%|%\\}|if|for|in|set|a|endif|endfor|macro|messages|\\||\\[|\\]|:|1|~|\\*| ){0,30}"
    ) {
        if let Err(error) = render(&source) {
            prop_assert!(!error.to_string().contains("the engine failed"), "{}: {}", source, error);
        }
    }

    /// Messages come out as they are, whatever they hold.
    #[test]
    fn messages_are_never_read_as_templates(content in "\\PC{0,30}|[{}%#a'\"\\\\\n-]{0,20}") {
        let template = ChatTemplate::new("m".as_ref(), "{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
        prop_assert_eq!(template.render(&[Message::new("user", content.clone())], &options()).unwrap(), content);
    }
}
