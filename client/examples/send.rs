//! Sends ten messages: `cargo run -p ringmq-client --example send -- [NAME SERVERS]`.

use ringmq_client::{OutgoingMessage, Producer, ProducerConfig, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name_servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let producer = Producer::start(ProducerConfig { name_servers, ..ProducerConfig::default() })?;
    for number in 1..=10 {
        let message = OutgoingMessage::new("greetings", format!("hello {number}")).tag("example").key("greeting");
        let receipt = producer.send(message).await?;
        println!(
            "stored in {} queue {} at {}",
            receipt.queue.broker_name, receipt.queue.queue_id, receipt.queue_offset
        );
    }
    producer.close().await;
    Ok(())
}
