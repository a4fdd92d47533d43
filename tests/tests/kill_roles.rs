//! SIGKILL of each role at random instants, while gateways stream: nothing acknowledged is lost, doubled or moved, and the
//! prover and the validator still agree with the sequencer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use assent_client::Client;
use assent_tests::{
    Random, gateway,
    journal::Journal,
    stack::{Role, Stack},
};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
fn killing_any_role_at_any_instant_loses_doubles_and_moves_nothing() {
    let seed = number("ASSENT_SEED", 20_261_122);
    let (kills, acknowledgements) = (number("ASSENT_KILLS", 200), number("ASSENT_ACKNOWLEDGED", 100_000));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut stack = Stack::init(200);
    for role in Role::ALL {
        stack.start(role);
    }
    for role in Role::ALL {
        stack.wait(role);
    }
    let (stop, journal) = (Arc::new(AtomicBool::new(false)), Arc::new(Journal::default()));
    let gateways: Vec<_> = (0..4)
        .map(|n| runtime.spawn(gateway::stream(stack.config(), n, stop.clone(), journal.clone())))
        .collect();

    // From a seed, so that a failure can be looked for again: ASSENT_SEED, ASSENT_KILLS, ASSENT_ACKNOWLEDGED.
    let mut random = Random::new(seed);
    let mut draw = |below: u64| random.below(below);
    let mut killed = std::collections::BTreeMap::<Role, u64>::new();
    let start = Instant::now();
    let mut done = 0;
    while done < kills || (journal.len() as u64) < acknowledgements {
        assert!(start.elapsed() < Duration::from_secs(1200), "{done} kills, {} acknowledged", journal.len());
        std::thread::sleep(Duration::from_millis(20 + draw(280)));
        // The sequencer as often as the others together.
        let role = [
            Role::Sequencer,
            Role::Sequencer,
            Role::Sequencer,
            Role::Prover,
            Role::Validator,
            Role::Mockchain,
        ][usize::try_from(draw(6)).unwrap()];
        if done < kills {
            stack.kill(role);
            stack.start(role);
            *killed.entry(role).or_default() += 1;
            done += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for role in Role::ALL {
        stack.wait(role);
    }
    let acknowledged: u64 = gateways.into_iter().map(|gateway| runtime.block_on(gateway).unwrap()).sum();
    runtime.block_on(journal.check(&stack.config()));
    runtime.block_on(followers_agree(&stack));
    eprintln!(
        "seed {seed}: {done} kills ({killed:?}), {acknowledged} acknowledgements of {} transactions in {} s: missing 0, \
         doubled 0, moved 0",
        journal.len(),
        start.elapsed().as_secs()
    );
    let replay = stack.cli(&["audit", "replay", &stack.url(Role::Sequencer), "--json"]).exits(0).json();
    assert_eq!(replay["checkpoint_compared"], true, "{replay}");
    assert!(replay["entries"].as_u64().unwrap() >= journal.len() as u64);
}

/// Prover and validator have executed everything and halted at nothing; the validator has compared the prover's checkpoint.
async fn followers_agree(stack: &Stack) {
    let sealed = stack.client().await.ledger().await.unwrap().sealed_batches;
    for role in [Role::Prover, Role::Validator] {
        let mut config = stack.config();
        config.prover = stack.url(role);
        let client = Client::connect(config).await.unwrap();
        let start = Instant::now();
        loop {
            let status = client.prover_status().await.unwrap();
            assert_eq!(status.halted, "", "{role:?}");
            if status.batches >= sealed && status.checkpoint_size >= sealed && status.anchors > 0 {
                break;
            }
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{role:?} does not catch up with {sealed}: {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
