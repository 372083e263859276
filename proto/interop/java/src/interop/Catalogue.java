package interop;

import java.util.ArrayList;
import java.util.List;

/** Which cases a suite has. */
final class Catalogue {
    private Catalogue() {
    }

    static List<Case> of(String suite) {
        List<Case> cases = new ArrayList<>();
        switch (suite) {
            case "main" -> {
                // Those that wait longest come first.
                cases.addAll(Retries.cases());
                cases.addAll(Offsets.cases());
                cases.addAll(Orders.cases());
                cases.addAll(Transactions.cases());
                cases.addAll(Requests.cases());
                cases.addAll(Sends.cases());
                cases.addAll(Consumes.cases());
                cases.addAll(Filters.cases());
                cases.addAll(Pulls.cases());
                cases.addAll(Queries.cases());
                cases.addAll(Traces.cases());
                cases.addAll(Connections.cases());
                cases.addAll(Version.cases());
            }
            case "cluster" -> cases.addAll(Clusters.cases());
            case "shards" -> cases.addAll(Shards.cases());
            case "fleet" -> cases.addAll(Fleets.cases());
            default -> throw new IllegalArgumentException(suite);
        }
        return cases;
    }
}
