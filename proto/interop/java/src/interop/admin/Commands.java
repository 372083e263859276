package interop.admin;

import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/** One case for each of the usual commands, and what its output has to say. */
final class Commands {
    private Commands() {
    }

    static void add(Map<String, Main.Body> cases, Stage on) {
        looks(cases, on);
        messages(cases, on);
        connections(cases, on);
        settings(cases, on);
        topicsAndGroups(cases, on);
        offsets(cases, on);
    }

    private static void looks(Map<String, Main.Body> cases, Stage on) {
        String address = on.brokers.get("broker-a");
        cases.put("mqadmin_clusterList", () -> on.tool.expect(List.of("clusterList"), "DefaultCluster\\s+broker-a\\s+0\\s+" + quoted(address), "broker-b"));
        cases.put("mqadmin_clusterList_more", () -> on.tool.expect(List.of("clusterList", "-m"), "DefaultCluster\\s+broker-a"));
        cases.put("mqadmin_brokerStatus", () -> on.tool.expect(List.of("brokerStatus", "-b", address), "bootTimestamp", "putTps", "brokerVersionDesc\\s*:", "commitLogMaxOffset"));
        cases.put("mqadmin_topicList", () -> on.tool.expect(List.of("topicList"), quoted(on.topic)));
        cases.put("mqadmin_topicList_of_cluster", () -> on.tool.expect(List.of("topicList", "-c"), "DefaultCluster\\s+" + quoted(on.topic)));
        cases.put("mqadmin_topicClusterList", () -> on.tool.expect(List.of("topicClusterList", "-t", on.topic), "DefaultCluster"));
        cases.put("mqadmin_topicRoute", () -> on.tool.expect(List.of("topicRoute", "-t", on.topic), "\"brokerName\":\\s*\"broker-a\"", "\"writeQueueNums\":\\s*2"));
        cases.put("mqadmin_topicStatus", () -> on.tool.expect(List.of("topicStatus", "-t", on.topic), "broker-a\\s+0\\s+0\\s+[1-9]", "broker-b\\s+1\\s+0\\s+[1-9]"));
        cases.put("mqadmin_statsAll", () -> on.tool.expect(List.of("statsAll", "-t", on.topic), quoted(on.topic) + "\\s+" + quoted(on.group)));
        cases.put("mqadmin_statsAll_counts", () -> on.tool.expect(List.of("statsAll", "-t", on.topic), quoted(on.topic) + "\\s+" + quoted(on.group) + "\\s+\\d+\\s+[\\d.]+\\s+[\\d.]+\\s+[1-9]\\d*\\s+[1-9]"));
        cases.put("mqadmin_brokerStatus_has_what_exporters_read", () -> on.tool.expect(List.of("brokerStatus", "-b", address), "putMessageDistributeTime\\s*: \\[<=0ms\\]:\\d+ ", "commitLogDirCapacity\\s*: Total : [\\d.]+ GiB, Free : [\\d.]+ GiB\\.", "commitLogDiskRatio\\s*: 0\\.\\d", "earliestMessageTimeStamp", "getMissTps"));
        cases.put("mqadmin_producer", () -> on.tool.expect(List.of("producer", "-b", address), "producer group \\(" + quoted(on.producerGroup) + "\\) instance : clientId=.*stage-producer, ?remoteIP=/"));
        for (String what : List.of("exportMetadata", "exportConfigs", "exportMetrics")) {
            cases.put("mqadmin_" + what, () -> on.tool.expect(List.of(what, "-c", "DefaultCluster", "-f", System.getProperty("user.home") + "/export"), "success"));
        }
        if (newer()) {
            cases.put("mqadmin_haStatus", () -> on.tool.expect(List.of("haStatus", "-b", address), "(?i)master"));
        }
        cases.put("mqadmin_brokerConsumeStats", () -> on.tool.expect(List.of("brokerConsumeStats", "-b", address), "Diff Total"));
        cases.put("mqadmin_getNamesrvConfig", () -> on.tool.run("getNamesrvConfig"));
    }

