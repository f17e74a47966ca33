package impair

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// RTT is the round trip on a path, measured with UDP from A to B and back.
type RTT struct {
	Sent     int           `json:"sent"`
	Answered int           `json:"answered"`
	Min      time.Duration `json:"min_ns"`
	Median   time.Duration `json:"median_ns"`
	P95      time.Duration `json:"p95_ns"`
	Max      time.Duration `json:"max_ns"`
}

// probeSize is the payload of a probe, bytes: at any rate worth the name, sending it costs nothing beside the delay.
const probeSize = 64

// MeasureRTT sends count probes from a to addr in b, one every gap, echoes them there, and waits for the answers until wait after the last. It
// ends early when ctx does. An error if nothing was answered.
func MeasureRTT(ctx context.Context, a, b *Namespace, addr netip.Addr, count int, gap, wait time.Duration) (RTT, error) {
	listen := func(n *Namespace, at netip.Addr) (c *net.UDPConn, err error) {
		err = n.Inside(func() (err error) {
			c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
			return err
		})
		return c, err
	}
	far, err := listen(b, addr)
	if err != nil {
		return RTT{}, err
	}
	near, err := listen(a, netip.IPv4Unspecified())
	if err != nil {
		return RTT{}, errors.Join(err, far.Close())
	}
	echoed := make(chan struct{})
	go func() { defer close(echoed); echo(far) }()
	r, err := probe(ctx, near, far.LocalAddr().(*net.UDPAddr).AddrPort(), count, gap, wait)
	err = errors.Join(err, far.Close(), near.Close())
	<-echoed
	if err == nil && r.Answered == 0 {
		err = fmt.Errorf("impair: none of %d probes was answered", r.Sent)
	}
	return r, err
}

// echo sends back what comes until the socket is closed.
func echo(c *net.UDPConn) {
	buf := make([]byte, DefaultMTU)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteToUDPAddrPort(buf[:n], from) // one that is not sent is not answered
	}
}

// probe sends and collects.
func probe(ctx context.Context, c *net.UDPConn, to netip.AddrPort, count int, gap, wait time.Duration) (RTT, error) {
	began := time.Now()
	times := make(chan []time.Duration)
	go func() {
		var got []time.Duration
		seen, buf := make([]bool, count), make([]byte, probeSize)
		for len(got) < count {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				break // the deadline
			}
			if i := binary.BigEndian.Uint64(buf); n == probeSize && i < uint64(count) && !seen[i] { // neither twice nor with a wrong number
				seen[i] = true
				got = append(got, time.Since(began)-time.Duration(binary.BigEndian.Uint64(buf[8:])))
			}
		}
		times <- got
	}()
	var r RTT
	var failed error
	buf := make([]byte, probeSize)
	for ; r.Sent < count && ctx.Err() == nil && failed == nil; r.Sent++ {
		binary.BigEndian.PutUint64(buf, uint64(r.Sent))
		binary.BigEndian.PutUint64(buf[8:], uint64(time.Since(began)))
		if _, failed = c.WriteToUDPAddrPort(buf, to); failed == nil {
			select {
			case <-time.After(gap):
			case <-ctx.Done():
			}
		}
	}
	if ctx.Err() != nil {
		wait = 0
	}
	failed = errors.Join(failed, c.SetReadDeadline(time.Now().Add(wait)))
	got := <-times
	if r.Answered = len(got); r.Answered > 0 {
		slices.Sort(got)
		at := func(share float64) time.Duration { return got[min(len(got)-1, int(share*float64(len(got))))] }
		r.Min, r.Median, r.P95, r.Max = got[0], at(0.5), at(0.95), got[len(got)-1]
	}
	return r, failed
}
