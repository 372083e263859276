package interop;

import static interop.Scene.message;
import static interop.Scene.send;

import io.netty.channel.ChannelHandlerContext;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.netty.NettyRequestProcessor;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** One broker of four shards: for clients four brokers. The usual cases run there too. */
final class Shards {
    private static final int HEART_BEAT = 34;
    private static final int SEND_REPLY_MESSAGE_V2 = 325;
    private static final int PUSH_REPLY_MESSAGE_TO_CLIENT = 326;
    private static final Set<String> USUAL = Set.of("send_delayed_by_level", "push_broadcast", "orderly_takes_over_the_locks", "send_ordered", "push_orderly",
        "filter_tag", "filter_sql92", "retry_to_dead_letter", "retry_then_success", "transaction_committed",
        "transaction_checked_back_and_committed", "request_reply", "request_reply_async", "lite_pull_subscribe",
        "query_by_offset_id", "query_by_unique_id", "query_by_key", "trace_of_send_and_consume");

    private Shards() {
    }

    static List<Case> cases() {
        List<Case> cases = new ArrayList<>(Catalogue.of("main"));
        cases.removeIf(one -> !USUAL.contains(one.name));
        cases.add(Case.of("shards_spread_a_topic", Shards::spread));
        cases.add(Case.of("shards_share_an_automatic_topic", Shards::automatic));
        cases.add(Case.of("shards_hand_over_an_answer", Shards::handsOver));
        return cases;
    }

    private static void spread(Scene scene) throws Exception {
        String topic = scene.topic(2);
        DefaultMQProducer producer = scene.producer();
        Set<String> brokers = new TreeSet<>();
        List<String> bodies = new ArrayList<>();
        for (int number = 0; number < 32; number++) {
            SendResult result = send(producer, message(topic, "spread-" + number));
            brokers.add(result.getMessageQueue().getBrokerName());
            bodies.add("spread-" + number);
        }
        Check.equal("brokers used", Set.of("broker-a", "s1-broker-a", "s2-broker-a", "s3-broker-a"), brokers);
        Inbox inbox = new Inbox();
        scene.consume(scene.group(), topic, "*", inbox);
        inbox.awaitEachOnce(bodies, 30);
    }

    /** Somebody who asked is known to one shard only, and the answer comes to another. */
    private static void handsOver(Scene scene) throws Exception {
        List<String> shards = Version.masters(scene.admin()).stream().sorted().toList();
        BlockingQueue<RemotingCommand> pushed = new LinkedBlockingQueue<>();
        NettyRemotingClient client = new NettyRemotingClient(new NettyClientConfig());
        ExecutorService worker = Executors.newSingleThreadExecutor();
        client.registerProcessor(PUSH_REPLY_MESSAGE_TO_CLIENT, new NettyRequestProcessor() {
            @Override
            public RemotingCommand processRequest(ChannelHandlerContext context, RemotingCommand request) {
                pushed.add(request);
                return null;
            }

            @Override
            public boolean rejectRequest() {
                return false;
            }
        }, worker);
        client.start();
        scene.atEnd(client::shutdown);
        scene.atEnd(worker::shutdown);
        String asker = scene.name("asker");
        RemotingCommand beat = RemotingCommand.createRequestCommand(HEART_BEAT, null);
        beat.setBody(("{\"clientID\":\"" + asker + "\",\"producerDataSet\":[{\"groupName\":\"" + scene.group()
            + "\"}],\"consumerDataSet\":[]}").getBytes(StandardCharsets.UTF_8));
        Check.equal("code of the heartbeat", 0, client.invokeSync(shards.get(0), beat, 5000).getCode());
        RemotingCommand answered = client.invokeSync(shards.get(3), answerTo(asker), 5000);
        Check.equal("code of the answer (" + answered.getRemark() + ")", 0, answered.getCode());
        RemotingCommand push = pushed.poll(10, TimeUnit.SECONDS);
        Check.that("the asker gets it", push != null && new String(push.getBody(), StandardCharsets.UTF_8).equals("pong"));
        RemotingCommand lost = client.invokeSync(shards.get(3), answerTo("nobody"), 5000);
        Check.equal("code of an answer to nobody", 1, lost.getCode());
    }

    private static RemotingCommand answerTo(String asker) {
        RemotingCommand answer = RemotingCommand.createRequestCommand(SEND_REPLY_MESSAGE_V2, null);
        HashMap<String, String> fields = new HashMap<>(Map.of("a", "p", "b", "DefaultCluster_REPLY_TOPIC", "c", "TBW102",
            "d", "4", "e", "0", "f", "0", "g", "1", "h", "0"));
        fields.put("i", "CORRELATION_ID\u00017\u0002REPLY_TO_CLIENT\u0001" + asker);
        answer.setExtFields(fields);
        answer.setBody("pong".getBytes(StandardCharsets.UTF_8));
        return answer;
    }

    private static void automatic(Scene scene) throws Exception {
        String topic = scene.name("fresh");
        send(scene.producer(), message(topic, "first"));
        Check.await("all four shards register the topic", 20,
            () -> scene.admin().examineTopicRouteInfo(topic).getQueueDatas().size() == 4);
    }
}
