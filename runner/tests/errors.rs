//! Bad input is an error value, and the session survives it.

mod common;

use b158_kernels::Isa;
use b158_runner::{Error, LoadOptions, Model, Session, score};
use common::{load, oracle};

#[test]
fn bad_input_is_refused() {
    let Some(oracle) = oracle() else { return };
    let model = load(&oracle, "llama-gqa-f16", Isa::best());
    let mut session = Session::new(&model, 4).unwrap();
    let first = session.forward(&[1, 2], 0).unwrap();
    assert!(matches!(session.forward(&[], 0), Err(Error::Empty { .. })));
    assert!(matches!(
        session.forward(&[512], 0),
        Err(Error::TokenOutOfVocabulary { id: 512, vocab_size: 512 })
    ));
    assert!(matches!(
        session.forward(&[1, 2, 3], 0),
        Err(Error::ContextFull { wanted: 5, capacity: 4, limit: 256 })
    ));
    session.truncate(0);
    assert_eq!(session.forward(&[1, 2], 0).unwrap(), first);

    assert!(matches!(Session::new(&model, 257), Err(Error::ContextFull { .. })));
    assert!(matches!(score(&model, &[], &[1]), Err(Error::Empty { what: "context" })));
    assert!(matches!(score(&model, &[1], &[]), Err(Error::Empty { what: "continuation" })));
    assert!(matches!(score(&model, &[1], &[9999]), Err(Error::TokenOutOfVocabulary { id: 9999, .. })));

    let checkpoint = b158_checkpoint::Checkpoint::open(&oracle.join("ckpt/llama-gqa-f16")).unwrap();
    let too_long = LoadOptions { context: Some(257), ..LoadOptions::default() };
    assert!(matches!(Model::load(&checkpoint, too_long), Err(Error::ContextFull { .. })));
}
