package interop.spring;

import java.util.List;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.spring.annotation.ConsumeMode;
import org.apache.rocketmq.spring.annotation.MessageModel;
import org.apache.rocketmq.spring.annotation.RocketMQMessageListener;
import org.apache.rocketmq.spring.annotation.RocketMQTransactionListener;
import org.apache.rocketmq.spring.annotation.SelectorType;
import org.apache.rocketmq.spring.core.RocketMQListener;
import org.apache.rocketmq.spring.core.RocketMQLocalTransactionListener;
import org.apache.rocketmq.spring.core.RocketMQLocalTransactionState;
import org.apache.rocketmq.spring.core.RocketMQReplyListener;
import org.springframework.messaging.Message;
import org.springframework.stereotype.Component;

/** The annotated listeners, one for each way to listen. */
final class Listeners {
    static final String PLAIN = "spring-plain";
    static final String ORDERED = "spring-ordered";
    static final String ALL = "spring-broadcast";
    static final String FILTERED = "spring-filtered";
    static final String FAILING = "spring-failing";
    static final String ASKED = "spring-asked";
    static final String OBJECTS = "spring-objects";
    static final String TRANSACTED = "spring-transacted";
    static final String PULLED = "spring-pulled";
    static final List<String> TOPICS =
        List.of(PLAIN, ORDERED, ALL, FILTERED, FAILING, ASKED, OBJECTS, TRANSACTED, PULLED);

    private Listeners() {
    }

    /** A payload that travels as JSON. */
    public static class Order {
        public String item;
        public int count;
    }

    @Component
    @RocketMQMessageListener(topic = PLAIN, consumerGroup = "spring-plain-group", enableMsgTrace = true)
    static class Plain implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Inboxes.add("plain", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = ORDERED, consumerGroup = "spring-ordered-group", consumeMode = ConsumeMode.ORDERLY)
    static class Ordered implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Inboxes.add("ordered", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = ALL, consumerGroup = "spring-broadcast-group", messageModel = MessageModel.BROADCASTING)
    static class Broadcast implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Inboxes.add("broadcast", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = FILTERED, consumerGroup = "spring-tag-group", selectorExpression = "A || C")
    static class ByTag implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Inboxes.add("tag", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = FILTERED, consumerGroup = "spring-sql-group", selectorType = SelectorType.SQL92,
        selectorExpression = "a > 2")
    static class BySql implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Inboxes.add("sql", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = FAILING, consumerGroup = "spring-failing-group", maxReconsumeTimes = 1)
    static class Failing implements RocketMQListener<MessageExt> {
        @Override
        public void onMessage(MessageExt message) {
            String body = new String(message.getBody());
            Inboxes.add("failing", body + "/" + message.getReconsumeTimes());
            if (body.startsWith("poison") || message.getReconsumeTimes() == 0) {
                throw new IllegalStateException("not now");
            }
        }
    }

    @Component
    @RocketMQMessageListener(topic = ASKED, consumerGroup = "spring-asked-group")
    static class Asked implements RocketMQReplyListener<String, String> {
        @Override
        public String onMessage(String question) {
            return "re: " + question;
        }
    }

    @Component
    @RocketMQMessageListener(topic = OBJECTS, consumerGroup = "spring-objects-group")
    static class Objects implements RocketMQListener<Order> {
        @Override
        public void onMessage(Order order) {
            Inboxes.add("objects", order.count + " x " + order.item);
        }
    }

    @Component
    @RocketMQMessageListener(topic = TRANSACTED, consumerGroup = "spring-transacted-group")
    static class Transacted implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Inboxes.add("transacted", body);
        }
    }

    /** The payload says what becomes of it. */
    @RocketMQTransactionListener
    static class Verdicts implements RocketMQLocalTransactionListener {
        @Override
        public RocketMQLocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return (RocketMQLocalTransactionState) argument;
        }

        @Override
        public RocketMQLocalTransactionState checkLocalTransaction(Message message) {
            String body = new String((byte[]) message.getPayload());
            Inboxes.add("checks", body);
            return body.startsWith("unwanted") ? RocketMQLocalTransactionState.ROLLBACK : RocketMQLocalTransactionState.COMMIT;
        }
    }
}
