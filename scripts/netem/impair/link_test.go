package impair

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// arrival is a packet that came out of a link.
type arrival struct {
	at   time.Duration
	data []byte
}

// numbered is a packet that says which it is.
func numbered(i, size int) []byte {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(b, uint64(i))
	return b
}

func number(b []byte) int { return int(binary.BigEndian.Uint64(b)) }

// drain takes what arrives until then, at the times that the link asks for.
func drain(t *testing.T, l *Link, until time.Duration) (out []arrival) {
	t.Helper()
	for {
		at, ok := l.Next()
		if !ok || at > until {
			return out
		}
		for {
			b, ok := l.Pop(at)
			if !ok {
				break
			}
			out = append(out, arrival{at, bytes.Clone(b)})
		}
		if next, ok := l.Next(); ok && next <= at {
			t.Fatalf("asked at %v, the link wants to be asked at %v", at, next)
		}
		balanced(t, l)
	}
}

// balanced checks that nothing is lost that is not counted.
func balanced(t *testing.T, l *Link) {
	t.Helper()
	c := l.Counters()
	if c.In+c.Duplicated != c.Out+c.Lost+c.Overflow+c.TooBig+c.Unsent+c.Held || c.Held > c.HeldPeak {
		t.Fatalf("not balanced: %+v", c)
	}
	bytesHeld := 0
	for _, p := range l.flight {
		bytesHeld += len(p.data)
	}
	for _, p := range l.waiting[l.head:] {
		bytesHeld += len(p.data)
	}
	if bytesHeld != l.heldBytes || len(l.flight)+l.waits() != int(c.Held) {
		t.Fatalf("%d bytes in %d packets held, counted %d in %d", bytesHeld, len(l.flight)+l.waits(), l.heldBytes, c.Held)
	}
}

const forever = math.MaxInt64

// naive says when each packet arrives on a path with a delay, a rate and a queue: -1 when it is dropped.
func naive(p Params, at []time.Duration, size []int) []time.Duration {
	p = p.withDefaults()
	var sent, out []time.Duration // of those accepted; of all
	var sizes []int               // of those accepted
	for i := range at {
		packets, bytes, last := 0, 0, time.Duration(0)
		for j := range sent {
			if sent[j] > at[i] {
				packets, bytes = packets+1, bytes+sizes[j]
			}
			last = sent[j]
		}
		if p.Rate > 0 && (packets+1 > p.QueuePackets || bytes+size[i] > p.QueueBytes) {
			out = append(out, -1)
			continue
		}
		took := time.Duration(0)
		if p.Rate > 0 {
			took = time.Duration(math.Ceil(float64(size[i]) * 1e9 / float64(p.Rate)))
		}
		sent, sizes = append(sent, max(at[i], last)+took), append(sizes, size[i])
		out = append(out, sent[len(sent)-1]+p.Delay)
	}
	return out
}

// Without chance, every packet arrives exactly when the naive model says, in order, and never faster than the rate.
func TestLinkAgreesWithTheModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 99))
		p := Params{Delay: time.Duration(r.IntN(3)) * 7 * time.Millisecond, QueuePackets: 1 + r.IntN(20), QueueBytes: 100 + r.IntN(9000)}
		if r.IntN(4) > 0 {
			p.Rate = int64(1 + r.IntN(2_000_000))
		}
		l := NewLink(seed, p)
		var at []time.Duration
		var size []int
		var got []arrival
		now := time.Duration(0)
		for i := range 150 {
			now += time.Duration(r.ExpFloat64() * float64(2*time.Millisecond) * float64(r.IntN(3)))
			at, size = append(at, now), append(size, 8+r.IntN(1492))
			got = append(got, drain(t, l, now)...)
			l.Push(now, numbered(i, size[i]))
			balanced(t, l)
		}
		got = append(got, drain(t, l, forever)...)
		want, next, dropped := naive(p, at, size), 0, uint64(0)
		for i, w := range want {
			if w < 0 {
				dropped++
				continue
			}
			if next >= len(got) || number(got[next].data) != i || got[next].at != w || len(got[next].data) != size[i] {
				t.Fatalf("seed %d, %+v: packet %d: want at %v, got %d of %d", seed, p, i, w, next, len(got))
			}
			next++
		}
		if c := l.Counters(); next != len(got) || c.Overflow != dropped || c.Held != 0 || c.Lost+c.Reordered+c.Duplicated+c.Corrupted+c.TooBig != 0 {
			t.Fatalf("seed %d: %d of %d arrivals, %d dropped: %+v", seed, next, len(got), dropped, c)
		}
		notFaster(t, got, p.Rate)
	}
}

// notFaster checks that over every stretch of arrivals the rate holds: what follows the first took its time to send.
func notFaster(t *testing.T, got []arrival, rate int64) {
	t.Helper()
	for i := range got {
		sum := 0
		for j := i + 1; rate > 0 && j < len(got); j++ {
			sum += len(got[j].data)
			if float64(sum)*1e9 > float64(rate)*float64(got[j].at-got[i].at) {
				t.Fatalf("%d bytes in %v at %d bytes/s", sum, got[j].at-got[i].at, rate)
			}
		}
	}
}

