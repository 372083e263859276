package interop;

import static interop.Scene.message;
import static interop.Scene.numbered;
import static interop.Scene.send;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way to send, and what the receipt says. */
final class Sends {
    private Sends() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("send_sync", Sends::sync),
            Case.of("send_async", Sends::async),
            Case.of("send_oneway", Sends::oneway),
            Case.of("send_batch", Sends::batch),
            Case.of("send_to_chosen_queue", Sends::chosenQueue),
            Case.of("send_delayed_by_level", Sends::delayed),
            Case.of("send_compressed_body", Sends::compressed),
            Case.of("send_keeps_properties", Sends::properties),
            Case.of("send_creates_topic", Sends::createsTopic),
            Case.of("send_too_large_is_refused_with_13", Sends::tooLarge),
            Case.of("send_to_system_topic_is_refused_with_16", Sends::systemTopic),
            Case.of("send_with_namespace", Sends::namespace));
    }

    private static void sync(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        for (int number = 0; number < 20; number++) {
            SendResult result = send(producer, message(topic, "sync-" + number));
            Check.equal("queue offset of message " + number, (long) number, result.getQueueOffset());
            Check.equal("queue id", 0, result.getMessageQueue().getQueueId());
            Check.equal("topic of the receipt", topic, result.getMessageQueue().getTopic());
            Check.that("unique id " + result.getMsgId(), result.getMsgId().matches("[0-9A-F]{32}([0-9A-F]{24})?"));
            Check.that("offset id " + result.getOffsetMsgId(), result.getOffsetMsgId().matches("[0-9A-F]{32}"));
            Check.equal("region", "DefaultRegion", result.getRegionId());
        }
    }

    private static void async(Scene scene) throws Exception {
        String topic = scene.topic(4);
        DefaultMQProducer producer = scene.producer();
        List<String> bodies = numbered("async", 100);
        CountDownLatch answered = new CountDownLatch(bodies.size());
        AtomicReference<Throwable> problem = new AtomicReference<>();
        for (String body : bodies) {
            producer.send(message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() != SendStatus.SEND_OK) {
                        problem.set(new Check.Failed("status " + result));
                    }
                    answered.countDown();
                }

                @Override
                public void onException(Throwable error) {
                    problem.set(error);
                    answered.countDown();
                }
            });
        }
        Check.that("expected 100 answers within 20 s, lacking " + answered.getCount(), answered.await(20, TimeUnit.SECONDS));
        if (problem.get() != null) {
            throw new IllegalStateException(problem.get());
        }
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(bodies, 20);
    }

    private static void oneway(Scene scene) throws Exception {
        String topic = scene.topic(2);
        DefaultMQProducer producer = scene.producer();
        List<String> bodies = numbered("oneway", 50);
        for (String body : bodies) {
            producer.sendOneway(message(topic, body));
        }
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(bodies, 20);
    }

    private static void batch(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        List<Message> messages = new ArrayList<>();
        List<String> bodies = numbered("batch", 30);
        for (String body : bodies) {
            Message message = message(topic, body);
            message.setKeys("key-" + body);
            message.putUserProperty("which", body);
            messages.add(message);
        }
        SendResult first = producer.send(messages);
        Check.equal("status", SendStatus.SEND_OK, first.getSendStatus());
        Check.equal("offset of the first", 0L, first.getQueueOffset());
        Check.equal("unique ids", 30, first.getMsgId().split(",").length);
        Check.equal("offset ids", 30, first.getOffsetMsgId().split(",").length);
        Check.equal("offset of the next single message", 30L, send(producer, message(topic, "after")).getQueueOffset());
        bodies.add("after");
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(bodies, 20);
        MessageExt some = inbox.find("batch-17");
        Check.equal("user property", "batch-17", some.getUserProperty("which"));
        Check.equal("keys", "key-batch-17", some.getKeys());
        Check.equal("queue offset", 17L, some.getQueueOffset());
    }

    private static void chosenQueue(Scene scene) throws Exception {
        String topic = scene.topic(4);
        DefaultMQProducer producer = scene.producer();
        for (int number = 0; number < 12; number++) {
            SendResult result = producer.send(message(topic, "chosen-" + number),
                (queues, sent, key) -> queues.get((Integer) key % queues.size()), number);
            Check.equal("queue of message " + number, number % 4, result.getMessageQueue().getQueueId());
        }
        MessageQueue third = producer.fetchPublishMessageQueues(topic).stream()
            .filter(queue -> queue.getQueueId() == 2).findFirst().orElseThrow();
        SendResult result = producer.send(message(topic, "to the third"), third);
        Check.equal("queue", 2, result.getMessageQueue().getQueueId());
        Check.equal("offset in it", 3L, result.getQueueOffset());
    }

    private static void delayed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        send(producer, message(topic, "at once"));
        inbox.awaitAll(List.of("at once"), 20);
        long sent = System.currentTimeMillis();
        // Level 1 is one second here, level 2 three (see driver/cluster.py).
        for (int level = 2; level >= 1; level--) {
            Message message = message(topic, "level-" + level);
            message.setDelayTimeLevel(level);
            send(producer, message);
        }
        inbox.awaitEachOnce(List.of("at once", "level-1", "level-2"), 20);
        long first = inbox.arrivalMs("level-1") - sent;
        long second = inbox.arrivalMs("level-2") - sent;
        Check.that("level 1: expected 1000 to 3000 ms, got " + first, first >= 950 && first < 3000);
        Check.that("level 2: expected 3000 to 6000 ms, got " + second, second >= 2950 && second < 6000);
        Check.equal("topic", topic, inbox.find("level-2").getTopic());
        if (Version.masters(scene.admin()).size() == 1) {
            Check.equal("queue offset", 1L, inbox.find("level-1").getQueueOffset());
        }
    }

    private static void compressed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        byte[] body = new byte[200_000];
        Arrays.fill(body, (byte) 'z');
        send(scene.producer(), new Message(topic, body));
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        MessageExt got = Check.await("the message", 20, () -> inbox.messages().stream().findFirst().orElse(null));
        Check.that("body of " + got.getBody().length + " bytes is what was sent", Arrays.equals(body, got.getBody()));
        Check.that("it was stored compressed: " + got.getStoreSize(), got.getStoreSize() < 10_000);
    }

    private static void properties(Scene scene) throws Exception {
        String topic = scene.topic(1);
        Message message = new Message(topic, "TagÄ", "k1 k2", 77, "käse".getBytes(StandardCharsets.UTF_8), true);
        message.putUserProperty("a", "1");
        message.putUserProperty("ключ", "значение 値");
        message.setBuyerId("buyer");
        long before = System.currentTimeMillis();
        SendResult result = send(scene.producer(), message);
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(List.of("käse"), 20);
        MessageExt got = inbox.find("käse");
        Check.equal("tags", "TagÄ", got.getTags());
        Check.equal("keys", "k1 k2", got.getKeys());
        Check.equal("flag", 77, got.getFlag());
        Check.equal("property a", "1", got.getUserProperty("a"));
        Check.equal("property in Cyrillic", "значение 値", got.getUserProperty("ключ"));
        Check.equal("buyer", "buyer", got.getBuyerId());
        Check.equal("unique id", result.getMsgId(), got.getMsgId());
        Check.equal("cluster", "DefaultCluster", got.getProperty("CLUSTER"));
        Check.equal("reconsume times", 0, got.getReconsumeTimes());
        Check.equal("broker name", result.getMessageQueue().getBrokerName(), got.getBrokerName());
        Check.that("store time " + got.getStoreTimestamp(), got.getStoreTimestamp() >= before
            && got.getStoreTimestamp() <= System.currentTimeMillis());
        Check.that("born time " + got.getBornTimestamp(), Math.abs(got.getBornTimestamp() - before) < 5000);
        Check.equal("born host", "127.0.0.1", got.getBornHostString());
    }

    private static void createsTopic(Scene scene) throws Exception {
        String topic = scene.name("fresh");
        DefaultMQProducer producer = scene.producer();
        List<String> bodies = numbered("fresh", 8);
        for (String body : bodies) {
            send(producer, message(topic, body));
        }
        Check.await("a route", 10, () -> !scene.admin().examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
        int queues = scene.admin().examineTopicRouteInfo(topic).getQueueDatas().get(0).getWriteQueueNums();
        Check.equal("queues of an automatically created topic", 4, queues);
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(bodies, 20);
    }

    private static void tooLarge(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        producer.setMaxMessageSize(8 << 20);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        Throwable refusal = Check.fails("a body of 5 MiB", () -> producer.send(new Message(topic, new byte[5 << 20])));
        Check.equal("response code", 13, codeOf(refusal));
        send(producer, message(topic, "the connection still works"));
    }

    private static void systemTopic(Scene scene) throws Exception {
        DefaultMQProducer producer = scene.producer();
        MessageQueue queue = new MessageQueue("SCHEDULE_TOPIC_XXXX", brokerName(scene), 0);
        send(producer, message(scene.topic(1), "so that the broker is known"));
        Throwable refusal = Check.fails("a send to SCHEDULE_TOPIC_XXXX",
            () -> producer.send(message("SCHEDULE_TOPIC_XXXX", "no"), queue));
        Check.that("expected a refusal, got " + refusal, refusal.toString().contains("forbidden")
            || codeOf(refusal) == 16);
    }

    private static void namespace(Scene scene) throws Exception {
        String plain = scene.name("topic");
        scene.topicNamed("tenant%" + plain, 2);
        DefaultMQProducer producer = scene.configure(new DefaultMQProducer(scene.group()));
        producer.setNamespace("tenant");
        producer.start();
        scene.atEnd(producer::shutdown);
        Check.equal("topic of the receipt", plain, send(producer, message(plain, "within")).getMessageQueue().getTopic());
        Inbox inbox = new Inbox();
        var consumer = scene.consumer(scene.group());
        consumer.setNamespace("tenant");
        consumer.subscribe(plain, "*");
        scene.consume(consumer, inbox);
        inbox.awaitEachOnce(List.of("within"), 20);
        Check.equal("topic of the message", plain, inbox.find("within").getTopic());
    }

    private static String brokerName(Scene scene) throws Exception {
        return scene.admin().examineBrokerClusterInfo().getBrokerAddrTable().keySet().iterator().next();
    }

    static int codeOf(Throwable error) {
        for (Throwable at = error; at != null; at = at.getCause()) {
            if (at instanceof MQBrokerException) {
                return ((MQBrokerException) at).getResponseCode();
            }
            if (at instanceof org.apache.rocketmq.client.exception.MQClientException
                && ((org.apache.rocketmq.client.exception.MQClientException) at).getResponseCode() > 0) {
                return ((org.apache.rocketmq.client.exception.MQClientException) at).getResponseCode();
            }
        }
        return -1;
    }
}
