package hostile

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// Kind is how a hostile connection behaves.
type Kind int

const (
	Silent      Kind = iota // connects and says nothing
	StalledHi               // sends half a ClientHello and no more
	DrippedHi               // sends a ClientHello byte by byte
	DrippedHead             // after the handshake sends a frame's header byte by byte
	DrippedBody             // after the handshake sends a header that announces a large frame, and the rest byte by byte
	SlowReader              // asks for a lot and reads nothing
	numKinds
)

// String names the kind.
func (k Kind) String() string {
	return [...]string{"silent", "stalled_hello", "dripped_hello", "header_drip", "body_drip", "slow_reader"}[k]
}

// Kinds are all kinds.
func Kinds() []Kind {
	var all []Kind
	for k := range numKinds {
		all = append(all, k)
	}
	return all
}

// KindOf is the kind of a name.
func KindOf(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// Crowd keeps a number of hostile connections of all kinds in turn: one that the server ends is opened again.
type Crowd struct {
	Addr    string
	Conns   int
	Sources int           // as in Storm, from First on
	First   int           // index of the first connection among all processes of the crowd
	AtOnce  int           // connections being opened at once
	Again   time.Duration // pause before a connection that has ended is opened again
	Drip    time.Duration // between two bytes
	TLS     *tls.Config
	Only    []Kind // the kinds of it, in turn; nil: all

	opened, ended [numKinds]atomic.Uint64
	longest       [numKinds]atomic.Int64 // life of a connection that the server has ended, nanoseconds
	failed        atomic.Uint64
	live, tried   atomic.Int64
}

// CrowdCounts is a reading of a crowd. Ended counts connections that the server closed, by kind.
type CrowdCounts struct {
	Live   int64             `json:"live"`
	Tried  int64             `json:"tried"` // connections that were opened, or not, at least once
	Opened map[string]uint64 `json:"opened"`
	Ended  map[string]uint64 `json:"ended_by_server"`
	Failed uint64            `json:"not_opened"` // connects and handshakes that failed or were refused
	// LongestS is the longest life of a connection that the server has ended, by kind, seconds, its own handshake left out.
	LongestS map[string]float64 `json:"longest_s"`
}

// Add sums up.
func (c *CrowdCounts) Add(o *CrowdCounts) {
	c.Live += o.Live
	c.Tried += o.Tried
	c.Failed += o.Failed
	if c.Opened == nil {
		c.Opened, c.Ended, c.LongestS = map[string]uint64{}, map[string]uint64{}, map[string]float64{}
	}
	for k, v := range o.Opened {
		c.Opened[k] += v
	}
	for k, v := range o.Ended {
		c.Ended[k] += v
	}
	for k, v := range o.LongestS {
		c.LongestS[k] = max(c.LongestS[k], v)
	}
}

// String is one line.
func (c *CrowdCounts) String() string {
	s := fmt.Sprintf("%d alive, %d not opened; opened/ended by the server:", c.Live, c.Failed)
	for _, k := range Kinds() {
		s += fmt.Sprintf(" %s %d/%d", k, c.Opened[k.String()], c.Ended[k.String()])
	}
	return s
}

// Counts reads the crowd. Any goroutine.
func (c *Crowd) Counts() CrowdCounts {
	r := CrowdCounts{Live: c.live.Load(), Tried: c.tried.Load(), Failed: c.failed.Load(), Opened: map[string]uint64{}, Ended: map[string]uint64{}, LongestS: map[string]float64{}}
	for _, k := range Kinds() {
		r.Opened[k.String()], r.Ended[k.String()] = c.opened[k].Load(), c.ended[k].Load()
		r.LongestS[k.String()] = time.Duration(c.longest[k].Load()).Seconds()
	}
	return r
}

// Run keeps the crowd until ctx ends, and returns when every connection is closed.
func (c *Crowd) Run(ctx context.Context) {
	slots := make(chan struct{}, c.AtOnce)
	var wg sync.WaitGroup
	for i := range c.Conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for first := true; ctx.Err() == nil; first = false {
				c.one(ctx, c.First+i, slots, first)
				_ = sched.Sleep(ctx, c.Again) // the loop looks at ctx
			}
		}()
	}
	wg.Wait()
}

// openTimeout is the patience of a hostile peer with connect and its own handshake.
const openTimeout = 30 * time.Second

