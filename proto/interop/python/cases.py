"""Cases of the Python client `rocketmq` 0.4.4, which carries RocketMQ's C++ client: sends, push and pull.

It knows neither transactions, requests, SQL92 nor queries, and its batches are stored as one message by any broker. Each
case is a process of its own, since the library writes to standard output and ends the process when it does not like
something.
"""
import json
import os
from multiprocessing.pool import ThreadPool
import subprocess
import sys
import threading
import time
import traceback

DEADLINE_S = 60


class Scene:
    """Names and clients of one case."""

    def __init__(self, name, options):
        self.name, self.options, self.names, self.clients = name, options, 0, []

    def unique(self, kind):
        self.names += 1
        return f"python-{self.name}-{kind}{self.names}"

    def producer(self):
        from rocketmq.client import Producer
        producer = Producer(self.unique("group"), timeout=15000)
        producer.set_namesrv_addr(self.options["namesrv"])
        producer.start()
        self.clients.append(producer)
        return producer

    def consume(self, group, topic, listener, expression="*", **more):
        from rocketmq.client import PushConsumer
        consumer = PushConsumer(group, **more)
        consumer.set_namesrv_addr(self.options["namesrv"])
        consumer.set_instance_name(self.unique("instance"))
        consumer.set_thread_count(2)
        consumer.subscribe(topic, listener, expression)
        consumer.start()
        self.clients.append(consumer)
        return consumer


class Inbox:
    """What listeners got."""

    def __init__(self):
        self.lock, self.got = threading.Lock(), []

    def __call__(self, message):
        with self.lock:
            self.got.append((message.body.decode(), time.time(), message.reconsume_times))

    def bodies(self):
        with self.lock:
            return [body for body, _, _ in self.got]

    def at(self, body):
        with self.lock:
            return next(when for got, when, _ in self.got if got == body)

    def await_all(self, wanted, seconds=40):
        wait(lambda: set(wanted) <= set(self.bodies()), seconds,
             lambda: f"never came: {sorted(set(wanted) - set(self.bodies()))[:10]} of {len(wanted)}")
        strange = set(self.bodies()) - set(wanted)
        equal("messages that nobody sent here", set(), strange)


def wait(condition, seconds, what):
    deadline = time.time() + seconds
    while not condition():
        if time.time() > deadline:
            raise AssertionError(f"expected within {seconds} s; {what()}")
        time.sleep(0.02)


def equal(what, expected, got):
    if expected != got:
        raise AssertionError(f"{what}: expected {expected}, got {got}")


def message(topic, body, tag=None, keys=None):
    from rocketmq.client import Message
    made = Message(topic)
    made.set_body(body)
    if tag:
        made.set_tags(tag)
    if keys:
        made.set_keys(keys)
    return made


def send_many(producer, topic, prefix, count):
    bodies = [f"{prefix}-{number}" for number in range(count)]
    for body in bodies:
        equal("status", 0, int(producer.send_sync(message(topic, body)).status))
    return bodies


def send_sync(scene):
    producer, topic = scene.producer(), scene.unique("topic")
    for number in range(10):
        result = producer.send_sync(message(topic, f"sync-{number}", "T", "k"))
        equal("status", 0, int(result.status))
        equal("length of the message id", 32, len(result.msg_id))


def send_async(scene):
    producer, topic, answers = scene.producer(), scene.unique("topic"), []
    producer.send_sync(message(topic, "first"))
    for number in range(20):
        producer.send_async(message(topic, f"async-{number}"), lambda result: answers.append(int(result.status)),
                            lambda error: answers.append(str(error)))
    wait(lambda: len(answers) == 20, 30, lambda: f"{len(answers)} of 20 answers came")
    equal("answers", {0}, set(answers))


def send_oneway(scene):
    producer, topic, inbox = scene.producer(), scene.unique("topic"), Inbox()
    producer.send_sync(message(topic, "first"))
    bodies = [f"oneway-{number}" for number in range(20)]
    for body in bodies:
        producer.send_oneway(message(topic, body))
    scene.consume(scene.unique("group"), topic, inbox)
    inbox.await_all(["first", *bodies])


def send_ordered_push_orderly(scene):
    producer, topic, inbox = scene.producer(), scene.unique("topic"), Inbox()
    bodies = [f"ordered-{number:02}" for number in range(20)]
    for body in bodies:
        equal("status", 0, int(producer.send_orderly(message(topic, body), 2).status))
    scene.consume(scene.unique("group"), topic, inbox, orderly=True)
    inbox.await_all(bodies)
    equal("order", bodies, list(dict.fromkeys(inbox.bodies())))


