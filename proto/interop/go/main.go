// Cases of RocketMQ's Go client. Each runs in a process of its own, since the client's own goroutines can panic.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const atOneTime = 4

type result struct {
	Case    string  `json:"case"`
	Outcome string  `json:"outcome"`
	Seconds float64 `json:"seconds"`
	Detail  string  `json:"detail"`
}

func options(arguments []string) map[string]string {
	options := map[string]string{}
	for at := 0; at+1 < len(arguments); at += 2 {
		options[strings.TrimPrefix(arguments[at], "--")] = arguments[at+1]
	}
	return options
}

func main() {
	options := options(os.Args[1:])
	rlog.SetLogLevel("error")
	if name := options["one"]; name != "" {
		runHere(name, options)
		return
	}
	driver := &driver{in: bufio.NewReader(os.Stdin)}
	width := atOneTime
	if options["suite"] == "cluster" {
		width = 1
	}
	var waiting sync.WaitGroup
	places := make(chan struct{}, width)
	for _, one := range chosen(options) {
		waiting.Add(1)
		places <- struct{}{}
		go func() {
			defer func() { <-places; waiting.Done() }()
			driver.run(one, os.Args[1:])
		}()
	}
	waiting.Wait()
	fmt.Println(`{"done":true}`)
}

func chosen(options map[string]string) []oneCase {
	var chosen []oneCase
	for _, one := range suite(options["suite"]) {
		only := options["only"]
		if only == "" || strings.Contains(","+only+",", ","+one.name+",") {
			chosen = append(chosen, one)
		}
	}
	return chosen
}

// driver is the program that started this one; one line at a time goes to it.
type driver struct {
	lock sync.Mutex
	in   *bufio.Reader
}

func (d *driver) say(line string) {
	d.lock.Lock()
	defer d.lock.Unlock()
	fmt.Println(line)
}

func (d *driver) ask(line string) string {
	d.lock.Lock()
	defer d.lock.Unlock()
	fmt.Println(line)
	answer, _ := d.in.ReadString('\n')
	return answer
}

// run starts this program again for one case, and ends it when its time is over.
func (d *driver) run(one oneCase, arguments []string) {
	began := time.Now()
	child := exec.Command(os.Args[0], append([]string{"--one", one.name}, arguments...)...)
	out, _ := child.StdoutPipe()
	in, _ := child.StdinPipe()
	log := &tail{}
	child.Stderr = log
	if err := child.Start(); err != nil {
		d.report(one, began, "failed", err.Error())
		return
	}
	timer := time.AfterFunc(one.deadline, func() { _ = child.Process.Kill() })
	said := d.listen(out, in)
	err := child.Wait()
	late := !timer.Stop()
	switch {
	case said != "":
		d.say(said)
	case late:
		d.report(one, began, "failed", fmt.Sprintf("expected to be done within %s\n%s", one.deadline, log))
	default:
		d.report(one, began, "failed", fmt.Sprintf("the process ended: %v\n%s", err, log))
	}
}

func (d *driver) listen(out io.Reader, in io.Writer) string {
	said := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, `{"ask"`):
			_, _ = io.WriteString(in, d.ask(line))
		case strings.HasPrefix(line, `{"case"`):
			said = line
		}
	}
	return said
}

func (d *driver) report(one oneCase, began time.Time, outcome, detail string) {
	line, _ := json.Marshal(result{one.name, outcome, time.Since(began).Seconds(), detail})
	d.say(string(line))
}

// tail keeps the end of what a process says.
type tail struct {
	lock sync.Mutex
	text []byte
}

func (t *tail) Write(more []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.text = append(t.text, more...)
	if len(t.text) > 2000 {
		t.text = t.text[len(t.text)-2000:]
	}
	return len(more), nil
}

func (t *tail) String() string {
	t.lock.Lock()
	defer t.lock.Unlock()
	return string(t.text)
}

// runHere runs one case in this process and says what came of it.
func runHere(name string, options map[string]string) {
	began := time.Now()
	s := newScene(name, options)
	outcome, detail := "passed", ""
	for _, one := range suite(options["suite"]) {
		if one.name == name {
			detail = s.attempt(one)
		}
	}
	if detail != "" {
		outcome = "failed"
	}
	line, _ := json.Marshal(result{name, outcome, time.Since(began).Seconds(), detail})
	fmt.Println(string(line))
	os.Exit(0)
}