// one is the life of one connection.
func (c *Crowd) one(ctx context.Context, i int, slots chan struct{}, first bool) {
	kind := Kind(i % int(numKinds))
	if len(c.Only) > 0 {
		kind = c.Only[i%len(c.Only)]
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	conn, err := c.open(i, kind)
	<-slots
	if first {
		c.tried.Add(1)
	}
	if err != nil {
		c.failed.Add(1)
		return
	}
	c.opened[kind].Add(1)
	began := time.Now()
	c.live.Add(1)
	defer c.live.Add(-1)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	c.behave(ctx, kind, conn)
	if ctx.Err() == nil {
		c.ended[kind].Add(1)
		life := int64(time.Since(began))
		for old := c.longest[kind].Load(); life > old && !c.longest[kind].CompareAndSwap(old, life); old = c.longest[kind].Load() {
		}
	}
}

// What a slow reader asks for: 1 MiB, which is more than the default high-water mark and a small send buffer hold.
const (
	slowRequest  = 32 << 10
	slowRequests = 32
)

// slowWindow is the receive buffer of a slow reader: the less it takes in, the more the server has to keep.
const slowWindow = 4 << 10

func (c *Crowd) open(i int, kind Kind) (net.Conn, error) {
	d := net.Dialer{Timeout: openTimeout, LocalAddr: Source(i, c.Sources), Control: lateBind}
	conn, err := d.Dial("tcp", c.Addr)
	if err != nil || kind < DrippedHead {
		return conn, err
	}
	if kind == SlowReader {
		_ = conn.(*net.TCPConn).SetReadBuffer(slowWindow)
	}
	_ = conn.SetDeadline(time.Now().Add(openTimeout))
	t := tls.Client(conn, c.TLS)
	if err := t.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return t, nil
}

// behave does what the kind does until the server or ctx ends the connection.
func (c *Crowd) behave(ctx context.Context, kind Kind, conn net.Conn) {
	switch kind {
	case Silent:
		_, _ = io.Copy(io.Discard, conn)
	case StalledHi:
		hello := Hello()
		if _, err := conn.Write(hello[:len(hello)/2]); err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	case DrippedHi:
		c.drip(ctx, conn, Hello())
	case DrippedHead:
		c.drip(ctx, conn, Request(64<<10, nil))
	case DrippedBody:
		f := Request(1<<20-HeaderLen, nil)
		if _, err := conn.Write(f[:HeaderLen]); err == nil {
			c.drip(ctx, conn, f[HeaderLen:])
		}
	case SlowReader:
		f := Request(0, make([]byte, slowRequest))
		for range slowRequests {
			if _, err := conn.Write(f); err != nil {
				return
			}
		}
		awaitEnd(conn)
	}
}

// awaitEnd waits until the connection is no longer established, without reading what waits on it.
func awaitEnd(conn net.Conn) {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	rc, err := t.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Read(func(fd uintptr) (done bool) { // fails when we close it ourselves
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		return err != nil || i.State != tcpEstablished
	})
}

// tcpEstablished is the kernel's number for the state.
const tcpEstablished = 1

// drip sends b byte by byte until the peer ends the connection.
func (c *Crowd) drip(ctx context.Context, conn net.Conn, b []byte) {
	ended := make(chan struct{})
	go func() { // ends with the connection
		_, _ = io.Copy(io.Discard, conn)
		close(ended)
	}()
	t := time.NewTicker(c.Drip)
	defer t.Stop()
	for len(b) > 0 {
		select {
		case <-t.C:
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
		if _, err := conn.Write(b[:1]); err != nil {
			return
		}
		b = b[1:]
	}
	<-ended
}

// Figures of the frame header.
const (
	HeaderLen = 38
	flagReq   = 0x01
	someProto = 0x7e57
)

// Request is a request frame with the payload, or, with more than 0, one that announces so many bytes of payload and has
// only zeros for them.
func Request(announce int, payload []byte) []byte {
	n := HeaderLen + max(announce, len(payload))
	b := make([]byte, n)
	binary.BigEndian.PutUint32(b, uint32(n))
	binary.BigEndian.PutUint16(b[4:], 1)
	binary.BigEndian.PutUint16(b[6:], flagReq)
	binary.BigEndian.PutUint16(b[10:], someProto)
	binary.BigEndian.PutUint64(b[30:], 1)
	copy(b[HeaderLen:], payload)
	return b
}

// helloLen is the length of the ClientHello that Hello makes: as long as one with a hybrid key share.
const helloLen = 1400

// Hello is the start of a TLS 1.3 connection: a handshake record that claims to be a ClientHello, with noise for a body.
// It never becomes complete where it is used, so nobody judges the body.
func Hello() []byte {
	b := make([]byte, 5+4+helloLen)
	copy(b, []byte{22, 3, 1})
	binary.BigEndian.PutUint16(b[3:], 4+helloLen)
	b[5] = 1
	binary.BigEndian.PutUint16(b[7:], helloLen)
	copy(b[9:], []byte{3, 3})
	_, _ = rand.Read(b[11:])
	return b
}