// Chance keeps to its shares, whatever else is asked for; jitter to its range; and a seed says everything.
func TestLinkShares(t *testing.T) {
	const n = 100_000
	p := Params{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.05, Reorder: 0.1, Duplicate: 0.02, Corrupt: 0.01}
	once := func(seed uint64, p Params) (Counters, []arrival) {
		l := NewLink(seed, p)
		var got []arrival
		for i := range n {
			now := time.Duration(i) * 50 * time.Microsecond
			l.Push(now, numbered(i, 40))
			for b, ok := l.Pop(now); ok; b, ok = l.Pop(now) {
				got = append(got, arrival{now, bytes.Clone(b)})
			}
		}
		balanced(t, l)
		return l.Counters(), append(got, drain(t, l, forever)...)
	}
	c, got := once(7, p)
	for _, x := range []struct {
		name  string
		count uint64
		of    float64
		share float64
	}{{"lost", c.Lost, n, p.Loss}, {"duplicated", c.Duplicated, n * (1 - p.Loss), p.Duplicate},
		{"reordered", c.Reordered, n * (1 - p.Loss), p.Reorder}, {"corrupted", c.Corrupted, n * (1 - p.Loss), p.Corrupt}} {
		want := x.of * x.share
		if sigma := math.Sqrt(want * (1 - x.share)); math.Abs(float64(x.count)-want) > 4*sigma {
			t.Errorf("%s: %d, want %.0f ± %.0f", x.name, x.count, want, 4*sigma)
		}
	}
	wrong, seen := uint64(0), make([]int, n)
	for _, a := range got {
		flipped := 0
		for i, b := range a.data[8:] {
			if b != 0 {
				_, flipped = i, flipped+bits.OnesCount8(b)
			}
		}
		if i := number(a.data); i < 0 || i >= n { // the bit was in the number
			wrong++
		} else if seen[i]++; flipped > 0 {
			wrong++
		}
		if flipped > 1 {
			t.Fatalf("%d bits are wrong in one packet", flipped)
		}
	}
	if wrong == 0 || wrong > c.Corrupted || slices.Max(seen) < 2 {
		t.Errorf("%d packets are wrong, %d counted; one arrived %d times at most", wrong, c.Corrupted, slices.Max(seen))
	}
	again, gotAgain := once(7, p)
	if again != c || !slices.EqualFunc(got, gotAgain, func(a, b arrival) bool { return a.at == b.at && bytes.Equal(a.data, b.data) }) {
		t.Errorf("the same seed has another outcome: %+v, %+v", c, again)
	}
	if other, _ := once(8, p); other == c {
		t.Error("another seed has the same outcome")
	}
	if alone, _ := once(7, Params{Loss: p.Loss}); alone.Lost != c.Lost {
		t.Errorf("loss depends on other parameters: %d, %d", alone.Lost, c.Lost)
	}
}

// Delays stay within the jitter and are spread evenly; packets sent without the delay arrive at once, ahead of others.
func TestLinkJitterAndReorder(t *testing.T) {
	p := Params{Delay: 10 * time.Millisecond, Jitter: 4 * time.Millisecond}
	l := NewLink(1, p)
	const n = 4000
	for i := range n {
		l.Push(0, numbered(i, 20))
	}
	got := drain(t, l, forever)
	var sum time.Duration
	inOrder := true
	for i, a := range got {
		sum += a.at
		inOrder = inOrder && number(a.data) == i
	}
	if len(got) != n || got[0].at < p.Delay-p.Jitter || got[n-1].at > p.Delay+p.Jitter || inOrder {
		t.Errorf("%d arrivals from %v to %v, in order %v", len(got), got[0].at, got[len(got)-1].at, inOrder)
	}
	if mean := sum / n; mean < 9800*time.Microsecond || mean > 10200*time.Microsecond || got[n/4].at > 9*time.Millisecond {
		t.Errorf("mean %v, a quarter by %v", mean, got[n/4].at)
	}
	l = NewLink(1, Params{Delay: time.Second, Reorder: 0.25})
	for i := range 1000 {
		l.Push(time.Duration(i), numbered(i, 20))
	}
	early := drain(t, l, 1000)
	if c := l.Counters(); len(early) == 0 || uint64(len(early)) != c.Reordered || c.Held != 1000-c.Reordered {
		t.Errorf("%d early, %+v", len(early), c)
	}
	for _, a := range early {
		if a.at != time.Duration(number(a.data)) {
			t.Fatalf("packet %d arrives at %v", number(a.data), a.at)
		}
	}
}