def send_delayed_by_level(scene):
    producer, topic, inbox = scene.producer(), scene.unique("topic"), Inbox()
    producer.send_sync(message(topic, "first"))
    scene.consume(scene.unique("group"), topic, inbox)
    inbox.await_all(["first"])
    delayed = message(topic, "delayed")
    delayed.set_delay_time_level(2)
    began = time.time()
    producer.send_sync(delayed)
    inbox.await_all(["first", "delayed"])
    took = inbox.at("delayed") - began
    if not 2.9 < took < 10:
        raise AssertionError(f"level 2: expected about 3 s, got {took:.2f}")


def push_concurrent(scene):
    producer, topic, inbox = scene.producer(), scene.unique("topic"), Inbox()
    bodies = send_many(producer, topic, "push", 50)
    scene.consume(scene.unique("group"), topic, inbox)
    bodies += send_many(producer, topic, "more", 50)
    inbox.await_all(bodies)


def push_broadcast(scene):
    from rocketmq.ffi import MessageModel
    producer, topic, inbox = scene.producer(), scene.unique("topic"), Inbox()
    sent = send_many(producer, topic, "all", 5)
    scene.consume(scene.unique("group"), topic, inbox, message_model=MessageModel.BROADCASTING)

    def some_more():
        sent.extend(send_many(producer, topic, f"again{len(sent)}", 2))
        time.sleep(0.3)
        return any(body.startswith("again") for body in inbox.bodies())
    wait(some_more, 40, lambda: f"got {inbox.bodies()}")


def filter_tag(scene):
    producer, topic, inbox = scene.producer(), scene.unique("topic"), Inbox()
    for tag in "ABCAB":
        producer.send_sync(message(topic, f"tag-{tag}", tag))
    scene.consume(scene.unique("group"), topic, inbox, "A || C")
    wait(lambda: len(inbox.bodies()) >= 3, 40, lambda: f"got {inbox.bodies()}")
    equal("received", ["tag-A", "tag-A", "tag-C"], sorted(inbox.bodies()))


def retry_then_success(scene):
    producer, topic, times = scene.producer(), scene.unique("topic"), []
    producer.send_sync(message(topic, "again"))

    def listener(received):
        times.append(received.reconsume_times)
        if received.reconsume_times < 1:
            raise RuntimeError("not now")
    scene.consume(scene.unique("group"), topic, listener)
    wait(lambda: 1 in times, 50, lambda: f"reconsume times {times}")


def pull_by_queue(scene):
    from rocketmq.client import PullConsumer
    producer, topic = scene.producer(), scene.unique("topic")
    bodies = send_many(producer, topic, "pull", 30)
    consumer = PullConsumer(scene.unique("group"))
    consumer.set_namesrv_addr(scene.options["namesrv"])
    consumer.start()
    got = [pulled.body.decode() for pulled in consumer.pull(topic)]
    equal("received", sorted(bodies), sorted(got))


CASES = [retry_then_success, send_sync, send_async, send_oneway, send_ordered_push_orderly,
         send_delayed_by_level, push_concurrent, push_broadcast, filter_tag, pull_by_queue]


def run_one(name, options):
    """In a process of its own; the last line of standard error is what came of it."""
    try:
        next(case for case in CASES if case.__name__ == name)(Scene(name, options))
        verdict = {"ok": True}
    except BaseException as error:  # noqa: BLE001 - told to the parent
        verdict = {"ok": False, "detail": str(error) if isinstance(error, AssertionError) else traceback.format_exc(limit=4)}
    sys.stderr.write("\n" + json.dumps(verdict) + "\n")
    sys.stderr.flush()
    # The library's own threads do not end.
    os._exit(0)


def attempt(name, arguments):
    began = time.time()
    try:
        done = subprocess.run([sys.executable, __file__, "--one", name, *arguments], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False)
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
        verdict = json.loads(last) if last.startswith("{") else {"ok": False, "detail": f"ended with {done.returncode}: {last}"}
    except subprocess.TimeoutExpired:
        verdict = {"ok": False, "detail": f"expected to be done within {DEADLINE_S} s"}
    return {"case": name, "outcome": "passed" if verdict["ok"] else "failed", "seconds": time.time() - began,
            "detail": verdict.get("detail", "")}


def main(arguments):
    options = {arguments[at][2:]: arguments[at + 1] for at in range(0, len(arguments) - 1, 2)}
    if "one" in options:
        run_one(options["one"], options)
    only = options.get("only")
    names = [case.__name__ for case in CASES if not only or case.__name__ in only.split(",")]
    with ThreadPool(4) as pool:
        for result in pool.imap_unordered(lambda name: attempt(name, arguments), names):
            print(json.dumps(result), flush=True)
    print('{"done": true}', flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
