package interop;

import java.util.Objects;
import java.util.concurrent.Callable;

/** Expectations that say what was expected and what came. */
public final class Check {
    private Check() {
    }

    /** What a case throws when the broker did something else. */
    public static final class Failed extends AssertionError {
        Failed(String text) {
            super(text);
        }
    }

    public static void equal(String what, Object expected, Object got) {
        if (!Objects.equals(expected, got)) {
            throw new Failed(what + ": expected " + expected + ", got " + got);
        }
    }

    public static void that(String what, boolean holds) {
        if (!holds) {
            throw new Failed(what);
        }
    }

    /** Runs what has to fail, and returns what it threw. */
    public static Throwable fails(String what, Callable<?> action) {
        Object got;
        try {
            got = action.call();
        } catch (Throwable error) {
            return error;
        }
        throw new Failed(what + ": expected an error, got " + got);
    }

    /** Asks until the answer is neither null nor false; errors count as "not yet". */
    public static <T> T await(String what, double seconds, Callable<T> condition) throws InterruptedException {
        long deadline = System.nanoTime() + (long) (seconds * 1e9);
        Object last = null;
        do {
            try {
                T value = condition.call();
                if (value != null && !Boolean.FALSE.equals(value)) {
                    return value;
                }
                last = value;
            } catch (InterruptedException stopped) {
                throw stopped;
            } catch (Throwable error) {
                last = error;
            }
            Thread.sleep(20);
        } while (System.nanoTime() < deadline);
        throw new Failed(what + ": expected within " + seconds + " s, last was " + last);
    }
}
