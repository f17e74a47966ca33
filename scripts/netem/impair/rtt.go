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

	"golang.org/x/sys/unix"
)

// RTT is the round trip on a path, measured with ICMP echo requests.
type RTT struct {
	Sent     int           `json:"sent"`
	Answered int           `json:"answered"`
	Min      time.Duration `json:"min_ns"`
	Median   time.Duration `json:"median_ns"`
	P95      time.Duration `json:"p95_ns"`
	Max      time.Duration `json:"max_ns"`
}

// Layout of a probe.
const (
	probeSize   = 64 // bytes: at any rate worth the name, sending it costs nothing beside the delay
	probeHeader = 8  // type, code, checksum, identifier, number; the time it was sent follows
	maxProbes   = 1 << 16
	echoRequest = 8 // the types of ICMP
	echoReply   = 0
)

// MeasureRTT sends count probes, at most 65536, from a namespace to the host addr, one every gap, and waits for the answers until wait after the
// last, or until ctx ends. Kernels answer them and note when an answer came: how soon this process runs is not in the figures. An error if
// nothing was answered. Needs root.
func MeasureRTT(ctx context.Context, from *Namespace, addr netip.Addr, count int, gap, wait time.Duration) (RTT, error) {
	var c *net.IPConn
	err := from.Inside(func() (err error) {
		c, err = net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: addr.AsSlice()})
		return err
	})
	if err != nil {
		return RTT{}, err
	}
	raw, err := c.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		return RTT{}, errors.Join(err, c.Close())
	}
	r, err := probe(ctx, c, min(count, maxProbes), gap, wait)
	if err == nil && r.Answered == 0 {
		err = fmt.Errorf("impair: none of %d probes was answered", r.Sent)
	}
	return r, errors.Join(err, c.Close())
}

// probe sends and collects.
func probe(ctx context.Context, c *net.IPConn, count int, gap, wait time.Duration) (RTT, error) {
	times := make(chan []time.Duration)
	go func() { times <- answers(c, count) }()
	var r RTT
	var failed error
	for ; r.Sent < count && ctx.Err() == nil && failed == nil; r.Sent++ {
		if _, failed = c.Write(request(r.Sent, time.Now())); failed == nil {
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

// answers are the round trips of the probes that are answered until the deadline; of duplicates the first.
func answers(c *net.IPConn, count int) (got []time.Duration) {
	seen, buf, oob := make([]bool, count), make([]byte, DefaultMTU), make([]byte, 128)
	for len(got) < count {
		n, nOOB, _, _, err := c.ReadMsgIP(buf, oob)
		if err != nil {
			return got // the deadline
		}
		b := buf[:n]
		if n > 0 && b[0]>>4 == 4 { // the kernel leaves IPv4's header in front
			b = b[min(n, 4*int(b[0]&15)):]
		}
		if len(b) != probeSize || b[0] != echoReply {
			continue
		}
		i := int(binary.BigEndian.Uint16(b[6:]))
		came, ok := cameAt(oob[:nOOB])
		if ok && i < count && !seen[i] {
			seen[i] = true
			got = append(got, came.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(b[probeHeader:])))))
		}
	}
	return got
}

// request is probe number i.
func request(i int, now time.Time) []byte {
	b := make([]byte, probeSize)
	b[0] = echoRequest
	binary.BigEndian.PutUint16(b[6:], uint16(i))
	binary.BigEndian.PutUint64(b[probeHeader:], uint64(now.UnixNano()))
	sum := uint32(0)
	for j := 0; j < len(b); j += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[j:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}

// cameAt is when the kernel got a packet, from its control message.
func cameAt(oob []byte) (time.Time, bool) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range all {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), true
		}
	}
	return time.Time{}, false
}