// Parameters change while packets are in the link: a partition, another delay, a rate that collapses and comes back, a smaller MTU.
func TestLinkSet(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	l := NewLink(1, Params{Delay: ms(10)})
	l.Push(0, numbered(0, 1000))
	l.Set(ms(1), Params{Loss: 1})
	l.Push(ms(2), numbered(1, 1000))
	l.Set(ms(3), Params{Delay: ms(50), MaxSize: 1200})
	l.Push(ms(4), numbered(2, 1201))
	l.Push(ms(4), numbered(3, 1200))
	got := drain(t, l, forever)
	if c := l.Counters(); len(got) != 2 || got[0].at != ms(10) || got[1].at != ms(54) || number(got[1].data) != 3 || c.Lost != 1 || c.TooBig != 1 {
		t.Fatalf("%v, %+v", got, c)
	}

	l = NewLink(1, Params{Rate: 1_000_000}) // 1 ms for 1000 bytes
	for i := range 4 {
		l.Push(0, numbered(i, 1000))
	}
	l.Set(ms(1)+ms(1)/2, Params{Rate: 100_000}) // the second is half sent
	l.Set(ms(1)+ms(1)/2+ms(5), Params{Rate: 1_000_000})
	l.Push(ms(7), numbered(4, 1000))
	got = drain(t, l, ms(8))
	want := []time.Duration{ms(1), ms(6) + ms(1)/2, ms(7) + ms(1)/2}
	for i, w := range want {
		if len(got) != len(want) || got[i].at != w {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	l.Set(ms(8), Params{})
	if got = drain(t, l, ms(8)); len(got) != 2 || l.Counters().Held != 0 {
		t.Fatalf("without a rate the queue still has %d packets; %d came out", l.Counters().Held, len(got))
	}
	l.Push(ms(9), numbered(5, 10))
	l.Set(ms(9), Params{Rate: 1000})
	l.Push(ms(9), numbered(6, 10))
	if got = drain(t, l, forever); len(got) != 2 || got[1].at != ms(19) {
		t.Fatalf("%v", got)
	}
}

// What a link holds is bounded whatever is asked of it, and what the device refuses is counted.
func TestLinkBounds(t *testing.T) {
	l := NewLink(1, Params{Delay: MaxDelay})
	big := make([]byte, MaxPacket)
	for range maxHeldBytes/MaxPacket + 10 {
		l.Push(0, big)
	}
	if c := l.Counters(); l.heldBytes > maxHeldBytes || c.Overflow < 9 || c.Held != maxHeldBytes/MaxPacket {
		t.Errorf("%d bytes held, %+v", l.heldBytes, c)
	}
	if b, ok := l.Pop(MaxDelay + LateAfter); !ok || len(b) != MaxPacket || l.Counters().Late != 0 {
		t.Fatalf("%d bytes arrive, %+v", len(b), l.Counters())
	}
	l.unsent(MaxPacket)
	if c := l.Counters(); c.Unsent != 1 || c.Out != 0 || c.OutBytes != 0 {
		t.Errorf("%+v", c)
	}
	balanced(t, l)
	if _, ok := l.Pop(MaxDelay + 3*LateAfter); !ok || l.Counters().Late != 1 || l.Counters().LateMax != 3*LateAfter {
		t.Errorf("%+v", l.Counters())
	}
}

// A link that has seen its load allocates nothing for a packet: no collection of garbage then stops its thread.
func TestLinkAllocatesNothing(t *testing.T) {
	l := NewLink(1, Params{Delay: time.Millisecond, Rate: MaxRate, Jitter: time.Millisecond, Duplicate: 0.1})
	b, now := make([]byte, DefaultMTU), time.Duration(0)
	turn := func() {
		for range 20 {
			l.Push(now, b)
			now += 10 * time.Microsecond
		}
		for _, ok := l.Pop(now); ok; _, ok = l.Pop(now) {
		}
	}
	for range 1000 {
		turn()
	}
	if n := testing.AllocsPerRun(500, turn); n > 0 {
		t.Errorf("%v allocations for 20 packets", n)
	}
}

// FuzzLink has a link live through any changes and packets: it stays balanced, asks for no time before now, and in the end is empty.
func FuzzLink(f *testing.F) {
	f.Add(uint64(1), []byte{0, 10, 1, 200, 2, 30, 3, 5, 0, 99, 4, 1, 0, 7})
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		l, now, p := NewLink(seed, Params{}), time.Duration(0), Params{}
		for ; len(script) >= 2; script = script[2:] {
			v := int(script[1])
			switch script[0] % 6 {
			case 0:
				l.Push(now, numbered(0, v*6))
			case 1:
				now += time.Duration(v*v) * 10 * time.Microsecond
				drain(t, l, now)
			case 2:
				p.Rate = int64(v) * 1000
			case 3:
				p.Delay, p.Jitter = time.Duration(v)*time.Millisecond, time.Duration(v/2)*time.Millisecond
			case 4:
				p.Loss, p.Duplicate, p.Corrupt = float64(v)/1024, float64(v)/512, float64(v)/256
			case 5:
				p.MaxSize, p.QueuePackets = v*6, v/8
			}
			if p.Validate() == nil && script[0]%6 > 1 {
				l.Set(now, p)
			}
			if at, ok := l.Next(); ok && at < now-p.Delay {
				t.Fatalf("at %v the link asks for %v", now, at)
			}
			balanced(t, l)
		}
		drain(t, l, forever)
		if c := l.Counters(); c.Held != 0 {
			t.Fatalf("%+v", c)
		}
	})
}
