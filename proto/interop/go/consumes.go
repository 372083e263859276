package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func pushConcurrent(s *scene) {
	topic := s.topic(4)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	bodies := sendMany(s.producer(), topic, "push", 200)
	box.awaitEachOnce(bodies, 30)
}

func pushShares(s *scene) {
	topic, group := s.topic(4), s.group()
	one, two := &inbox{}, &inbox{}
	s.consume(group, topic, everything, one)
	s.consume(group, topic, everything, two)
	p := s.producer()
	var all []string
	await("both members get messages", 45, func() bool {
		all = append(all, sendMany(p, topic, fmt.Sprint("shared", len(all)), 8)...)
		time.Sleep(300 * time.Millisecond)
		return len(one.bodies()) > 0 && len(two.bodies()) > 0
	})
	both := &inbox{}
	await("every message reached one of them", 30, func() bool {
		both = &inbox{messages: append(append([]*primitive.MessageExt{}, one.messages...), two.messages...)}
		return len(both.lacking(all)) == 0
	})
}

func pushOrderly(s *scene) {
	topic := s.topic(2)
	p := s.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	keys := []string{"a", "b", "c"}
	var sent []string
	for step := 0; step < 20; step++ {
		for _, key := range keys {
			body := fmt.Sprintf("%s-%02d", key, step)
			send(p, message(topic, body).WithShardingKey(key))
			sent = append(sent, body)
		}
	}
	box := &inbox{}
	s.consume(s.group(), topic, everything, box, consumer.WithConsumerOrder(true))
	box.awaitAll(sent, 40)
	for _, key := range keys {
		var got []string
		for _, body := range box.bodies() {
			if strings.HasPrefix(body, key) {
				got = append(got, body)
			}
		}
		equal("order of key "+key, sorted(got), strings.Join(got, ","))
	}
}

func pushBroadcast(s *scene) {
	topic, group := s.topic(2), s.group()
	one, two := &inbox{}, &inbox{}
	s.consume(group, topic, everything, one, consumer.WithConsumerModel(consumer.BroadCasting))
	s.consume(group, topic, everything, two, consumer.WithConsumerModel(consumer.BroadCasting))
	bodies := sendMany(s.producer(), topic, "all", 20)
	one.awaitAll(bodies, 40)
	two.awaitAll(bodies, 40)
}

func pushResumes(s *scene) {
	topic, group := s.topic(2), s.group()
	p := s.producer()
	before := sendMany(p, topic, "before", 20)
	one := &inbox{}
	c := s.consume(group, topic, everything, one)
	one.awaitEachOnce(before, 30)
	must("shutdown", c.Shutdown())
	after := sendMany(p, topic, "after", 20)
	two := &inbox{}
	s.consume(group, topic, everything, two)
	two.awaitEachOnce(after, 40)
}

// sendAroundPause sends five messages, pauses, and sends five more; what it returns lies in the pause.
func sendAroundPause(p rocketmq.Producer, topic string) time.Time {
	sendMany(p, topic, "old", 5)
	time.Sleep(2500 * time.Millisecond)
	between := time.Now()
	time.Sleep(1500 * time.Millisecond)
	sendMany(p, topic, "new", 5)
	return between
}

func pushFromTime(s *scene) {
	topic := s.topic(1)
	between := sendAroundPause(s.producer(), topic)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box, consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp),
		consumer.WithConsumeTimestamp(between.Format("20060102150405")))
	await("the new ones", 30, func() bool { return len(box.lacking(numbered("new", 5))) == 0 })
}

func offsetResetByTime(s *scene) {
	topic, group := s.topic(1), s.group()
	between := sendAroundPause(s.producer(), topic)
	box := &inbox{}
	s.consume(group, topic, everything, box)
	await("all ten", 30, func() bool { return len(box.bodies()) == 10 })
	// This client tells its offsets every five seconds.
	time.Sleep(6 * time.Second)
	s.ask(fmt.Sprintf("reset %s %s %d", group, topic, between.UnixMilli()))
	await("the last five again", 60, func() bool {
		return strings.Count(strings.Join(box.bodies(), ","), "new-4") == 2
	})
	equal("deliveries of the oldest", 1, strings.Count(strings.Join(box.bodies(), ","), "old-0"))
}

func filterTag(s *scene) {
	topic := s.topic(1)
	p := s.producer()
	for _, tag := range []string{"A", "B", "C", "A"} {
		send(p, message(topic, "tag-"+tag).WithTag(tag))
	}
	send(p, message(topic, "no tag"))
	send(p, message(topic, "end").WithTag("C"))
	box := &inbox{}
	s.consume(s.group(), topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "A || C"}, box)
	await("all messages and the last", 30, func() bool { return box.find("end") != nil && len(box.bodies()) >= 4 })
	equal("received", "end,tag-A,tag-A,tag-C", sorted(box.bodies()))
}

