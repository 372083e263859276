package interop.admin;

import interop.Driver;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** The usual commands of mqadmin, one after another against one cluster. */
public final class Main {
    /** What a case does; it fails by throwing. */
    interface Body {
        void run() throws Exception;
    }

    private Main() {
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = interop.Main.options(arguments);
        Driver.begin();
        giveLoggingAHome();
        Map<String, Body> cases = new LinkedHashMap<>();
        Stage stage = new Stage(options.get("namesrv"), options.get("against"));
        try {
            stage.open();
            Commands.add(cases, stage);
            if (options.containsKey("only")) {
                cases.keySet().retainAll(List.of(options.get("only").split(",")));
            }
            ExecutorService worker = Executors.newCachedThreadPool();
            for (Map.Entry<String, Body> one : cases.entrySet()) {
                run(worker, one.getKey(), one.getValue());
            }
        } finally {
            stage.close();
        }
        Driver.done();
        System.exit(0);
    }

    /** 4.9's tools read how to log from below this folder, and do nothing without. */
    private static void giveLoggingAHome() throws java.io.IOException {
        Path conf = Path.of(System.getProperty("user.home"), "rocketmq", "conf");
        Files.createDirectories(conf);
        Files.writeString(conf.resolve("logback_tools.xml"), "<configuration><root level=\"OFF\"/></configuration>");
        System.setProperty("rocketmq.home.dir", conf.getParent().toString());
    }

    private static void run(ExecutorService worker, String name, Body body) throws InterruptedException {
        long began = System.nanoTime();
        Future<?> running = worker.submit(() -> {
            body.run();
            return null;
        });
        String problem = null;
        try {
            running.get(40, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            running.cancel(true);
            problem = "expected to be done within 40 s";
        } catch (java.util.concurrent.ExecutionException failed) {
            problem = interop.Main.describe(failed.getCause());
        }
        Driver.result(name, problem == null ? "passed" : "failed", (System.nanoTime() - began) / 1e9, problem);
    }
}
