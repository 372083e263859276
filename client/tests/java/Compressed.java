import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** `Compressed NAMESRV COUNT`: reads COUNT messages of topic ToJava and checks them, then sends one of each kind to FromJava. */
public class Compressed {
    static String body(String name) {
        return name + " " + "compressible ".repeat(1000);
    }

    public static void main(String[] args) throws Exception {
        read(args[0], Integer.parseInt(args[1]));
        for (CompressionType type : CompressionType.values()) {
            DefaultMQProducer producer = new DefaultMQProducer("java-" + type);
            producer.setNamesrvAddr(args[0]);
            producer.setCompressType(type);
            producer.start();
            producer.send(new Message("FromJava", body(type.name()).getBytes(StandardCharsets.UTF_8)));
            producer.shutdown();
        }
        System.out.println("all is well");
        System.exit(0);
    }

    static void read(String namesrv, int count) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer("java-reader");
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe("ToJava", "*");
        consumer.start();
        Map<String, String> bodies = new HashMap<>();
        long until = System.currentTimeMillis() + 30_000;
        while (bodies.size() < count && System.currentTimeMillis() < until) {
            List<MessageExt> messages = consumer.poll(500);
            for (MessageExt message : messages) {
                bodies.put(message.getKeys(), new String(message.getBody(), StandardCharsets.UTF_8));
            }
        }
        consumer.shutdown();
        if (bodies.size() < count) {
            throw new IllegalStateException("only " + bodies.keySet());
        }
        bodies.forEach((name, body) -> {
            if (!body.equals(body(name))) {
                throw new IllegalStateException(name + " came as " + body.length() + " characters");
            }
        });
    }
}
