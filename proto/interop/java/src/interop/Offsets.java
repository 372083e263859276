package interop;

import static interop.Scene.sendMany;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;

/** Offsets by time, and setting a group back. */
final class Offsets {
    private Offsets() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("offset_reset_by_time_of_a_running_group", 90, Offsets::resetRunning),
            Case.of("offset_reset_by_time_of_a_stopped_group", Offsets::resetStopped),
            Case.of("offset_search_by_time", Offsets::search),
            Case.of("push_from_a_point_in_time", Offsets::fromTime));
    }

    /** Five messages, a pause, five more; what is returned lies in the pause. */
    private static long sendAroundPause(DefaultMQProducer producer, String topic) throws Exception {
        sendMany(producer, topic, "old", 5);
        Thread.sleep(1200);
        long between = System.currentTimeMillis();
        Thread.sleep(1200);
        sendMany(producer, topic, "new", 5);
        return between;
    }

    private static void search(Scene scene) throws Exception {
        String topic = scene.topic(1);
        long before = System.currentTimeMillis() - 1000;
        long between = sendAroundPause(scene.producer(), topic);
        DefaultMQPullConsumer consumer = scene.configure(new DefaultMQPullConsumer(scene.group()));
        consumer.start();
        scene.atEnd(consumer::shutdown);
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        Check.equal("minimum", 0L, consumer.minOffset(queue));
        Check.equal("maximum", 10L, consumer.maxOffset(queue));
        Check.equal("offset at a time before all", 0L, consumer.searchOffset(queue, before));
        Check.equal("offset at a time after all", 10L, consumer.searchOffset(queue, System.currentTimeMillis() + 10_000));
        long got = consumer.searchOffset(queue, between);
        // Between two messages 4.9.8 gives the nearer one, 5.3.3 the next.
        boolean nearest = scene.against.startsWith("apache-4") && got == 4;
        Check.that("offset at a time in the pause: expected 5, got " + got, got == 5 || nearest);
        long earliest = consumer.earliestMsgStoreTime(queue);
        Check.that("earliest store time " + earliest, earliest > before && earliest < between);
    }

    private static void resetStopped(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        long between = sendAroundPause(scene.producer(), topic);
        Inbox first = new Inbox();
        DefaultMQPushConsumer consumer = scene.consume(group, topic, "*", first);
        Check.await("all ten", 20, () -> first.messages().size() >= 10);
        consumer.shutdown();
        MessageQueue queue = new MessageQueue(topic, first.messages().get(0).getBrokerName(), 0);
        Check.await("the group is gone", 20, () -> {
            scene.admin().resetOffsetByTimestampOld(group, topic, between, true);
            return scene.admin().examineConsumeStats(group, topic).getOffsetTable().get(queue).getConsumerOffset() <= 5;
        });
        Inbox second = new Inbox();
        scene.consume(group, topic, "*", second);
        Check.await("the last five again", 30, () -> second.messages().size() >= 5);
        Check.that("the last of them is new-4: " + second.bodies(), second.bodies().contains("new-4"));
        Check.that("the oldest is not among them: " + second.bodies(), !second.bodies().contains("old-0"));
    }

    private static void resetRunning(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        long between = sendAroundPause(scene.producer(), topic);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.consumer(group);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, "*");
        scene.consume(consumer, inbox);
        Check.await("all ten", 20, () -> inbox.messages().size() >= 10);
        MessageQueue queue = new MessageQueue(topic, inbox.messages().get(0).getBrokerName(), 0);
        Check.await("the group's offset is ten", 20,
            () -> scene.admin().examineConsumeStats(group, topic).getOffsetTable().get(queue).getConsumerOffset() == 10);
        var reset = scene.admin().resetOffsetByTimestamp(topic, group, between, true);
        Check.that("the answer names the queue: " + reset, reset.containsKey(queue));
        // A client that is told so (code 220) waits ten seconds before it goes on.
        Check.await("the last five a second time", 60, () -> inbox.count("new-0") == 2 && inbox.count("new-4") == 2);
        Check.equal("deliveries of the oldest", 1L, inbox.count("old-0"));
    }

    private static void fromTime(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        List<String> old = sendMany(producer, topic, "old", 3);
        // Seconds are the finest that a consumer can say.
        Thread.sleep(2500);
        long from = System.currentTimeMillis();
        Thread.sleep(1500);
        List<String> fresh = sendMany(producer, topic, "new", 3);
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
        consumer.setConsumeTimestamp(UtilAll.timeMillisToHumanString3(from));
        consumer.subscribe(topic, "*");
        Inbox inbox = new Inbox();
        scene.consume(consumer, inbox);
        Check.await("the new ones", 20, () -> inbox.bodies().containsAll(fresh));
        // A young queue is given from its beginning (see push_from_last_gets_all_of_a_young_queue).
        List<String> both = new ArrayList<>(old);
        both.addAll(fresh);
        Check.that("nothing else: " + inbox.bodies(), both.containsAll(inbox.bodies()));
    }
}
