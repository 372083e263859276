package interop;

import static interop.Scene.message;
import static interop.Scene.send;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** Ways to connect. */
final class Connections {
    private Connections() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("connect_by_vip_channel", Connections::vip),
            Case.of("connect_by_tls", Connections::tls));
    }

    private static void vip(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.configure(new DefaultMQProducer(scene.group()));
        producer.setVipChannelEnabled(true);
        producer.start();
        scene.atEnd(producer::shutdown);
        send(producer, message(topic, "by port minus two"));
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(List.of("by port minus two"), 20);
    }

    private static void tls(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.configure(new DefaultMQProducer(scene.group()));
        producer.setUseTLS(true);
        producer.start();
        scene.atEnd(producer::shutdown);
        send(producer, message(topic, "in secret"));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        consumer.setUseTLS(true);
        consumer.subscribe(topic, "*");
        scene.consume(consumer, inbox);
        inbox.awaitEachOnce(List.of("in secret"), 20);
    }
}
