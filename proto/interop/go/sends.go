package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func sendSync(s *scene) {
	topic := s.topic(1)
	p := s.producer()
	for number := int64(0); number < 20; number++ {
		got := send(p, message(topic, fmt.Sprint("sync-", number)))
		equal("queue offset", number, got.QueueOffset)
		equal("queue", 0, got.MessageQueue.QueueId)
		equal("length of the offset id", 32, len(got.OffsetMsgID))
		if got.MsgID == "" {
			fail("expected a unique id")
		}
	}
}

func sendAsync(s *scene) {
	topic := s.topic(4)
	p := s.producer()
	bodies := numbered("async", 100)
	var good, bad atomic.Int32
	for _, body := range bodies {
		must("async send", p.SendAsync(context.Background(), func(_ context.Context, got *primitive.SendResult, err error) {
			if err == nil && got.Status == primitive.SendOK {
				good.Add(1)
			} else {
				bad.Add(1)
			}
		}, message(topic, body)))
	}
	await("100 answers", 30, func() bool { return good.Load()+bad.Load() == 100 })
	equal("sends that failed", 0, bad.Load())
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	box.awaitEachOnce(bodies, 30)
}

func sendOneway(s *scene) {
	topic := s.topic(2)
	p := s.producer()
	bodies := numbered("oneway", 50)
	for _, body := range bodies {
		must("oneway send", p.SendOneWay(context.Background(), message(topic, body)))
	}
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	box.awaitEachOnce(bodies, 30)
}

func sendBatch(s *scene) {
	topic := s.topic(1)
	p := s.producer()
	bodies := numbered("batch", 30)
	var messages []*primitive.Message
	for _, body := range bodies {
		one := message(topic, body).WithKeys([]string{"key-" + body})
		one.WithProperty("which", body)
		messages = append(messages, one)
	}
	got := send(p, messages...)
	equal("offset of the first", int64(0), got.QueueOffset)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	box.awaitEachOnce(bodies, 30)
	some := box.find("batch-17")
	equal("property", "batch-17", some.GetProperty("which"))
	equal("queue offset", int64(17), some.QueueOffset)
}

func sendOrdered(s *scene) {
	topic := s.topic(4)
	p := s.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	queueOf := map[string]string{}
	for step := 0; step < 10; step++ {
		for _, key := range []string{"a", "b", "c"} {
			got := send(p, message(topic, fmt.Sprint(key, "-", step)).WithShardingKey(key))
			queue := fmt.Sprint(got.MessageQueue.BrokerName, "/", got.MessageQueue.QueueId)
			if queueOf[key] == "" {
				queueOf[key] = queue
			}
			equal("queue of key "+key, queueOf[key], queue)
		}
	}
}

func sendDelayed(s *scene) {
	topic := s.topic(1)
	p := s.producer()
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	send(p, message(topic, "at once"))
	box.awaitAll([]string{"at once"}, 30)
	began := time.Now()
	// One second and three (driver/cluster.py).
	send(p, message(topic, "level-2").WithDelayTimeLevel(2))
	send(p, message(topic, "level-1").WithDelayTimeLevel(1))
	box.awaitEachOnce([]string{"at once", "level-1", "level-2"}, 30)
	one, two := box.arrivedAt("level-1").Sub(began), box.arrivedAt("level-2").Sub(began)
	if one < 950*time.Millisecond || one > 4*time.Second {
		fail("level 1: expected about 1 s, got %v", one)
	}
	if two < 2950*time.Millisecond || two > 7*time.Second {
		fail("level 2: expected about 3 s, got %v", two)
	}
}

func sendCompressed(s *scene) {
	topic := s.topic(1)
	body := strings.Repeat("z", 200_000)
	send(s.producer(), message(topic, body))
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	box.awaitEachOnce([]string{body}, 30)
	if size := box.find(body).StoreSize; size > 10_000 {
		fail("expected it to be stored compressed, got %d bytes", size)
	}
}

func sendProperties(s *scene) {
	topic := s.topic(1)
	one := message(topic, "käse").WithTag("TagÄ").WithKeys([]string{"k1", "k2"})
	one.WithProperty("a", "1")
	one.Flag = 77
	got := send(s.producer(), one)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	box.awaitEachOnce([]string{"käse"}, 30)
	found := box.find("käse")
	equal("tags", "TagÄ", found.GetTags())
	equal("keys", "k1 k2", strings.TrimSpace(found.GetKeys()))
	equal("property", "1", found.GetProperty("a"))
	equal("flag", int32(77), found.Flag)
	equal("unique id", got.MsgID, found.MsgId)
	equal("offset id", got.OffsetMsgID, found.OffsetMsgId)
}

func sendCreatesTopic(s *scene) {
	topic := s.unique("fresh")
	bodies := sendMany(s.producer(), topic, "fresh", 8)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	box.awaitEachOnce(bodies, 40)
}