    private static void messages(Map<String, Main.Body> cases, Stage on) {
        String broker = on.first.getMessageQueue().getBrokerName();
        String queue = String.valueOf(on.first.getMessageQueue().getQueueId());
        cases.put("mqadmin_sendMessage", () -> on.tool.expect(List.of("sendMessage", "-t", on.topic, "-p", "by mqadmin", "-k", "k", "-c", "TagM"), "SEND_OK"));
        cases.put("mqadmin_checkMsgSendRT", () -> on.tool.expect(List.of("checkMsgSendRT", "-t", on.topic, "-a", "3", "-s", "64"), "Avg RT"));
        cases.put("mqadmin_queryMsgById", () -> on.tool.expect(byId(on), "Topic:\\s+" + quoted(on.topic), "Tags:\\s+\\[TagS\\]", "Queue Offset:\\s+" + on.first.getQueueOffset()));
        cases.put("mqadmin_queryMsgByUniqueKey", () -> on.tool.expect(List.of("queryMsgByUniqueKey", "-t", on.topic, "-i", on.first.getMsgId()), "Topic:\\s+" + quoted(on.topic), "Keys:\\s+\\[stage-key\\]"));
        cases.put("mqadmin_queryMsgByKey", () -> on.tool.expect(List.of("queryMsgByKey", "-t", on.topic, "-k", "stage-key"), "(?:[0-9A-F]{32,56}\\s+\\d+\\s+\\d+\\s+){12}"));
        cases.put("mqadmin_queryMsgByOffset", () -> on.tool.expect(List.of("queryMsgByOffset", "-t", on.topic, "-b", broker, "-i", queue, "-o", "0"), on.first.getMsgId()));
        cases.put("mqadmin_queryMsgTraceById", () -> on.tool.expect(List.of("queryMsgTraceById", "-i", on.first.getMsgId()), "Pub\\s+" + quoted(on.producerGroup)));
        cases.put("mqadmin_queryCq", () -> on.tool.expect(List.of("queryCq", "-t", on.topic, "-q", queue, "-i", "0", "-c", "1", "-b", on.brokers.get(broker)), "(?i)physicOffset"));
        cases.put("mqadmin_printMsg", () -> on.tool.expect(List.of("printMsg", "-t", on.topic, "-d", "true"), "stage-0", "stage-" + (Stage.MESSAGES - 1)));
        cases.put("mqadmin_printMsgByQueue", () -> on.tool.expect(List.of("printMsgByQueue", "-t", on.topic, "-a", broker, "-i", queue, "-p", "true", "-d", "true"), "stage-0"));
        cases.put("mqadmin_consumeMessage", () -> on.tool.expect(List.of("consumeMessage", "-t", on.topic, "-g", "admin-reader-" + on.suffix, "-b", broker, "-i", queue, "-o", "0", "-c", "1"), on.first.getMsgId()));
        cases.put("mqadmin_queryMsgById_to_a_consumer", () -> on.tool.expect(directly(on), "CR_SUCCESS"));
    }

    /** 5.x: its tools have commands and options that 4.9 has not. */
    private static boolean newer() {
        return org.apache.rocketmq.common.MQVersion.CURRENT_VERSION > 413;
    }

    private static List<String> byId(Stage on) {
        return newer() ? List.of("queryMsgById", "-i", on.first.getOffsetMsgId(), "-t", on.topic) : List.of("queryMsgById", "-i", on.first.getOffsetMsgId());
    }

    private static List<String> directly(Stage on) {
        List<String> command = new java.util.ArrayList<>(byId(on));
        command.addAll(List.of("-g", on.group, "-d", on.consumerId()));
        return command;
    }

    private static void connections(Map<String, Main.Body> cases, Stage on) {
        cases.put("mqadmin_consumerConnection", () -> on.tool.expect(List.of("consumerConnection", "-g", on.group), "stage-consumer.*JAVA", quoted(on.topic), "CLUSTERING"));
        cases.put("mqadmin_producerConnection", () -> on.tool.expect(List.of("producerConnection", "-g", on.producerGroup, "-t", on.topic), "stage-producer.*JAVA"));
        cases.put("mqadmin_consumerStatus", () -> on.tool.expect(List.of("consumerStatus", "-g", on.group), "stage-consumer"));
        cases.put("mqadmin_consumerProgress", () -> on.tool.expect(List.of("consumerProgress", "-g", on.group), quoted(on.topic.substring(0, 20)), "Diff Total: 0"));
        cases.put("mqadmin_consumerProgress_of_all", () -> on.tool.expect(List.of("consumerProgress"), quoted(on.group.substring(0, 20))));
    }

