package interop;

import static interop.Scene.message;
import static interop.Scene.send;

import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** Messages of 5.x for a point in time, and taking them back. */
final class Timers {
    private static final String SINCE = "timed messages came with 5.0";

    private Timers() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("timer_by_delay_and_by_time", Timers::timed).notOn("apache-4", SINCE),
            Case.of("timer_beyond_three_days_is_refused_with_13", Timers::tooFar).notOn("apache-4", SINCE),
            Case.of("timer_recalled", Timers::recalled).notOn("apache-4", SINCE));
    }

    private static void timed(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        long sent = System.currentTimeMillis();
        Message late = message(topic, "in three seconds");
        late.setDelayTimeMs(3000);
        send(producer, late);
        Message soon = message(topic, "at its time");
        soon.setDeliverTimeMs(sent + 1500);
        send(producer, soon);
        Message past = message(topic, "at once");
        past.setDeliverTimeMs(sent - 10_000);
        send(producer, past);
        inbox.awaitEachOnce(List.of("at once", "at its time", "in three seconds"), 30);
        long first = inbox.arrivalMs("at its time") - sent;
        long second = inbox.arrivalMs("in three seconds") - sent;
        // Apache's precision is a second, rounded down.
        Check.that("expected 1500 ms, got " + first, first >= 500 && first < 5000);
        Check.that("expected 3000 ms, got " + second, second >= 2000 && second < 7000);
        Check.equal("order", List.of("at once", "at its time", "in three seconds"), inbox.bodies());
    }

    private static void tooFar(Scene scene) throws Exception {
        Message message = message(scene.topic(1), "too far");
        message.setDelayTimeSec(4 * 24 * 3600);
        DefaultMQProducer producer = scene.producer();
        Throwable refusal = Check.fails("a delay of four days", () -> producer.send(message));
        Check.equal("response code", 13, Sends.codeOf(refusal));
    }

    private static void recalled(Scene scene) throws Exception {
        String topic = scene.topic(1);
        DefaultMQProducer producer = scene.producer();
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        Message message = message(topic, "taken back");
        message.setDelayTimeSec(5);
        SendResult sent = send(producer, message);
        Check.that("the receipt has a recall handle: " + sent.getRecallHandle(), sent.getRecallHandle() != null);
        Check.equal("id of what was recalled", sent.getMsgId(), producer.recallMessage(topic, sent.getRecallHandle()));
        Message after = message(topic, "end");
        after.setDelayTimeSec(7);
        send(producer, after);
        inbox.awaitEachOnce(List.of("end"), 30);
        Throwable wrong = Check.fails("a handle that is none", () -> producer.recallMessage(topic, "bm9uc2Vuc2U"));
        Check.that("expected a refusal, got " + wrong, wrong.getMessage() != null);
    }
}
