package interop;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs the cases of one suite, several at a time: most of their time is waiting. */
public final class Main {
    private static final int AT_ONE_TIME = 6;

    private Main() {
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = options(arguments);
        Driver.begin();
        String suite = options.get("suite");
        List<Case> cases = chosen(Catalogue.of(suite), options);
        ExecutorService pool = Executors.newFixedThreadPool(suite.equals("cluster") || suite.equals("fleet") ? 1 : AT_ONE_TIME);
        List<Future<?>> running = new ArrayList<>();
        for (Case one : cases) {
            running.add(pool.submit(() -> run(one, options)));
        }
        for (Future<?> each : running) {
            each.get();
        }
        Driver.done();
        System.exit(0);
    }

    /** `--name value` pairs. */
    public static Map<String, String> options(String[] arguments) {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            options.put(arguments[at].substring(2), arguments[at + 1]);
        }
        return options;
    }

    private static List<Case> chosen(List<Case> all, Map<String, String> options) {
        List<Case> chosen = new ArrayList<>(all);
        for (String option : List.of("cases", "only")) {
            if (options.containsKey(option)) {
                List<String> names = List.of(options.get(option).split(","));
                chosen.removeIf(one -> !names.contains(one.name));
            }
        }
        return chosen;
    }

    private static void run(Case one, Map<String, String> options) {
        String reason = one.reasonToSkip(options.get("against"));
        if (reason != null) {
            Driver.result(one.name, "skipped", 0, reason);
            return;
        }
        long began = System.nanoTime();
        String problem = problemOf(one, options);
        Driver.result(one.name, problem == null ? "passed" : "failed", (System.nanoTime() - began) / 1e9, problem);
    }

    private static String problemOf(Case one, Map<String, String> options) {
        Scene scene = new Scene(options.get("client"), one.name, options.get("namesrv"), options.get("against"));
        ExecutorService worker = Executors.newSingleThreadExecutor();
        Future<?> running = worker.submit(() -> {
            one.body.run(scene);
            return null;
        });
        try {
            running.get(one.deadlineSeconds, TimeUnit.SECONDS);
            return null;
        } catch (TimeoutException late) {
            running.cancel(true);
            return "expected to be done within " + one.deadlineSeconds + " s";
        } catch (ExecutionException failed) {
            return describe(failed.getCause());
        } catch (InterruptedException stopped) {
            return "interrupted";
        } finally {
            worker.shutdownNow();
            scene.close();
        }
    }

    public static String describe(Throwable error) {
        if (error instanceof Check.Failed) {
            StackTraceElement[] trace = error.getStackTrace();
            for (StackTraceElement element : trace) {
                if (element.getClassName().startsWith("interop.") && !element.getClassName().matches("interop.(Check|Inbox).*")) {
                    return error.getMessage() + " (" + element.getFileName() + ":" + element.getLineNumber() + ")";
                }
            }
            return error.getMessage();
        }
        StringWriter text = new StringWriter();
        error.printStackTrace(new PrintWriter(text));
        return text.toString().lines().limit(14).reduce((a, b) -> a + "\n" + b).orElse("");
    }
}