func filterSQL(s *scene) {
	topic := s.topic(1)
	p := s.producer()
	for a := 0; a < 10; a++ {
		one := message(topic, fmt.Sprint("a-", a))
		one.WithProperty("a", fmt.Sprint(a))
		send(p, one)
	}
	end := message(topic, "end")
	end.WithProperty("a", "7")
	send(p, end)
	box := &inbox{}
	s.consume(s.group(), topic, consumer.MessageSelector{Type: consumer.SQL92, Expression: "a >= 7 AND a IS NOT NULL"}, box)
	// A broker of several shards has a queue on each: the last one sent need not be the last to come.
	await("all messages and the last", 30, func() bool { return box.find("end") != nil && len(box.bodies()) >= 4 })
	equal("received", "a-7,a-8,a-9,end", sorted(box.bodies()))
}

func retryThenSuccess(s *scene) {
	topic := s.topic(1)
	var lock sync.Mutex
	var times []int32
	s.listen(s.group(), topic, everything, func(messages []*primitive.MessageExt) consumer.ConsumeResult {
		lock.Lock()
		defer lock.Unlock()
		times = append(times, messages[0].ReconsumeTimes)
		if messages[0].ReconsumeTimes < 2 {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	})
	send(s.producer(), message(topic, "again"))
	await("three deliveries", 70, func() bool {
		lock.Lock()
		defer lock.Unlock()
		return len(times) == 3
	})
	equal("reconsume times", "[0 1 2]", fmt.Sprint(times))
}

func retryToDeadLetter(s *scene) {
	topic, group := s.topic(1), s.group()
	s.listen(group, topic, everything, func([]*primitive.MessageExt) consumer.ConsumeResult {
		return consumer.ConsumeRetryLater
	}, consumer.WithMaxReconsumeTimes(1))
	send(s.producer(), message(topic, "poison"))
	dead := "%DLQ%" + group
	tool, err := admin.NewAdmin(admin.WithResolver(s.resolver()))
	must("admin", err)
	await("a topic of dead letters", 60, func() bool {
		queues, err := tool.FetchPublishMessageQueues(context.Background(), dead)
		return err == nil && len(queues) > 0
	})
	box := &inbox{}
	s.consume(s.group(), dead, everything, box)
	box.awaitAll([]string{"poison"}, 20)
}

func pullFrom(s *scene) {
	topic := s.topic(1)
	bodies := sendMany(s.producer(), topic, "pull", 40)
	c, err := rocketmq.NewPullConsumer(s.consumerOptions(s.group())...)
	must("consumer", err)
	must("subscription", c.Subscribe(topic, everything))
	must("start", c.Start())
	tool, err := admin.NewAdmin(admin.WithResolver(s.resolver()))
	must("admin", err)
	queues, err := tool.FetchPublishMessageQueues(context.Background(), topic)
	must("queues", err)
	box := &inbox{}
	offset := int64(10)
	for offset < 40 {
		got, err := c.PullFrom(context.Background(), queues[0], offset, 8)
		must("pull", err)
		equal("status", primitive.PullFound, got.Status)
		equal("first offset", offset, got.GetMessageExts()[0].QueueOffset)
		box.add(got.GetMessageExts())
		offset = got.NextBeginOffset
	}
	box.awaitEachOnce(bodies[10:], 1)
}

func pullPolling(s *scene) {
	topic := s.topic(2)
	bodies := sendMany(s.producer(), topic, "poll", 40)
	c, err := rocketmq.NewPullConsumer(s.consumerOptions(s.group())...)
	must("consumer", err)
	must("subscription", c.Subscribe(topic, everything))
	must("start", c.Start())
	box := &inbox{}
	await("all by polling", 40, func() bool {
		request, err := c.Poll(context.Background(), time.Second)
		if err == nil {
			box.add(request.GetMsgList())
			c.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return len(box.bodies()) >= len(bodies)
	})
	box.awaitAll(bodies, 1)
}

func traced(s *scene) {
	topic := s.topic(1)
	config := &primitive.TraceConfig{Access: primitive.Local, Resolver: s.resolver(), GroupName: s.group()}
	p := s.producer(producer.WithTrace(config))
	box := &inbox{}
	s.consume(s.group(), topic, everything, box,
		consumer.WithTrace(&primitive.TraceConfig{Access: primitive.Local, Resolver: s.resolver(), GroupName: s.group()}))
	got := send(p, message(topic, "traced"))
	box.awaitEachOnce([]string{"traced"}, 30)
	records := &inbox{}
	s.consume(s.group(), "RMQ_SYS_TRACE_TOPIC", everything, records)
	await("records of the send and of the consumption", 40, func() bool {
		all := strings.Join(records.bodies(), "")
		return strings.Contains(all, got.MsgID) && strings.Contains(all, "SubBefore")
	})
}

func adminTopics(s *scene) {
	topic := s.topic(2)
	tool, err := admin.NewAdmin(admin.WithResolver(s.resolver()))
	must("admin", err)
	listed := func() bool {
		list, err := tool.FetchAllTopicList(context.Background())
		must("topic list", err)
		for _, name := range list.TopicList {
			if name == topic {
				return true
			}
		}
		return false
	}
	await("the topic is listed", 10, listed)
	address := strings.Split(s.options["masters"], ",")[0]
	must("deletion", tool.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(address),
		admin.WithNameSrvAddr(s.servers())))
	await("the topic is gone", 10, func() bool { return !listed() })
	groups, err := tool.GetAllSubscriptionGroup(context.Background(), address, 5*time.Second)
	must("groups", err)
	if len(groups.SubscriptionGroupTable) == 0 {
		fail("expected some groups, got none")
	}
}
