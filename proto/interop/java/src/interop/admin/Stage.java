package interop.admin;

import interop.Check;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What the commands look at: a topic with messages, a producer and a consumer that are there. */
final class Stage {
    static final int MESSAGES = 12;

    final String namesrv;
    final String against;
    final Tool tool;
    /** Names of this run, so that one cluster can be looked at by several versions one after another. */
    final String suffix = Long.toString(System.nanoTime(), 36);
    final String topic = "admin-topic-" + suffix;
    final String group = "admin-group-" + suffix;
    final String producerGroup = "admin-producer-" + suffix;
    final Map<String, String> brokers = new TreeMap<>();
    final AtomicInteger consumed = new AtomicInteger();
    SendResult first;
    private DefaultMQProducer producer;
    private DefaultMQPushConsumer consumer;

    Stage(String namesrv, String against) {
        this.namesrv = namesrv;
        this.against = against;
        this.tool = new Tool(namesrv);
    }

    void open() throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(30_000L);
        admin.setNamesrvAddr(namesrv);
        admin.setInstanceName("stage-admin");
        admin.start();
        admin.examineBrokerClusterInfo().getBrokerAddrTable()
            .forEach((name, data) -> brokers.put(name, data.getBrokerAddrs().get(0L)));
        admin.shutdown();
        tool.expect(List.of("updateTopic", "-c", "DefaultCluster", "-t", topic, "-r", "2", "-w", "2"), "success");
        producer = interop.Version.tracingProducer(producerGroup);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("stage-producer");
        producer.setSendMsgTimeout(15_000);
        producer.start();
        Check.await("the topic's route", 20, () -> producer.fetchPublishMessageQueues(topic).size() == 4);
        for (int number = 0; number < MESSAGES; number++) {
            SendResult sent = producer.send(new Message(topic, "TagS", "stage-key", ("stage-" + number).getBytes()));
            first = first == null ? sent : first;
        }
        consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("stage-consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            consumed.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Check.await("all messages consumed", 30, () -> consumed.get() >= MESSAGES);
    }

    String consumerId() {
        return consumer.buildMQClientId();
    }

    void stopConsumer() {
        consumer.shutdown();
    }

    void close() {
        if (consumer != null) {
            consumer.shutdown();
        }
        if (producer != null) {
            producer.shutdown();
        }
    }
}
