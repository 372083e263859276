package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// unexpected is what a case panics with when the broker did something else than expected.
type unexpected string

func fail(format string, arguments ...any) {
	panic(unexpected(fmt.Sprintf(format, arguments...)))
}

func must(what string, err error) {
	if err != nil {
		fail("%s: expected success, got %v", what, err)
	}
}

func equal[T comparable](what string, expected, got T) {
	if expected != got {
		fail("%s: expected %v, got %v", what, expected, got)
	}
}

// await asks until the answer is true.
func await(what string, seconds float64, condition func() bool) {
	deadline := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for !condition() {
		if time.Now().After(deadline) {
			fail("%s: expected within %v s", what, seconds)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// scene is the topics, groups and clients of one case.
type scene struct {
	name    string
	options map[string]string
	names   int
	input   *bufio.Reader
}

func newScene(name string, options map[string]string) *scene {
	return &scene{name: name, options: options, input: bufio.NewReader(os.Stdin)}
}

func (s *scene) attempt(one oneCase) (problem string) {
	defer func() {
		if thrown := recover(); thrown != nil {
			problem = fmt.Sprint(thrown)
			if _, ours := thrown.(unexpected); !ours {
				problem = fmt.Sprintf("panic: %v", thrown)
			}
		}
	}()
	one.body(s)
	return ""
}

// ask has the driver stop, kill or start a broker, or reset offsets.
func (s *scene) ask(request string) {
	line, _ := json.Marshal(map[string]string{"ask": request})
	fmt.Println(string(line))
	answer, _ := s.input.ReadString('\n')
	equal("the driver's answer to "+request, "done", strings.TrimSpace(answer))
}

func (s *scene) unique(kind string) string {
	s.names++
	return fmt.Sprintf("go-%s-%s%d", s.name, kind, s.names)
}

func (s *scene) group() string { return s.unique("group") }

func (s *scene) servers() []string { return []string{s.options["namesrv"]} }

func (s *scene) resolver() primitive.NsResolver { return primitive.NewPassthroughResolver(s.servers()) }

// topic makes a topic with so many queues on each broker.
func (s *scene) topic(queues int) string {
	topic := s.unique("topic")
	tool, err := admin.NewAdmin(admin.WithResolver(s.resolver()))
	must("admin", err)
	masters := strings.Split(s.options["masters"], ",")
	for _, address := range masters {
		must("create topic", tool.CreateTopic(context.Background(), admin.WithTopicCreate(topic),
			admin.WithBrokerAddrCreate(address), admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues)))
	}
	await("the route of "+topic, 15, func() bool {
		found, err := tool.FetchPublishMessageQueues(context.Background(), topic)
		return err == nil && len(found) == queues*len(masters)
	})
	return topic
}

func (s *scene) producer(more ...producer.Option) rocketmq.Producer {
	p, err := rocketmq.NewProducer(append([]producer.Option{producer.WithGroupName(s.group()),
		producer.WithInstanceName(s.unique("instance")), producer.WithNsResolver(s.resolver()), producer.WithRetry(2),
		producer.WithSendMsgTimeout(15 * time.Second)}, more...)...)
	must("producer", err)
	must("start of producer", p.Start())
	return p
}

func (s *scene) consumerOptions(group string, more ...consumer.Option) []consumer.Option {
	return append([]consumer.Option{consumer.WithGroupName(group), consumer.WithInstance(s.unique("instance")),
		consumer.WithNsResolver(s.resolver()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, more...)
}

func (s *scene) consume(group, topic string, selector consumer.MessageSelector, box *inbox, more ...consumer.Option) rocketmq.PushConsumer {
	return s.listen(group, topic, selector, func(messages []*primitive.MessageExt) consumer.ConsumeResult {
		box.add(messages)
		return consumer.ConsumeSuccess
	}, more...)
}

func (s *scene) listen(group, topic string, selector consumer.MessageSelector,
	listener func([]*primitive.MessageExt) consumer.ConsumeResult, more ...consumer.Option) rocketmq.PushConsumer {
	c, err := rocketmq.NewPushConsumer(s.consumerOptions(group, more...)...)
	must("consumer", err)
	must("subscription", c.Subscribe(topic, selector,
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			return listener(messages), nil
		}))
	must("start of consumer", c.Start())
	return c
}

var everything = consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}

func message(topic, body string) *primitive.Message { return primitive.NewMessage(topic, []byte(body)) }

func send(p rocketmq.Producer, messages ...*primitive.Message) *primitive.SendResult {
	got, err := p.SendSync(context.Background(), messages...)
	must("send", err)
	equal("send status", primitive.SendOK, got.Status)
	return got
}

func sendMany(p rocketmq.Producer, topic, prefix string, count int) []string {
	bodies := numbered(prefix, count)
	for _, body := range bodies {
		send(p, message(topic, body))
	}
	return bodies
}

func numbered(prefix string, count int) []string {
	var bodies []string
	for number := 0; number < count; number++ {
		bodies = append(bodies, fmt.Sprintf("%s-%d", prefix, number))
	}
	return bodies
}

// inbox is what consumers got, in order of arrival.
type inbox struct {
	lock     sync.Mutex
	messages []*primitive.MessageExt
	arrived  []time.Time
}

func (i *inbox) add(messages []*primitive.MessageExt) {
	i.lock.Lock()
	defer i.lock.Unlock()
	for _, message := range messages {
		i.messages = append(i.messages, message)
		i.arrived = append(i.arrived, time.Now())
	}
}

func (i *inbox) bodies() []string {
	i.lock.Lock()
	defer i.lock.Unlock()
	bodies := make([]string, 0, len(i.messages))
	for _, message := range i.messages {
		bodies = append(bodies, string(message.Body))
	}
	return bodies
}

func (i *inbox) find(body string) *primitive.MessageExt {
	i.lock.Lock()
	defer i.lock.Unlock()
	for _, message := range i.messages {
		if string(message.Body) == body {
			return message
		}
	}
	return nil
}

func (i *inbox) arrivedAt(body string) time.Time {
	i.lock.Lock()
	defer i.lock.Unlock()
	for at, message := range i.messages {
		if string(message.Body) == body {
			return i.arrived[at]
		}
	}
	return time.Time{}
}

func (i *inbox) lacking(wanted []string) []string {
	seen := map[string]bool{}
	for _, body := range i.bodies() {
		seen[body] = true
	}
	var lacking []string
	for _, body := range wanted {
		if !seen[body] {
			lacking = append(lacking, body)
		}
	}
	return lacking
}

// awaitAll waits until each of wanted came, and complains about anything else.
func (i *inbox) awaitAll(wanted []string, seconds float64) {
	deadline := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for len(i.lacking(wanted)) > 0 {
		if time.Now().After(deadline) {
			lacking := i.lacking(wanted)
			fail("expected %d messages within %v s; %d never came: %v", len(wanted), seconds, len(lacking), first(lacking))
		}
		time.Sleep(20 * time.Millisecond)
	}
	known := map[string]bool{}
	for _, body := range wanted {
		known[body] = true
	}
	for _, body := range i.bodies() {
		if !known[body] {
			fail("a message that nobody sent here: %s", body)
		}
	}
}

func (i *inbox) awaitEachOnce(wanted []string, seconds float64) {
	i.awaitAll(wanted, seconds)
	equal("number of messages", len(wanted), len(i.bodies()))
}

func first(several []string) []string {
	if len(several) > 10 {
		return several[:10]
	}
	return several
}

func sorted(several []string) string {
	copied := append([]string{}, several...)
	sort.Strings(copied)
	return strings.Join(copied, ",")
}
