package reactor

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// early is a stream that knows of early data.
type early struct {
	canned
	is bool
}

func (s *early) Early() bool { return s.is }

func TestEarly(t *testing.T) {
	s := &early{is: true}
	c := &Conn{stream: s}
	if s.conn = c; !c.Early() {
		t.Error("early data is not told")
	}
	if s.is = false; c.Early() {
		t.Error("the end of early data is not told")
	}
	if (&Conn{stream: &canned{}}).Early() || (&Conn{}).Early() {
		t.Error("early without a stream that says so")
	}
}

// Ready may be called at any time, for any reason and as often as anybody likes: it costs nothing that stays, and a
// connection is read and written as if it had been called when there was something to do.
func TestReadyAtAnyTime(t *testing.T) {
	_, l := streamLoop(t, Config{})
	s := &canned{room: 1 << 20}
	var c *Conn
	_, err := l.r.Attach(AttachConfig{Protocol: echo.with, Stream: func(x *Conn) Stream {
		c = x
		for range 1000 {
			c.Ready(ReadReady | WriteReady | HangUp) // nobody knows it yet
		}
		return s
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n := l.queue.waiting.Load(); n != 2 {
		t.Errorf("%d tasks of one stream, expected that it comes and that it is ready", n)
	}
	turnOf(l)
	for range 3 {
		c.Ready(0)
		c.Ready(ReadReady | WriteReady | HangUp)
		turnOf(l)
	}
	if c.state != stateOpen || s.took != 0 || len(s.calls) != 0 {
		t.Fatalf("state %d, %d bytes, %v", c.state, s.took, s.calls)
	}
	s.once("abc", nil)
	c.Ready(ReadReady)
	turnOf(l)
	if s.took != 3 {
		t.Errorf("%d bytes came back", s.took)
	}
	c.Abort(nil)
	turnOf(l)
	stale := l.count[counterStale]
	c.Ready(ReadReady)
	turnOf(l)
	if got := strings.Join(s.calls, " "); got != resets || l.count[counterStale] != stale+1 || l.conns != 0 {
		t.Errorf("after the end: %q, %d connections, %d stale events", got, l.conns, l.count[counterStale]-stale)
	}
}

// A connection that its protocol closes with a reply in place, in the turn in which the peer ends too, does not wait for the
// end that it has read already.
func TestCloseAndEndInOneTurn(t *testing.T) {
	_, l := streamLoop(t, Config{LingerTimeout: time.Hour})
	s := &canned{room: 1 << 20}
	reads := 0
	s.read = func(p []byte) (int, error) {
		if reads++; reads == 1 {
			return 1000, nil
		}
		return 0, io.EOF
	}
	var causes []error
	c, err := l.r.Attach(AttachConfig{Stream: func(c *Conn) Stream { c.Ready(HangUp); return s }, Protocol: script{
		data: func(c *Conn, p []byte) (int, int, error) {
			err := c.WriteInPlace(p)
			c.Close(nil)
			return len(p), 0, err
		},
		close: func(_ *Conn, err error) { causes = append(causes, err) }}.with})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		turnOf(l)
	}
	if len(causes) != 1 || causes[0] != nil || s.took != 1000 || strings.Join(s.calls, " ") != ends {
		t.Errorf("OnClose %v, %d bytes, the stream was told %v, state %d", causes, s.took, s.calls, c.state)
	}
}

// A turn with a frame on a stream allocates nothing of ours, from Ready to Write.
func TestStreamAllocations(t *testing.T) {
	_, l := streamLoop(t, Config{})
	batch := requests(t, 4, 4096)
	end, err := framer.NewEndpoint(echoHandler{}, framer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	have := false
	s := &canned{room: 1 << 30}
	s.read = func(p []byte) (int, error) {
		if !have {
			return 0, ErrWouldBlock
		}
		have = false
		return copy(p, batch), nil
	}
	c, err := l.r.Attach(AttachConfig{Protocol: func(c *Conn) Protocol { return end.Session(c) }, Stream: func(*Conn) Stream { return s }})
	if err != nil {
		t.Fatal(err)
	}
	turns := 0
	turn := func() {
		turns++
		have = true
		c.Ready(ReadReady)
		turnOf(l)
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(500, turn); n != 0 || s.took < turns*len(batch) {
		t.Errorf("%v allocations per turn, %d bytes back in %d turns of %d", n, s.took, turns, len(batch))
	}
	c.Abort(nil)
	turnOf(l)
}

// A stream that is closed before its turn has come never opens, and one that cannot be made is not attached.
func TestAttachThatComesToNothing(t *testing.T) {
	r := start(t, Config{Loops: 1})
	s := &canned{}
	ended := make(chan error, 1)
	hold, held := make(chan struct{}), make(chan struct{})
	_ = r.Post(0, func() { close(held); <-hold })
	<-held
	_, err := r.Attach(AttachConfig{
		Stream: func(c *Conn) Stream {
			if err := c.Post(func() { c.Abort(ErrSlowPeer) }); err != nil {
				t.Error(err)
			}
			return s
		},
		Protocol: func(*Conn) Protocol { t.Error("a protocol was made"); return &script{} },
		OnError:  func(_ net.Addr, err error) { ended <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	close(hold)
	if err := <-ended; err != ErrSlowPeer {
		t.Errorf("ended with %v", err)
	}
	waitFor(t, "the end", func() bool { return r.loops[0].load.Load() == 0 && r.Stats().Closed == 1 })
	if got := strings.Join(s.calls, " "); got != resets || r.Stats().Conns != 0 {
		t.Errorf("the stream was told %q, %d connections", got, r.Stats().Conns)
	}
	if _, err := r.Attach(AttachConfig{Protocol: echo.with, Stream: func(*Conn) Stream { return nil }}); err == nil {
		t.Error("a nil Stream was attached")
	}
}

// A reactor that has stopped attaches nothing, and calls no method of the stream.
func TestAttachAfterShutdown(t *testing.T) {
	r := start(t, Config{})
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &canned{}
	_, err := r.Attach(AttachConfig{Protocol: echo.with, Stream: func(*Conn) Stream { return s }})
	if err != ErrShuttingDown || len(s.calls) != 0 || r.loops[0].load.Load() != 0 {
		t.Errorf("%v, the stream was told %v, load %d", err, s.calls, r.loops[0].load.Load())
	}
	if err := r.Post(0, func() {}); err != ErrShuttingDown {
		t.Errorf("Post: %v", err)
	}
}

// Opened and Release may come from anywhere at once; what is counted is counted once.
func TestAdmissionAtOnce(t *testing.T) {
	r := start(t, Config{MaxConns: 100, MaxConnsPerPeer: 100, MaxHandshakesPerPeer: 100})
	peer := netip.MustParseAddrPort("[2001:db8::1]:9")
	var wg sync.WaitGroup
	for range 50 {
		a, err := r.Admit(peer)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []func(){a.Opened, a.Release, a.Opened, a.Release} {
			wg.Add(1)
			go func() { defer wg.Done(); f() }()
		}
	}
	wg.Wait()
	a, err := r.Admit(peer)
	if err != nil {
		t.Fatal(err)
	}
	if p := a.peer; r.admitted.Load() != 1 || p.conns != 1 || p.half != 1 {
		t.Errorf("%d admitted, %d of the peer, %d half-open", r.admitted.Load(), p.conns, p.half)
	}
	a.Release()
}

// However often Wake is called while the loop is busy, it is one task; and a panic in OnReady costs nobody else anything.
func TestWatchWakesOnceAndSurvivesAPanic(t *testing.T) {
	r := start(t, Config{Loops: 1})
	a, b := datagrams(t)
	boom := true
	w := &watcher{ready: func(Readiness) bool {
		if boom {
			boom = false
			panic(errors.New("boom"))
		}
		return false
	}}
	watch, err := r.Watch(0, a, w)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the panic", func() bool { return r.Stats().Panics == 1 }) // it is writable at once
	hold, held := make(chan struct{}), make(chan struct{})
	_ = r.Post(0, func() { close(held); <-hold })
	<-held
	calls := w.calls.Load()
	for range 1000 {
		watch.Wake()
	}
	if n := r.loops[0].queue.waiting.Load(); n != 1 {
		t.Errorf("%d tasks for one watch", n)
	}
	close(hold)
	waitFor(t, "the call", func() bool { return w.calls.Load() > calls })
	watch.Wake()
	waitFor(t, "another", func() bool { return w.calls.Load() > calls+1 })
	if err := watch.Close(); err != nil {
		t.Fatal(err)
	}
	closeBoth(a, b)
}

// When Close returns, OnReady does not run, and what was on its way is not told: also while events and Wake keep coming.
func TestWatchCloseWaits(t *testing.T) {
	r := start(t, Config{})
	for i := range 100 {
		a, b := datagrams(t)
		gone := false // written when Close has returned, read in OnReady: the race detector sees what is not ordered
		w := &watcher{ready: func(Readiness) bool {
			if gone {
				t.Error("called after Close")
			}
			return true
		}}
		watch, err := r.Watch(i%2, a, w)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Add(3)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
					watch.Wake()
					sendTo(b)
				}
			}
		}()
		waitFor(t, "a call", func() bool { return w.calls.Load() > 0 })
		for range 2 {
			go func() { defer wg.Done(); _ = watch.Close() }()
		}
		_ = watch.Close()
		gone = true
		time.Sleep(time.Millisecond)
		close(stop)
		wg.Wait()
		closeBoth(a, b)
	}
	if n := r.loops[0].watching + r.loops[1].watching; n != 0 {
		t.Errorf("%d watches left", n)
	}
}

// Streams that are refused beyond those that a loop keeps for it are reset with the reason at once, without a word.
func TestRefusedStreamsAreBounded(t *testing.T) {
	_, l := streamLoop(t, Config{})
	l.refused = maxRefused
	s := &canned{room: 1 << 20}
	var got []error
	_, err := l.r.Attach(AttachConfig{Stream: func(*Conn) Stream { return s }, Protocol: echo.with, Refusal: ErrPeerLimit,
		Refuse: func(*Conn, error) { t.Error("told") }, OnError: func(_ net.Addr, err error) { got = append(got, err) }})
	if err != nil {
		t.Fatal(err)
	}
	turnOf(l)
	if len(got) != 1 || got[0] != ErrPeerLimit || s.cause != ErrPeerLimit || strings.Join(s.calls, " ") != resets {
		t.Errorf("OnError %v, the stream was told %v (%v)", got, s.calls, s.cause)
	}
	if l.refused != maxRefused || l.count[counterRefused] != 1 || l.conns != 0 {
		t.Errorf("%d being refused, %d counted, %d connections", l.refused, l.count[counterRefused], l.conns)
	}
}
