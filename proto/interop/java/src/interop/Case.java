package interop;

import java.util.Map;

/** A claim about the broker, shown through a real client. */
final class Case {
    /** What a case does; it fails by throwing. */
    interface Body {
        void run(Scene scene) throws Exception;
    }

    final String name;
    final int deadlineSeconds;
    final Body body;
    /** Servers that cannot do it, with the reason: `--against` begins with the key. */
    final Map<String, String> notOn;

    private Case(String name, int deadlineSeconds, Body body, Map<String, String> notOn) {
        this.name = name;
        this.deadlineSeconds = deadlineSeconds;
        this.body = body;
        this.notOn = notOn;
    }

    static Case of(String name, Body body) {
        return new Case(name, 60, body, Map.of());
    }

    static Case of(String name, int deadlineSeconds, Body body) {
        return new Case(name, deadlineSeconds, body, Map.of());
    }

    Case notOn(String server, String reason) {
        return new Case(name, deadlineSeconds, body, Map.of(server, reason));
    }

    /** Why it cannot run on this server, or null. */
    String reasonToSkip(String server) {
        return notOn.entrySet().stream().filter(entry -> server.startsWith(entry.getKey())).map(Map.Entry::getValue)
            .findFirst().orElse(null);
    }
}
