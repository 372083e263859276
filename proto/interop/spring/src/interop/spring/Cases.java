package interop.spring;

import interop.Check;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import javax.annotation.Resource;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.spring.core.RocketMQLocalRequestCallback;
import org.apache.rocketmq.spring.core.RocketMQLocalTransactionState;
import org.apache.rocketmq.spring.core.RocketMQTemplate;
import org.apache.rocketmq.spring.support.RocketMQHeaders;
import org.springframework.messaging.Message;
import org.springframework.messaging.support.MessageBuilder;
import org.springframework.stereotype.Component;

/** What a RocketMQTemplate and the listeners do together. */
@Component
class Cases {
    @Resource
    private RocketMQTemplate template;
    private String namesrv;

    Map<String, Main.Body> all(String nameServer) {
        namesrv = nameServer;
        Map<String, Main.Body> cases = new LinkedHashMap<>();
        cases.put("spring_send_sync", this::sync);
        cases.put("spring_send_async", this::async);
        cases.put("spring_send_oneway", this::oneway);
        cases.put("spring_send_batch", this::batch);
        cases.put("spring_send_delayed_by_level", this::delayed);
        cases.put("spring_send_ordered_and_listen_orderly", this::ordered);
        cases.put("spring_object_as_json", this::objects);
        cases.put("spring_listen_broadcast", this::broadcast);
        cases.put("spring_listen_by_tag_and_sql92", this::filters);
        cases.put("spring_listener_fails_once_then_retries", this::retry);
        cases.put("spring_listener_fails_until_dead_letter", this::deadLetter);
        cases.put("spring_transaction_committed", () -> transaction("committed", RocketMQLocalTransactionState.COMMIT, true));
        cases.put("spring_transaction_rolled_back", () -> transaction("unwanted", RocketMQLocalTransactionState.ROLLBACK, false));
        cases.put("spring_transaction_checked_back", this::checkedBack);
        cases.put("spring_request_reply", this::request);
        cases.put("spring_request_reply_async", this::requestAsync);
        cases.put("spring_pull_by_template", this::pull);
        return cases;
    }

    private static void ok(SendResult result) {
        Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
    }

    private static List<String> numbered(String prefix, int count) {
        return IntStream.range(0, count).mapToObj(number -> prefix + "-" + number).toList();
    }

    private void sync() throws Exception {
        List<String> bodies = numbered("sync", 10);
        bodies.forEach(body -> ok(template.syncSend(Listeners.PLAIN, body)));
        template.convertAndSend(Listeners.PLAIN, "converted");
        Inboxes.awaitAll("plain", bodies);
        Inboxes.awaitAll("plain", List.of("converted"));
    }

