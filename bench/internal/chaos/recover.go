package chaos

import "time"

// Series are counts by Bin of an open loop, from the client's start on.
type Series struct {
	Due     []uint32 `json:"due"`     // requests that fell due
	Replies []uint32 `json:"replies"` // good replies that came
}

// Recovery is how soon after a fault was healed the load was served as before. Times are in seconds from the heal; negative: not at all.
type Recovery struct {
	// FirstReplyS is when the first good reply came.
	FirstReplyS float64 `json:"first_reply_s"`
	// RateS is from when on replies came, over half a second, at nine tenths of the rate before the fault or faster.
	RateS float64 `json:"rate_s"`
	// CaughtUpS is when nothing that the fault had held up was waiting any more: no more requests were due and unanswered than in the stage
	// before the fault, and what falls due in a tenth of a second. A rate alone can be that of some connections which make up for others.
	CaughtUpS float64 `json:"caught_up_s"`
}

// Figures of a recovery.
const (
	rateBins  = 5   // over which a rate is taken: half a second
	rateShare = 0.9 // of the rate before
	never     = -1
)

// bin is the number of the interval that the offset t is in.
func bin(t time.Duration) int { return int(t / Bin) }

// Recover computes the recovery of a load whose stage before the fault was from … fault, and that was healed at heal. first is the offset of the
// first good reply after heal, negative when there was none. It looks at whole intervals.
func Recover(s *Series, from, fault, heal, first time.Duration) Recovery {
	r := Recovery{FirstReplyS: never, RateS: never, CaughtUpS: never}
	if first >= heal {
		r.FirstReplyS = (first - heal).Seconds()
	}
	a, b, h := bin(from), bin(fault), bin(heal)
	if b <= a || h >= len(s.Replies) {
		return r
	}
	want := rateShare * float64(sum(s.Replies[a:b])) / float64(b-a)
	for i := h; i+rateBins <= len(s.Replies); i++ {
		if float64(sum(s.Replies[i:i+rateBins])) >= want*rateBins {
			r.RateS = max(0, (time.Duration(i)*Bin - heal).Seconds())
			break
		}
	}
	waiting := backlog(s)
	usual := int64(sum(s.Due[a:b])) / int64(b-a)
	for _, n := range waiting[a:b] {
		usual = max(usual, n+int64(sum(s.Due[a:b]))/int64(b-a))
	}
	for i := h; i < len(waiting); i++ {
		if waiting[i] <= usual {
			r.CaughtUpS = (time.Duration(i+1)*Bin - heal).Seconds()
			break
		}
	}
	return r
}

// backlog is how many requests were due and unanswered at the end of each interval.
func backlog(s *Series) []int64 {
	out := make([]int64, len(s.Replies))
	n := int64(0)
	for i := range out {
		n += int64(s.Due[i]) - int64(s.Replies[i])
		out[i] = n
	}
	return out
}

func sum(v []uint32) (n uint64) {
	for _, x := range v {
		n += uint64(x)
	}
	return n
}
