//! Readers that do not keep up, vanish, or wait too long; panics; who comes first.

use std::path::Path;

use b158_checkpoint::Checkpoint;
use b158_runner::{LoadOptions, Sampler, Sampling};
use tokio::sync::{Semaphore, mpsc};

use super::*;

type Events = mpsc::Receiver<(usize, Event)>;

fn with_engine(limits: Limits, test: impl FnOnce(&mut Engine<'_>)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/twins/tiny-b158-f16");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let model = Model::load(&checkpoint, LoadOptions::default()).unwrap();
    test(&mut Engine::new(&model, &tokenizer, limits, Arc::default(), Arc::default()));
}

/// The jobs of a request, whose reader has room for so many events.
fn request(prompts: usize, max_tokens: usize, room: usize) -> (VecDeque<Job>, Events) {
    let (events, receiver) = mpsc::channel(room);
    let place = Arc::new(Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap());
    let job = |index| Job {
        index,
        prompt: vec![1, 40 + index as u32, 9, 77],
        score_prompt: true,
        top: Some(1),
        max_tokens,
        sampler: Sampler::new(Sampling { temperature: 0.7, seed: 5, ..Sampling::default() }).unwrap(),
        stop_tokens: Arc::default(),
        stop_strings: Arc::default(),
        arrived: Instant::now(),
        deadline: Instant::now() + Duration::from_secs(100),
        events: events.clone(),
        place: Arc::clone(&place),
    };
    ((0..prompts).map(job).collect(), receiver)
}

/// What has come, and whether the last one was the end.
fn read(events: &mut Events, text: &mut String) -> bool {
    while let Ok((_, event)) = events.try_recv() {
        match event {
            Event::Prompt(scores) => text.push_str(&format!("{scores:?}")),
            Event::Piece { text: piece, tokens } => text.push_str(&format!("{piece}{tokens:?}")),
            Event::Done { new_tokens, .. } => {
                text.push_str(&format!("{new_tokens}"));
                return true;
            }
            Event::Failed(error) => panic!("{error:?}"),
        }
    }
    false
}

fn turns(engine: &mut Engine<'_>, n: usize) {
    for _ in 0..n {
        engine.turn();
    }
}

#[test]
fn a_slow_reader_gives_slot_and_cache_away_and_loses_nothing() {
    // Positions for one of them.
    with_engine(Limits { slots: 1, positions: 40 }, |engine| {
        let mut alone = String::new();
        let (jobs, mut events) = request(1, 30, 100);
        engine.waiting.push_back(jobs);
        turns(engine, 40);
        assert!(read(&mut events, &mut alone) && engine.is_idle());

        let (slow, mut slow_events) = request(1, 30, 3);
        let (quick, mut quick_events) = request(1, 30, 100);
        engine.waiting.extend([slow, quick]);
        turns(engine, 3);
        assert!(quick_events.is_empty() && !slow_events.is_empty(), "there is one slot");
        turns(engine, 40);
        let (mut quick, mut slow) = (String::new(), String::new());
        assert!(read(&mut quick_events, &mut quick));
        assert_eq!(quick, alone);
        assert_eq!(engine.admitted.len(), 1, "the slow one is still there");
        while !read(&mut slow_events, &mut slow) {
            engine.turn();
        }
        assert_eq!(slow, alone);
        turns(engine, 1);
        assert!(engine.is_idle());
    });
}

#[test]
fn who_is_gone_or_late_is_dropped() {
    with_engine(Limits { slots: 1, positions: 100 }, |engine| {
        let ((gone, events), (gone_before, events_before)) = (request(3, 50, 9), request(1, 50, 9));
        engine.waiting.extend([gone, gone_before]);
        turns(engine, 2);
        drop((events, events_before));
        turns(engine, 1);
        assert!(engine.is_idle());

        let ((mut late, mut events), (mut late_before, mut events_before)) =
            (request(1, 50, 1), request(1, 50, 9));
        late[0].deadline = Instant::now() + Duration::from_millis(50);
        late_before[0].deadline = Instant::now();
        engine.waiting.extend([late, late_before]);
        while !engine.is_idle() {
            engine.turn();
        }
        let failed = |events: &mut Events| matches!(events.try_recv(), Ok((_, Event::Failed(_))));
        assert!(failed(&mut events_before));
        // There was no room for the reason, but the end is there.
        assert!(matches!(events.try_recv(), Ok((_, Event::Prompt(_)))));
        assert!(matches!(events.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    });
}

#[test]
fn many_prompts_do_not_keep_others_out() {
    with_engine(Limits { slots: 2, positions: 1000 }, |engine| {
        let ((many, mut many_events), (one, mut one_events)) = (request(10, 5, 100), request(1, 5, 100));
        engine.waiting.push_back(many);
        turns(engine, 2);
        engine.waiting.push_back(one);
        let mut text = String::new();
        for _ in 0..12 {
            engine.turn();
        }
        assert!(read(&mut one_events, &mut text), "it had the second slot that became free");
        let ends = std::iter::from_fn(|| many_events.try_recv().ok());
        assert!(ends.filter(|(_, event)| matches!(event, Event::Done { .. })).count() < 10);
    });
}

#[test]
fn a_panic_fails_what_it_interrupts() {
    with_engine(Limits { slots: 4, positions: 1000 }, |engine| {
        let (commands, receiver) = std::sync::mpsc::channel();
        let ((first, mut first_events), (second, mut second_events)) =
            (request(2, 5, 100), request(1, 5, 100));
        engine.panics = true;
        commands.send(Command::Run(first)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let event = first_events.blocking_recv();
                assert!(matches!(event, Some((_, Event::Failed(_)))), "{event:?}");
                commands.send(Command::Run(second)).unwrap();
                let mut text = String::new();
                while !read(&mut second_events, &mut text) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                drop(commands);
            });
            engine.run(&receiver);
        });
        assert!(engine.is_idle());
    });
}
