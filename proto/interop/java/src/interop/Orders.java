package interop;

import static interop.Scene.message;
import static interop.Scene.numbered;
import static interop.Scene.send;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;

/** Order: by key to a queue, and out of it under the broker's lock. */
final class Orders {
    private static final int KEYS = 5;

    private Orders() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("orderly_takes_over_the_locks", 90, Orders::takesOver),
            Case.of("send_ordered", Orders::ordered),
            Case.of("push_orderly", Orders::orderly),
            Case.of("push_orderly_keeps_order_over_a_failure", Orders::failure));
    }

    private static List<String> sendOrdered(Scene scene, String topic, int each) throws Exception {
        DefaultMQProducer producer = scene.producer();
        List<String> sent = new ArrayList<>();
        int[] queueOf = new int[KEYS];
        for (int step = 0; step < each; step++) {
            for (int key = 0; key < KEYS; key++) {
                String body = "key" + key + "-" + step;
                SendResult result = producer.send(message(topic, body), new SelectMessageQueueByHash(), "key" + key);
                Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
                if (step == 0) {
                    queueOf[key] = result.getMessageQueue().getQueueId();
                }
                Check.equal("queue of key " + key, queueOf[key], result.getMessageQueue().getQueueId());
                sent.add(body);
            }
        }
        return sent;
    }

    private static void checkOrder(List<String> received, int each) {
        for (int key = 0; key < KEYS; key++) {
            String prefix = "key" + key + "-";
            List<String> got = received.stream().filter(body -> body.startsWith(prefix)).distinct().toList();
            List<String> wanted = IntStream.range(0, each).mapToObj(step -> prefix + step).toList();
            Check.equal("order of key " + key, wanted, got);
        }
    }

    private static void ordered(Scene scene) throws Exception {
        String topic = scene.topic(4);
        List<String> sent = sendOrdered(scene, topic, 10);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        consumer.subscribe(topic, "*");
        scene.consumeOrderly(consumer, inbox);
        inbox.awaitEachOnce(sent, 30);
        checkOrder(inbox.bodies(), 10);
    }

    private static void orderly(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String group = scene.group();
        Inbox inbox = new Inbox();
        for (int member = 0; member < 2; member++) {
            DefaultMQPushConsumer consumer = scene.consumer(group);
            consumer.subscribe(topic, "*");
            scene.consumeOrderly(consumer, inbox);
        }
        List<String> sent = sendOrdered(scene, topic, 20);
        inbox.awaitAll(sent, 40);
        checkOrder(inbox.bodies(), 20);
    }

    private static void failure(Scene scene) throws Exception {
        String topic = scene.topic(1);
        List<String> sent = numbered("strict", 10);
        DefaultMQProducer producer = scene.producer();
        for (String body : sent) {
            send(producer, message(topic, body));
        }
        Inbox inbox = new Inbox();
        AtomicBoolean failed = new AtomicBoolean();
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            if (Inbox.body(messages.get(0)).equals("strict-4") && !failed.getAndSet(true)) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            inbox.addAll(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        inbox.awaitEachOnce(sent, 30);
        Check.equal("order", sent, inbox.bodies());
        Check.that("the listener failed once", failed.get());
    }

    private static void takesOver(Scene scene) throws Exception {
        String topic = scene.topic(2);
        String group = scene.group();
        Inbox one = new Inbox();
        Inbox two = new Inbox();
        DefaultMQPushConsumer leaver = scene.consumer(group);
        leaver.subscribe(topic, "*");
        scene.consumeOrderly(leaver, one);
        List<String> early = sendOrdered(scene, topic, 4);
        one.awaitAll(early, 40);
        DefaultMQPushConsumer heir = scene.consumer(group);
        heir.subscribe(topic, "*");
        scene.consumeOrderly(heir, two);
        leaver.shutdown();
        DefaultMQProducer producer = scene.producer();
        List<String> late = Scene.sendMany(producer, topic, "late", 10);
        Check.await("the heir gets all that came later", 60, () -> two.bodies().containsAll(late));
    }
}
