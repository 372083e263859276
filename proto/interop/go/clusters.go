package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func clusterSpreads(s *scene) {
	topic := s.topic(2)
	p := s.producer()
	queues := map[string]bool{}
	var bodies []string
	for number := 0; number < 24; number++ {
		body := fmt.Sprint("spread-", number)
		got := send(p, message(topic, body))
		queues[fmt.Sprint(got.MessageQueue.BrokerName, "/", got.MessageQueue.QueueId)] = true
		bodies = append(bodies, body)
	}
	var used []string
	for queue := range queues {
		used = append(used, queue)
	}
	sort.Strings(used)
	equal("queues used", "broker-a/0,broker-a/1,broker-b/0,broker-b/1", strings.Join(used, ","))
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	box.awaitEachOnce(bodies, 40)
}

// clusterUnderLoad stops and starts a broker while messages flow. This client asks for routes every half minute and cannot be
// told otherwise, so that it is not asked to use the broker again.
func clusterUnderLoad(s *scene) {
	topic := s.topic(2)
	p := s.producer()
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	var lock sync.Mutex
	var acknowledged, errors []string
	count := func() int {
		lock.Lock()
		defer lock.Unlock()
		return len(acknowledged)
	}
	ended, joined := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(joined)
		for number := 0; ; number++ {
			select {
			case <-ended:
				return
			case <-time.After(2 * time.Millisecond):
			}
			body := fmt.Sprint("load-", number)
			got, err := p.SendSync(context.Background(), message(topic, body))
			lock.Lock()
			if err != nil {
				errors = append(errors, fmt.Sprint(body, ": ", err))
			} else if got.Status == primitive.SendOK {
				acknowledged = append(acknowledged, body)
			}
			lock.Unlock()
		}
	}()
	await("some messages", 20, func() bool { return count() > 100 })
	s.ask("stop broker-b")
	atStop := count()
	await("sends go on without broker-b", 40, func() bool { return count() > atStop+300 })
	s.ask("start broker-b")
	atStart := count()
	await("sends go on with broker-b", 40, func() bool { return count() > atStart+100 })
	close(ended)
	<-joined
	equal("sends that failed after the client's tries", "", strings.Join(first(errors), "; "))
	await(fmt.Sprint("every acknowledged message reaches the consumer, of ", len(acknowledged)), 60,
		func() bool { return len(box.lacking(acknowledged)) == 0 })
}
