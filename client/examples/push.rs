//! Consumes by a listener until Ctrl-C: `cargo run -p ringmq-client --example push -- [NAME SERVERS] [TOPIC]`.
//! Works against RingMQ and against Apache RocketMQ alike; start it twice to see the queues divided.

use ringmq_client::{Consumed, Filter, Listener, PushConsumer, PushConsumerConfig, Result, Start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name_servers = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "greetings".to_owned());
    let config = PushConsumerConfig {
        name_servers,
        group: "example-push".to_owned(),
        subscriptions: vec![(topic, Filter::All)],
        start: Start::First,
        ..PushConsumerConfig::default()
    };
    let listener = Listener::concurrent(|messages| async move {
        for message in messages.iter() {
            let (queue, times) = (&message.queue, message.reconsume_times);
            println!(
                "{}/{} {}: {} (tried {times} times before)",
                queue.broker_name,
                queue.queue_id,
                message.queue_offset,
                String::from_utf8_lossy(&message.body)
            );
        }
        Consumed::Success
    });
    let consumer = PushConsumer::start(config, listener).await?;
    println!("{} waits for messages", consumer.client_id());
    if tokio::signal::ctrl_c().await.is_err() {
        eprintln!("this system has no Ctrl-C");
    }
    consumer.shutdown().await;
    Ok(())
}
