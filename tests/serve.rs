//! `serve`: every route, every error, the same bits alone or in a crowd, clients that vanish or do not read, limits
//! and draining.
#![cfg(all(feature = "serve", unix))]

mod common;
#[path = "common/http.rs"]
mod http;

use std::{
    fs,
    io::{Read, Write},
    ops::ControlFlow,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use b158_checkpoint::Checkpoint;
use b158_eval::SuiteResults;
use b158_runner::{GenerateOptions, LoadOptions, Model, Sampling, Session, StopReason, TextSession, score};
use common::{b158, copy_of, fixtures, replace, twin};
use http::{JSON, Server, read};
use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role | capitalize }}: {{ m.content | trim }}\n{% endfor %}\
                        {% if add_generation_prompt %}Assistant:{% endif %}";

/// A twin with a chat template of its own.
fn chatty() -> TempDir {
    let copy = copy_of("tiny-b158-f16");
    fs::write(copy.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    copy
}

/// A twin whose answers may be so long that they take minutes.
fn tireless() -> TempDir {
    let copy = copy_of("tiny-llama-f16");
    replace(
        &copy.path().join("config.json"),
        "\"max_position_embeddings\": 256",
        "\"max_position_embeddings\": 60000",
    );
    copy
}

/// An answer that takes minutes.
fn endless() -> Value {
    json!({ "prompt": [1, 5, 9], "max_tokens": 50000, "ignore_eos": true, "stream": true })
}

fn load(path: &Path) -> (Checkpoint, Model) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();
    (checkpoint, model)
}

/// What does not differ from run to run.
fn lasting(answer: &Value) -> Value {
    let mut answer = answer.clone();
    let object = answer.as_object_mut().unwrap();
    object.shift_remove("id");
    object.shift_remove("created");
    answer
}

#[test]
fn every_route() {
    let model = chatty();
    let server = Server::start(model.path(), &["--name", "tiny"]);
    let models = server.get("/v1/models").json();
    assert_eq!((&models["data"][0]["id"], &models["object"]), (&json!("tiny"), &json!("list")));
    assert_eq!(server.get("/v1/models/tiny").json()["max_model_len"], 256);
    assert_eq!(server.get("/v1/models/%74iny").json()["id"], "tiny");
    assert_eq!(server.get("/v1/models/other").json()["error"]["code"], "model_not_found");
    assert_eq!(server.get("/health").body, r#"{"status":"ok"}"#);

    let ask = json!({ "model": "tiny", "prompt": "The keeper", "max_tokens": 3, "temperature": 0, "logprobs": 1, "echo": true, "user": "u" });
    let answer = server.post("/v1/completions", &ask);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_snapshot!("completion", serde_json::to_string_pretty(&lasting(&answer.json())).unwrap());
    let ask = json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "The keeper" }] }],
        "max_completion_tokens": 2, "temperature": 0, "logprobs": true, "top_logprobs": 2 });
    let answer = server.post("/v1/chat/completions", &ask);
    assert_snapshot!("chat", serde_json::to_string_pretty(&lasting(&answer.json())).unwrap());

    let tokens = server.post("/tokenize", &json!({ "prompt": "The keeper" })).json();
    let plain = server.post("/tokenize", &json!({ "content": "The keeper" })).json();
    assert_eq!(
        (tokens["count"].as_u64(), tokens["max_model_len"].as_u64()),
        (Some(plain["count"].as_u64().unwrap() + 1), Some(256))
    );
    assert_eq!(tokens["tokens"].as_array().unwrap()[1..], plain["tokens"].as_array().unwrap()[..]);
    let strings = server.post("/tokenize", &json!({ "content": "The", "return_token_strs": true })).json();
    assert_eq!(strings["token_strs"].as_array().unwrap().len() as u64, strings["count"].as_u64().unwrap());
    let text = server.post("/detokenize", &json!({ "tokens": plain["tokens"] })).json();
    assert_eq!((&text["prompt"], &text["content"]), (&json!("The keeper"), &json!("The keeper")));
    let chat = server.post("/tokenize", &json!({ "messages": [{ "role": "user", "content": "x" }] })).json();
    assert!(chat["count"].as_u64().unwrap() > 3);
    assert_eq!(server.get("/tokenizer_info").json()["bos_token"], "<s>");

    let metrics = server.get("/metrics");
    assert!(metrics.headers.contains("text/plain; version=0.0.4"));
    for line in [
        "b158_requests_total{route=\"/v1/completions\",status=\"200\"} 1",
        "b158_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1",
        "b158_generated_tokens_total 5",
        "b158_sequences_active 0",
        "b158_cache_positions_reserved 0",
    ] {
        assert!(metrics.body.lines().any(|l| l == line), "{line}\n{}", metrics.body);
    }
}

