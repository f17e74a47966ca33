package load

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

func TestParseMix(t *testing.T) {
	got, err := ParseMix("4096:90,65536:10")
	if err != nil || !slices.Equal(got, []Part{{4096, 90}, {65536, 10}}) || MixString(got) != "4096:90,65536:10" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseMix(""); got != nil || err != nil {
		t.Errorf("no mix: %v, %v", got, err)
	}
	for _, bad := range []string{
		"4096", "4096:90", "4096:90,", "a:1,2:1", "1:b,2:1", "1:1,1:1", "-1:1,2:1", "1048539:1,2:1", "1:0,2:1", "1:1001,2:1", "1:1;2:1", "1:1,2:1:1",
		"1:1,2:1,3:1,4:1,5:1,6:1,7:1,8:1,9:1",
	} {
		if _, err := ParseMix(bad); err == nil || !strings.Contains(err.Error(), "--mix") || !strings.Contains(err.Error(), "payload:weight") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The sizes come in exactly their shares, and in every stretch of a cycle as nearly as whole numbers allow.
func TestCycleIsEven(t *testing.T) {
	for _, weights := range [][]int{{90, 10}, {1, 1}, {1, 2, 4}, {5, 5, 3}, {1000, 1}} {
		var parts []Part
		sum, div := 0, 0
		for i, w := range weights {
			parts = append(parts, Part{i, w})
			sum, div = sum+w, gcd(div, w)
		}
		order := cycle(parts)
		if len(order) != sum/div {
			t.Errorf("%v: a cycle of %d", weights, len(order))
		}
		counts := make([]int, len(parts))
		for i, p := range order {
			counts[p]++
			for q, n := range counts {
				if share := float64((i+1)*weights[q]) / float64(sum); float64(n) > share+1 || float64(n) < share-1 {
					t.Fatalf("%v: after %d requests part %d has come %d times, its share is %.2f", weights, i+1, q, n, share)
				}
			}
		}
		for q, n := range counts {
			if n != weights[q]/div {
				t.Errorf("%v: part %d comes %d times", weights, q, n)
			}
		}
	}
}

// A mixed load keeps the latencies of its sizes apart, counts the bits that were really carried, and notices a reply of the other size.
func TestMixedLoad(t *testing.T) {
	mix := []Part{{100, 3}, {1000, 1}}
	r := newRig(t, Config{Conns: 2, Mix: mix, RPS: 400, Window: 100 * time.Millisecond})
	for r.at = 0; r.at < 100*ms; r.at += ms {
		r.f.groups[0].pump(r.at)
		for i, tr := range r.ts {
			for _, b := range tr.replies(t) {
				if len(b) > 500 {
					r.at += ms / 2 // the large ones take longer
				}
				if _, _, err := r.all[i].OnData(b); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	p := r.finish()
	if p.Errors.Total() != 0 || p.Frames != 40 || p.Payload != 0 || len(p.BySize) != 2 {
		t.Fatalf("%+v", p)
	}
	small, large := &p.BySize[0], &p.BySize[1]
	if small.Payload != 100 || small.Weight != 3 || small.Frames != 30 || large.Frames != 10 || small.Latency.Count != 30 || large.Latency.Count != 10 || p.Latency.Count != 40 {
		t.Errorf("%+v", p.BySize)
	}
	if large.Latency.MinMS <= 0.4 || small.Latency.MinMS >= 0.4 {
		t.Errorf("the latencies are not kept apart: %+v", p.BySize)
	}
	if want := (30*100 + 10*1000) * 8 / 0.1 / 1e9; p.GbpsEachWay < want*0.999 || p.GbpsEachWay > want*1.001 {
		t.Errorf("%v Gb/s, not %v", p.GbpsEachWay, want)
	}
}

// A reply that has the size of another request of the mix is a wrong one.
func TestMixedLoadNoticesWrongSize(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Mix: []Part{{100, 1}, {1000, 1}}, Depth: 2, Window: 100 * time.Millisecond})
	bs := r.ts[0].replies(t)
	var a, b framer.Frame
	dec := framer.NewDecoder(framer.MaxFrame)
	if _, err := dec.Next(bs[0], &a); err != nil {
		t.Fatal(err)
	}
	if _, err := dec.Next(bs[1], &b); err != nil {
		t.Fatal(err)
	}
	a.Payload, b.Payload = b.Payload, a.Payload
	for _, f := range []*framer.Frame{&a, &b} {
		if _, _, err := r.all[0].OnData(answer(t, f, framer.FlagResp|framer.FlagEnd, statusOK)); err != nil {
			t.Fatal(err)
		}
	}
	if e := &r.f.groups[0].errs; e.WrongPayload != 2 {
		t.Errorf("%+v", e)
	}
}

// The path of every frame of a mixed load allocates nothing.
func TestMixedLoadDoesNotAllocate(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Mix: []Part{{64, 9}, {640, 1}}, Depth: 8, Window: time.Hour})
	tr := r.ts[0]
	buf := make([]byte, 0, 1<<16)
	reply := func() {
		r.at += 1000
		buf = append(buf[:0], tr.out...)
		tr.out = tr.out[:0]
		for n := 0; n < len(buf); n += int(binary.BigEndian.Uint32(buf[n:])) {
			buf[n+7], buf[n+8], buf[n+9] = byte(framer.FlagResp|framer.FlagEnd), 0, statusOK
		}
		if _, _, err := r.all[0].OnData(buf); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 { // until the output has had its largest
		reply()
	}
	if n := testing.AllocsPerRun(1000, reply); n != 0 {
		t.Errorf("%v allocations per batch of 8 frames", n)
	}
	p := r.finish()
	if p.Errors.WrongPayload+p.Errors.OutOfOrder != 0 || p.BySize[1].Frames == 0 || p.BySize[0].Frames < 8*p.BySize[1].Frames {
		t.Errorf("%+v, errors %+v", p.BySize, p.Errors)
	}
}
