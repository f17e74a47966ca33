package reactor

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// whole is a filter that changes nothing, and notes the length of each record. Without SealHead it is no HeadSealer.
type whole struct {
	copying
	records *[]string
}

func (w whole) Seal(dst, src []byte, _ bool) ([]byte, error) {
	for p := range slices.Chunk(src, recordMax) {
		*w.records = append(*w.records, fmt.Sprint(len(p)))
	}
	return append(dst, src...), nil
}

// headed is one that seals header and payload from where they are.
type headed struct{ whole }

func (h headed) SealHead(dst, head, body []byte) ([]byte, error) {
	*h.records = append(*h.records, fmt.Sprint(len(head), "+", len(body)))
	return append(append(dst, head...), body...), nil
}

// A header and its payload go to a HeadSealer when they are all that there is or fill the record, else to Seal; either way the records are
// the same ones, every byte leaves once and in order, and every buffer is given back.
func TestHeadAndPayload(t *testing.T) {
	const full = recordMax
	for _, test := range []struct {
		segments []int
		burst    int      // of a token bucket; 0: none
		want     []string // with a HeadSealer; "a+b" is one record otherwise
	}{
		{[]int{29}, 0, []string{"29"}},
		{[]int{29, 100}, 0, []string{"29+100"}},
		{[]int{1, 1}, 0, []string{"1+1"}},
		{[]int{sealHeadMax, 100}, 0, []string{"64+100"}},
		{[]int{sealHeadMax + 1, 100}, 0, []string{"165"}},
		{[]int{29, 100, 50}, 0, []string{"179"}},
		{[]int{29, 100, 29, 100}, 0, []string{"258"}},
		{[]int{29, full - 29}, 0, []string{"29+16355"}},
		{[]int{29, full - 29, 50}, 0, []string{"29+16355", "50"}},
		{[]int{29, full - 30, 50}, 0, []string{"16384", "49"}},
		{[]int{29, full - 28}, 0, []string{"29+16355", "1"}},
		{[]int{29, full, 29, 100}, 0, []string{"29+16355", "158"}},
		{[]int{29, full, 35}, 0, []string{"29+16355", "29+35"}}, // what is left is short as a header, and may be one
		{[]int{29, 40000, 10}, 0, []string{"29+16355", "16384", "7271"}},
		{[]int{29, 200_000}, 0, []string{"29+16355", "16384", "16384", "16384", "16384", "16384", "16384", "16384", "16384", "16384", "16384", "16384", "3421"}},
		{[]int{29, 1000}, 600, []string{"29", "600", "400"}},
		{[]int{29, full}, full, []string{"29+16355", "29"}},
	} {
		for _, able := range []bool{true, false} {
			var records []string
			var f Filter = headed{whole{records: &records}}
			want := test.want
			if !able {
				f = whole{records: &records}
				want = nil
				for _, r := range test.want {
					var head, body int
					if n, _ := fmt.Sscanf(r, "%d+%d", &head, &body); n == 2 {
						r = fmt.Sprint(head + body)
					}
					want = append(want, r)
				}
			}
			l, c := still(t, &feed{}, Config{}, f, script{}.with)
			if test.burst > 0 {
				c.more().outBurst = test.burst
			}
			before := l.pool.OutstandingBytes()
			var text, sent []byte
			for i, n := range test.segments {
				b := l.pool.Get(n + i) // at another offset each
				for k := range n {
					b.B[i+k] = byte(len(text) * 7 >> (len(text) & 1))
					text = append(text, b.B[i+k])
				}
				l.append(&c.out, segBuf, b, i, i+n)
				c.out.bytes += n
			}
			for c.out.bytes > 0 {
				wire, err := l.seal(c, nil)
				if err != nil {
					t.Fatal(err)
				}
				sent = append(sent, wire...)
			}
			if !slices.Equal(records, want) {
				t.Errorf("%v, HeadSealer %v: records %q, want %q", test.segments, able, records, want)
			}
			if !bytes.Equal(sent, text) {
				t.Errorf("%v, HeadSealer %v: other bytes", test.segments, able)
			}
			if c.out.head != nil || c.out.tail != nil || l.pool.OutstandingBytes() != before {
				t.Errorf("%v, HeadSealer %v: %d bytes of buffers kept", test.segments, able, l.pool.OutstandingBytes()-before)
			}
		}
	}
}
