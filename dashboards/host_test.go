package dashboards

import (
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ron-transport/ron-transport/framer"
	framermetrics "github.com/ron-transport/ron-transport/framer/metrics"
	"github.com/ron-transport/ron-transport/reactor"
	reactormetrics "github.com/ron-transport/ron-transport/reactor/metrics"
)

// misuse has a host make all the mistakes that there are alerts of.
func misuse(w *world, name string, h *host) error {
	s, err := w.clients.dial("tcp", h.addr)
	if err != nil {
		return err
	}
	defer hangUp(s)
	err = w.provoke(name, func() error {
		if code := ask(s, framer.Header{AppProtoID: appBlocks}, nil); code != 200 {
			return fmt.Errorf("a handler that blocks has answered with %d", code)
		}
		return nil
	}, "RonLoopBlocked")
	err = errors.Join(err, w.provoke(name, func() error {
		lost, err := w.clients.dial("tcp", h.addr)
		if err == nil {
			ask(lost, framer.Header{AppProtoID: appPanics}, nil)
		}
		return err
	}, "RonPanics"))
	deaf, err2 := net.Dial("tcp", h.addr)
	if err2 != nil {
		return errors.Join(err, err2)
	}
	defer func() { _ = deaf.Close() }()
	err = errors.Join(err, w.provoke(name, once(func() error {
		b, err := framer.AppendFrame(nil, &framer.Frame{Header: framer.Header{AppProtoID: appFloods, Flags: framer.FlagReq, CorrID: 1}})
		if err == nil {
			_, err = deaf.Write(b)
		}
		return err
	}), "RonOutputQueued"))
	err = errors.Join(err, w.provoke(name, once(func() error {
		return s.Post(func(s *framer.Session) {
			_ = s.Send(&framer.Frame{Header: framer.Header{AppProtoID: appCongest, Flags: framer.FlagReq, CorrID: 1 << 40}})
		})
	}), "RonTasksQueued"))
	close(h.free)
	return err
}

// What a host does with frames, by app_proto_id: the mistakes that a gateway does not make.
const (
	appLater   = app + 1 + iota // answered after host.delay
	appBlocks                   // waits on the loop
	appPanics                   // panics
	appFloods                   // answers with more than the client will read
	appCongest                  // has more functions posted than the loop, which waits, can run
)

// flood is what appFloods sends in all, in frames of a megabyte less its header.
const flood = 80

// host is a program that uses the library badly.
type host struct {
	loops *reactor.Reactor
	addr  string
	scrap string // where it is scraped
	delay atomic.Int64
	free  chan struct{} // closed: what waits goes on
}

func (*host) OnOpen(*framer.Session)         {}
func (*host) OnClose(*framer.Session, error) {}
func (h *host) OnFrame(s *framer.Session, f *framer.Frame) {
	switch f.AppProtoID {
	case appBlocks:
		time.Sleep(300 * time.Millisecond)
	case appPanics:
		panic("on purpose")
	case appFloods:
		for range flood {
			_ = s.Send(&framer.Frame{Header: framer.Header{AppProtoID: app}, Payload: make([]byte, framer.MaxFrame-framer.HeaderLen)})
		}
		return
	case appCongest:
		for range 2000 {
			_ = h.loops.Post(0, func() {})
		}
		select {
		case <-h.free:
		case <-time.After(patience):
		}
	}
	if d := time.Duration(h.delay.Load()); d > 0 {
		r := f.Retain()
		time.AfterFunc(d, func() { _ = r.Reply(200, r.Payload) })
		return
	}
	_ = s.Reply(f, 200, f.Payload)
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{free: make(chan struct{})}
	var err error
	if h.loops, err = reactor.New(reactor.Config{Loops: 1, HardCap: 256 << 20, BufferBudget: -1, WriteTimeout: -1, MinRate: -1}); err != nil {
		t.Fatal(err)
	}
	stats := new(framer.Stats)
	end, err := framer.NewEndpoint(h, framer.Options{Stats: stats})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := h.loops.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: func(c *reactor.Conn) reactor.Protocol { return end.Session(c) }})
	if err != nil {
		t.Fatal(err)
	}
	h.addr = lis.Addr().String()
	reg := prometheus.NewRegistry()
	reg.MustRegister(reactormetrics.New(h.loops, reactormetrics.Options{}), framermetrics.New(stats, framermetrics.Options{Labels: prometheus.Labels{"transport": "tcp"}}))
	srv := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	h.scrap = srv.Listener.Addr().String()
	t.Cleanup(func() {
		srv.Close()
		_ = h.loops.Close()
	})
	return h
}
