package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What is named otherwise in 4.9 than in 5.x. */
public final class Version {
    static final boolean CAN_REQUEST = true;

    private Version() {
    }

    static List<Case> cases() {
        return List.of();
    }

    static void broadcasting(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    public static DefaultMQProducer tracingProducer(String group) {
        return new DefaultMQProducer(group, true);
    }

    static DefaultMQPushConsumer tracingConsumer(String group) {
        return new DefaultMQPushConsumer(group, true);
    }

    static List<String> masters(DefaultMQAdminExt admin) throws Exception {
        List<String> masters = new ArrayList<>();
        admin.examineBrokerClusterInfo().getBrokerAddrTable().values().forEach(broker -> masters.add(broker.getBrokerAddrs().get(0L)));
        return masters;
    }
}
