package interop;

import static interop.Scene.message;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Request and reply: the broker carries the reply to the requester's connection. */
final class Requests {
    private Requests() {
    }

    static List<Case> cases() {
        if (!Version.CAN_REQUEST) {
            return List.of();
        }
        return List.of(
            Case.of("request_reply", Requests::reply),
            Case.of("request_reply_async", Requests::async),
            Case.of("request_without_answer_times_out", Requests::timesOut));
    }

    /** A consumer that answers "x" with "re: x". */
    private static void serve(Scene scene, String topic) throws Exception {
        DefaultMQProducer replier = scene.producer();
        DefaultMQPushConsumer consumer = scene.consumer(scene.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt request : messages) {
                try {
                    replier.send(MessageUtil.createReplyMessage(request, ("re: " + Inbox.body(request)).getBytes()), 3000);
                } catch (Exception failed) {
                    failed.printStackTrace();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        scene.start(consumer);
    }

    private static void reply(Scene scene) throws Exception {
        String topic = scene.topic(2);
        serve(scene, topic);
        DefaultMQProducer requester = scene.producer();
        for (int number = 0; number < 5; number++) {
            Message answer = requester.request(message(topic, "question-" + number), 15_000);
            Check.equal("answer", "re: question-" + number, new String(answer.getBody()));
        }
    }

    private static void async(Scene scene) throws Exception {
        String topic = scene.topic(2);
        serve(scene, topic);
        DefaultMQProducer requester = scene.producer();
        CompletableFuture<String> answer = new CompletableFuture<>();
        requester.request(message(topic, "later"), new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                answer.complete(new String(message.getBody()));
            }

            @Override
            public void onException(Throwable error) {
                answer.completeExceptionally(error);
            }
        }, 15_000);
        Check.equal("answer", "re: later", answer.get(20, TimeUnit.SECONDS));
    }

    private static void timesOut(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer requester = scene.producer();
        Throwable error = Check.fails("a request that nobody answers", () -> requester.request(message(topic, "?"), 1500));
        Check.equal("error", "RequestTimeoutException", error.getClass().getSimpleName());
    }
}
