package interop.admin;

import interop.Check;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** mqadmin, called within this process: one command at a time, its output caught. */
final class Tool {
    private final String namesrv;

    Tool(String namesrv) {
        this.namesrv = namesrv;
    }

    /** What the command printed, to standard output and to standard error. */
    String run(String... command) {
        List<String> arguments = new ArrayList<>(List.of(command));
        arguments.add("-n");
        arguments.add(namesrv);
        ByteArrayOutputStream caught = new ByteArrayOutputStream();
        PrintStream out = System.out;
        PrintStream err = System.err;
        PrintStream catching = new PrintStream(caught, true);
        System.setOut(catching);
        System.setErr(catching);
        try {
            MQAdminStartup.main0(arguments.toArray(String[]::new), null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return caught.toString();
    }

    /** Runs a command until its output has all of these patterns; returns the first group of the last of them, if any. */
    String expect(List<String> command, String... patterns) throws InterruptedException {
        String[] last = {""};
        try {
            return Check.await("", 15, () -> {
                last[0] = run(command.toArray(String[]::new));
                String group = "";
                for (String pattern : patterns) {
                    Matcher matcher = Pattern.compile(pattern, Pattern.DOTALL).matcher(last[0]);
                    if (!matcher.find()) {
                        return null;
                    }
                    group = matcher.groupCount() > 0 ? matcher.group(1) : "";
                }
                return group;
            });
        } catch (AssertionError late) {
            String text = last[0].length() > 1500 ? last[0].substring(0, 1500) + "…" : last[0];
            throw new AssertionError(command + ": expected output to have " + List.of(patterns) + ", got:\n" + text);
        }
    }
}
