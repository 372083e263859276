package interop;

import static interop.Scene.message;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;

/**
 * Two hosts' worth of brokers with eight shards each. A client tries three brokers, each the next in the order of their
 * names: neighbours are of different hosts, so that one host may go without a send failing.
 */
final class Fleets {
    private static final int PRODUCERS = 4;

    private Fleets() {
    }

    static List<Case> cases() {
        return List.of(
            Case.of("fleet_broker_stopped_and_no_send_fails", 120, scene -> goes(scene, "stop")),
            Case.of("fleet_broker_killed_and_no_send_fails", 120, scene -> goes(scene, "kill")));
    }

    /** Producers as anybody has them: three tries in three seconds, routes looked up every half minute. */
    private static void goes(Scene scene, String how) throws Exception {
        String topic = scene.topic(1);
        List<String> errors = Collections.synchronizedList(new ArrayList<>());
        Set<String> used = new ConcurrentSkipListSet<>();
        AtomicInteger acknowledged = new AtomicInteger();
        AtomicBoolean ended = new AtomicBoolean();
        List<Thread> load = new ArrayList<>();
        for (int number = 0; number < PRODUCERS; number++) {
            DefaultMQProducer producer = scene.configure(new DefaultMQProducer(scene.group()));
            producer.start();
            scene.atEnd(producer::shutdown);
            load.add(new Thread(() -> {
                while (!ended.get()) {
                    try {
                        SendResult result = producer.send(message(topic, "load"));
                        if (result.getSendStatus() == SendStatus.SEND_OK) {
                            acknowledged.incrementAndGet();
                            used.add(result.getMessageQueue().getBrokerName());
                        }
                        Thread.sleep(2);
                    } catch (Exception error) {
                        errors.add(error.toString());
                    }
                }
            }));
        }
        load.forEach(Thread::start);
        try {
            Check.await("all sixteen shards are used", 30, () -> used.size() == 16);
            Driver.ask(how + " broker-b");
            int atStop = acknowledged.get();
            Check.await("sends go on", 30, () -> acknowledged.get() > atStop + 2000);
            used.clear();
            int after = acknowledged.get();
            Check.await("and on", 30, () -> acknowledged.get() > after + 1000);
            Set<String> left = new TreeSet<>(used);
            Check.that("only shards of broker-a answer, got " + left, left.stream().allMatch(name -> name.endsWith("broker-a")));
        } finally {
            ended.set(true);
            for (Thread each : load) {
                each.join(20_000);
            }
            Driver.ask("start broker-b");
        }
        Check.equal("sends that failed after the client's three tries", List.of(), errors);
    }
}
