package chaos

import (
	"math/rand/v2"
	"testing"
)

// model is the naive book-keeping: everything that ever happened to a request, in lists.
type model struct {
	sent    int
	replies map[uint64][]outcome // of each request, in their order
	unasked int
	retried int
}

func (m *model) counts() Counts {
	c := Counts{Sent: uint64(m.sent), Unasked: uint64(m.unasked), Retried: uint64(m.retried)}
	for id := 1; id <= m.sent; id++ {
		r := m.replies[uint64(id)]
		if len(r) == 0 {
			c.Lost++
			continue
		}
		switch r[0] {
		case good:
			c.Answered++
		case corrupt:
			c.Corrupt++
		case refusing:
			c.Refused++
		}
		c.Doubled += uint64(len(r) - 1)
	}
	return c
}

// TestLedgerAgreesWithTheModel: over random lives of requests, with replies that are good, doubled, damaged, refused, on the wrong connection
// or for what was never asked, with connections that end and retries, the ledger's counts are those of the model.
func TestLedgerAgreesWithTheModel(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		size := MinPayload + rng.IntN(200)
		l, m := newLedger(size), &model{replies: map[uint64][]outcome{}}
		streams := []*stream{{}, {}, {}}
		where := map[uint64]*stream{}
		payloads := map[uint64][]byte{}
		for range 200 {
			id := uint64(rng.IntN(m.sent+3)) + 1
			_, awaited := where[id]
			switch k := rng.IntN(10); {
			case k < 4:
				id := l.begin(rng.IntN(5), 0, 0)
				m.sent++
				where[id], payloads[id] = streams[rng.IntN(3)], make([]byte, size)
				l.ask(id, where[id], payloads[id])
			case k == 4 && awaited: // its connection has ended
				l.retry(id)
				m.retried++
				old := payloads[id]
				where[id], payloads[id] = streams[rng.IntN(3)], make([]byte, size)
				l.ask(id, where[id], payloads[id])
				if _, ok := readPayload(old, size); !ok {
					t.Fatal("a sound payload reads as damaged")
				}
			case k == 5 && awaited: // on a connection that did not ask
				for _, s := range streams {
					if s != where[id] {
						l.reply(s, id, statusOK, payloads[id])
						m.unasked++
						break
					}
				}
			default:
				m.reply(t, rng, l, id, where, payloads)
			}
		}
		l.close()
		if got, want := l.counts, m.counts(); got != want {
			t.Fatalf("seed %d: %+v, the model has %+v", seed, got, want)
		}
	}
}

// reply has a reply of a random kind come for a request, which may have had one, or may never have been asked.
func (m *model) reply(t *testing.T, rng *rand.Rand, l *ledger, id uint64, where map[uint64]*stream, payloads map[uint64][]byte) {
	t.Helper()
	if id > uint64(m.sent) {
		l.reply(&stream{}, id, statusOK, nil)
		m.unasked++
		return
	}
	code, p, want := uint16(statusOK), append([]byte(nil), payloads[id]...), good
	switch rng.IntN(4) {
	case 0:
		p[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
		want = corrupt
	case 1:
		code, want = 503, refusing
	}
	s, awaited := where[id]
	if !awaited {
		s = &stream{}
	}
	got, _ := l.reply(s, id, code, p)
	m.replies[id] = append(m.replies[id], want)
	if !awaited {
		want = doubled
	}
	if got != want {
		t.Fatalf("request %d: %d, want %d", id, got, want)
	}
	delete(where, id)
}

// TestPayload: a sound payload reads back, and no single wrong bit, other length, or payload of another request, attempt or line passes.
func TestPayload(t *testing.T) {
	for _, size := range []int{MinPayload, MinPayload + 1, MinPayload + 7, MinPayload + 8, 1024} {
		p := make([]byte, size)
		want := mark{id: 1<<40 + 5, attempt: 3, line: 77}
		putPayload(p, want)
		if m, ok := readPayload(p, size); !ok || m != want {
			t.Fatalf("%d bytes: %+v, %v", size, m, ok)
		}
		for bit := range 8 * size {
			p[bit/8] ^= 1 << (bit % 8)
			if _, ok := readPayload(p, size); ok {
				t.Fatalf("%d bytes: bit %d is wrong, and nobody notices", size, bit)
			}
			p[bit/8] ^= 1 << (bit % 8)
		}
		if _, ok := readPayload(p[:size-1], size); ok {
			t.Error("a byte is missing, and nobody notices")
		}
		if _, ok := readPayload(append(p, 0), size); ok {
			t.Error("a byte too many, and nobody notices")
		}
	}
	l := newLedger(64)
	var p [2][64]byte
	s := new(stream)
	for i := range p {
		l.ask(l.begin(i, 0, 0), s, p[i][:])
	}
	if got, _ := l.reply(s, 1, statusOK, p[1][:]); got != corrupt {
		t.Errorf("the reply of another request: %d, want corrupt", got)
	}
	stale := p[1]
	l.retry(2)
	l.ask(2, s, p[1][:])
	if got, _ := l.reply(s, 2, statusOK, stale[:]); got != corrupt {
		t.Errorf("the reply of an earlier attempt: %d, want corrupt", got)
	}
}