#[test]
fn every_error() {
    let server = Server::start(&twin("tiny-b158-f16"), &["--max-body", "20000", "--max-tokens", "40"]);
    let mut said = String::new();
    let mut tell = |what: &str, answer: http::Answer| {
        let error = &answer.json()["error"];
        assert!(error["message"].is_string() && error["type"].is_string(), "{what}: {answer:?}");
        said += &format!(
            "{what}\n  {} {} {}: {}\n",
            answer.status, error["code"], error["param"], error["message"]
        );
    };
    for (method, path) in
        [("GET", "/v1/completions"), ("DELETE", "/health"), ("POST", "/v1/embeddings"), ("GET", "/")]
    {
        tell(&format!("{method} {path}"), server.request(method, path, JSON, "{}"));
    }
    let raw = |body: &str| server.request("POST", "/v1/completions", JSON, body);
    tell("no JSON type", server.request("POST", "/v1/completions", "Content-Type: text/plain\r\n", "{}"));
    for body in [
        "",
        "{",
        "[]",
        "nonsense",
        r#"{"prompt": "\ud800"}"#,
        r#"{"prompt": "a", "temperature": NaN}"#,
        r#"{"prompt": "a", "temperature": 1e999}"#,
        r#"{"prompt": [99999999999999999999]}"#,
    ] {
        tell(body, raw(body));
    }
    tell("nested", raw(&format!("{{\"prompt\": {}", "[".repeat(2000))));
    tell("too large", raw(&format!(r#"{{"prompt": "{}"}}"#, "a".repeat(20000))));
    tell(
        "lone surrogate",
        server.request(
            "POST",
            "/v1/completions",
            JSON,
            r#"{"prompt": "a"}"#.replace('a', "\\udc00").as_str(),
        ),
    );
    for body in [
        json!({}),
        json!({ "prompt": null }),
        json!({ "prompt": [] }),
        json!({ "prompt": [[]] }),
        json!({ "prompt": [1, "a"] }),
        json!({ "prompt": [512] }),
        json!({ "prompt": [-1] }),
        json!({ "prompt": "", "add_special_tokens": false }),
        json!({ "prompt": vec![7; 300] }),
        json!({ "prompt": vec![7; 250], "max_tokens": 8 }),
        json!({ "prompt": vec![7; 258], "echo": true, "logprobs": 0, "max_tokens": 0 }),
        json!({ "prompt": vec!["a"; 2049] }),
        json!({ "prompt": "a", "max_tokens": 41 }),
        json!({ "prompt": "a", "max_tokens": -1 }),
        json!({ "prompt": "a", "max_tokens": 1e300 }),
        json!({ "prompt": "a", "max_tokens": "3" }),
        json!({ "prompt": "a", "max_tokens": 0 }),
        json!({ "prompt": "a", "temperature": -1 }),
        json!({ "prompt": "a", "temperature": "hot" }),
        json!({ "prompt": "a", "top_p": 0 }),
        json!({ "prompt": "a", "top_k": -2 }),
        json!({ "prompt": "a", "seed": 1.5 }),
        json!({ "prompt": "a", "stop": 3 }),
        json!({ "prompt": "a", "logprobs": 21 }),
        json!({ "prompt": "a", "stream": "yes" }),
        json!({ "prompt": "a", "stream_options": { "include_usage": true } }),
        json!({ "prompt": "a", "n": 2 }),
        json!({ "prompt": "a", "best_of": 2 }),
        json!({ "prompt": "a", "suffix": "b" }),
        json!({ "prompt": "a", "logit_bias": { "5": 1 } }),
        json!({ "prompt": "a", "presence_penalty": 0.5 }),
        json!({ "prompt": "a", "response_format": { "type": "json_object" } }),
        json!({ "prompt": "a", "model": "gpt" }),
        json!({ "prompt": "a", "stop": "s".repeat(1025) }),
        json!({ "prompt": "a", "stop_token_ids": vec![7; 1025] }),
        json!({ "prompt": vec![[7]; 2000], "logprobs": 20, "max_tokens": 40 }),
        json!({ "prompt": "a", "stream": true, "stream_options": "usage" }),
        json!({ "prompt": "a", "top_p": 2 }),
    ] {
        let shown = if body.to_string().len() > 100 { "long".to_owned() } else { body.to_string() };
        tell(&shown, server.post("/v1/completions", &body));
    }
    tell(
        "chat",
        server.post("/v1/chat/completions", &json!({ "messages": [{ "role": "user", "content": "x" }] })),
    );
    tell("tokenize", server.post("/tokenize", &json!({ "text": "x" })));
    tell("tokenize for tools", server.post("/tokenize", &json!({ "prompt": "x", "tools": [{}] })));
    tell("another's tokens", server.post("/detokenize", &json!({ "tokens": [1], "model": "gpt" })));
    let zipped = format!("{JSON}Content-Encoding: gzip\r\n");
    tell("compressed", server.request("POST", "/v1/completions", &zipped, "{}"));
    tell("a name that leads here", server.at("evil.example:80", "GET", "/v1/models", "", ""));
    tell("detokenize", server.post("/detokenize", &json!({ "tokens": [1, 512] })));
    drop(server);

    let model = chatty();
    let server = Server::start(model.path(), &[]);
    for messages in [
        json!([]),
        json!("hello"),
        json!([{ "content": "x" }]),
        json!([{ "role": "user" }]),
        json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]),
        json!([{ "role": "assistant", "content": "x", "tool_calls": [{}] }]),
        json!([{ "role": "user", "content": "word ".repeat(300) }]),
    ] {
        let shown: String = messages.to_string().chars().take(80).collect();
        tell(&shown, server.post("/v1/chat/completions", &json!({ "messages": messages })));
    }
    let ask = |more: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "x" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for more in [
        json!({ "tools": [{}] }),
        json!({ "top_logprobs": 2 }),
        json!({ "logprobs": 3 }),
        json!({ "max_tokens": 0 }),
    ] {
        tell(&more.to_string(), server.post("/v1/chat/completions", &ask(more)));
    }
    // What asks for nothing else is no error.
    let harmless = ask(
        json!({ "n": 1, "presence_penalty": 0.0, "tools": [], "logit_bias": {}, "store": true, "metadata": {},
        "response_format": { "type": "text" }, "max_tokens": 1, "stop": null, "parallel_tool_calls": true }),
    );
    assert_eq!(server.post("/v1/chat/completions", &harmless).status, 200);
    assert_snapshot!("errors", said);
    assert_eq!(server.get("/health").status, 200);
}

/// Every field with values of every kind: an answer or an error that names what is wrong, and never a failure.
#[test]
fn odd_values_are_no_failures() {
    let model = chatty();
    let server = Server::start(model.path(), &["--max-tokens", "20"]);
    let fields = [
        "prompt",
        "messages",
        "model",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "seed",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "add_special_tokens",
        "echo",
        "logprobs",
        "top_logprobs",
        "stream",
        "stream_options",
        "n",
        "logit_bias",
        "tools",
        "suffix",
        "user",
    ];
    let values = [
        "null",
        "true",
        "-1",
        "0",
        "1",
        "2",
        "1.5",
        "-0.0",
        "1e300",
        "18446744073709551615",
        "-9223372036854775808",
        "1e-320",
        r#""""#,
        r#""\u0000\ufffd\ud83e\udd99""#,
        "[]",
        "[[]]",
        "[0]",
        "[511, 512]",
        r#"["a"]"#,
        "{}",
        r#"{"include_usage": 1}"#,
        r#"[{"role": "", "content": ""}]"#,
        "[null]",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (path, base) in [
        ("/v1/completions", r#""prompt": "A", "max_tokens": 1"#),
        ("/v1/chat/completions", r#""messages": [{"role": "user", "content": "A"}], "max_tokens": 1"#),
        ("/tokenize", r#""content": "A""#),
    ] {
        for field in fields {
            for value in values {
                // Of two fields with the same name the later one counts.
                let body = format!("{{{base}, \"{field}\": {value}}}");
                let answer = server.request("POST", path, JSON, &body);
                assert!([200, 400, 404].contains(&answer.status), "{path} {body}: {answer:?}");
                if answer.status != 200 {
                    assert!(answer.json()["error"]["message"].is_string(), "{body}: {answer:?}");
                }
                seen.insert(answer.status);
            }
        }
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(server.metric("b158_cache_positions_reserved"), 0);
}

/// Requests of all kinds.
fn mixed() -> Vec<(&'static str, Value)> {
    let texts =
        ["The keeper", "Anna went to the market and", "A", "The lamp of the tower was lit when the ships"];
    let mut requests = Vec::new();
    for (i, text) in texts.iter().cycle().take(12).enumerate() {
        let long = text.repeat(1 + i % 5);
        requests.push(("/v1/completions", json!({ "prompt": long, "max_tokens": 20 + i, "temperature": 0 })));
        requests.push((
            "/v1/completions",
            json!({ "prompt": text, "max_tokens": 30, "temperature": 0.8, "top_p": 0.9, "top_k": 40, "seed": i,
                "repetition_penalty": 1.1, "logprobs": i % 3, "stop": ["the", "."] }),
        ));
        requests.push((
            "/v1/completions",
            json!({ "prompt": [long, text], "max_tokens": i % 2, "echo": true, "logprobs": 1, "temperature": 0 }),
        ));
        requests.push((
            "/v1/chat/completions",
            json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 25, "seed": i, "logprobs": i % 2 == 0,
                "temperature": 1.2 }),
        ));
    }
    requests
}

#[test]
fn the_same_bits_alone_or_in_a_crowd() {
    let model = chatty();
    let server = Server::start(model.path(), &["--slots", "7"]);
    let requests = mixed();
    let alone: Vec<Value> =
        requests.iter().map(|(path, body)| lasting(&server.post(path, body).json())).collect();
    thread::scope(|scope| {
        let server = &server;
        let answers: Vec<_> = requests
            .iter()
            .map(|(path, body)| scope.spawn(move || lasting(&server.post(path, body).json())))
            .collect();
        for (answer, (alone, request)) in answers.into_iter().zip(alone.iter().zip(&requests)) {
            assert_eq!(&answer.join().unwrap(), alone, "{request:?}");
        }
    });

    // And they are the runner's.
    let (checkpoint, model) = load(model.path());
    let tokenizer = checkpoint.tokenizer().unwrap();
    for ((_, body), answer) in requests.iter().zip(&alone) {
        if let Some(text) = body["prompt"].as_str() {
            let sampling = if body["temperature"] == 0 {
                Sampling::default()
            } else {
                Sampling {
                    temperature: 0.8,
                    top_p: 0.9,
                    top_k: 40,
                    seed: body["seed"].as_u64().unwrap(),
                    repeat_penalty: 1.1,
                    repeat_last_n: usize::MAX,
                    ..Sampling::default()
                }
            };
            let stop = |value: &Value| value.as_str().unwrap().to_owned();
            let options = GenerateOptions {
                max_tokens: body["max_tokens"].as_u64().unwrap() as usize,
                sampling,
                stop_tokens: model.config().eos_tokens.clone(),
                stop_strings: body["stop"].as_array().map_or(Vec::new(), |s| s.iter().map(stop).collect()),
            };
            let prompt = tokenizer.encode(text, true).unwrap();
            let mut session = TextSession::new(&model, Session::new(&model, model.context()).unwrap());
            let generated =
                session.generate_text(&tokenizer, &prompt, &options, |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(answer["choices"][0]["text"], generated.text, "{body}");
            // The token that ends a text counts.
            let end = usize::from(generated.generation.reason == StopReason::StopToken);
            assert_eq!(
                answer["usage"]["completion_tokens"],
                generated.generation.tokens.len() + end,
                "{body}"
            );
        } else if let Some(prompts) = body["prompt"].as_array() {
            for (index, prompt) in prompts.iter().enumerate() {
                let ids = tokenizer.encode(prompt.as_str().unwrap(), true).unwrap();
                let direct = score(&model, &ids[..1], &ids[1..]).unwrap();
                let found = answer["choices"][index]["logprobs"]["token_logprobs"].as_array().unwrap();
                let found: Vec<u64> =
                    found[1..ids.len()].iter().map(|p| p.as_f64().unwrap().to_bits()).collect();
                assert_eq!(found, direct.logprobs.iter().map(|p| p.to_bits()).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn echoed_scores_are_those_of_eval() {
    let out = TempDir::new().unwrap();
    let model = twin("tiny-b158-f16");
    b158()
        .args([
            "eval",
            "--model",
            &format!("m={}", model.display()),
            "--tasks",
            "arc_easy",
            "--limit",
            "12",
            "--data",
        ])
        .arg(fixtures())
        .arg("-o")
        .arg(out.path())
        .assert()
        .success();
    let results = SuiteResults::read(out.path()).unwrap();
    let samples: Vec<_> = results.models[0].tasks[0].documents.iter().flat_map(|d| &d.samples).collect();
    assert!(samples.len() > 20);
    let server = Server::start(&model, &[]);
    let prompts: Vec<Vec<u32>> =
        samples.iter().map(|s| [&s.request.ctx_ids[..], &s.request.cont_ids].concat()).collect();
    for max_tokens in [0, 1] {
        let ask = json!({ "prompt": prompts, "echo": true, "logprobs": 1, "max_tokens": max_tokens, "temperature": 0 });
        let answer = server.post("/v1/completions", &ask).json();
        for (sample, choice) in samples.iter().zip(answer["choices"].as_array().unwrap()) {
            let (from, to) =
                (sample.request.ctx_ids.len(), sample.request.ctx_ids.len() + sample.request.cont_ids.len());
            let logprobs = &choice["logprobs"];
            assert_eq!(logprobs["tokens"].as_array().unwrap().len(), to + max_tokens);
            let of = |i: usize| logprobs["token_logprobs"][i].as_f64().unwrap();
            let sum: f64 = (from..to).map(of).sum();
            assert_eq!(sum.to_bits(), sample.loglikelihood.to_bits());
            let best = |i: usize| {
                let top = logprobs["top_logprobs"][i].as_object().unwrap();
                top.values().map(|v| v.as_f64().unwrap()).fold(f64::NEG_INFINITY, f64::max)
            };
            assert_eq!((from..to).all(|i| of(i) == best(i)), sample.greedy);
        }
    }
}

/// The pieces of a stream, put together as the answer without one.
fn together(events: &[Value]) -> Vec<Value> {
    let mut choices: Vec<Value> = Vec::new();
    for choice in events.iter().flat_map(|event| event["choices"].as_array().unwrap()) {
        let index = choice["index"].as_u64().unwrap() as usize;
        while choices.len() <= index {
            choices.push(json!({ "text": "", "finish_reason": null, "logprobs": {} }));
        }
        let whole = &mut choices[index];
        assert!(whole["finish_reason"].is_null(), "something came after the end");
        let text = choice["text"].as_str().or(choice["delta"]["content"].as_str()).unwrap_or_default();
        whole["text"] = json!(whole["text"].as_str().unwrap().to_owned() + text);
        whole["finish_reason"] = choice["finish_reason"].clone();
        for (name, list) in choice["logprobs"].as_object().into_iter().flatten() {
            if let Some(list) = list.as_array() {
                let mut all = whole["logprobs"][name].as_array().cloned().unwrap_or_default();
                all.extend(list.iter().cloned());
                whole["logprobs"][name] = json!(all);
            }
        }
    }
    choices
}

#[test]
fn a_stream_is_the_answer_in_pieces() {
    let model = chatty();
    let server = Server::start(model.path(), &[]);
    for (path, body) in mixed() {
        let whole = server.post(path, &body).json();
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        streamed["stream_options"] = json!({ "include_usage": true });
        let answer = server.post(path, &streamed);
        let mut events = answer.events();
        let last = events.pop().unwrap();
        assert_eq!((last["choices"].as_array().unwrap().len(), &last["usage"]), (0, &whole["usage"]));
        assert!(events.iter().all(|e| e["usage"].is_null() && e["id"] == last["id"]));
        let pieces = together(&events);
        assert_eq!(pieces.len(), whole["choices"].as_array().unwrap().len());
        for (piece, choice) in pieces.iter().zip(whole["choices"].as_array().unwrap()) {
            let text = choice.get("text").unwrap_or(&choice["message"]["content"]);
            assert_eq!((&piece["text"], &piece["finish_reason"]), (text, &choice["finish_reason"]), "{body}");
            for (name, list) in
                choice["logprobs"].as_object().into_iter().flatten().filter(|(_, v)| v.is_array())
            {
                let found = piece["logprobs"].get(name).cloned().unwrap_or(json!([]));
                assert_eq!(&found, list, "{name} of {body}");
            }
        }
        // Without being asked for, the counts do not come.
        streamed.as_object_mut().unwrap().remove("stream_options");
        assert!(server.post(path, &streamed).events().iter().all(|e| e.get("usage").is_none()));
    }
}

#[test]
fn a_client_that_vanishes_frees_its_slot() {
    let model = tireless();
    let server = Server::start(model.path(), &["--slots", "1"]);
    for stream in [true, false] {
        let mut ask = endless();
        ask["stream"] = json!(stream);
        let running = server.post_open("/v1/completions", &ask);
        server.wait_for("b158_sequences_active", |n| n == 1);
        // Another waits for the slot, and gets it when the first client is gone.
        let waiting = server.post_open("/v1/completions", &json!({ "prompt": "The", "max_tokens": 2 }));
        server.wait_for("b158_sequences_waiting", |n| n == 1);
        let start = Instant::now();
        drop(running);
        assert_eq!(read(waiting).status, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        server.wait_for("b158_sequences_active", |n| n == 0);
        assert_eq!(server.metric("b158_cache_positions_reserved"), 0);
    }
    // One that vanishes while it waits.
    let running = server.post_open("/v1/completions", &endless());
    server.wait_for("b158_sequences_active", |n| n == 1);
    drop(server.post_open("/v1/completions", &endless()));
    server.wait_for("b158_sequences_waiting", |n| n == 0);
    drop(running);
}

#[test]
fn a_client_that_does_not_read_gives_its_slot_away() {
    let model = tireless();
    let server = Server::start(model.path(), &["--slots", "1"]);
    // Pages of scores, far more than connections buffer.
    let prompts = vec![vec![7; 200]; 300];
    let ask = json!({ "prompt": prompts, "echo": true, "logprobs": 20, "max_tokens": 1, "stream": true });
    let slow = server.post_open("/v1/completions", &ask);
    server.wait_for("b158_steps_total", |n| n > 3);
    server.wait_for("b158_sequences_active", |n| n == 0);
    assert!(server.metric("b158_sequences_waiting") + server.metric("b158_cache_positions_reserved") > 0);
    let start = Instant::now();
    assert_eq!(server.post("/v1/completions", &json!({ "prompt": "The", "max_tokens": 2 })).status, 200);
    assert!(start.elapsed() < Duration::from_secs(10));
    // Nothing is lost once it reads.
    let events = read(slow).events();
    assert_eq!(together(&events).iter().filter(|choice| choice["finish_reason"] == "length").count(), 300);
}

#[test]
fn limits_of_queue_and_time() {
    let model = tireless();
    let server = Server::start(model.path(), &["--slots", "1", "--queue", "1", "--timeout", "2"]);
    let start = Instant::now();
    let running = server.post_open("/v1/completions", &endless());
    server.wait_for("b158_sequences_active", |n| n == 1);
    let mut ask = endless();
    ask["stream"] = json!(false);
    let waiting = server.post_open("/v1/completions", &ask);
    server.wait_for("b158_sequences_waiting", |n| n == 1);
    let refused = server.post("/v1/completions", &endless());
    assert_eq!(refused.status, 429);
    assert!(refused.headers.to_ascii_lowercase().contains("retry-after: 1"), "{}", refused.headers);
    let running = read(running);
    assert!(running.body.contains(r#""code":"timeout""#) && !running.body.contains("[DONE]"));
    assert_eq!(read(waiting).status, 504);
    assert!((2..8).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    server.wait_for("b158_sequences_active", |n| n == 0);
    assert_eq!(server.post("/v1/completions", &json!({ "prompt": "The", "max_tokens": 2 })).status, 200);
}

#[test]
fn the_api_key_opens() {
    let server = Server::start(&twin("tiny-b158-f16"), &["--api-key", "sesame"]);
    let ask = r#"{"prompt": "The", "max_tokens": 1}"#;
    let with = |header: &str| server.request("POST", "/v1/completions", &format!("{JSON}{header}"), ask);
    assert_eq!(with("Authorization: Bearer sesame\r\n").status, 200);
    for header in ["", "Authorization: Bearer sesam\r\n", "Authorization: sesame\r\n"] {
        let answer = with(header);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    }
    assert_eq!((server.get("/metrics").status, server.get("/nowhere").status), (401, 401));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_signal_drains() {
    let model = tireless();
    // What runs is finished.
    let mut server = Server::start(model.path(), &["--slots", "1"]);
    let ask = json!({ "prompt": [1, 5, 9], "max_tokens": 1500, "ignore_eos": true });
    let (running, queued) =
        (server.post_open("/v1/completions", &ask), server.post_open("/v1/completions", &ask));
    server.wait_for("b158_sequences_active", |n| n == 1);
    server.signal("TERM");
    while server.get("/health").status == 200 {}
    let refused = server.post("/v1/completions", &ask);
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("shutting_down")));
    for answer in [read(running), read(queued)] {
        assert_eq!((answer.status, &answer.json()["usage"]["completion_tokens"]), (200, &json!(1500)));
    }
    assert_eq!(server.exit_code(), Some(0));

    // What takes too long is cut off, and is told.
    let mut server = Server::start(model.path(), &["--drain", "1"]);
    let running = server.post_open("/v1/completions", &endless());
    server.wait_for("b158_sequences_active", |n| n == 1);
    server.signal("INT");
    assert_eq!(server.exit_code(), Some(0));
    assert!(read(running).body.contains("shutting_down"));

    // A second signal ends at once.
    let mut server = Server::start(model.path(), &[]);
    let mut running = server.post_open("/v1/completions", &endless());
    running.read_exact(&mut [0; 20]).unwrap();
    server.signal("TERM");
    while server.get("/health").status == 200 {}
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(2));
    // A client that keeps its connection open, or begins a request and no more, does not keep the server.
    let mut server = Server::start(model.path(), &[]);
    let idle = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut begun = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    begun.write_all(b"GET /health HTTP/1.1\r\nHost:").unwrap();
    server.get("/health");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    drop((idle, begun));
}

#[test]
fn what_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = TempDir::new().unwrap();
    let said = |arguments: &[&str]| {
        let mut command = b158();
        command.arg("serve").args(arguments);
        common::transcript(&mut command, folder.path()).replace(&port, "[PORT]")
    };
    let model = twin("tiny-b158-f16");
    let model = model.to_str().unwrap();
    assert_snapshot!("port taken", said(&[model, "--port", &port]));
    assert_snapshot!("no model", said(&[folder.path().to_str().unwrap(), "--port", "0"]));
    assert_snapshot!("empty key", said(&[model, "--port", "0", "--api-key", ""]));
}
