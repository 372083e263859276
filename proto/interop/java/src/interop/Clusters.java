package interop;

import static interop.Scene.message;
import static interop.Scene.sendMany;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;

/** Two brokers, and one that goes and comes back while clients work. */
final class Clusters {
    private Clusters() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("cluster_spreads_over_two_brokers", Clusters::spreads),
            Case.of("cluster_broker_stopped_and_started_under_load", 150, scene -> underLoad(scene, "stop")),
            Case.of("cluster_broker_killed_and_started_under_load", 150, scene -> underLoad(scene, "kill")),
            Case.of("cluster_restart_keeps_offsets", 120, Clusters::keepsOffsets));
    }

    private static void spreads(Scene scene) throws Exception {
        String topic = scene.topic(2);
        DefaultMQProducer producer = scene.producer();
        Set<String> brokers = new TreeSet<>();
        List<String> bodies = new ArrayList<>();
        for (int number = 0; number < 24; number++) {
            SendResult result = Scene.send(producer, message(topic, "spread-" + number));
            brokers.add(result.getMessageQueue().getBrokerName() + "/" + result.getMessageQueue().getQueueId());
            bodies.add("spread-" + number);
        }
        Check.equal("queues used", Set.of("broker-a/0", "broker-a/1", "broker-b/0", "broker-b/1"), brokers);
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(bodies, 30);
    }

    /** A client that hears of changes within a second instead of half a minute. */
    private static <T extends org.apache.rocketmq.client.ClientConfig> T quick(T config) {
        config.setPollNameServerInterval(1000);
        config.setHeartbeatBrokerInterval(1000);
        return config;
    }

    private static void underLoad(Scene scene, String how) throws Exception {
        String topic = scene.topic(2);
        DefaultMQProducer producer = quick(scene.configure(new DefaultMQProducer(scene.group())));
        producer.start();
        scene.atEnd(producer::shutdown);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = quick(scene.consumer(scene.group()));
        consumer.subscribe(topic, "*");
        scene.consume(consumer, inbox);

        Set<String> acknowledged = new ConcurrentSkipListSet<>();
        Set<String> usedSinceRestart = new ConcurrentSkipListSet<>();
        List<String> errors = Collections.synchronizedList(new ArrayList<>());
        AtomicBoolean ended = new AtomicBoolean();
        AtomicBoolean restarted = new AtomicBoolean();
        Thread load = new Thread(() -> {
            for (int number = 0; !ended.get(); number++) {
                try {
                    SendResult result = producer.send(message(topic, "load-" + number));
                    if (result.getSendStatus() == SendStatus.SEND_OK) {
                        acknowledged.add("load-" + number);
                    }
                    if (restarted.get()) {
                        usedSinceRestart.add(result.getMessageQueue().getBrokerName());
                    }
                    Thread.sleep(2);
                } catch (Exception error) {
                    errors.add("load-" + number + ": " + error);
                }
            }
        });
        load.start();
        try {
            Check.await("some messages", 20, () -> acknowledged.size() > 100);
            Driver.ask(how + " broker-b");
            int atStop = acknowledged.size();
            Check.await("sends go on without broker-b", 30, () -> acknowledged.size() > atStop + 300);
            Driver.ask("start broker-b");
            restarted.set(true);
            Check.await("broker-b is used again", 40, () -> usedSinceRestart.contains("broker-b"));
        } finally {
            ended.set(true);
            load.join(20_000);
        }
        Check.equal("sends that failed after the client's three tries", List.of(), errors);
        Check.await("every acknowledged message reaches the consumer (of " + acknowledged.size() + ")", 60,
            () -> new TreeSet<>(inbox.bodies()).containsAll(acknowledged));
    }

    private static void keepsOffsets(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        DefaultMQProducer producer = quick(scene.configure(new DefaultMQProducer(scene.group())));
        producer.setSendMsgTimeout(10_000);
        producer.start();
        scene.atEnd(producer::shutdown);
        List<String> before = sendMany(producer, topic, "before", 40);
        Inbox one = new Inbox();
        DefaultMQPushConsumer first = scene.consume(group, topic, "*", one);
        one.awaitEachOnce(before, 30);
        first.shutdown();
        Driver.ask("stop broker-b");
        Driver.ask("start broker-b");
        List<String> after = sendMany(producer, topic, "after", 40);
        Inbox two = new Inbox();
        scene.consume(group, topic, "*", two);
        two.awaitAll(after, 40);
    }
}
