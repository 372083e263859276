package interop;

import static interop.Scene.message;
import static interop.Scene.send;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;

/** One broker of four shards: for clients four brokers. The usual cases run there too. */
final class Shards {
    private static final Set<String> USUAL = Set.of("send_delayed_by_level", "push_broadcast", "orderly_takes_over_the_locks", "send_ordered", "push_orderly",
        "filter_tag", "filter_sql92", "retry_to_dead_letter", "retry_then_success", "transaction_committed",
        "transaction_checked_back_and_committed", "request_reply", "request_reply_async", "lite_pull_subscribe",
        "query_by_offset_id", "query_by_unique_id", "query_by_key", "trace_of_send_and_consume");

    private Shards() {
    }

    static List<Case> cases() {
        List<Case> cases = new ArrayList<>(Catalogue.of("main"));
        cases.removeIf(one -> !USUAL.contains(one.name));
        cases.add(Case.of("shards_spread_a_topic", Shards::spread));
        cases.add(Case.of("shards_share_an_automatic_topic", Shards::automatic));
        return cases;
    }

    private static void spread(Scene scene) throws Exception {
        String topic = scene.topic(2);
        DefaultMQProducer producer = scene.producer();
        Set<String> brokers = new TreeSet<>();
        List<String> bodies = new ArrayList<>();
        for (int number = 0; number < 32; number++) {
            SendResult result = send(producer, message(topic, "spread-" + number));
            brokers.add(result.getMessageQueue().getBrokerName());
            bodies.add("spread-" + number);
        }
        Check.equal("brokers used", Set.of("broker-a", "s1-broker-a", "s2-broker-a", "s3-broker-a"), brokers);
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(bodies, 30);
    }

    private static void automatic(Scene scene) throws Exception {
        String topic = scene.name("fresh");
        send(scene.producer(), message(topic, "first"));
        Check.await("all four shards register the topic", 20,
            () -> scene.admin().examineTopicRouteInfo(topic).getQueueDatas().size() == 4);
    }
}
