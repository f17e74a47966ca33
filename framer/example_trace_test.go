package framer_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// A session on a reactor counts how long its frames are held.
var _ framer.LoopTransport = (*reactor.Conn)(nil)

// span is what OpenTelemetry would have; its traceparent is the W3C's.
type span struct {
	name, traceparent string
}

// tracer collects ended spans.
type tracer struct {
	mu    sync.Mutex
	ended []string
	done  chan struct{}
}

func (t *tracer) end(s *span, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = append(t.ended, fmt.Sprintf("%s %s %d", s.name, s.traceparent, status))
	if len(t.ended) == 2 {
		close(t.done)
	}
}

// hooks make a span of each request at both ends. This application's payloads begin with a traceparent and a space: the place for it is
// the application's to choose, since OAP/1 has none.
func (t *tracer) hooks() *framer.Trace {
	return &framer.Trace{
		Ask: func(_ context.Context, _ *framer.Session, f *framer.Frame) any {
			s := &span{"client", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
			f.Payload = append([]byte(s.traceparent+" "), f.Payload...)
			return s
		},
		Answered: func(v any, f *framer.Frame, err error) {
			status := 0
			if f != nil {
				status = int(f.Code)
			}
			t.end(v.(*span), status)
		},
		Request: func(_ *framer.Session, f *framer.Frame) any {
			parent, rest, _ := bytes.Cut(f.Payload, []byte(" "))
			f.Payload = rest // what the handler sees
			return &span{"server", string(parent)}
		},
		Done: func(_ *framer.Session, _ *framer.Header, v any, status uint16, _ time.Duration) {
			t.end(v.(*span), int(status))
		},
	}
}

// Spans without OpenTelemetry: the hooks of Options.Trace at both ends of a request, and a traceparent in the payload.
func ExampleTrace() {
	t := &tracer{done: make(chan struct{})}
	loops, err := reactor.New(reactor.Config{Loops: 1})
	check(err)
	defer loops.Close()
	end, err := framer.NewEndpoint(gateway{}, framer.Options{Trace: t.hooks()})
	check(err)
	lis, err := loops.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: func(c *reactor.Conn) reactor.Protocol { return end.Session(c) }})
	check(err)
	var client *framer.Session
	_, err = loops.Dial("tcp", lis.Addr().String(), reactor.DialConfig{Protocol: func(c *reactor.Conn) reactor.Protocol { client = end.Session(c); return client }})
	check(err)
	reply, err := client.Ask(context.Background(), &framer.Frame{Header: framer.Header{AppProtoID: 7}, Payload: []byte("hello")})
	check(err)
	<-t.done
	fmt.Println(string(reply.Payload))
	for _, s := range t.ended {
		fmt.Println(s)
	}
	// Unordered output:
	// hello
	// server 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 200
	// client 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 200
}
