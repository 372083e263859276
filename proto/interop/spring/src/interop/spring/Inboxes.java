package interop.spring;

import interop.Check;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;

/** What each listener received, by its name. */
final class Inboxes {
    private static final Map<String, List<String>> RECEIVED = new ConcurrentHashMap<>();
    private static final Map<String, List<Long>> TIMES = new ConcurrentHashMap<>();

    private Inboxes() {
    }

    static synchronized void add(String listener, String body) {
        RECEIVED.computeIfAbsent(listener, name -> new ArrayList<>()).add(body);
        TIMES.computeIfAbsent(listener, name -> new ArrayList<>()).add(System.currentTimeMillis());
    }

    static synchronized List<String> of(String listener) {
        return new ArrayList<>(RECEIVED.getOrDefault(listener, List.of()));
    }

    static synchronized long arrivalMs(String listener, String body) {
        return TIMES.get(listener).get(RECEIVED.get(listener).indexOf(body));
    }

    static void awaitAll(String listener, List<String> wanted) throws InterruptedException {
        try {
            Check.await("all", 40, () -> of(listener).containsAll(wanted));
        } catch (AssertionError late) {
            TreeSet<String> lacking = new TreeSet<>(wanted);
            of(listener).forEach(lacking::remove);
            throw new AssertionError(listener + ": expected " + wanted.size() + " messages, never came: " + lacking);
        }
    }
}
