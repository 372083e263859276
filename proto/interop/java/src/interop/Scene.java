package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** One case's topics, groups and clients, all its own; ended with it. */
final class Scene implements AutoCloseable {
    private static final AtomicInteger INSTANCE = new AtomicInteger();

    final String client;
    final String caseName;
    final String namesrv;
    final String against;
    private final Deque<Runnable> endings = new ArrayDeque<>();
    private int names;
    private DefaultMQAdminExt admin;

    Scene(String client, String caseName, String namesrv, String against) {
        this.client = client.replace('.', '_');
        this.caseName = caseName;
        this.namesrv = namesrv;
        this.against = against;
    }

    /** A name that no other case has. */
    String name(String kind) {
        return client + "-" + caseName + "-" + kind + (++names);
    }

    String group() {
        return name("group");
    }

    /** A new topic with this many queues on each broker, known to the name server. */
    String topic(int queues) throws Exception {
        return topicNamed(name("topic"), queues);
    }

    String topicNamed(String topic, int queues) throws Exception {
        List<String> masters = Version.masters(admin());
        for (String address : masters) {
            admin().createAndUpdateTopicConfig(address, new TopicConfig(topic, queues, queues, 6));
        }
        Check.await("route of " + topic + " names " + masters.size() + " brokers", 15,
            () -> admin().examineTopicRouteInfo(topic).getQueueDatas().size() == masters.size());
        return topic;
    }

    synchronized DefaultMQAdminExt admin() throws Exception {
        if (admin == null) {
            DefaultMQAdminExt made = new DefaultMQAdminExt(30_000L);
            configure(made);
            made.start();
            endings.push(made::shutdown);
            admin = made;
        }
        return admin;
    }

    <T extends ClientConfig> T configure(T config) {
        config.setNamesrvAddr(namesrv);
        config.setMqClientApiTimeout(30_000);
        if (!against.equals("ringmq")) {
            // A client of 5.x whose heartbeat was left out once is refused by RocketMQ's brokers (25) until the next one.
            config.setHeartbeatBrokerInterval(1000);
        }
        config.setInstanceName(caseName + "-" + INSTANCE.incrementAndGet());
        return config;
    }

    DefaultMQProducer producer() throws Exception {
        return started(new DefaultMQProducer(group()));
    }

    <T extends DefaultMQProducer> T started(T producer) throws Exception {
        configure(producer);
        producer.setSendMsgTimeout(20_000);
        producer.start();
        endings.push(producer::shutdown);
        return producer;
    }

    /** A consumer that begins with the oldest message; not started. */
    DefaultMQPushConsumer consumer(String group) {
        DefaultMQPushConsumer consumer = configure(new DefaultMQPushConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        return consumer;
    }

    /** Starts a consumer that puts all it gets into the inbox. */
    DefaultMQPushConsumer consume(String group, String topic, String tags, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = consumer(group);
        consumer.subscribe(topic, tags);
        return consume(consumer, inbox);
    }

    DefaultMQPushConsumer consume(DefaultMQPushConsumer consumer, Inbox inbox) throws Exception {
        consumer.registerMessageListener((org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently)
            (messages, context) -> {
                inbox.addAll(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        return start(consumer);
    }

    DefaultMQPushConsumer consumeOrderly(DefaultMQPushConsumer consumer, Inbox inbox) throws Exception {
        consumer.registerMessageListener((org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly)
            (messages, context) -> {
                inbox.addAll(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        return start(consumer);
    }

    DefaultMQPushConsumer start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        endings.push(consumer::shutdown);
        return consumer;
    }

    DefaultLitePullConsumer litePull(String group) {
        DefaultLitePullConsumer consumer = configure(new DefaultLitePullConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        endings.push(consumer::shutdown);
        return consumer;
    }

    /** Waits for a message with this body in any queue of the topic, read by pulls. */
    MessageExt find(String topic, String body, double seconds) throws Exception {
        DefaultMQPullConsumer reader = configure(new DefaultMQPullConsumer(group()));
        reader.start();
        endings.push(reader::shutdown);
        return Check.await("\"" + body + "\" in " + topic, seconds, () -> {
            for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
                PullResult pulled = reader.pull(queue, "*", reader.minOffset(queue), 32);
                while (pulled.getPullStatus() == PullStatus.FOUND) {
                    for (MessageExt message : pulled.getMsgFoundList()) {
                        if (Inbox.body(message).equals(body)) {
                            return message;
                        }
                    }
                    pulled = reader.pull(queue, "*", pulled.getNextBeginOffset(), 32);
                }
            }
            return null;
        });
    }

    void atEnd(Runnable ending) {
        endings.push(ending);
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static Message tagged(String topic, String tag, String body) {
        return new Message(topic, tag, body.getBytes(StandardCharsets.UTF_8));
    }

    static SendResult send(DefaultMQProducer producer, Message message) throws Exception {
        SendResult result = producer.send(message);
        Check.equal("send status", SendStatus.SEND_OK, result.getSendStatus());
        return result;
    }

    /** Sends bodies `prefix-0`, `prefix-1`, … and returns them. */
    static List<String> sendMany(DefaultMQProducer producer, String topic, String prefix, int count) throws Exception {
        List<String> bodies = numbered(prefix, count);
        for (String body : bodies) {
            send(producer, message(topic, body));
        }
        return bodies;
    }

    static List<String> numbered(String prefix, int count) {
        return new ArrayList<>(IntStream.range(0, count).mapToObj(number -> prefix + "-" + number).toList());
    }

    @Override
    public void close() {
        while (!endings.isEmpty()) {
            try {
                endings.pop().run();
            } catch (RuntimeException late) {
                late.printStackTrace();
            }
        }
    }
}