    private static void settings(Map<String, Main.Body> cases, Stage on) {
        String address = on.brokers.get("broker-b");
        cases.put("mqadmin_getBrokerConfig", () -> on.tool.expect(List.of("getBrokerConfig", "-b", address), "brokerName\\s+=\\s+broker-b", "transactionCheckMax\\s+=\\s+3", "listenPort\\s+=\\s+" + address.split(":")[1]));
        cases.put("mqadmin_updateBrokerConfig", () -> {
            on.tool.expect(List.of("updateBrokerConfig", "-b", address, "-k", "fileReservedTime", "-v", "48"), "success");
            on.tool.expect(List.of("getBrokerConfig", "-b", address), "fileReservedTime\\s+=\\s+48");
        });
        cases.put("mqadmin_updateBrokerConfig_of_a_path_is_refused", () -> {
            String said = on.tool.run("updateBrokerConfig", "-b", address, "-k", "brokerConfigPath", "-v", "/tmp/elsewhere");
            interop.Check.that("expected a refusal, got " + said, !said.contains("success"));
        });
        cases.put("mqadmin_updateBrokerConfig_drains_a_broker", () -> {
            on.tool.expect(List.of("updateBrokerConfig", "-b", address, "-k", "brokerPermission", "-v", "4"), "success");
            on.tool.expect(List.of("topicRoute", "-t", on.topic), "\"brokerName\":\\s*\"broker-b\",\\s*\"perm\":\\s*4");
            on.tool.expect(List.of("updateBrokerConfig", "-b", address, "-k", "brokerPermission", "-v", "6"), "success");
            on.tool.expect(List.of("topicRoute", "-t", on.topic), "\"perm\":\\s*6(?!.*\"perm\":\\s*4)");
        });
        cases.put("mqadmin_updateKvConfig", () -> {
            on.tool.expect(List.of("updateKvConfig", "-s", "ours", "-k", "key", "-v", "value"), "success");
            on.tool.expect(List.of("deleteKvConfig", "-s", "ours", "-k", "key"), "success");
        });
        cases.put("mqadmin_updateOrderConf", () -> {
            on.tool.expect(List.of("updateOrderConf", "-t", on.topic, "-v", "broker-a:2;broker-b:2", "-m", "put"), "success");
            on.tool.expect(List.of("updateOrderConf", "-t", on.topic, "-m", "get"), "broker-a:2;broker-b:2");
            on.tool.expect(List.of("updateOrderConf", "-t", on.topic, "-m", "delete"), "success");
        });
        cases.put("mqadmin_wipeWritePerm_and_addWritePerm", () -> {
            on.tool.expect(List.of("wipeWritePerm", "-b", "broker-b"), "wipe write perm of broker\\[broker-b\\].* OK, [1-9]");
            on.tool.expect(List.of("topicRoute", "-t", on.topic), "\"perm\":\\s*4");
            on.tool.expect(List.of("addWritePerm", "-b", "broker-b"), "add write perm of broker\\[broker-b\\].* OK, [1-9]");
            on.tool.expect(List.of("topicRoute", "-t", on.topic), "\"perm\":\\s*6(?!.*\"perm\":\\s*4)");
        });
    }

