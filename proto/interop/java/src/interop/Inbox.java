package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.common.message.MessageExt;

/** What consumers received, in order of arrival. */
final class Inbox {
    private final List<MessageExt> messages = new ArrayList<>();
    private final List<Long> arrivalMs = new ArrayList<>();

    synchronized void add(MessageExt message) {
        messages.add(message);
        arrivalMs.add(System.currentTimeMillis());
    }

    void addAll(Collection<MessageExt> several) {
        several.forEach(this::add);
    }

    synchronized List<MessageExt> messages() {
        return new ArrayList<>(messages);
    }

    synchronized List<String> bodies() {
        return messages.stream().map(Inbox::body).toList();
    }

    synchronized MessageExt find(String body) {
        return messages.stream().filter(message -> body(message).equals(body)).findFirst().orElse(null);
    }

    synchronized long arrivalMs(String body) {
        return arrivalMs.get(bodies().indexOf(body));
    }

    long count(String body) {
        return bodies().stream().filter(body::equals).count();
    }

    /** Waits until every one of `expected` came, and complains about what was never sent. */
    void awaitAll(Collection<String> expected, double seconds) throws InterruptedException {
        Set<String> wanted = new TreeSet<>(expected);
        try {
            Check.await("all messages", seconds, () -> new HashSet<>(bodies()).containsAll(wanted));
        } catch (Check.Failed late) {
            Set<String> lacking = new TreeSet<>(wanted);
            bodies().forEach(lacking::remove);
            throw new Check.Failed("expected " + wanted.size() + " messages within " + seconds + " s, got "
                + new HashSet<>(bodies()).size() + "; never came: " + first(lacking));
        }
        Set<String> strange = new TreeSet<>(bodies());
        strange.removeAll(wanted);
        Check.that("messages that nobody sent here: " + first(strange), strange.isEmpty());
    }

    /** As `awaitAll`, and none of them twice. */
    void awaitEachOnce(Collection<String> expected, double seconds) throws InterruptedException {
        awaitAll(expected, seconds);
        List<String> twice = new ArrayList<>(bodies());
        new HashSet<>(expected).forEach(twice::remove);
        Check.that("messages that came more than once: " + first(twice), twice.isEmpty());
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    private static List<String> first(Collection<String> several) {
        return several.stream().limit(10).toList();
    }
}
