package interop.spring;

import interop.Check;
import interop.Driver;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.ConfigurableApplicationContext;

/** A Spring application with a template and annotated listeners; its cases run when the context is up. */
@SpringBootApplication
public class Main {
    /** What a case does; it fails by throwing. */
    interface Body {
        void run() throws Exception;
    }

    private static final int DEADLINE_SECONDS = 60;

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            options.put(arguments[at].substring(2), arguments[at + 1]);
        }
        Driver.begin();
        createTopics(options.get("namesrv"));
        SpringApplication application = new SpringApplication(Main.class);
        application.setWebApplicationType(WebApplicationType.NONE);
        application.setDefaultProperties(Map.of(
            "rocketmq.name-server", options.get("namesrv"), "rocketmq.producer.group", "spring-template",
            "rocketmq.producer.send-message-timeout", "15000", "rocketmq.producer.enable-msg-trace", "true",
            "rocketmq.pull-consumer.group", "spring-pull", "rocketmq.pull-consumer.topic", Listeners.PULLED,
            "logging.level.root", "WARN"));
        try (ConfigurableApplicationContext context = application.run()) {
            Map<String, Body> cases = new LinkedHashMap<>(context.getBean(Cases.class).all(options.get("namesrv")));
            if (options.containsKey("only")) {
                cases.keySet().retainAll(List.of(options.get("only").split(",")));
            }
            runAll(cases);
        }
        Driver.done();
        System.exit(0);
    }

    /** Listeners that start before their topic exists would find it half a minute later. */
    private static void createTopics(String namesrv) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("spring-setup");
        producer.setNamesrvAddr(namesrv);
        producer.start();
        for (String topic : Listeners.TOPICS) {
            producer.createTopic("TBW102", topic, 1, Map.of());
            Check.await("route of " + topic, 20, () -> !producer.fetchPublishMessageQueues(topic).isEmpty());
        }
        producer.shutdown();
    }

    private static void runAll(Map<String, Body> cases) throws Exception {
        ExecutorService pool = Executors.newCachedThreadPool();
        Map<String, Future<?>> running = new LinkedHashMap<>();
        Map<String, Double> seconds = new java.util.concurrent.ConcurrentHashMap<>();
        cases.forEach((name, body) -> running.put(name, pool.submit(() -> {
            long began = System.nanoTime();
            try {
                body.run();
            } finally {
                seconds.put(name, (System.nanoTime() - began) / 1e9);
            }
            return null;
        })));
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_SECONDS);
        for (Map.Entry<String, Future<?>> each : running.entrySet()) {
            String problem = null;
            try {
                each.getValue().get(Math.max(1, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
            } catch (java.util.concurrent.TimeoutException late) {
                problem = "expected to be done within " + DEADLINE_SECONDS + " s";
            } catch (java.util.concurrent.ExecutionException failed) {
                StackTraceElement[] trace = failed.getCause().getStackTrace();
                problem = failed.getCause() + (trace.length > 0 ? "\n at " + trace[0] : "");
            }
            Driver.result(each.getKey(), problem == null ? "passed" : "failed",
                seconds.getOrDefault(each.getKey(), (double) DEADLINE_SECONDS), problem);
        }
    }
}
