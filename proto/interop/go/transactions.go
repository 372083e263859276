package main

import (
	"context"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// verdicts says at execution and at each check what it was told to say.
type verdicts struct {
	atOnce, later primitive.LocalTransactionState
	checks        atomic.Int32
}

func (v *verdicts) ExecuteLocalTransaction(*primitive.Message) primitive.LocalTransactionState {
	return v.atOnce
}

func (v *verdicts) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	v.checks.Add(1)
	return v.later
}

func (s *scene) sendHalf(topic, body string, v *verdicts) *primitive.TransactionSendResult {
	p, err := rocketmq.NewTransactionProducer(v, producer.WithGroupName(s.group()), producer.WithInstanceName(s.unique("instance")),
		producer.WithNsResolver(s.resolver()), producer.WithRetry(1), producer.WithSendMsgTimeout(15*time.Second))
	must("producer", err)
	must("start of producer", p.Start())
	got, err := p.SendMessageInTransaction(context.Background(), message(topic, body))
	must("half message", err)
	equal("status", primitive.SendOK, got.Status)
	return got
}

func transactionCommitted(s *scene) {
	topic := s.topic(1)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	s.sendHalf(topic, "committed", &verdicts{atOnce: primitive.CommitMessageState, later: primitive.CommitMessageState})
	box.awaitEachOnce([]string{"committed"}, 30)
	equal("topic", topic, box.find("committed").Topic)
}

func transactionRolledBack(s *scene) {
	topic := s.topic(1)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	s.sendHalf(topic, "rolled back", &verdicts{atOnce: primitive.RollbackMessageState, later: primitive.RollbackMessageState})
	time.Sleep(5500 * time.Millisecond)
	send(s.producer(), message(topic, "end"))
	box.awaitEachOnce([]string{"end"}, 30)
}

func transactionCheckedBack(s *scene) {
	topic := s.topic(1)
	box := &inbox{}
	s.consume(s.group(), topic, everything, box)
	v := &verdicts{atOnce: primitive.UnknowState, later: primitive.CommitMessageState}
	s.sendHalf(topic, "asked about", v)
	box.awaitAll([]string{"asked about"}, 40)
	if v.checks.Load() == 0 {
		fail("expected a check, got none")
	}
}

// serve answers "x" with "re: x".
func serve(s *scene, topic string) {
	replier := s.producer()
	s.listen(s.group(), topic, everything, func(messages []*primitive.MessageExt) consumer.ConsumeResult {
		for _, request := range messages {
			reply, err := consumer.CreateReplyMessage(request, []byte("re: "+string(request.Body)))
			if err == nil {
				// 2.1.2 forgets the body.
				reply.Body = []byte("re: " + string(request.Body))
				_, _ = replier.SendSync(context.Background(), reply)
			}
		}
		return consumer.ConsumeSuccess
	})
}

func requester(s *scene) rocketmq.Producer {
	p := s.producer()
	// The broker knows where replies go once the producer's heartbeat has come, which this client sends a second late.
	topic := s.topic(1)
	send(p, message(topic, "hello"))
	time.Sleep(1500 * time.Millisecond)
	return p
}

func requestReply(s *scene) {
	topic := s.topic(2)
	serve(s, topic)
	p := requester(s)
	for _, question := range numbered("question", 3) {
		answer, err := p.Request(context.Background(), 15*time.Second, message(topic, question))
		must("request", err)
		equal("answer", "re: "+question, string(answer.Body))
	}
}

func requestReplyAsync(s *scene) {
	topic := s.topic(2)
	serve(s, topic)
	p := requester(s)
	answers := make(chan string, 1)
	callback := func(_ context.Context, answer *primitive.Message, err error) {
		if err != nil {
			answers <- err.Error()
			return
		}
		answers <- string(answer.Body)
	}
	must("request", p.RequestAsync(context.Background(), 20*time.Second, callback, message(topic, "later")))
	select {
	case answer := <-answers:
		equal("answer", "re: later", answer)
	case <-time.After(25 * time.Second):
		fail("expected an answer within 25 s")
	}
}
