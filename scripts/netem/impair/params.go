package impair

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Params is what a link does to the packets of one direction. The zero value lets everything pass at once.
type Params struct {
	// Delay is added to each packet, one way: between two links with the same delay the round trip is twice that, as with tc netem.
	Delay time.Duration `json:"delay_ns"`
	// Jitter spreads the delay evenly from Delay-Jitter to Delay+Jitter. Packets overtake each other then. At most Delay.
	Jitter time.Duration `json:"jitter_ns"`
	// Rate is how fast the link sends, bytes of IP packets per second; 0: at once. Packets that must wait stand in a queue.
	Rate int64 `json:"rate_bytes_per_s"`
	// QueuePackets and QueueBytes bound that queue, the packet that is being sent included; 0: the defaults. What comes to a full queue is
	// dropped.
	QueuePackets int `json:"queue_packets,omitempty"`
	QueueBytes   int `json:"queue_bytes,omitempty"`
	// Shares of the packets, 0 to 1: those that are lost; those that are sent without the delay, ahead of others; those that arrive twice;
	// those with one bit wrong. Loss 1 is a partition.
	Loss      float64 `json:"loss"`
	Reorder   float64 `json:"reorder"`
	Duplicate float64 `json:"duplicate"`
	Corrupt   float64 `json:"corrupt"`
	// MaxSize is the size above which packets vanish without a word, bytes; 0: none do. It is how a path with a smaller MTU behaves when
	// the message that says so does not arrive.
	MaxSize int `json:"max_size,omitempty"`
}

// Validate says which parameter is out of its range.
func (p Params) Validate() error {
	var errs []error
	bad := func(name string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("impair: %s %v is not allowed; allowed: %s", name, value, allowed))
	}
	if p.Delay < 0 || p.Delay > MaxDelay {
		bad("delay", p.Delay, "0 to "+MaxDelay.String())
	}
	if p.Jitter < 0 || p.Jitter > p.Delay {
		bad("jitter", p.Jitter, "0 to the delay, which is "+p.Delay.String())
	}
	if p.Rate < 0 || p.Rate > MaxRate {
		bad("rate", p.Rate, fmt.Sprintf("0 to %.0f bytes/s", float64(MaxRate)))
	}
	if p.QueuePackets < 0 || p.QueuePackets > maxHeldPackets {
		bad("queue packets", p.QueuePackets, fmt.Sprintf("0 to %d", maxHeldPackets))
	}
	if p.QueueBytes < 0 || p.QueueBytes > maxHeldBytes {
		bad("queue bytes", p.QueueBytes, fmt.Sprintf("0 to %d", maxHeldBytes))
	}
	if p.MaxSize < 0 || p.MaxSize > MaxPacket {
		bad("largest size", p.MaxSize, fmt.Sprintf("0 to %d bytes", MaxPacket))
	}
	for _, s := range []struct {
		name  string
		share float64
	}{{"loss", p.Loss}, {"reorder", p.Reorder}, {"duplicate", p.Duplicate}, {"corrupt", p.Corrupt}} {
		if !(s.share >= 0 && s.share <= 1) { // NaN is neither
			bad(s.name, s.share, "0 to 1")
		}
	}
	if p.Reorder > 0 && p.Delay == 0 {
		bad("reorder", p.Reorder, "0 without a delay: packets that are sent at once overtake none")
	}
	return errors.Join(errs...)
}

// withDefaults fills in the bounds of the queue.
func (p Params) withDefaults() Params {
	if p.QueuePackets == 0 {
		p.QueuePackets = DefaultQueuePackets
	}
	if p.QueueBytes == 0 {
		p.QueueBytes = DefaultQueueBytes
	}
	return p
}

// sendTime is how long a packet of that size takes to send, rounded up, so that the rate is never exceeded.
func (p *Params) sendTime(size int) time.Duration {
	if p.Rate == 0 {
		return 0
	}
	return time.Duration((int64(size)*int64(time.Second) + p.Rate - 1) / p.Rate)
}

// ParseRate reads a rate as tc writes it: a number and bit, kbit, mbit or gbit, decimal, per second. The result is bytes/s; "0" is 0.
func ParseRate(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	if text == "0" {
		return 0, nil
	}
	for _, u := range []struct {
		suffix string
		bits   float64
	}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}} { // the longest first
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(number, 64)
		if rate := math.Round(v * u.bits / 8); err == nil && rate >= 1 && rate <= MaxRate {
			return int64(rate), nil
		}
		break
	}
	return 0, fmt.Errorf("%q is no rate; allowed: 0, or a number of bit, kbit, mbit or gbit per second, such as 20mbit, 8bit to 100gbit", s)
}

// ParsePercent reads a percentage, with or without its sign, and returns the share: 0 to 1.
func ParsePercent(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "%"), 64)
	if err != nil || !(v >= 0 && v <= 100) {
		return 0, fmt.Errorf("%q is no percentage; allowed: 0 to 100, such as 2.5 or 2.5%%", s)
	}
	return v / 100, nil
}
