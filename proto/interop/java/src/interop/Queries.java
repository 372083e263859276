package interop;

import static interop.Scene.send;

import java.util.List;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Finding one message. */
final class Queries {
    private Queries() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("query_by_offset_id", Queries::byOffsetId),
            Case.of("query_by_unique_id", Queries::byUniqueId),
            Case.of("query_by_key", Queries::byKey),
            Case.of("query_by_key_in_a_span_of_time", Queries::bySpan),
            Case.of("query_for_nothing_finds_nothing", Queries::nothing));
    }

    private static Message keyed(String topic, String body, String keys) {
        return new Message(topic, "Tag", keys, body.getBytes());
    }

    private static void byOffsetId(Scene scene) throws Exception {
        String topic = scene.topic(2);
        DefaultMQProducer producer = scene.producer();
        for (int number = 0; number < 5; number++) {
            SendResult sent = send(producer, keyed(topic, "found-" + number, "k"));
            MessageExt got = scene.admin().viewMessage(topic, sent.getOffsetMsgId());
            Check.equal("body", "found-" + number, Inbox.body(got));
            Check.equal("queue", sent.getMessageQueue().getQueueId(), got.getQueueId());
            Check.equal("queue offset", sent.getQueueOffset(), got.getQueueOffset());
            Check.equal("tags", "Tag", got.getTags());
        }
    }

    private static void byUniqueId(Scene scene) throws Exception {
        String topic = scene.topic(2);
        SendResult sent = send(scene.producer(), keyed(topic, "unique", "k"));
        MessageExt got = Check.await("the message of " + sent.getMsgId(), 15,
            () -> scene.admin().viewMessage(topic, sent.getMsgId()));
        Check.equal("body", "unique", Inbox.body(got));
        Check.equal("unique id", sent.getMsgId(), got.getMsgId());
    }

    private static void byKey(Scene scene) throws Exception {
        String topic = scene.topic(4);
        String other = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        for (int number = 0; number < 10; number++) {
            send(producer, keyed(topic, "keyed-" + number, "each-" + number + " all " + (number % 2 == 0 ? "even" : "odd")));
        }
        send(producer, keyed(other, "elsewhere", "all"));
        Check.await("ten messages of key all", 15, () -> query(scene, topic, "all").size() == 10);
        Check.equal("by a key of one message", List.of("keyed-7"), query(scene, topic, "each-7"));
        Check.equal("by a key of half of them", List.of("keyed-0", "keyed-2", "keyed-4", "keyed-6", "keyed-8"),
            query(scene, topic, "even"));
        Check.await("one in the other topic", 15, () -> query(scene, other, "all").equals(List.of("elsewhere")));
        QueryResult few = scene.admin().queryMessage(topic, "all", 3, 0, System.currentTimeMillis() + 60_000);
        int found = few.getMessageList().size();
        // Each broker is asked for three.
        Check.that("no more than was asked for, got " + found, found >= 3 && found <= 3 * Version.masters(scene.admin()).size());
    }

    private static List<String> query(Scene scene, String topic, String key) throws Exception {
        return scene.admin().queryMessage(topic, key, 32, 0, System.currentTimeMillis() + 60_000).getMessageList().stream()
            .map(Inbox::body).sorted().toList();
    }

    private static void bySpan(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        send(producer, keyed(topic, "earlier", "k"));
        Thread.sleep(2500);
        long between = System.currentTimeMillis();
        Thread.sleep(2500);
        send(producer, keyed(topic, "later", "k"));
        Check.await("both", 15, () -> query(scene, topic, "k").size() == 2);
        long end = System.currentTimeMillis() + 60_000;
        List<MessageExt> late = scene.admin().queryMessage(topic, "k", 32, between, end).getMessageList();
        Check.equal("after the pause", List.of("later"), late.stream().map(Inbox::body).toList());
        List<MessageExt> early = scene.admin().queryMessage(topic, "k", 32, 0, between).getMessageList();
        Check.equal("before the pause", List.of("earlier"), early.stream().map(Inbox::body).toList());
    }

    private static void nothing(Scene scene) throws Exception {
        String topic = scene.topic(1);
        send(scene.producer(), keyed(topic, "something", "k"));
        Throwable none = Check.fails("a key that no message has", () -> query(scene, topic, "no such key"));
        Check.that("expected code 208, got " + none, none.toString().contains("208"));
    }
}
