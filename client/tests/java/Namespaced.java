import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** `Namespaced NAMESRV NAMESPACE`: reads one message of topic ToJava of the namespace, then sends one to FromJava. */
public class Namespaced {
    public static void main(String[] args) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer("java-reader");
        consumer.setNamespace(args[1]);
        consumer.setNamesrvAddr(args[0]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe("ToJava", "*");
        consumer.start();
        long until = System.currentTimeMillis() + 30_000;
        String body = null;
        while (body == null && System.currentTimeMillis() < until) {
            List<MessageExt> messages = consumer.poll(500);
            for (MessageExt message : messages) {
                body = message.getTopic() + " " + new String(message.getBody(), StandardCharsets.UTF_8);
            }
        }
        consumer.shutdown();
        if (!"ToJava from rust".equals(body)) {
            throw new IllegalStateException(body);
        }
        DefaultMQProducer producer = new DefaultMQProducer("java");
        producer.setNamespace(args[1]);
        producer.setNamesrvAddr(args[0]);
        producer.start();
        producer.send(new Message("FromJava", "from java".getBytes(StandardCharsets.UTF_8)));
        producer.shutdown();
        System.out.println("all is well");
        System.exit(0);
    }
}
