package quic_test

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/framer"
)

// stock is a client of quic-go's own, on a socket of its own.
type stock struct {
	*quicgo.Conn
	t *testing.T
}

// dialStock connects; early returns as soon as 0-RTT data can be sent. It is closed at the end of the test at the latest.
func dialStock(t *testing.T, addr string, tc *stdtls.Config, early bool) (*stock, error) {
	t.Helper()
	return dialStockFrom(t, "127.0.0.1", addr, tc, early)
}

// dialStockFrom is dialStock from another loopback address.
func dialStockFrom(t *testing.T, from, addr string, tc *stdtls.Config, early bool) (*stock, error) {
	t.Helper()
	sock, err := net.ListenPacket("udp", from+":0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &quicgo.Transport{Conn: sock}
	t.Cleanup(func() { must(errors.Join(tr.Close(), sock.Close())) })
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dial := tr.Dial
	if early {
		dial = tr.DialEarly
	}
	c, err := dial(ctx, to, tc, &quicgo.Config{MaxIdleTimeout: 2 * patience})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.CloseWithError(0, "") })
	return &stock{c, t}, nil
}

// mustDial is dialStock for connections that must be made.
func mustDial(t *testing.T, addr string, tc *stdtls.Config) *stock {
	t.Helper()
	c, err := dialStock(t, addr, tc, false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open opens a stream and writes to it.
func (c *stock) open(parts ...[]byte) *quicgo.Stream {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(2 * patience)) // a stream takes any
	for _, p := range parts {
		if _, err := s.Write(p); err != nil {
			c.t.Fatal(err)
		}
	}
	return s
}

// ask sends one request on a stream of its own and returns the status and, for an error, the reason.
func (c *stock) ask(app uint16, payload []byte) (code uint16, reason string) {
	c.t.Helper()
	s := c.open(request(app, payload))
	f, err := readFrame(s)
	if err == nil {
		err = s.Close()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, s)
	}
	if err != nil {
		c.t.Errorf("ask on app_proto_id %d: %v", app, err)
		return 0, ""
	}
	if f.Code == 200 && !bytes.Equal(f.Payload, payload) {
		c.t.Error("the echo differs")
	}
	return f.Code, reasonIn(f)
}

// request is one encoded request.
func request(app uint16, payload []byte) []byte {
	b, err := framer.AppendFrame(nil, &framer.Frame{Header: framer.Header{Flags: framer.FlagReq, AppProtoID: app, CorrID: 5}, Payload: payload})
	must(err)
	return b
}

// readFrame reads one frame.
func readFrame(r io.Reader) (*framer.Frame, error) {
	b := make([]byte, framer.HeaderLen)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	h, err := framer.ParseHeader(b, framer.MaxFrame)
	if err != nil {
		return nil, err
	}
	f := &framer.Frame{Header: h, Payload: make([]byte, int(h.Len)-framer.HeaderLen)}
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// reasonIn is the reason of an error reply, "" for another frame.
func reasonIn(f *framer.Frame) string {
	var body struct{ Reason string }
	if f.Code < 400 || json.Unmarshal(f.Payload, &body) != nil {
		return ""
	}
	return body.Reason
}

// healthy echoes frames on a connection of its own until the returned function is called; the test fails if one is lost.
func (s *site) healthy() (stop func()) {
	s.t.Helper()
	c := mustDial(s.t, s.addr, clientTLS())
	stream := c.open()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			p := bytes.Repeat([]byte{byte(n)}, 1000)
			_, err := stream.Write(request(other, p))
			if err == nil {
				var f *framer.Frame
				if f, err = readFrame(stream); err == nil && (f.Code != 200 || !bytes.Equal(f.Payload, p)) {
					err = errors.New("another answer")
				}
			}
			if err != nil {
				s.t.Errorf("healthy connection: %v", err)
				return
			}
			select {
			case <-quit:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() { close(quit); <-done; _ = c.CloseWithError(0, "") }
}

// relay carries the datagrams of one client to a server and back, as a NAT does.
type relay struct {
	t     *testing.T
	front *net.UDPConn // what the client sends to
	wg    sync.WaitGroup

	mu     sync.Mutex
	client *net.UDPAddr
	to     *net.UDPAddr
	back   *net.UDPConn // what the server sees
	held   [][]byte     // datagrams to the client, while hold
	hold   bool
	deaf   bool // datagrams to the client are dropped
	mute   bool // datagrams of the client are dropped
	taped  [][]byte
	tape   bool // keep what the client sends
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{t: t}
	r.front = loopback(t)
	r.point(to)
	r.rebind()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.up()
	}()
	t.Cleanup(func() {
		_ = r.front.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // the client's last words shall get through
		<-done
		_ = errors.Join(r.front.Close(), r.back.Close())
		r.wg.Wait()
	})
	return r
}

func loopback(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadBuffer(4 << 20) // as much as the kernel grants
	return c
}

func (r *relay) addr() string { return r.front.LocalAddr().String() }

// point sends what comes from now on to another server.
func (r *relay) point(to string) {
	a, err := net.ResolveUDPAddr("udp", to)
	must(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = a
}

// rebind gives the client another port, as a NAT that has forgotten it does. What is on its way to the old one is lost.
func (r *relay) rebind() {
	back := loopback(r.t)
	r.mu.Lock()
	old := r.back
	r.back = back
	r.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	r.wg.Go(func() { r.down(back) })
}

func (r *relay) up() {
	b := make([]byte, 64<<10)
	for {
		n, from, err := r.front.ReadFromUDP(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.client = from
		if r.tape {
			r.taped = append(r.taped, bytes.Clone(b[:n]))
		}
		if !r.mute {
			_, _ = r.back.WriteToUDP(b[:n], r.to) // an error is a lost datagram
		}
		r.mu.Unlock()
	}
}

func (r *relay) down(back *net.UDPConn) {
	b := make([]byte, 64<<10)
	for {
		n, err := back.Read(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		switch {
		case r.deaf:
		case r.hold:
			r.held = append(r.held, bytes.Clone(b[:n]))
		default:
			_, _ = r.front.WriteToUDP(b[:n], r.client)
		}
		r.mu.Unlock()
	}
}

// set changes how the relay behaves. When it holds no more, what was held goes on.
func (r *relay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	if !r.hold {
		for _, p := range r.held {
			_, _ = r.front.WriteToUDP(p, r.client)
		}
		r.held = nil
	}
}