    private static void topicsAndGroups(Map<String, Main.Body> cases, Stage on) {
        String topic = "admin-made-" + on.suffix;
        String group = "admin-made-group-" + on.suffix;
        String address = on.brokers.get("broker-a");
        cases.put("mqadmin_updateTopic", () -> {
            on.tool.expect(List.of("updateTopic", "-b", address, "-t", topic, "-r", "3", "-w", "3"), "success");
            on.tool.expect(List.of("topicRoute", "-t", topic), "\"readQueueNums\":\\s*3");
        });
        cases.put("mqadmin_updateTopicPerm", () -> {
            on.tool.expect(List.of("updateTopicPerm", "-b", address, "-t", topic, "-p", "4"), "success");
            on.tool.expect(List.of("topicRoute", "-t", topic), "\"perm\":\\s*4");
        });
        cases.put("mqadmin_allocateMQ", () -> on.tool.expect(List.of("allocateMQ", "-t", on.topic, "-i", "10.0.0.1,10.0.0.2"), "10.0.0.2"));
        cases.put("mqadmin_deleteTopic", () -> {
            on.tool.expect(List.of("deleteTopic", "-c", "DefaultCluster", "-t", topic), "delete topic \\[" + topic + "\\] from cluster \\[DefaultCluster\\] success", "from NameServer success");
            on.tool.expect(List.of("topicRoute", "-t", topic), "CODE: 17");
        });
        cases.put("mqadmin_updateSubGroup", () -> on.tool.expect(List.of("updateSubGroup", "-c", "DefaultCluster", "-g", group, "-r", "5"), "success"));
        cases.put("mqadmin_getConsumerConfig", () -> on.tool.expect(List.of("getConsumerConfig", "-g", group), "retryMaxTimes\\s+=\\s+5"));
        cases.put("mqadmin_deleteSubGroup", () -> {
            on.tool.expect(List.of("deleteSubGroup", "-c", "DefaultCluster", "-g", group), "delete subscription group \\[" + group + "\\].*success");
            interop.Check.that("the group is gone", !on.tool.run("getConsumerConfig", "-g", group).contains("retryMaxTimes"));
        });
        cases.put("mqadmin_deleteSubGroup_that_is_not_there", () -> on.tool.expect(List.of("deleteSubGroup", "-b", address, "-g", "nobody-" + on.suffix), "delete subscription group .*success"));
        cases.put("mqadmin_cleanUnusedTopic", () -> on.tool.expect(List.of("cleanUnusedTopic", "-b", address), "success"));
        cases.put("mqadmin_cleanExpiredCQ", () -> on.tool.expect(List.of("cleanExpiredCQ", "-b", address), "success"));
    }

    private static void offsets(Map<String, Main.Body> cases, Stage on) {
        String heir = "admin-heir-" + on.suffix;
        cases.put("mqadmin_cloneGroupOffset", () -> {
            on.tool.expect(List.of("updateSubGroup", "-c", "DefaultCluster", "-g", heir), "success");
            on.tool.expect(List.of("cloneGroupOffset", "-s", on.group, "-d", heir, "-t", on.topic), "clone group offset success");
        });
        cases.put("mqadmin_resetOffsetByTime", () -> {
            int before = on.consumed.get();
            String past = String.valueOf(System.currentTimeMillis() - 3_600_000);
            on.tool.expect(List.of("resetOffsetByTime", "-g", on.group, "-t", on.topic, "-s", past, "-f", "true"), "broker-a\\s+0\\s+0");
            interop.Check.await("the consumer gets all messages again", 35, () -> on.consumed.get() >= before + Stage.MESSAGES);
        });
        cases.put("mqadmin_resetOffsetByTime_of_an_unknown_group", () -> on.tool.expect(List.of("resetOffsetByTime", "-g", "mistyped-" + on.suffix, "-t", on.topic, "-s", "0", "-f", "true"), "not exist"));
        cases.put("mqadmin_skipAccumulatedMessage", () -> on.tool.expect(List.of("skipAccumulatedMessage", "-g", on.group, "-t", on.topic, "-f", "true"), "broker-b\\s+1\\s+[1-9]"));
        cases.put("mqadmin_resetOffsetByTime_of_a_stopped_group", () -> {
            on.stopConsumer();
            String past = String.valueOf(System.currentTimeMillis() - 3_600_000);
            on.tool.expect(List.of("resetOffsetByTime", "-g", on.group, "-t", on.topic, "-s", past, "-f", "true"), "broker-a\\s+0\\s+0");
            on.tool.expect(List.of("consumerProgress", "-g", on.group), "Diff Total: [1-9]");
        });
    }

    private static String quoted(String text) {
        return Pattern.quote(text);
    }
}
