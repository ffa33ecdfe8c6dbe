//! Text sessions on a committed model: reuse, stop strings and ends change nothing about the tokens.

use std::{fs, ops::ControlFlow, path::Path};

use b158_checkpoint::{Checkpoint, Tokenizer};
use b158_runner::{
    Error, GenerateOptions, LoadOptions, Model, Sampling, Session, StopReason, TextSession, generate,
};

fn twin() -> (Tokenizer, Model) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/twins/tiny-b158-f16");
    let checkpoint = Checkpoint::open(&path).unwrap();
    (checkpoint.tokenizer().unwrap(), Model::load(&checkpoint, LoadOptions::default()).unwrap())
}

fn session(model: &Model, capacity: usize) -> TextSession<'_> {
    TextSession::new(model, Session::new(model, capacity).unwrap())
}

fn options(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens, ..GenerateOptions::default() }
}

fn go<T>(_: T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn what_the_session_holds_is_not_run_again_and_changes_nothing() {
    let (tokenizer, model) = twin();
    let sampled = GenerateOptions {
        sampling: Sampling { temperature: 1.0, repeat_penalty: 1.2, seed: 5, ..Sampling::default() },
        ..options(12)
    };
    let mut talk = session(&model, 256);
    let mut prompt = tokenizer.encode("The keeper", true).unwrap();
    for turn in 0..3 {
        let generated = talk.generate(&prompt, &sampled, go).unwrap();
        let fresh = session(&model, 256).generate(&prompt, &sampled, go).unwrap();
        let plain = generate(&mut Session::new(&model, 256).unwrap(), &prompt, &sampled, go).unwrap();
        assert_eq!(generated.tokens, fresh.tokens);
        assert_eq!(generated.tokens, plain.tokens);
        assert_eq!(fresh.statistics.reused_tokens, 0);
        assert_eq!(generated.statistics.reused_tokens == 0, turn == 0);
        // The last token was chosen, but not run.
        assert_eq!(talk.tokens(), [&prompt[..], &generated.tokens[..generated.tokens.len() - 1]].concat());
        prompt.extend(generated.tokens);
        prompt.extend(tokenizer.encode(" and then", false).unwrap());
    }
    // A prompt that the session holds as a whole, and one that differs from the first token on.
    let held = talk.tokens()[..4].to_vec();
    let again = talk.generate(&held, &sampled, go).unwrap();
    assert_eq!(again.statistics.reused_tokens, 3);
    assert_eq!(again.tokens, session(&model, 256).generate(&held, &sampled, go).unwrap().tokens);
    assert_eq!(talk.generate(&[7, 8], &sampled, go).unwrap().statistics.reused_tokens, 0);
}

#[test]
fn pieces_add_up_to_the_text_and_stop_strings_cut_it() {
    let (tokenizer, model) = twin();
    let prompt = tokenizer.encode("The keeper", true).unwrap();
    let run = |stop_strings: Vec<String>| {
        let mut pieces = Vec::new();
        let options = GenerateOptions { stop_strings, ..options(40) };
        let generated = session(&model, 256)
            .generate_text(&tokenizer, &prompt, &options, |piece| {
                pieces.push(piece.to_owned());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(pieces.concat(), generated.text);
        generated
    };
    let whole = run(Vec::new());
    assert_eq!(whole.generation.reason, StopReason::MaxTokens);
    let characters: Vec<char> = whole.text.chars().collect();
    for start in 0..characters.len() - 4 {
        let stop: String = characters[start..start + 4].iter().collect();
        let stopped = run(vec!["not in it".into(), stop.clone()]);
        assert_eq!(stopped.text, whole.text[..whole.text.find(&stop).unwrap()], "{stop:?}");
        assert_eq!(stopped.generation.reason, StopReason::StopString);
    }
}

#[test]
fn every_end_has_its_reason() {
    let (tokenizer, model) = twin();
    let prompt = tokenizer.encode("The keeper", true).unwrap();
    let whole = session(&model, 256).generate(&prompt, &options(10), go).unwrap();
    assert_eq!((whole.reason, whole.statistics.new_tokens), (StopReason::MaxTokens, 10));
    assert_eq!(whole.statistics.decode_steps, 9);
    let none = session(&model, 256).generate(&prompt, &options(0), go).unwrap();
    assert_eq!((none.reason, none.tokens.len()), (StopReason::MaxTokens, 0));

    let stop = GenerateOptions { stop_tokens: vec![whole.tokens[4]], ..options(10) };
    let stopped = session(&model, 256).generate(&prompt, &stop, go).unwrap();
    let first = whole.tokens.iter().position(|&t| t == whole.tokens[4]).unwrap();
    assert_eq!((stopped.reason, stopped.tokens), (StopReason::StopToken, whole.tokens[..first].to_vec()));

    let full = session(&model, prompt.len() + 3).generate(&prompt, &options(10), go).unwrap();
    // Three are run, the fourth needs no room.
    assert_eq!((full.reason, full.tokens), (StopReason::ContextFull, whole.tokens[..4].to_vec()));

    let mut left = 3;
    let broken = session(&model, 256).generate(&prompt, &options(10), |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(broken.unwrap().reason, StopReason::Caller);
}

/// The rate of a prompt that was broken off is that of the tokens that were run.
#[test]
fn a_prompt_can_be_broken_off() {
    let twin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/twins/tiny-b158-f16");
    // A copy with a context in which a prompt has several tiles.
    let folder = tempfile::TempDir::new().unwrap();
    fs::copy(twin.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let config = fs::read_to_string(twin.join("config.json")).unwrap();
    let long = config.replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 4096");
    fs::write(folder.path().join("config.json"), long).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();

    let prompt = [7; 1500];
    let mut talk = session(&model, 1600);
    let broken = talk.generate(&prompt, &options(4), |_| ControlFlow::Break(())).unwrap();
    assert_eq!((broken.reason, broken.tokens.len()), (StopReason::Caller, 0));
    let statistics = broken.statistics;
    let run = talk.tokens().len();
    assert_eq!((statistics.prompt_tokens, statistics.run_tokens), (1500, run));
    assert!(run < 1500);
    assert_eq!(statistics.prompt_rate(), run as f64 / statistics.prompt_seconds);
    let whole = talk.generate(&prompt, &options(1), go).unwrap().statistics;
    assert_eq!((whole.reused_tokens, whole.run_tokens), (run, 1500 - run));
}

#[test]
fn prompts_that_cannot_be_run_are_errors_and_cost_nothing() {
    let (_, model) = twin();
    let mut small = session(&model, 4);
    assert!(matches!(small.generate(&[], &options(1), go), Err(Error::Empty { what: "prompt" })));
    let long = small.generate(&[1, 2, 3, 4, 5], &options(1), go);
    assert!(matches!(long, Err(Error::ContextFull { wanted: 5, capacity: 4, limit: 256 })));
    assert!(matches!(small.generate(&[1, 512], &options(1), go), Err(Error::TokenOutOfVocabulary { .. })));
    // The session is as good as new.
    let fresh = session(&model, 4).generate(&[1, 2], &options(2), go).unwrap();
    assert_eq!(small.generate(&[1, 2], &options(2), go).unwrap().tokens, fresh.tokens);
}
