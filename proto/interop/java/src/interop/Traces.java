package interop;

import static interop.Scene.message;
import static interop.Scene.send;

import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;

/** What clients tell about a message's way, kept in the broker's trace topic. */
final class Traces {
    private static final String TOPIC = "RMQ_SYS_TRACE_TOPIC";

    private Traces() {
    }

    static List<Case> cases() {
        return List.of(Case.of("trace_of_send_and_consume", Traces::sendAndConsume));
    }

    private static void sendAndConsume(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        DefaultMQProducer producer = scene.started(Version.tracingProducer(scene.group()));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.configure(Version.tracingConsumer(group));
        consumer.setConsumeFromWhere(org.apache.rocketmq.common.consumer.ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        scene.consume(consumer, inbox);
        SendResult sent = send(producer, message(topic, "traced"));
        inbox.awaitEachOnce(List.of("traced"), 20);
        AtomicReference<String> seen = new AtomicReference<>("");
        Check.await("records Pub, SubBefore and SubAfter of " + sent.getMsgId(), 30, () -> {
            seen.set(records(scene, sent.getMsgId()));
            return List.of("Pub\u0001", "SubBefore\u0001", "SubAfter\u0001").stream().allMatch(seen.get()::contains);
        });
        Check.that("the topic is named", seen.get().contains(topic));
        Check.that("the group is named", seen.get().contains(group));
    }

    private static String records(Scene scene, String id) throws Exception {
        StringBuilder all = new StringBuilder();
        List<MessageExt> found = scene.admin().queryMessage(TOPIC, id, 32, 0, System.currentTimeMillis() + 60_000)
            .getMessageList();
        found.forEach(each -> all.append(Inbox.body(each)));
        return all.toString();
    }
}
