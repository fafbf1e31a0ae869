//! Calls between processes.

use tokio::sync::mpsc::unbounded_channel;

use super::*;

#[tokio::test]
async fn a_call_is_heard_by_every_other_process_and_not_by_the_caller() {
    let world = World::on_postgres().await;
    let process = |number| world.database.calls(uuid::Uuid::from_u128(number)).unwrap();
    let (one, two) = (process(1), process(2));
    let (heard_one, mut at_one) = unbounded_channel();
    let (heard_two, mut at_two) = unbounded_channel();
    let calling = async {
        // Each says so when it has begun to listen.
        at_one.recv().await.unwrap();
        at_two.recv().await.unwrap();
        one.call().await.unwrap();
        at_two.recv().await.unwrap();
        two.call().await.unwrap();
        at_one.recv().await.unwrap();
        assert!(at_one.try_recv().is_err() && at_two.try_recv().is_err());
    };
    tokio::select! {
        lost = one.hear(|| heard_one.send(()).unwrap()) => panic!("{lost:?}"),
        lost = two.hear(|| heard_two.send(()).unwrap()) => panic!("{lost:?}"),
        () = calling => {}
    }
}

#[tokio::test]
async fn one_file_carries_no_calls() {
    let world = World::on_sqlite().await;
    assert!(world.database.calls(uuid::Uuid::from_u128(1)).is_none());
}