    private void async() throws Exception {
        List<CompletableFuture<SendResult>> answers = new ArrayList<>();
        List<String> bodies = numbered("async", 10);
        for (String body : bodies) {
            CompletableFuture<SendResult> answer = new CompletableFuture<>();
            answers.add(answer);
            template.asyncSend(Listeners.PLAIN, body, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    answer.complete(result);
                }

                @Override
                public void onException(Throwable error) {
                    answer.completeExceptionally(error);
                }
            });
        }
        for (CompletableFuture<SendResult> answer : answers) {
            ok(answer.get(20, TimeUnit.SECONDS));
        }
        Inboxes.awaitAll("plain", bodies);
    }

    private void oneway() throws Exception {
        List<String> bodies = numbered("oneway", 10);
        bodies.forEach(body -> template.sendOneWay(Listeners.PLAIN, body));
        Inboxes.awaitAll("plain", bodies);
    }

    private void batch() throws Exception {
        List<String> bodies = numbered("batch", 10);
        List<Message<String>> messages = bodies.stream().map(body -> MessageBuilder.withPayload(body)
            .setHeader(RocketMQHeaders.KEYS, "key-" + body).build()).toList();
        ok(template.syncSend(Listeners.PLAIN, messages));
        Inboxes.awaitAll("plain", bodies);
    }

    private void delayed() throws Exception {
        long sent = System.currentTimeMillis();
        ok(template.syncSend(Listeners.PLAIN, MessageBuilder.withPayload("delayed").build(), 15_000, 2));
        Inboxes.awaitAll("plain", List.of("delayed"));
        long took = Inboxes.arrivalMs("plain", "delayed") - sent;
        Check.that("level 2: expected at least 3000 ms, got " + took, took >= 2950);
    }

    private void ordered() throws Exception {
        // A group of the client 5.0.0 begins with what comes after its start, which takes a second.
        Check.await("something", 40, () -> {
            ok(template.syncSendOrderly(Listeners.ORDERED, "begin", "one key"));
            Thread.sleep(300);
            return Inboxes.of("ordered").contains("begin");
        });
        List<String> bodies = numbered("ordered", 30);
        bodies.forEach(body -> ok(template.syncSendOrderly(Listeners.ORDERED, body, "one key")));
        Inboxes.awaitAll("ordered", bodies);
        Check.equal("order", bodies, Inboxes.of("ordered").stream().filter(body -> !body.equals("begin")).distinct().toList());
    }

    private void objects() throws Exception {
        Listeners.Order order = new Listeners.Order();
        order.item = "Äpfel";
        order.count = 3;
        ok(template.syncSend(Listeners.OBJECTS, order));
        Inboxes.awaitAll("objects", List.of("3 x Äpfel"));
    }

    private void broadcast() throws Exception {
        // A broadcasting listener begins with what comes after its start: more is sent until something arrives.
        Check.await("something", 40, () -> {
            ok(template.syncSend(Listeners.ALL, "to all"));
            Thread.sleep(300);
            return Inboxes.of("broadcast").contains("to all");
        });
    }

    private void filters() throws Exception {
        for (String tag : List.of("A", "B", "C")) {
            for (int a = 1; a <= 4; a++) {
                ok(template.syncSend(Listeners.FILTERED + ":" + tag,
                    MessageBuilder.withPayload(tag + a).setHeader("a", String.valueOf(a)).build()));
            }
        }
        Inboxes.awaitAll("tag", List.of("A1", "A2", "A3", "A4", "C1", "C2", "C3", "C4"));
        Inboxes.awaitAll("sql", List.of("A3", "A4", "B3", "B4", "C3", "C4"));
        Check.equal("by tag", 8L, Inboxes.of("tag").stream().distinct().count());
        Check.equal("by SQL", 6L, Inboxes.of("sql").stream().distinct().count());
    }

    private void retry() throws Exception {
        ok(template.syncSend(Listeners.FAILING, "once"));
        Inboxes.awaitAll("failing", List.of("once/0", "once/1"));
    }

    private void deadLetter() throws Exception {
        ok(template.syncSend(Listeners.FAILING, "poison"));
        DefaultMQPullConsumer reader = new DefaultMQPullConsumer("spring-dead-reader");
        reader.setNamesrvAddr(namesrv);
        reader.setInstanceName("spring-dead-reader");
        reader.start();
        try {
            Check.await("poison in the dead letters", 55, () -> {
                for (var queue : reader.fetchSubscribeMessageQueues("%DLQ%spring-failing-group")) {
                    var pulled = reader.pull(queue, "*", 0, 32);
                    if (pulled.getMsgFoundList() != null
                        && pulled.getMsgFoundList().stream().anyMatch(found -> new String(found.getBody()).equals("poison"))) {
                        return true;
                    }
                }
                return false;
            });
        } finally {
            reader.shutdown();
        }
        Check.that("it was tried twice: " + Inboxes.of("failing"), Inboxes.of("failing").contains("poison/1"));
    }

    private void transaction(String body, RocketMQLocalTransactionState verdict, boolean comes) throws Exception {
        ok(template.sendMessageInTransaction(Listeners.TRANSACTED, MessageBuilder.withPayload(body).build(), verdict));
        if (comes) {
            Inboxes.awaitAll("transacted", List.of(body));
            return;
        }
        // Time for a check, if the verdict was not heard.
        Thread.sleep(5500);
        ok(template.syncSend(Listeners.TRANSACTED, "after " + body));
        Inboxes.awaitAll("transacted", List.of("after " + body));
        Check.that(body + " came", !Inboxes.of("transacted").contains(body));
    }

    private void checkedBack() throws Exception {
        ok(template.sendMessageInTransaction(Listeners.TRANSACTED, MessageBuilder.withPayload("asked about").build(),
            RocketMQLocalTransactionState.UNKNOWN));
        Inboxes.awaitAll("transacted", List.of("asked about"));
        Check.that("it was asked about: " + Inboxes.of("checks"), Inboxes.of("checks").contains("asked about"));
    }

    private void request() {
        String answer = template.sendAndReceive(Listeners.ASKED, "question", String.class, 20_000);
        Check.equal("answer", "re: question", answer);
    }

    private void requestAsync() throws Exception {
        CompletableFuture<String> answer = new CompletableFuture<>();
        template.sendAndReceive(Listeners.ASKED, "later", new RocketMQLocalRequestCallback<String>() {
            @Override
            public void onSuccess(String message) {
                answer.complete(message);
            }

            @Override
            public void onException(Throwable error) {
                answer.completeExceptionally(error);
            }
        }, 20_000L);
        Check.equal("answer", "re: later", answer.get(25, TimeUnit.SECONDS));
    }

    private void pull() throws Exception {
        Check.await("something", 40, () -> {
            ok(template.syncSend(Listeners.PULLED, "begin"));
            return !template.receive(String.class, 1000).isEmpty();
        });
        List<String> bodies = numbered("pulled", 10);
        bodies.forEach(body -> ok(template.syncSend(Listeners.PULLED, body)));
        List<String> got = new ArrayList<>();
        Check.await("all by receive", 40, () -> {
            got.addAll(template.receive(String.class, 1000));
            return got.containsAll(bodies);
        });
    }
}
