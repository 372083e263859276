package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What is named otherwise in 5.x than in 4.9, and what 5.x has besides. */
public final class Version {
    /** `request()` of 5.3.1 to 5.3.3 fails with any broker. */
    static final boolean CAN_REQUEST = MQVersion.CURRENT_VERSION > MQVersion.Version.V5_3_3.ordinal();

    private Version() {
    }

    static List<Case> cases() {
        return Timers.cases();
    }

    static void broadcasting(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    public static DefaultMQProducer tracingProducer(String group) {
        DefaultMQProducer producer = new DefaultMQProducer(group);
        producer.setEnableTrace(true);
        return producer;
    }

    static DefaultMQPushConsumer tracingConsumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setEnableTrace(true);
        return consumer;
    }

    static List<String> masters(DefaultMQAdminExt admin) throws Exception {
        List<String> masters = new ArrayList<>();
        admin.examineBrokerClusterInfo().getBrokerAddrTable().values().forEach(broker -> masters.add(broker.getBrokerAddrs().get(0L)));
        return masters;
    }
}
