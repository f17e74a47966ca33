package impair

import (
	"math"
	"strings"
	"testing"
	"time"
)

// Every parameter out of its range is refused by name.
func TestParamsAreRefused(t *testing.T) {
	for name, p := range map[string]Params{
		"delay":         {Delay: -1},
		"jitter":        {Delay: time.Millisecond, Jitter: 2 * time.Millisecond},
		"rate":          {Rate: -1},
		"queue packets": {QueuePackets: -1},
		"queue bytes":   {QueueBytes: maxHeldBytes + 1},
		"largest size":  {MaxSize: MaxPacket + 1},
		"loss":          {Loss: 1.01},
		"reorder":       {Reorder: 0.1},
		"duplicate":     {Duplicate: math.NaN()},
		"corrupt":       {Corrupt: -0.1},
	} {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "0") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Params{Delay: MaxDelay, Jitter: MaxDelay, Rate: MaxRate, Loss: 1, Reorder: 1, Duplicate: 1, Corrupt: 1, MaxSize: MaxPacket}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "20mbit": 2_500_000, "8bit": 1, "1.5Mbit": 187_500, "1gbit": 125_000_000, "64kbit": 8000, "100gbit": MaxRate} {
		if got, err := ParseRate(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "20", "20mbps", "-1mbit", "mbit", "1bit", "200gbit", "NaNmbit", "Infmbit"} {
		if got, err := ParseRate(s); err == nil || !strings.Contains(err.Error(), "mbit") {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for s, want := range map[string]float64{"0": 0, "5": 0.05, "2.5%": 0.025, "100%": 1} {
		if got, err := ParsePercent(s); err != nil || math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "%", "101", "-1", "NaN", "5%%"} {
		if got, err := ParsePercent(s); err == nil || !strings.Contains(err.Error(), "0 to 100") {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}
