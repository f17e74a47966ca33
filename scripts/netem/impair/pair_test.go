package impair

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// path is a Pair between two namespaces of its own, or the test is skipped with the reason.
func path(t *testing.T, c Config) *Pair {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	for _, n := range []**Namespace{&c.A, &c.B} {
		made, err := NewNamespace()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = made.Close() })
		*n = made
	}
	p, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for _, n := range []*Namespace{c.A, c.B} {
			if err := n.Inside(func() error { _, err := net.InterfaceByName(Device); return err }); err == nil {
				t.Error("the device is still there")
			}
		}
	})
	return p
}

// attempts at a measurement before it counts: the machine may be busy with something else.
const attempts = 3

// near says whether got is within 5 % of want.
func near(got, want float64) bool { return math.Abs(got-want) <= 0.05*want }

// within has measure until its figure is within 5 % of want.
func within(t *testing.T, what string, want float64, measure func() float64) {
	t.Helper()
	var got float64
	for i := range attempts {
		got = measure()
		t.Logf("%s: asked %g, measured %.4g (attempt %d)", what, want, got, i+1)
		if near(got, want) {
			return
		}
	}
	t.Errorf("%s: %.4g, want %g ± 5 %%", what, got, want)
}

func medianRTT(t *testing.T, p *Pair, count int) float64 {
	t.Helper()
	r, err := MeasureRTT(t.Context(), p.ns[0], DefaultB.Addr(), count, 5*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	return float64(r.Median) / float64(time.Millisecond)
}

// The round trip is twice the delay, also after a step while it runs; a partition and its end are one too.
func TestPathRoundTrip(t *testing.T) {
	p := path(t, Config{AToB: Params{Delay: 50 * time.Millisecond}, BToA: Params{Delay: 50 * time.Millisecond}})
	within(t, "round trip, ms", 100, func() float64 { return medianRTT(t, p, 200) })
	set := func(params Params) {
		for d := range []Direction{AToB, BToA} {
			if err := p.Set(Direction(d), params); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(Params{Delay: 40 * time.Millisecond, Jitter: 10 * time.Millisecond})
	within(t, "round trip with jitter, ms", 80, func() float64 { return medianRTT(t, p, 400) })
	set(Params{Loss: 1})
	if r, err := MeasureRTT(t.Context(), p.ns[0], DefaultB.Addr(), 5, time.Millisecond, 100*time.Millisecond); err == nil || r.Answered != 0 {
		t.Errorf("%d answers through a partition, %v", r.Answered, err)
	}
	if c := p.Counters(AToB); c.Lost < 5 || c.Lost > 5+unasked(t, p) {
		t.Errorf("%+v", c)
	}
	set(Params{})
	if r, err := MeasureRTT(t.Context(), p.ns[0], DefaultB.Addr(), 50, time.Millisecond, 2*time.Second); err != nil || r.Answered != 50 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := p.Set(AToB, Params{Loss: 2}); err == nil {
		t.Error("loss 2 was taken")
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

// unasked is how many packets of the kernel's own may be on the path: none but where it speaks IPv6 and cannot be kept from it, as in containers
// where /proc/sys cannot be written.
func unasked(t *testing.T, p *Pair) (most uint64) {
	t.Helper()
	for _, ns := range p.ns {
		if err := ns.Inside(func() error {
			b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + Device + "/disable_ipv6")
			if err == nil && strings.TrimSpace(string(b)) != "1" {
				most = 64 // neighbour and router solicitations, and reports of multicast groups
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return most
}

// Set fails once the path is closed, also in the midst of that, and writes to no descriptor that may be somebody else's by then.
func TestSetAndClose(t *testing.T) {
	r, err := newRunner(noDevice, noDevice, DefaultMTU, time.Now(), NewLink(1, Params{}))
	if err != nil {
		t.Fatal(err)
	}
	var sets sync.WaitGroup
	for range 4 {
		sets.Go(func() {
			for r.set(Params{Delay: time.Millisecond}) == nil {
			}
		})
	}
	if err := errors.Join(r.stop(), r.close()); err != nil {
		t.Error(err)
	}
	sets.Wait()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	wake := r.wake
	if r.wake = fd; wake != fd { // the number is usually used again at once; the test does not depend on it
		t.Logf("descriptor %d, then %d", wake, fd)
	}
	if err := r.set(Params{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if n, err := unix.Read(fd, make([]byte, 8)); err != unix.EAGAIN {
		t.Errorf("something was written to it: %d, %v", n, err)
	}
}

// taken is how many packets the link of a direction has seen.
func (p *Pair) taken(d Direction) int {
	p.dir[d].mu.Lock()
	defer p.dir[d].mu.Unlock()
	return int(p.dir[d].link.c.In)
}

// flow sends count datagrams of that payload from A to B, that many per second at most and no more than the device's queue has room for, and
// counts what arrives.
type flow struct {
	count, payload, perSecond int
	received                  int
	took                      time.Duration // from the first arrival to the last
}

func (f *flow) run(t *testing.T, p *Pair) {
	t.Helper()
	var from, to *net.UDPConn
	err := p.ns[1].Inside(func() (err error) {
		to, err = net.ListenUDP("udp4", &net.UDPAddr{IP: DefaultB.Addr().AsSlice()})
		return err
	})
	if err == nil {
		err = p.ns[0].Inside(func() (err error) { from, err = net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr)); return err })
	}
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	raw, err := to.SyscallConn()
	if err == nil { // no datagram is to be lost at the receiver, on a busy machine neither
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) })
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, first := make([]byte, DefaultMTU), time.Time{}
		for {
			if _, _, err := to.ReadFromUDPAddrPort(buf); err != nil {
				return
			}
			now := time.Now()
			if f.received++; f.received == 1 {
				first = now
			}
			f.took = now.Sub(first)
		}
	}()
	began, buf, first := time.Now(), make([]byte, f.payload), p.taken(AToB)
	for i := range f.count {
		binary.BigEndian.PutUint32(buf, uint32(i))
		if _, err := from.Write(buf); err != nil {
			t.Fatal(err)
		}
		for i%64 == 0 && (time.Since(began) < time.Duration(i)*time.Second/time.Duration(f.perSecond) || i-p.taken(AToB)+first > deviceQueue/2) {
			time.Sleep(200 * time.Microsecond)
		}
	}
	for settled := p.Counters(AToB); ; { // until nothing is under way, nor at the device
		time.Sleep(200 * time.Millisecond)
		c := p.Counters(AToB)
		if c.Held == 0 && c.In == settled.In {
			break
		}
		settled = c
	}
	_ = to.Close()
	<-done
}

// One datagram in twenty is lost: by the counters and by the receiver's own count.
func TestPathLoss(t *testing.T) {
	const n = 80_000
	p := path(t, Config{Seed: 3, AToB: Params{Loss: 0.05, Delay: time.Millisecond}})
	var before Counters
	within(t, "loss, % of datagrams", 5, func() float64 {
		f := &flow{count: n, payload: 64, perSecond: 30_000}
		f.run(t, p)
		c := p.Counters(AToB)
		in, lost := c.In-before.In, c.Lost-before.Lost
		t.Logf("sent %d, received %d: %+v", n, f.received, c)
		if came := in + c.DeviceDropped - before.DeviceDropped; came < n || came > n+unasked(t, p) || c.Overflow != 0 || uint64(f.received) > in-lost {
			t.Errorf("%d sent, %d received: %+v after %+v", n, f.received, c, before)
		}
		before = c
		return 100 * float64(n-f.received) / n
	})
	if c := p.Counters(AToB); !near(float64(c.Lost), 0.05*float64(c.In)) {
		t.Errorf("%+v", c)
	}
}

// A flow of four times the rate comes out at the rate, and what is too much is counted as overflow. The queue is long: a sender that the machine
// does not let run for a while leaves it full.
func TestPathRate(t *testing.T) {
	const rate = 20_000_000 / 8 // bytes/s
	p := path(t, Config{AToB: Params{Rate: rate, QueuePackets: 4000, QueueBytes: 8 << 20}})
	within(t, "rate, Mbit/s", 20, func() float64 {
		const payload, head = 1200, 28 // IPv4 and UDP
		f := &flow{count: 12_000, payload: payload, perSecond: 4 * rate / (payload + head)}
		f.run(t, p)
		c := p.Counters(AToB)
		t.Logf("received %d of %d in %v: %+v", f.received, f.count, f.took, c)
		if c.Overflow == 0 || c.Out+c.Overflow+c.DeviceDropped < uint64(f.count) {
			t.Errorf("%+v", c)
		}
		return float64(f.received-1) * (payload + head) * 8 / f.took.Seconds() / 1e6
	})
}

// A device that someone removes ends the path with an error, and does not have a thread turn for nothing.
func TestPathDeviceRemoved(t *testing.T) {
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip(err)
	}
	if err := Available(); err != nil {
		t.Skip(err)
	}
	var c Config
	for _, n := range []**Namespace{&c.A, &c.B} {
		made, err := NewNamespace()
		if err != nil {
			t.Fatal(err)
		}
		defer made.Close()
		*n = made
	}
	p, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.A.Inside(func() error { return exec.Command(ip, "link", "delete", Device).Run() }); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); p.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the path has not noticed")
		}
	}
	if err := p.Close(); err == nil {
		t.Error("Close does not tell")
	}
}

// What cannot be made is refused before anything is there, and the default addresses are those of one network.
func TestOpenRefuses(t *testing.T) {
	for _, c := range []Config{
		{MTU: 100}, {MTU: 70000}, {AddrA: DefaultA}, {AddrA: DefaultA, AddrB: DefaultA}, {AToB: Params{Loss: 2}}, {BToA: Params{Delay: -1}},
	} {
		if p, err := Open(c); err == nil {
			t.Errorf("%+v was taken", c)
			_ = p.Close()
		}
	}
	if n, err := OpenNamespace(os.DevNull); err == nil {
		t.Error("a device is no namespace")
		_ = n.Close()
	}
}
