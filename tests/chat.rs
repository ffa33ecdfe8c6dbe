//! `chat`: conversations from a pipe, templates, and what it says about bad ones.

mod common;

use std::{fs, path::Path};

use common::{b158, copy_of, transcript, twin};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role | capitalize }}: {{ m.content | trim }}\n{% endfor %}\
                        {% if add_generation_prompt %}Assistant:{% endif %}";

/// A twin with a chat template of its own.
fn chatty(template: &str) -> TempDir {
    let copy = copy_of("tiny-b158-f16");
    fs::write(copy.path().join("chat_template.jinja"), template).unwrap();
    copy
}

fn chat(model: &Path, arguments: &[&str], input: &str) -> Value {
    let mut command = b158();
    command.arg("chat").arg(model).args(arguments).args(["-n", "8", "--json"]).write_stdin(input);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_conversation_from_a_pipe() {
    let model = chatty(TEMPLATE);
    let talk =
        chat(model.path(), &["--system", "Be brief."], "The keeper\n\nAnd the lamp?\n/exit\nnot read\n");
    let roles: Vec<_> = talk["messages"].as_array().unwrap().iter().map(|m| m["role"].clone()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    let answer = talk["messages"][2]["content"].as_str().unwrap();
    assert_eq!(
        talk["turns"][1]["prompt"],
        format!(
            "<s>System: Be brief.\nUser: The keeper\nAssistant: {}\nUser: And the lamp?\nAssistant:",
            answer.trim()
        )
    );
    // The second prompt begins with what the session holds.
    let statistics = &talk["turns"][1]["statistics"];
    let first = talk["turns"][0]["statistics"]["prompt_tokens"].as_u64().unwrap();
    assert!(statistics["reused_tokens"].as_u64().unwrap() >= first - 1, "{statistics}");

    // To reuse tokens changes nothing: the same prompt from nothing gives the same answer.
    let prompt = talk["turns"][1]["prompt"].as_str().unwrap().strip_prefix("<s>").unwrap();
    let run = b158().arg("run").arg(model.path()).args(["-p", prompt, "-n", "8", "--json"]).output().unwrap();
    let run: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(run["tokens"], talk["turns"][1]["tokens"]);
}

#[test]
fn answers_stream_and_reset_forgets() {
    let model = chatty(TEMPLATE);
    let mut command = b158();
    command.arg("chat").arg(model.path()).args(["-n", "8"]).write_stdin("The keeper\n/reset\nThe keeper\n");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let half = stdout.len() / 2;
    assert_eq!(stdout[..half], stdout[half..], "the same question, the same answer");
    assert!(stdout.ends_with('\n'));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().filter(|line| line.contains(" new tokens in ")).count(), 2, "{stderr}");
}

#[test]
fn a_template_and_a_date_of_the_callers() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.jinja");
    fs::write(&file, "{{ bos_token }}{{ strftime_now('%d %b %Y') }}: {{ messages[-1].content }}").unwrap();
    let arguments = ["--template", file.to_str().unwrap(), "--date", "2025-04-16"];
    let talk = chat(&twin("tiny-b158-f16"), &arguments, "The keeper");
    assert_eq!(talk["turns"][0]["prompt"], "<s>16 Apr 2025: The keeper");
}

#[test]
fn bad_input() {
    let model = chatty(TEMPLATE);
    let said = |path: &Path, arguments: &[&str], input: &str| {
        let mut command = b158();
        command.arg("chat").arg(path).args(arguments).write_stdin(input);
        transcript(&mut command, path)
    };
    let plain = copy_of("tiny-b158-f16");
    assert_snapshot!("no chat template", said(plain.path(), &[], "x\n"));
    assert_snapshot!("conversation too long", said(model.path(), &[], &"word ".repeat(300)));
    assert_snapshot!("wrong date", said(model.path(), &["--date", "2025-02-30"], "x\n"));
    assert_snapshot!("no template file", said(model.path(), &["--template", "/no/such.jinja"], "x\n"));

    let template = model.path().join("chat_template.jinja");
    let with = |source: &str| {
        fs::write(&template, source).unwrap();
        said(model.path(), &[], "x\n")
    };
    assert_snapshot!("damaged template", with("{% for m in messages %}\n{{ m.content }"));
    assert_snapshot!(
        "endless template",
        with("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    );
    assert_snapshot!(
        "template that eats memory",
        with(
            "{% set ns = namespace(x='xx') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
        )
    );
    assert_snapshot!("template without end", with("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"));
    assert_snapshot!("template that refuses", with("{{ raise_exception('Only the system may speak') }}"));
    assert_snapshot!("template that says nothing", with("{% if false %}x{% endif %}"));
}
