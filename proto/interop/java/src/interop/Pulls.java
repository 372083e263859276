package interop;

import static interop.Scene.sendMany;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that ask by themselves. */
final class Pulls {
    private Pulls() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("pull_by_queue", Pulls::byQueue),
            Case.of("pull_outside_the_queue_is_corrected", Pulls::outside),
            Case.of("lite_pull_subscribe", Pulls::subscribe),
            Case.of("lite_pull_assign_and_seek", Pulls::assign),
            Case.of("lite_pull_commits", Pulls::commits));
    }

    private static DefaultMQPullConsumer puller(Scene scene, String group) throws Exception {
        DefaultMQPullConsumer consumer = scene.configure(new DefaultMQPullConsumer(group));
        consumer.start();
        scene.atEnd(consumer::shutdown);
        return consumer;
    }

    private static void byQueue(Scene scene) throws Exception {
        String topic = scene.topic(2);
        List<String> bodies = sendMany(scene.producer(), topic, "pull", 50);
        String group = scene.group();
        DefaultMQPullConsumer consumer = puller(scene, group);
        Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
        Check.equal("queues", 2, queues.size());
        Inbox inbox = new Inbox();
        for (MessageQueue queue : queues) {
            // Nothing committed, and the queue is young: the broker says its beginning, not "unknown".
            Check.equal("offset of a group that never committed", 0L, consumer.fetchConsumeOffset(queue, true));
            long offset = consumer.minOffset(queue);
            while (offset < consumer.maxOffset(queue)) {
                PullResult pulled = consumer.pull(queue, "*", offset, 7);
                Check.equal("status at " + offset, PullStatus.FOUND, pulled.getPullStatus());
                Check.that("at most 7 messages, got " + pulled.getMsgFoundList().size(), pulled.getMsgFoundList().size() <= 7);
                Check.equal("first offset", offset, pulled.getMsgFoundList().get(0).getQueueOffset());
                inbox.addAll(pulled.getMsgFoundList());
                offset = pulled.getNextBeginOffset();
            }
            Check.equal("status at the end", PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", offset, 7).getPullStatus());
            consumer.updateConsumeOffset(queue, offset);
        }
        consumer.getOffsetStore().persistAll(queues);
        inbox.awaitEachOnce(bodies, 1);
        for (MessageQueue queue : queues) {
            Check.await("the committed offset is on the broker", 5,
                () -> consumer.fetchConsumeOffset(queue, true) == consumer.maxOffset(queue));
        }
    }

    private static void outside(Scene scene) throws Exception {
        String topic = scene.topic(1);
        sendMany(scene.producer(), topic, "few", 5);
        DefaultMQPullConsumer consumer = puller(scene, scene.group());
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        Check.await("all five are in the queue", 10, () -> consumer.maxOffset(queue) == 5);
        PullResult beyond = consumer.pull(queue, "*", 1000, 8);
        Check.equal("status far beyond the end", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Check.equal("corrected offset", 5L, beyond.getNextBeginOffset());
        Check.equal("minimum", 0L, beyond.getMinOffset());
        Check.equal("maximum", 5L, beyond.getMaxOffset());
        PullResult atEnd = consumer.pull(queue, "*", 5, 8);
        Check.equal("status at the end", PullStatus.NO_NEW_MSG, atEnd.getPullStatus());
        PullResult filtered = consumer.pull(queue, "NoSuchTag", 0, 8);
        Check.equal("status when no tag matches", PullStatus.NO_MATCHED_MSG, filtered.getPullStatus());
        Check.equal("the filter has passed", 5L, filtered.getNextBeginOffset());
    }

    private static void subscribe(Scene scene) throws Exception {
        String topic = scene.topic(4);
        List<String> bodies = sendMany(scene.producer(), topic, "lite", 60);
        DefaultLitePullConsumer consumer = scene.litePull(scene.group());
        consumer.subscribe(topic, "*");
        consumer.start();
        Inbox inbox = new Inbox();
        Check.await("all by polling", 30, () -> {
            inbox.addAll(consumer.poll(500));
            return inbox.messages().size() >= bodies.size();
        });
        inbox.awaitEachOnce(bodies, 1);
    }

    private static void assign(Scene scene) throws Exception {
        String topic = scene.topic(2);
        sendMany(scene.producer(), topic, "seek", 40);
        DefaultLitePullConsumer consumer = scene.litePull(scene.group());
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        Check.equal("queues", 2, queues.size());
        consumer.assign(queues);
        for (MessageQueue queue : queues) {
            consumer.seek(queue, 15);
        }
        Inbox inbox = new Inbox();
        Check.await("the last five of each queue", 20, () -> {
            inbox.addAll(consumer.poll(300));
            return inbox.messages().stream().filter(message -> message.getQueueOffset() >= 15).count() >= 10;
        });
        // What was under way when the consumer was sent there may still come; it is one pull of each queue at most.
        List<Long> offsets = inbox.messages().stream().map(message -> message.getQueueOffset()).filter(offset -> offset >= 15)
            .sorted().toList();
        Check.equal("offsets", List.of(15L, 15L, 16L, 16L, 17L, 17L, 18L, 18L, 19L, 19L), offsets);
        MessageQueue one = queues.iterator().next();
        consumer.seekToBegin(one);
        Inbox again = new Inbox();
        Check.await("all of one queue again", 20, () -> {
            again.addAll(consumer.poll(300));
            return again.messages().size() >= 20;
        });
        Check.that("the first message is there again", again.messages().stream().anyMatch(message -> message.getQueueOffset() == 0));
    }

    private static void commits(Scene scene) throws Exception {
        String topic = scene.topic(1);
        var producer = scene.producer();
        List<String> before = sendMany(producer, topic, "before", 10);
        String group = scene.group();
        DefaultLitePullConsumer first = scene.litePull(group);
        first.setAutoCommit(false);
        first.subscribe(topic, "*");
        first.start();
        Inbox one = new Inbox();
        Check.await("the first ten", 20, () -> {
            one.addAll(first.poll(300));
            return one.messages().size() >= 10;
        });
        first.commitSync();
        first.shutdown();
        List<String> after = sendMany(producer, topic, "after", 3);
        DefaultLitePullConsumer second = scene.litePull(group);
        second.subscribe(topic, "*");
        second.start();
        Inbox two = new Inbox();
        Check.await("what came after the commit", 40, () -> {
            two.addAll(second.poll(300));
            return two.messages().size() >= 3;
        });
        one.awaitEachOnce(before, 1);
        two.awaitEachOnce(new ArrayList<>(after), 1);
    }
}
