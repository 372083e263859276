//! Receives messages until none comes for five seconds: `cargo run -p ringmq-client --example receive -- [NAME SERVERS]`.

use std::time::Duration;

use ringmq_client::{PullConsumer, PullConsumerConfig, Result, Start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name_servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let group = "readers".to_owned();
    let config = PullConsumerConfig { name_servers, group, start: Start::First, ..PullConsumerConfig::default() };
    let consumer = PullConsumer::start(config)?;
    consumer.assign(consumer.queues("greetings").await?);
    loop {
        let messages = consumer.poll(Duration::from_secs(5)).await?;
        if messages.is_empty() {
            return Ok(());
        }
        for message in &messages {
            let body = String::from_utf8_lossy(&message.body);
            println!(
                "{} queue {} at {}: {body}",
                message.queue.broker_name, message.queue.queue_id, message.queue_offset
            );
        }
        consumer.commit().await?;
    }
}
