package interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;

/** The driver on the other end of standard output and input. */
public final class Driver {
    private static PrintStream out;
    private static BufferedReader in;

    private Driver() {
    }

    /** From here on standard output belongs to results, and what libraries print goes to standard error. */
    public static synchronized void begin() {
        out = System.out;
        in = new BufferedReader(new InputStreamReader(System.in));
        System.setOut(System.err);
    }

    public static synchronized void result(String name, String outcome, double seconds, String detail) {
        out.println("{\"case\":" + quoted(name) + ",\"outcome\":" + quoted(outcome) + ",\"seconds\":" + seconds
            + ",\"detail\":" + quoted(detail == null ? "" : detail) + "}");
        out.flush();
    }

    /** Asks for a broker to be stopped, killed or started, and waits until it is. */
    public static synchronized void ask(String request) throws IOException {
        out.println("{\"ask\":" + quoted(request) + "}");
        out.flush();
        String answer = in.readLine();
        Check.equal("the driver's answer to " + request, "done", answer);
    }

    public static synchronized void done() {
        out.println("{\"done\":true}");
        out.flush();
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ' || c > '~') {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }
}
