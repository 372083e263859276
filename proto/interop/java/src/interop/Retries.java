package interop;

import static interop.Scene.message;
import static interop.Scene.send;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that a listener could not take: again, later, and at last to the dead letters. */
final class Retries {
    private Retries() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("retry_to_dead_letter", Retries::deadLetter),
            Case.of("retry_orderly_to_dead_letter", Retries::orderlyDeadLetter),
            Case.of("retry_then_success", Retries::thenSuccess),
            Case.of("retry_at_a_chosen_level", Retries::chosenLevel));
    }

    /** Hears within two seconds, not thirty, that the group's retry topic now exists. */
    private static DefaultMQPushConsumer hasty(DefaultMQPushConsumer consumer) {
        consumer.setPollNameServerInterval(2000);
        return consumer;
    }

    private static void thenSuccess(Scene scene) throws Exception {
        String topic = scene.topic(1);
        List<Integer> times = Collections.synchronizedList(new ArrayList<>());
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = hasty(scene.consumer(scene.group()));
        consumer.subscribe(topic, "Again");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            times.add(message.getReconsumeTimes());
            if (message.getReconsumeTimes() < 2) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            inbox.add(message);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        Message message = new Message(topic, "Again", "key", "again".getBytes());
        message.putUserProperty("mine", "kept");
        SendResult sent = send(scene.producer(), message);
        inbox.awaitEachOnce(List.of("again"), 40);
        Check.equal("reconsume times", List.of(0, 1, 2), times);
        MessageExt got = inbox.find("again");
        Check.equal("topic that the listener sees", topic, got.getTopic());
        Check.equal("user property", "kept", got.getUserProperty("mine"));
        Check.equal("tags", "Again", got.getTags());
        Check.equal("unique id", sent.getMsgId(), got.getMsgId());
        Check.equal("id of the original", sent.getOffsetMsgId(), got.getProperty("ORIGIN_MESSAGE_ID"));
    }

    private static void chosenLevel(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = hasty(scene.consumer(scene.group()));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            inbox.addAll(messages);
            // Level 2 is three seconds here.
            context.setDelayLevelWhenNextConsume(2);
            return inbox.messages().size() == 1 ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
        send(scene.producer(), message(topic, "later"));
        Check.await("the second time", 40, () -> inbox.messages().size() == 2);
        long between = inbox.messages().get(1).getStoreTimestamp() - inbox.messages().get(0).getStoreTimestamp();
        Check.that("expected 3000 to 8000 ms between the two, got " + between, between >= 2950 && between < 8000);
        Check.equal("reconsume times", 1, inbox.messages().get(1).getReconsumeTimes());
    }

    private static void deadLetter(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        Inbox tries = new Inbox();
        DefaultMQPushConsumer consumer = hasty(scene.consumer(group));
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            tries.addAll(messages);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        scene.start(consumer);
        Message message = message(topic, "poison");
        message.putUserProperty("mine", "kept");
        SendResult sent = send(scene.producer(), message);
        MessageExt dead = scene.find("%DLQ%" + group, "poison", 45);
        Check.equal("times it was tried", 3, tries.messages().size());
        Check.equal("user property", "kept", dead.getUserProperty("mine"));
        Check.equal("topic it was sent to", topic, dead.getProperty("RETRY_TOPIC"));
        Check.equal("id of the original", sent.getOffsetMsgId(), dead.getProperty("ORIGIN_MESSAGE_ID"));
        Check.equal("unique id", sent.getMsgId(), dead.getMsgId());
    }

    private static void orderlyDeadLetter(Scene scene) throws Exception {
        String topic = scene.topic(1);
        String group = scene.group();
        Inbox good = new Inbox();
        DefaultMQPushConsumer consumer = hasty(scene.consumer(group));
        consumer.setMaxReconsumeTimes(1);
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            if (Inbox.body(messages.get(0)).equals("poison")) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            good.addAll(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        scene.start(consumer);
        var producer = scene.producer();
        send(producer, message(topic, "poison"));
        send(producer, message(topic, "healthy"));
        scene.find("%DLQ%" + group, "poison", 45);
        good.awaitEachOnce(List.of("healthy"), 20);
    }
}
