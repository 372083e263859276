package interop;

import static interop.Scene.message;
import static interop.Scene.send;
import static interop.Scene.tagged;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** Tags and SQL92. Topics have one queue, so that a last message marks the end of what was to come. */
final class Filters {
    private Filters() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("filter_tag", Filters::tags),
            Case.of("filter_tags_of_equal_hash", Filters::equalHash),
            Case.of("filter_sql92", Filters::sql),
            Case.of("filter_sql92_grammar", Filters::grammar),
            Case.of("filter_sql92_wrong_expression_is_refused", Filters::wrong),
            Case.of("filter_subscription_changes", Filters::changes));
    }

    private static void tags(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        for (String tag : List.of("A", "B", "C", "A", "D")) {
            send(producer, tagged(topic, tag, "tag-" + tag));
        }
        send(producer, message(topic, "no tag"));
        send(producer, tagged(topic, "C", "end"));
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "A || C", inbox);
        Check.await("the last message and all before it", 20, () -> inbox.find("end") != null && inbox.messages().size() >= 4);
        Check.equal("received", List.of("end", "tag-A", "tag-A", "tag-C"), inbox.bodies().stream().sorted().toList());
    }

    private static void equalHash(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        // Java's hash of "Aa" is that of "BB": the broker lets both pass, the client does not.
        for (String tag : List.of("Aa", "BB", "Aa")) {
            send(producer, tagged(topic, tag, "hash-" + tag));
        }
        send(producer, tagged(topic, "Aa", "end"));
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "Aa", inbox);
        Check.await("the last message and all before it", 20, () -> inbox.find("end") != null && inbox.messages().size() >= 3);
        Check.equal("received", List.of("end", "hash-Aa", "hash-Aa"), inbox.bodies().stream().sorted().toList());
    }

    private static Message with(String topic, String body, Map<String, String> properties) {
        Message message = tagged(topic, "T", body);
        properties.forEach(message::putUserProperty);
        return message;
    }

    private static DefaultMQPushConsumer select(Scene scene, String topic, String expression, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        // A client of 5.x whose heartbeat was left out once is refused (25) until the next one: no client filters SQL92 itself.
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.subscribe(topic, MessageSelector.bySql(expression));
        return scene.consume(consumer, inbox);
    }

    private static void sql(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        for (int a = 0; a < 10; a++) {
            send(producer, with(topic, "a-" + a, Map.of("a", String.valueOf(a), "b", a % 2 == 0 ? "even" : "odd")));
        }
        send(producer, message(topic, "without properties"));
        send(producer, with(topic, "end", Map.of("a", "7", "b", "even")));
        Inbox inbox = new Inbox();
        select(scene, topic, "a BETWEEN 3 AND 8 AND b = 'even'", inbox);
        Check.await("the last message and all before it", 20, () -> inbox.find("end") != null && inbox.messages().size() >= 4);
        Check.equal("received", List.of("a-4", "a-6", "a-8", "end"), inbox.bodies().stream().sorted().toList());
    }

    private static void grammar(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        send(producer, with(topic, "1", Map.of("n", "1.5", "s", "it's")));
        send(producer, with(topic, "2", Map.of("n", "-3", "s", "x")));
        send(producer, with(topic, "3", Map.of("s", "y", "flag", "true")));
        send(producer, with(topic, "4", Map.of("n", "no number", "s", "x")));
        send(producer, with(topic, "end", Map.of("n", "1.5", "s", "it's", "flag", "true", "always", "1")));
        Map<String, List<String>> wanted = Map.of(
            "n > 1.0", List.of("1", "end"),
            "s = 'it''s'", List.of("1", "end"),
            "n < -2.5 OR always = 1", List.of("2", "end"),
            "n IS NULL OR always IS NOT NULL", List.of("3", "end"),
            "s IN ('x', 'y') OR always = 1", List.of("2", "3", "4", "end"),
            "s NOT IN ('x', 'y')", List.of("1", "end"),
            "NOT (s = 'x') AND TAGS = 'T'", List.of("1", "3", "end"),
            "n >= 1.5 AND n <= 1.5", List.of("1", "end"),
            "flag = TRUE AND s <> 'z'", List.of("3", "end"));
        Map<String, Inbox> inboxes = new HashMap<>();
        for (String expression : wanted.keySet()) {
            inboxes.put(expression, new Inbox());
            select(scene, topic, expression, inboxes.get(expression));
        }
        List<String> wrong = new ArrayList<>();
        for (String expression : wanted.keySet()) {
            Inbox inbox = inboxes.get(expression);
            try {
                Check.await("the last message by " + expression, wrong.isEmpty() ? 20 : 0, () -> inbox.find("end"));
                Check.equal(expression, wanted.get(expression), inbox.bodies().stream().sorted().toList());
            } catch (Check.Failed failed) {
                wrong.add(failed.getMessage());
            }
        }
        Check.that(String.join("\n", wrong), wrong.isEmpty());
    }

    private static void wrong(Scene scene) throws Exception {
        String topic = scene.topic(1);
        send(scene.producer(), message(topic, "one"));
        List<String> wrong = new ArrayList<>();
        for (String expression : List.of("a >", "'a' > 'b'", "a BETWEEN 1", "(a = 1")) {
            DefaultMQPushConsumer consumer = scene.consumer(scene.group());
            consumer.subscribe(topic, MessageSelector.bySql(expression));
            try {
                Throwable refusal = Check.fails("starting with " + expression, () -> {
                    scene.consume(consumer, new Inbox());
                    return "a started consumer";
                });
                Check.equal("response code for " + expression, 23, Sends.codeOf(refusal));
            } catch (Check.Failed failed) {
                wrong.add(failed.getMessage());
            }
        }
        Check.that(String.join("\n", wrong), wrong.isEmpty());
    }

    private static void changes(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.consume(scene.group(), topic, "A", inbox);
        send(producer, tagged(topic, "A", "first A"));
        Check.await("the first", 20, () -> inbox.find("first A"));
        consumer.subscribe(topic, "B");
        // The new subscription reaches the broker with the heartbeat that subscribe sends.
        // What was pulled before that is gone for this group, as with RocketMQ: more is sent until something comes.
        Check.await("what the new subscription selects", 30, () -> {
            send(producer, tagged(topic, "B", "some B"));
            Thread.sleep(300);
            return inbox.find("some B");
        });
    }
}
