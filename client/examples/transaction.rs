//! Sends in transactions: `cargo run -p ringmq-client --example transaction -- [NAME SERVERS]`. One is committed, one rolled
//! back, and of one the producer says nothing, so that the broker asks.

use std::time::Duration;

use ringmq_client::{OutgoingMessage, ProducerConfig, Result, TransactionProducer, TransactionState};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name_servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let config = ProducerConfig { name_servers, group: "example-transaction".into(), ..ProducerConfig::default() };
    let producer = TransactionProducer::start(config, |message| async move {
        println!("asked about {}: committed", String::from_utf8_lossy(&message.body));
        TransactionState::Commit
    })?;
    for (body, state) in [
        ("one that commits", TransactionState::Commit),
        ("one that is rolled back", TransactionState::Rollback),
        ("one that nobody ends", TransactionState::Unknown),
    ] {
        let (receipt, state) = producer.send(OutgoingMessage::new("greetings", body), |_| async move { state }).await?;
        println!("{body}: {state:?}, half message at {}", receipt.position);
    }
    println!("waiting for the broker's question");
    tokio::time::sleep(Duration::from_secs(40)).await;
    producer.close().await;
    Ok(())
}
