package interop;

import static interop.Scene.message;
import static interop.Scene.send;
import static interop.Scene.sendMany;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/** Push consumers, concurrent: sharing, broadcasting, offsets that last, long polling. */
final class Consumes {
    private Consumes() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("push_concurrent", Consumes::concurrent),
            Case.of("push_batches_of_messages", Consumes::batches),
            Case.of("push_group_shares_queues", Consumes::shares),
            Case.of("push_takes_over_when_a_member_leaves", Consumes::takesOver),
            Case.of("push_broadcast", Consumes::broadcast),
            Case.of("push_resumes_at_its_offset", Consumes::resumes),
            Case.of("push_wakes_at_once_when_a_message_arrives", Consumes::wakes),
            Case.of("push_from_last_gets_all_of_a_young_queue", Consumes::youngQueue),
            Case.of("push_two_groups_get_everything_each", Consumes::twoGroups));
    }

    private static void concurrent(Scene scene) throws Exception {
        String topic = scene.topic(4);
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        List<String> bodies = sendMany(scene.producer(), topic, "push", 200);
        inbox.awaitEachOnce(bodies, 30);
    }

    private static void batches(Scene scene) throws Exception {
        String topic = scene.topic(1);
        List<String> bodies = sendMany(scene.producer(), topic, "several", 64);
        Inbox inbox = new Inbox();
        AtomicInteger largest = new AtomicInteger();
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        consumer.setConsumeMessageBatchMaxSize(16);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            largest.accumulateAndGet(messages.size(), Math::max);
            inbox.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        inbox.awaitEachOnce(bodies, 20);
        Check.equal("messages of the largest batch", 16, largest.get());
    }

    private static void shares(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String group = scene.group();
        Inbox one = new Inbox();
        Inbox two = new Inbox();
        DefaultMQPushConsumer first = scene.consume(group, topic, "*", one);
        DefaultMQPushConsumer second = scene.consume(group, topic, "*", two);
        DefaultMQProducer producer = scene.producer();
        List<String> all = new ArrayList<>();
        // Sends until both have got something: the queues are then shared.
        Check.await("both members get messages", 30, () -> {
            all.addAll(sendMany(producer, topic, "shared-" + all.size(), 8));
            Thread.sleep(300);
            return !one.messages().isEmpty() && !two.messages().isEmpty();
        });
        Check.await("two queues each", 25, () -> queues(first, topic) == 2 && queues(second, topic) == 2);
        List<String> settled = sendMany(producer, topic, "settled", 40);
        all.addAll(settled);
        Inbox both = new Inbox();
        Check.await("every message reached one of them", 20, () -> {
            List<String> got = new ArrayList<>(one.bodies());
            got.addAll(two.bodies());
            return got.containsAll(all);
        });
        both.addAll(one.messages());
        both.addAll(two.messages());
        for (String body : settled) {
            Check.equal("deliveries of " + body, 1L, both.count(body));
        }
    }

    private static long queues(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    private static void takesOver(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String group = scene.group();
        Inbox one = new Inbox();
        Inbox two = new Inbox();
        DefaultMQPushConsumer leaver = scene.consume(group, topic, "*", one);
        DefaultMQPushConsumer stayer = scene.consume(group, topic, "*", two);
        Check.await("two queues each", 30, () -> queues(leaver, topic) == 2 && queues(stayer, topic) == 2);
        leaver.shutdown();
        // The broker says at once that the group changed (code 40); without that it would take up to 20 s.
        Check.await("all four queues within 10 s of the other's leaving", 10, () -> queues(stayer, topic) == 4);
        List<String> bodies = sendMany(scene.producer(), topic, "left", 16);
        Check.await("all messages reach the one who stayed", 20, () -> two.bodies().containsAll(bodies));
    }

    private static void broadcast(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        Inbox one = new Inbox();
        Inbox two = new Inbox();
        for (Inbox inbox : List.of(one, two)) {
            DefaultMQPushConsumer consumer = scene.consumer(group);
            Version.broadcasting(consumer);
            consumer.subscribe(topic, "*");
            scene.consume(consumer, inbox);
        }
        List<String> bodies = sendMany(scene.producer(), topic, "all", 20);
        one.awaitEachOnce(bodies, 30);
        two.awaitEachOnce(bodies, 30);
    }

    private static void resumes(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        DefaultMQProducer producer = scene.producer();
        List<String> before = sendMany(producer, topic, "before", 20);
        Inbox one = new Inbox();
        DefaultMQPushConsumer first = scene.consume(group, topic, "*", one);
        one.awaitEachOnce(before, 20);
        first.shutdown();
        List<String> after = sendMany(producer, topic, "after", 20);
        Inbox two = new Inbox();
        scene.consume(group, topic, "*", two);
        two.awaitEachOnce(after, 30);
    }

    private static void wakes(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        DefaultMQProducer producer = scene.producer();
        send(producer, message(topic, "warm"));
        inbox.awaitAll(List.of("warm"), 20);
        // By now the consumer's pull is held by the broker.
        long slowest = 0;
        List<String> expected = new ArrayList<>(List.of("warm"));
        for (int number = 0; number < 5; number++) {
            String body = "wake-" + number;
            Thread.sleep(200);
            long sent = System.currentTimeMillis();
            send(producer, message(topic, body));
            expected.add(body);
            inbox.awaitAll(expected, 10);
            slowest = Math.max(slowest, inbox.arrivalMs(body) - sent);
        }
        Check.that("expected every message within 2000 ms of its sending, slowest took " + slowest, slowest < 2000);
    }

    private static void youngQueue(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        List<String> bodies = sendMany(producer, topic, "young", 5);
        // RocketMQ gives a new group of a young queue everything, whatever it asked for (first message in memory).
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(topic, "*");
        Inbox inbox = new Inbox();
        scene.consume(consumer, inbox);
        inbox.awaitEachOnce(bodies, 20);
    }

    private static void twoGroups(Scene scene) throws Exception {
        String topic = scene.topic(2);
        Inbox one = new Inbox();
        Inbox two = new Inbox();
        scene.consume(scene.group(), topic, "*", one);
        scene.consume(scene.group(), topic, "*", two);
        List<String> bodies = sendMany(scene.producer(), topic, "twice", 20);
        one.awaitEachOnce(bodies, 20);
        two.awaitEachOnce(bodies, 20);
    }
}
